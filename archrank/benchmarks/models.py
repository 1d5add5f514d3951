"""Fitting one predictor to a benchmark, and predicting with it: what the command line does."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from archrank._code_files import read_codes
from archrank._errors import TableError, one_line
from archrank._swap import new_file
from archrank.benchmarks.metrics import kendall
from archrank.benchmarks.splits import n_test, permutation
from archrank.ground_truth import GroundTruth, Metric
from archrank.spaces import space_from_dict

_ABOUT = "fit.json"


def fit_model(
    table: GroundTruth,
    predictor: str,
    folder: Path,
    *,
    n_train: int | None = None,
    metric: str | None = None,
    seed: int = 0,
    conformal: bool = False,
) -> dict[str, Any]:
    """Fit a predictor by name and save it.

    Parameters
    ----------
    table
        The ground truth.
    predictor
        A name that `archrank.make_predictor` knows.
    folder
        Where to save it.
    n_train
        The first n networks of the permutation of `seed` train, as in the first trial of
        `archrank.compare`; by default all networks.
    metric
        By default the table's default metric.
    seed
        Draws the networks and seeds the predictor.
    conformal
        Wrap the predictor in a `archrank.predictors.ConformalPredictor`, so that it has intervals.

    Returns
    -------
    dict
        What was fitted, and ``kendall_tau`` on the test networks of that trial (None without any).

    Raises
    ------
    ValueError
        For unknown names, or more training networks than there are.
    """
    from archrank.predictors import ConformalPredictor, make_predictor, save

    target = table.metric(metric)
    values = table.values(target.name)
    there = np.isfinite(values)
    codes, values = table.codes[there], values[there]
    n = len(codes) if n_train is None else n_train
    if n > len(codes):
        raise TableError(f"n_train {n} is too large: benchmark {table.name!r} has {len(codes)} networks")
    order = permutation(len(codes), seed)
    test = order[max(n, len(codes) - n_test(len(codes))) :]
    model = make_predictor(predictor, table, metric=target.name, random_state=seed)
    if conformal:
        model = ConformalPredictor(model, random_state=seed)
    model.fit(codes[order[:n]], values[order[:n]])
    save(model, folder)
    about = {
        "benchmark": table.name,
        "predictor": predictor,
        "metric": asdict(target),
        "n_train": n,
        "seed": seed,
        "space": table.space.describe(),
    }
    with new_file(folder / _ABOUT) as part:
        part.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    tau = kendall(values[test], model.predict(codes[test])) if len(test) > 1 else None
    return {
        "benchmark": table.name,
        "predictor": predictor,
        "metric": target.name,
        "n_train": n,
        "n_test": len(test),
        "kendall_tau": tau,
        "model": str(folder),
    }


def predict_model(
    folder: Path, archs: Path | None = None, top: int | None = None, interval: float | None = None
) -> tuple[pd.DataFrame, str]:
    """Predict with a saved model.

    Parameters
    ----------
    folder
        What `fit_model` wrote.
    archs
        File of architectures, see `archrank.ground_truth.read_codes`; by default every distinct
        network of the space.
    top
        Keep only the best, best first; by default all, in the order given.
    interval
        Coverage of intervals, such as 0.9 for 90 %; by default none are given.

    Returns
    -------
    frame, metric
        Block names per stage (``stage_0``, ...), a column named like the metric, and with `interval` the
        columns ``lo`` and ``hi``, all in the metric's unit.

    Raises
    ------
    TableError
        If the model or the architectures cannot be read, or the model does not know its uncertainty.
    """
    from archrank.predictors import load
    from archrank.predictors.base import has_interval, predict_interval

    path = folder / _ABOUT
    if not path.exists():
        raise TableError(f"{folder} holds no {_ABOUT}; give a folder that `archrank fit` wrote")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        space, metric = space_from_dict(about["space"]), Metric(**about["metric"])
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(f"{path} is damaged: {one_line(error)}; fit the model again") from error
    model = load(folder)
    if interval is not None and not has_interval(model):
        raise TableError(
            f"the predictor {about['predictor']!r} of {folder} does not know its uncertainty; fit it with --conformal"
        )
    codes = space.distinct_codes() if archs is None else read_codes(archs, space)
    values = np.asarray(model.predict(codes), dtype=np.float64)
    if top is not None:
        best = np.argsort(-metric.sign * values, kind="stable")[:top]
        codes, values = codes[best], values[best]
    frame = pd.DataFrame(space.names(codes), columns=[f"stage_{s}" for s in range(space.stages)])
    frame[metric.name] = values
    if interval is not None:
        frame["lo"], frame["hi"] = predict_interval(model, codes, interval)
    return frame, metric.name
