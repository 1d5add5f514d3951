"""Trials of search methods as tables."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pandas as pd

from archrank.studies.statistics import Floats
from archrank.studies.trials import Arena, Trial

TOPS = {"top01": 0.001, "top1": 0.01}


def methods_table(found: list[Trial], arena: Arena, budget: int) -> pd.DataFrame:
    """One row per method.

    ``top01_median`` (of the trials), ``top01_p05`` and ``top01_p95`` count networks trained until one of the true top
    0.1 % was, at least the best network; NaN stands for more than the budget. ``top01_reached`` is the share of trials
    that got there. ``top1...`` is the same for 1 %. ``regret...`` is the distance of the network that looks best at the
    end to the truly best, in the metric's unit.
    """
    rows = []
    for method, trials in _by_method(found):
        row: dict[str, object] = {"method": method, "trials": len(trials), "budget": budget}
        for name, share in TOPS.items():
            until = np.array([trial.until(arena, arena.top(share)) for trial in trials])
            row[f"{name}_median"] = _within(np.median(until))
            row |= {f"{name}_p{q:02}": _within(_censored_quantile(until, q / 100)) for q in (5, 95)}
            row[f"{name}_reached"] = float(np.isfinite(until).mean())
        regret = arena.scores.max() - np.array([trial.best(arena)[-1] for trial in trials])
        row |= {"regret_mean": regret.mean()} | {f"regret_p{q:02}": np.quantile(regret, q / 100) for q in (5, 50, 95)}
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


def curves(found: list[Trial], arena: Arena, budget: int) -> pd.DataFrame:
    """Best value and its distance to the best of the table by networks trained: median and 5 % to 95 % of trials.

    A trial that ended early keeps its last value.
    """
    parts = []
    for method, trials in _by_method(found):
        best = np.stack([_extended(trial.best(arena), budget) for trial in trials])
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
        parts.append(pd.DataFrame({"method": method, "trained": np.arange(1, budget + 1), **columns}))
    return pd.concat(parts, ignore_index=True)


def trials_table(found: list[Trial], arena: Arena) -> pd.DataFrame:
    """One row per trial; NaN where a top was not reached."""
    rows = []
    for trial in found:
        row = {"method": trial.method, "seed": trial.seed, "trained": len(trial.trained)}
        row |= {name: _within(trial.until(arena, arena.top(share))) for name, share in TOPS.items()}
        rows.append(row | {"best": arena.metric.sign * trial.best(arena)[-1], "cpu_seconds": trial.seconds})
    return pd.DataFrame(rows)


def _by_method(found: list[Trial]) -> list[tuple[str, list[Trial]]]:
    return [(method, list(trials)) for method, trials in groupby(found, key=lambda trial: trial.method)]


def _extended(best: Floats, length: int) -> Floats:
    return np.concatenate([best, np.full(length - len(best), best[-1])])


def _censored_quantile(values: Floats, q: float) -> float:
    """An observed value, for between a number and infinity nothing can be interpolated."""
    return float(np.quantile(values, q, method="inverted_cdf"))


def _within(value: float | np.floating) -> float:
    return float(value) if np.isfinite(value) else np.nan
