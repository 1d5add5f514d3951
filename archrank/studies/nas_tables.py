"""Trials of search methods as tables."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import numpy as np
import pandas as pd

from archrank.studies.statistics import Floats, finite_or_nan
from archrank.studies.trials import Arena, Trial

TOPS = {"top01": 0.001, "top1": 0.01}


def methods_table(
    found: list[Trial], arena: Arena, budget: int, after: int, passes: Mapping[str, float]
) -> pd.DataFrame:
    """One row per method.

    ``top01_median`` (of the trials), ``top01_p05`` and ``top01_p95`` count networks trained until one of the true top
    0.1 % was, at least the best network; NaN stands for more than the budget. ``top01_reached`` is the share of trials
    that got there. ``top1...`` is the same for 1 %. ``regret...`` is the distance of the network that looks best after
    ``regret_after`` trainings to the truly best, in the metric's unit: all trials went as far. ``trained_median`` and
    ``cpu_seconds_median`` tell how long trials went on; seconds of a trial that was kept are those of its search, which
    may have gone on for longer.

    Parameters
    ----------
    after
        Trainings after which methods are compared, at most those of the shortest trial.
    passes
        Of each method, column ``pass_in_networks``: what the signatures that it uses cost, in trainings of a network.
        No other column counts it.
    """
    rows = []
    for method, trials in _by_method(found):
        row: dict[str, object] = {"method": method, "trials": len(trials), "budget": budget}
        row["pass_in_networks"] = passes[method]
        for name, share in TOPS.items():
            until = np.array([trial.until(arena, arena.top(share)) for trial in trials])
            row[f"{name}_median"] = finite_or_nan(np.median(until))
            row |= {f"{name}_p{q:02}": finite_or_nan(_censored_quantile(until, q / 100)) for q in (5, 95)}
            row[f"{name}_reached"] = float(np.isfinite(until).mean())
        regret = arena.scores.max() - np.array([trial.best(arena)[after - 1] for trial in trials])
        row |= {"regret_after": after, "regret_mean": regret.mean()} | {
            f"regret_p{q:02}": np.quantile(regret, q / 100) for q in (5, 50, 95)
        }
        row["trained_median"] = float(np.median([len(trial.trained) for trial in trials]))
        rows.append(row | {"cpu_seconds_median": float(np.median([trial.seconds for trial in trials]))})
    return pd.DataFrame(rows)


def tops_table(arena: Arena) -> pd.DataFrame:
    """What counts as a top: per cent of the table, networks, and the value of the worst of them."""
    rows = [
        {
            "top": name,
            "per_cent": 100 * share,
            "networks": int((arena.scores >= arena.top(share)).sum()),
            "value": arena.metric.sign * arena.top(share),
        }
        for name, share in TOPS.items()
    ]
    return pd.DataFrame(rows)


def reached_table(found: list[Trial], arena: Arena, budget: int) -> pd.DataFrame:
    """Share of trials that trained one of a top, by method and networks trained: columns as `TOPS`.

    It is known up to the budget, for a trial ends early only when it has reached the top.
    """
    trained = np.arange(1, budget + 1)
    parts = []
    for method, trials in _by_method(found):
        shares = {}
        for name, share in TOPS.items():
            until = np.array([trial.until(arena, arena.top(share)) for trial in trials])
            shares[name] = (until[:, None] <= trained).mean(axis=0)
        parts.append(pd.DataFrame({"method": method, "trained": trained, **shares}))
    return pd.concat(parts, ignore_index=True)


def curves(found: list[Trial], arena: Arena) -> pd.DataFrame:
    """Best value and its distance to the best of the table by networks trained: median and 5 % to 95 % of trials.

    Curves of a method go as far as its shortest trial, so that every point is of all its trials.
    """
    parts = []
    for method, trials in _by_method(found):
        length = shortest(trials)
        best = np.stack([trial.best(arena)[:length] for trial in trials])
        low, middle, high = np.quantile(best, [0.05, 0.5, 0.95], axis=0)
        regret, sign = arena.scores.max(), arena.metric.sign
        columns = {
            "best_median": sign * middle,
            "best_p05": sign * low,
            "best_p95": sign * high,
            "regret_mean": regret - best.mean(axis=0),
            "regret_median": regret - middle,
            "regret_p05": regret - high,
            "regret_p95": regret - low,
        }
        parts.append(pd.DataFrame({"method": method, "trained": np.arange(1, length + 1), **columns}))
    return pd.concat(parts, ignore_index=True)


def trials_table(found: list[Trial], arena: Arena, after: int) -> pd.DataFrame:
    """One row per trial; NaN where a top was not reached, ``best`` is that after ``best_after`` trainings."""
    rows = []
    for trial in found:
        row = {"method": trial.method, "seed": trial.seed, "trained": len(trial.trained)}
        row |= {name: finite_or_nan(trial.until(arena, arena.top(share))) for name, share in TOPS.items()}
        best = arena.metric.sign * trial.best(arena)[after - 1]
        rows.append(row | {"best": best, "best_after": after, "cpu_seconds": trial.seconds})
    return pd.DataFrame(rows)


def shortest(found: list[Trial]) -> int:
    """Networks that every trial trained."""
    return min(len(trial.trained) for trial in found)


def _by_method(found: list[Trial]) -> list[tuple[str, list[Trial]]]:
    return [(method, list(trials)) for method, trials in groupby(found, key=lambda trial: trial.method)]


def _censored_quantile(values: Floats, q: float) -> float:
    """An observed value, for between a number and infinity nothing can be interpolated."""
    return float(np.quantile(values, q, method="inverted_cdf"))
