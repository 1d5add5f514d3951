"""Fitted predictors on disk: a folder of JSON, safetensors and text, without pickle.

Format, version 1. ``config.json`` holds ``format`` ("archrank-model"), ``version``, the predictor's
name and parameters, the parts of its encoding with their parameters, the space, the metrics of the
signatures in use, the learnt numbers, the SHA-256 of every other file, and ``sha256``, its own (of
the compact JSON with sorted keys without this entry). ``arrays.safetensors`` holds learnt arrays
(``state/NAME``), signature tables (``signature/COLUMN/STAGE``) and proxies (``measured/...``);
``NAME.txt`` holds learnt texts.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as read_arrays
from safetensors.numpy import save as write_arrays
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import check_is_fitted

from archrank.encodings.proxy import NetworkColumns, ProxyEncoding
from archrank.encodings.registry import encoding_class, encoding_name
from archrank.encodings.signature import SignatureEncoding
from archrank.predictors.base import Persistent, State
from archrank.predictors.registry import predictor_name, regressor_class
from archrank.spaces import MacroSpace, space_from_dict

FORMAT, VERSION = "archrank-model", 1
_CONFIG, _ARRAYS = "config.json", "arrays.safetensors"


class ModelFolderError(ValueError):
    """A model folder that cannot be read, with the reason and the cure in one line."""


def save(model: Pipeline, folder: str | Path) -> Path:
    """Write a fitted predictor of `archrank.make_predictor` to a folder, all of it or nothing.

    Parameters
    ----------
    model
        Pipeline of an encoding and a registered regressor.
    folder
        Where to; a model that is there already is replaced.

    Returns
    -------
    The folder.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        For a model that has not been fitted.
    ValueError
        For a regressor that is not registered, a parameter that JSON cannot hold, or a folder that
        holds something else.
    """
    check_is_fitted(model)
    target = Path(folder)
    if target.exists() and any(target.iterdir()) and not _is_model(target):
        raise ValueError(f"{target} holds something other than a model; choose a new folder")
    encoding, regressor = model["encoding"], model["regressor"]
    name = predictor_name(regressor)
    if not isinstance(regressor, Persistent):
        raise ValueError(f"predictor {name!r} cannot be saved: it has no get_state and set_state")
    state = regressor.get_state()
    arrays = {f"state/{key}": np.ascontiguousarray(value) for key, value in state.arrays.items()}
    parts = encoding.transformer_list if isinstance(encoding, FeatureUnion) else [(encoding_name(encoding), encoding)]
    described, metrics = [], {}
    for part_name, part in parts:
        tables = ("space", "signatures", "measured")
        params = {k: v for k, v in part.get_params(deep=False).items() if k not in tables}
        described.append({"name": part_name, "params": {k: _plain(v, k) for k, v in params.items()}})
        if isinstance(part, SignatureEncoding):
            for column in part.column_names():
                metrics[column] = asdict(part.signatures.metrics[column])
                for stage, table in enumerate(part.tables(column)):
                    arrays[f"signature/{column}/{stage}"] = table
        if isinstance(part, ProxyEncoding):
            arrays["measured/codes"] = part.measured.codes
            arrays |= {f"measured/columns/{name}": part.measured.columns[name] for name in part.column_names()}
    contents = {f"{key}.txt": text.encode() for key, text in state.texts.items()}
    contents[_ARRAYS] = write_arrays(arrays)
    config: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "predictor": name,
        "params": {k: _plain(v, k) for k, v in regressor.get_params(deep=False).items()},
        "encoding": described,
        "space": parts[0][1].space.describe(),
        "signatures": metrics,
        "values": _plain(state.values, "values"),
        "files": {key: hashlib.sha256(data).hexdigest() for key, data in sorted(contents.items())},
    }
    config["sha256"] = _digest(config)
    contents[_CONFIG] = json.dumps(config, indent=1, allow_nan=False).encode()
    _write_folder(target, contents)
    return target


def load(folder: str | Path) -> Pipeline:
    """Read a predictor that `save` wrote: the same pipeline over codes, with the same predictions.

    Raises
    ------
    ModelFolderError
        For a missing, incomplete or altered folder, or one of a newer format.
    """
    path = Path(folder)
    config = _read_config(path)
    contents = {name: _read_checked(path / name, digest) for name, digest in config["files"].items()}
    arrays = read_arrays(contents.pop(_ARRAYS))
    space = space_from_dict(config["space"])
    parts = [(part["name"], _load_encoding(part, space, config["signatures"], arrays)) for part in config["encoding"]]
    encoding = parts[0][1] if len(parts) == 1 else FeatureUnion(parts)
    try:
        regressor = regressor_class(config["predictor"])(**_tuples(config["params"]))
    except ValueError as error:
        raise ModelFolderError(f"{path}: {error}; import the module that registers it first") from None
    learnt = {key.removeprefix("state/"): value for key, value in arrays.items() if key.startswith("state/")}
    texts = {name.removesuffix(".txt"): data.decode() for name, data in contents.items()}
    state = State(config["values"], learnt, texts)
    if state.values or state.arrays or state.texts:  # what needs no training may have been saved without any
        regressor.set_state(state)
    return Pipeline([("encoding", encoding), ("regressor", regressor)])


def _load_encoding(
    part: dict[str, Any], space: MacroSpace, metrics: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> Any:
    params = _tuples(part["params"])
    cls = encoding_class(part["name"])
    if isinstance(cls, type) and issubclass(cls, SignatureEncoding):
        params["signatures"] = _load_signatures(space, params["teacher"], metrics, arrays)
    if cls is ProxyEncoding:
        prefix = "measured/columns/"
        columns = {key.removeprefix(prefix): v for key, v in arrays.items() if key.startswith(prefix)}
        params["measured"] = NetworkColumns(arrays["measured/codes"], columns)
    return cls(space, **params)


def _load_signatures(
    space: MacroSpace, teacher: str | None, metrics: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> Any:
    import pandas as pd

    from archrank.ground_truth import Metric, Signatures

    stages = np.repeat(np.arange(space.stages), space.n_blocks)
    blocks = np.concatenate([np.arange(n) for n in space.n_blocks])
    frame = pd.DataFrame({"stage": stages, "block": blocks, "teacher": "default" if teacher is None else teacher})
    for column in metrics:
        frame[column] = np.concatenate([arrays[f"signature/{column}/{s}"] for s in range(space.stages)])
    return Signatures(frame, {name: Metric(**metric) for name, metric in metrics.items()}, space.n_blocks)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads((path / _CONFIG).read_bytes())
    except FileNotFoundError:
        raise ModelFolderError(f"{path} is not a model folder: it has no {_CONFIG}") from None
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ModelFolderError(f"{path / _CONFIG} cannot be read ({first}); save the model again") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ModelFolderError(f"{path / _CONFIG} does not describe an archrank model")
    version = config.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise ModelFolderError(
            f"{path} has model format {version}, this archrank reads up to {VERSION}; install a newer archrank"
        )
    if config.pop("sha256", None) != _digest(config):
        raise ModelFolderError(f"{path / _CONFIG} was altered after it was written; save the model again")
    return config


def _read_checked(file: Path, digest: str) -> bytes:
    try:
        data = file.read_bytes()
    except OSError:
        raise ModelFolderError(f"{file} is missing or cannot be read; save the model again") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise ModelFolderError(f"{file} is truncated or was altered after it was written; save the model again")
    return data


def _digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _is_model(path: Path) -> bool:
    try:
        return bool(json.loads((path / _CONFIG).read_bytes()).get("format") == FORMAT)
    except (OSError, ValueError, AttributeError):
        return False


def _write_folder(target: Path, contents: dict[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        new, old = staging / "new", staging / "old"
        new.mkdir()
        for name, data in contents.items():
            with (new / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if target.exists():
            target.replace(old)  # a folder that is not empty cannot be replaced in one step
        try:
            new.replace(target)
        except OSError:
            if old.exists():
                old.replace(target)
            raise
    finally:
        shutil.rmtree(staging)


def _plain(value: Any, name: str) -> Any:
    """`value` as JSON holds it."""
    if isinstance(value, dict):
        return {str(k): _plain(v, name) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, name) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist(), name)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"parameter {name!r} = {value!r} cannot be saved; use numbers, texts or lists of them")


def _tuples(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters as they were given: sequences are tuples throughout archrank."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in params.items()}
