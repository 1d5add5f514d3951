"""Running predictors over a benchmark: same splits for all, failures on the record."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from archrank._errors import one_line
from archrank.benchmarks import calibration
from archrank.benchmarks.catalogue import load_benchmark
from archrank.benchmarks.metrics import SCORES, is_constant, score
from archrank.benchmarks.noise import measure_noise
from archrank.benchmarks.report import Report
from archrank.benchmarks.splits import n_test, permutation
from archrank.ground_truth import GroundTruth, Metric
from archrank.spaces import Codes


class Predictor(Protocol):
    """Anything that learns from codes and values, in the metric's unit."""

    def fit(self, codes: Codes, y: NDArray[np.float64], /) -> Any:
        """Learn from codes ``(n, n_stages)`` and values ``(n,)``."""

    def predict(self, codes: Codes, /) -> Any:
        """Values ``(n,)`` in the metric's unit."""


Factory = Callable[[int], Predictor]
Predictors = Sequence[str | tuple[str, Factory]] | Mapping[str, Factory]


class ComparisonError(ValueError):
    """A comparison that this benchmark does not allow; the message says what it allows."""


@dataclass(frozen=True)
class _Contestant:
    label: str
    encoding: str
    factory: Factory


def compare(
    predictors: Predictors,
    benchmark: GroundTruth | str | Path,
    n_train: int | Sequence[int] = (20, 50, 100, 200),
    trials: int = 10,
    seed: int = 0,
    metric: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    n_jobs: int = 1,
) -> Report:
    """Fit predictors on a few networks each and score how they rank others.

    Trial t permutes the distinct networks, in table order, by ``default_rng(seed + t)``; the first n
    train, the last ``min(1000, a third)`` test, whatever n is. No test network is isomorphic to a
    training network. Targets are means over the seeds that each network has.

    Parameters
    ----------
    predictors
        Names that `archrank.make_predictor` knows, where a name may state its encodings
        (``gbdt:one_hot``, ``donna:signature+cost``); or ``(label, factory)`` pairs, or a mapping
        from label to factory. A factory takes a seed and returns an object with ``fit(codes, y)``
        and ``predict(codes)``; trial t calls it with ``seed + t``.
    benchmark
        A ground truth, or what `archrank.load_benchmark` takes.
    n_train
        Number of training networks, or several.
    trials
        Number of permutations.
    seed
        Of the first trial.
    metric
        By default the benchmark's default metric.
    progress
        Called before every fit with (fits done, fits in all, label); with several at once, as they are done.
    n_jobs
        Fits at once, -1 for as many as there are cores. Scores do not depend on it; seconds may, where cores share
        memory.

    Returns
    -------
    Report
        A predictor that raises, or predicts values, deviations or intervals that are not numbers, has a
        row that says so and no score; one that predicts a constant has a row that says so and tau 0.
        Predictors that know their uncertainty (`archrank.predictors.base.Uncertain`) are also judged by
        `archrank.benchmarks.calibration.calibration`, outside the seconds of prediction.

    Raises
    ------
    ComparisonError
        If the benchmark is too small for `n_train` or its metric is the same for all, or the arguments make no sense.
    ValueError
        For unknown predictors or encodings that the benchmark does not support.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sklearn.linear_model import Ridge
    >>> from archrank import GroundTruth, MacroSpace, Metric, compare
    >>> space = MacroSpace.from_blocks([list("abcde"), list("uvwxyz")])
    >>> frame = pd.DataFrame(space.all_codes(), columns=["stage_0", "stage_1"])
    >>> frame["acc"] = 2.0 * frame.stage_0 + frame.stage_1
    >>> table = GroundTruth.from_frame(space, frame, {"acc": Metric("acc")}, name="toy")
    >>> report = compare({"ridge": lambda seed: Ridge(alpha=0.01)}, table, n_train=[10], trials=2)
    >>> float(report.summary().kendall_tau_mean.iloc[0]) > 0.9
    True
    """
    table = load_benchmark(benchmark)
    target = table.metric(metric)
    y = table.values(target.name)
    there = np.isfinite(y)
    codes, y = table.codes[there], y[there]
    if len(y) and is_constant(y):
        raise ComparisonError(f"{target.name} of benchmark {table.name!r} is {y[0]:g} for all: nothing to rank")
    sizes = _check_sizes([n_train] if isinstance(n_train, int) else n_train, trials, table.name, len(y))
    contestants = list(_contestants(predictors, table, target, seed))
    noise = measure_noise(table, target.name, trials, seed)
    rows: list[dict[str, Any]] = []
    predictions: list[pd.DataFrame] = []
    reliability: list[pd.DataFrame] = []
    splits = {(n, trial): _Split.of(codes, y, n, seed + trial) for n in sizes for trial in range(trials)}
    fits = list(itertools.product(contestants, sizes, range(trials)))
    results = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_run)(contestant, splits[n, trial], seed + trial, target, n == sizes[-1])
        for contestant, n, trial in fits
    )
    for contestant, n, trial in fits:
        if progress is not None:
            progress(len(rows), len(fits), f"{contestant.label}, {n} networks, trial {trial + 1}")
        row, predicted, shares = next(results)
        about = {"predictor": contestant.label, "encoding": contestant.encoding, "n_train": n, "trial": trial}
        rows.append(about | row)
        if predicted is not None and trial == 0 and n == sizes[-1]:
            pair = {"predictor": contestant.label, "true": splits[n, trial].true, "predicted": predicted}
            predictions.append(pd.DataFrame(pair))
        if shares:
            observed = {"trial": trial, "coverage": calibration.LEVELS, "observed": shares}
            reliability.append(pd.DataFrame({"predictor": contestant.label} | observed))
    next(results, None)  # ends it
    if progress is not None:
        progress(len(fits), len(fits), "done")
    return Report(
        benchmark=table.name,
        metric=target,
        n_networks=len(y),
        n_test=n_test(len(y)),
        seed=seed,
        noise=noise,
        rows=pd.DataFrame(rows),
        predictions=_joined(predictions, "predictor", "true", "predicted"),
        reliability=_joined(reliability, "predictor", "trial", "coverage", "observed"),
    )


def _joined(frames: list[pd.DataFrame], *columns: str) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({name: [] for name in columns})


def _check_sizes(n_train: Sequence[int], trials: int, name: str, n_networks: int) -> list[int]:
    sizes = sorted({int(n) for n in n_train})
    test = n_test(n_networks)
    if test < 3:
        raise ComparisonError(
            f"benchmark {name!r} has {n_networks} networks; a comparison needs at least 9: train more of them"
        )
    if not sizes or sizes[0] < 1 or trials < 1:
        raise ComparisonError(f"n_train and trials must be 1 or more, got n_train {list(n_train)} and trials {trials}")
    if sizes[-1] > n_networks - test:
        raise ComparisonError(
            f"n_train {sizes[-1]} is too large: benchmark {name!r} has {n_networks} networks, "
            f"of which {test} test, so at most {n_networks - test} can train"
        )
    return sizes


def _contestants(predictors: Predictors, table: GroundTruth, metric: Metric, seed: int) -> Iterator[_Contestant]:
    entries = list(predictors.items()) if isinstance(predictors, Mapping) else list(predictors)
    if isinstance(predictors, str) or not entries:
        raise ComparisonError(f"expected a list of predictors, got {predictors!r}")
    labels = [e if isinstance(e, str) else e[0] for e in entries]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise ComparisonError(f"predictor {twice!r} is listed twice; give each a label of its own")
    for entry in entries:
        if isinstance(entry, str):
            yield _named(entry, table, metric, seed)
        else:
            yield _Contestant(entry[0], "", entry[1])


def _named(name: str, table: GroundTruth, metric: Metric, seed: int) -> _Contestant:
    from archrank.predictors.context import Context
    from archrank.predictors.registry import build, default_encoding

    # What other processes are sent for every fit, which the table would be too large for.
    context = Context.of(table, metric.name, None, None, None)
    factory = partial(build, name, context)
    factory(seed)  # an unknown name is the caller's mistake, not a failed trial
    base, _, encoding = name.partition(":")
    return _Contestant(name, encoding or default_encoding(base, context), factory)


@dataclass(frozen=True)
class _Split:
    """What a fit and its judging take: copies, so that neither memory nor other processes hold the table for each."""

    codes: Codes
    y: NDArray[np.float64]
    test: Codes
    true: NDArray[np.float64]

    @classmethod
    def of(cls, codes: Codes, y: NDArray[np.float64], n: int, seed: int) -> Self:
        """The first `n` networks of a permutation train, the last ones test."""
        order = permutation(len(y), seed)
        train, test = order[:n], order[len(y) - n_test(len(y)) :]
        return cls(codes[train], y[train], codes[test], y[test])


def _run(
    contestant: _Contestant, split: _Split, seed: int, metric: Metric, reliability: bool
) -> tuple[dict[str, Any], NDArray[np.float64] | None, list[float]]:
    """One row, the predictions on the test networks if there are any, and the coverage at each level on request."""
    row: dict[str, Any] = {"status": "ok", **dict.fromkeys((*SCORES, *calibration.SCORES), np.nan)}
    row |= {"fit_seconds": np.nan, "predict_seconds": np.nan, "error": ""}
    codes, true = split.test, split.true
    try:
        model = contestant.factory(seed)
        start = time.perf_counter()
        model.fit(split.codes, split.y)
        fitted = time.perf_counter()
        predicted = np.asarray(model.predict(codes), dtype=np.float64)
        done = time.perf_counter()
        if predicted.shape != true.shape:
            raise ValueError(f"predicted shape {predicted.shape} for {len(true)} networks")
        if not np.isfinite(predicted).all():
            raise ValueError(f"{int((~np.isfinite(predicted)).sum())} of {len(true)} predictions are not finite")
        calibrated = calibration.calibration(model, codes, true)
        shares = calibration.coverages(model, codes, true, calibration.LEVELS if reliability else ())
    except Exception as error:
        # A comparison of hours must not be lost to one predictor: its failure is a result.
        return row | {"status": "failed", "error": f"{type(error).__name__}: {one_line(error)}"}, None, []
    row |= score(true, predicted, metric) | calibrated
    row |= {"fit_seconds": fitted - start, "predict_seconds": done - fitted}
    if is_constant(predicted):
        row["status"] = "constant"
    return row, predicted, shares
