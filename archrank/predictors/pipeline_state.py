"""A whole predictor, encoding included, as one `State`, and the predictor made of it again.

Values are the predictor's name and parameters, the parts of its encoding with their parameters, the space, the metrics
of the signatures in use, and the learnt numbers. Arrays are ``state/NAME`` (learnt), ``signature/COLUMN/STAGE``,
``measured/...`` (proxies) and ``curve/...`` (values per epoch); texts are learnt.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import FeatureUnion, Pipeline

from archrank.encodings.proxy import NetworkColumns
from archrank.encodings.registry import encoding_class, encoding_name
from archrank.encodings.signature import SignatureEncoding
from archrank.predictors.base import Persistent, State
from archrank.predictors.registry import predictor_name, regressor_class
from archrank.spaces import MacroSpace, space_from_dict

# The parameters of encodings that hold `NetworkColumns`.
_NETWORK_COLUMNS = ("measured", "curve")


def state_of(model: Pipeline) -> State:
    """A pipeline of `archrank.make_predictor` with all that it needs; `pipeline_of` is the inverse.

    Raises
    ------
    ValueError
        For a regressor that is not registered or has no state, and for a value that JSON cannot hold.
    """
    encoding, regressor = model["encoding"], model["regressor"]
    name = predictor_name(regressor)
    if not isinstance(regressor, Persistent):
        raise ValueError(f"predictor {name!r} cannot be saved: it has no get_state and set_state")
    state = regressor.get_state()
    arrays = {f"state/{key}": value for key, value in state.arrays.items()}
    parts = encoding.transformer_list if isinstance(encoding, FeatureUnion) else [(encoding_name(encoding), encoding)]
    described, metrics = [], {}
    for part_name, part in parts:
        tables = ("space", "signatures", *_NETWORK_COLUMNS)
        params = {k: v for k, v in part.get_params(deep=False).items() if k not in tables}
        described.append({"name": part_name, "params": plain(params, f"of encoding {part_name!r}")})
        if isinstance(part, SignatureEncoding):
            for column in part.column_names():
                metrics[column] = asdict(part.signatures.metrics[column])
                for stage, values in enumerate(part.tables(column)):
                    arrays[f"signature/{column}/{stage}"] = values
        for table in _NETWORK_COLUMNS:
            if hasattr(part, table):
                measured = getattr(part, table)
                described[-1]["directions"] = dict(measured.directions)
                arrays[f"{table}/codes"] = measured.codes
                arrays |= {f"{table}/columns/{key}": column for key, column in measured.columns.items()}
    in_state = getattr(regressor, "held_in_state", ())
    params = {key: value for key, value in regressor.get_params(deep=False).items() if key not in in_state}
    about = {
        "predictor": name,
        "params": plain(params, f"of predictor {name!r}"),
        "encoding": described,
        "space": parts[0][1].space.describe(),
        "signatures": metrics,
        "values": plain(state.values, f"learnt by predictor {name!r}"),
    }
    return State(about, arrays, state.texts)


def pipeline_of(whole: State) -> Pipeline:
    """The pipeline that `state_of` describes, made of registered predictors and encodings only."""
    config, arrays = whole.values, whole.arrays
    space = space_from_dict(config["space"])
    parts = [(part["name"], _load_encoding(part, space, config["signatures"], arrays)) for part in config["encoding"]]
    encoding = parts[0][1] if len(parts) == 1 else FeatureUnion(parts)
    regressor = regressor_class(config["predictor"])(**_tuples(config["params"]))
    learnt = {key.removeprefix("state/"): value for key, value in arrays.items() if key.startswith("state/")}
    if state := State(config["values"], learnt, whole.texts):  # what needs no training may have been saved without any
        regressor.set_state(state)
        width, learnt_width = len(encoding.get_feature_names_out()), getattr(regressor, "n_features_in_", None)
        if learnt_width not in (None, width):
            raise ValueError(f"the encoding gives {width} features, but {learnt_width} were seen in fit")
        if not any(f"{table}/codes" in arrays for table in _NETWORK_COLUMNS):  # these know some networks only
            _check_answers(encoding, regressor, space)
    return Pipeline([("encoding", encoding), ("regressor", regressor)])


def _check_answers(encoding: Any, regressor: Any, space: MacroSpace) -> None:
    """Ask once about every block: learnt numbers that do not belong together fail here, not in the user's hands."""
    blocks = np.arange(max(space.n_blocks))[:, None] % np.array(space.n_blocks)
    with np.errstate(over="ignore", invalid="ignore"):
        answers = regressor.predict(encoding.transform(blocks))
    if not np.isfinite(answers).all():
        raise ValueError("its predictions are not finite numbers")


def _load_encoding(
    part: dict[str, Any], space: MacroSpace, metrics: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> Any:
    params = _tuples(part["params"])
    cls = encoding_class(part["name"])
    if isinstance(cls, type) and issubclass(cls, SignatureEncoding):
        params["signatures"] = _load_signatures(space, params["teacher"], metrics, arrays)
    for table in _NETWORK_COLUMNS:
        if table in inspect.signature(cls).parameters:
            prefix = f"{table}/columns/"
            columns = {key.removeprefix(prefix): v for key, v in arrays.items() if key.startswith(prefix)}
            params[table] = NetworkColumns(arrays[f"{table}/codes"], columns, part["directions"])
    return cls(space, **params)


def _load_signatures(
    space: MacroSpace, teacher: str | None, metrics: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> Any:
    import pandas as pd

    from archrank.ground_truth import Metric, Signatures

    stages = np.repeat(np.arange(space.stages), space.n_blocks)
    blocks = np.concatenate([np.arange(n) for n in space.n_blocks])
    frame = pd.DataFrame({"stage": stages, "block": blocks, "teacher": "default" if teacher is None else teacher})
    for column in metrics:
        frame[column] = np.concatenate([arrays[f"signature/{column}/{s}"] for s in range(space.stages)])
    return Signatures(frame, {name: Metric(**metric) for name, metric in metrics.items()}, space.n_blocks)


def plain(value: Any, name: str) -> Any:
    """`value` as JSON holds it, every float to the bit; `name` says in errors where it stands."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain(item, f"{key!r} {name}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, name) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, which JSON does not hold; use a finite number or None")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{name} = {value!r} cannot be saved; use numbers, texts, or lists and mappings of them")


def _tuples(value: Any) -> Any:
    """Parameters as they were given: sequences are tuples throughout archrank."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value
