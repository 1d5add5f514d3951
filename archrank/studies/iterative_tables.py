"""What iterative and one-shot searches found, as tables over trials."""

from __future__ import annotations

import numpy as np
import pandas as pd

from archrank.ground_truth import Metric
from archrank.studies.blockwise_rounds import Trace
from archrank.studies.statistics import Floats, finite_or_nan, mean_of

Found = list[dict[str, Trace]]  # the traces of each trial, by search
ITERATIVE, ONE_SHOT, SAME_COST = "iterative", "one-shot", "one-shot, same cost"
BEST_TEACHER, RANDOM = "one-shot, best teacher", "random, same cost"


def summary(found: Found, tops: Floats, target: Metric, worth: float) -> pd.DataFrame:
    """One row per search: what it cost and what it found.

    Parameters
    ----------
    found
        The traces of each trial, by search.
    tops
        Value of the best candidate of each trial, ``(n_trials,)``; NaN where it is unknown.
    target
        What networks are judged by.
    worth
        Cost of a distillation pass in trainings of a network.
    """
    rows = []
    for name in found[0]:
        traces = [searches[name] for searches in found]
        best = np.array([trace.winner()[1] for trace in traces])
        regret = target.sign * (tops - best)
        # A search that did not meet the best candidate counts as one that takes longer than all others.
        until = [_until(trace, top) for trace, top in zip(traces, tops, strict=True)]
        trained, passes = (np.median([f(t) for t in traces]) for f in (lambda t: len(t), lambda t: t.passes))
        rows.append(
            {
                "search": name,
                "trials": len(traces),
                "trained": trained,
                "passes": passes,
                "cost_in_networks": trained + worth * passes,
                "best_median": np.median(best),
                "best_p05": np.quantile(best, 0.05),
                "best_p95": np.quantile(best, 0.95),
                "regret_mean": regret.mean(),
                "regret_p95": np.quantile(regret, 0.95),
                "trained_until_best_median": finite_or_nan(np.median(until)),
                "found_best": float(np.isfinite(until).mean()) if np.isfinite(tops).all() else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _until(trace: Trace, top: float) -> float:
    """Networks trained until the best candidate was, infinite where it was not."""
    hits = np.flatnonzero(trace.values == top)
    return float(hits[0] + 1) if len(hits) else np.inf


def differences(found: Found, target: Metric) -> pd.DataFrame:
    """What iterative search gains on each other, mean over trials with its interval; positive where it is better.

    ``gain`` is that of the best network at the end of each search, ``gain_on_the_way`` that of the best so far,
    averaged over the trainings that both made. On a table the interval is that of the mean over halves of this table,
    not of what another sample of networks would give.
    """
    rows = []
    for name in [name for name in found[0] if name != ITERATIVE]:
        pairs = [(searches[ITERATIVE], searches[name]) for searches in found]
        end = np.array([mine.winner()[1] - other.winner()[1] for mine, other in pairs])
        way = np.array([_way(mine, other) for mine, other in pairs])
        gain, on_the_way = mean_of(target.sign * end), mean_of(target.sign * way)
        columns = gain.columns("gain") | on_the_way.columns("gain_on_the_way")
        rows.append({"search": ITERATIVE, "against": name, "trials": gain.n, **columns})
    return pd.DataFrame(rows)


def _way(mine: Trace, other: Trace) -> float:
    n = min(len(mine), len(other))
    return float(np.nanmean(mine.best[:n] - other.best[:n]))


def rounds_table(found: Found, per_round: int) -> pd.DataFrame:
    """Share of the trials in which a teacher taught in a round, and the mean best value after it."""
    rows = [
        {"round": start // per_round + 1, "teacher": trace.teachers[start], "best": trace.best[end - 1]}
        for trace in (searches[ITERATIVE] for searches in found)
        for start in range(0, len(trace), per_round)
        for end in [min(start + per_round, len(trace))]
    ]
    grouped = pd.DataFrame(rows).groupby(["round", "teacher"], sort=True)["best"]
    table = grouped.agg(trials="size", best_mean="mean").reset_index()
    table.insert(2, "share", table["trials"] / len(found))
    return table


def curves(found: Found, tops: Floats, target: Metric) -> pd.DataFrame:
    """Distance to the best candidate, or the best value where none is known, by networks trained: mean and band."""
    parts = []
    for name in found[0]:
        traces = [searches[name] for searches in found]
        length = min(len(trace) for trace in traces)
        best = np.stack([trace.best[:length] for trace in traces])
        shown = pd.DataFrame(target.sign * (tops[:, None] - best) if np.isfinite(tops).all() else best)
        columns = {"mean": shown.mean()} | {f"p{q:02}": shown.quantile(q / 100) for q in (5, 50, 95)}
        parts.append(pd.DataFrame({"search": name, "trained": np.arange(1, length + 1), **columns}))
    return pd.concat(parts, ignore_index=True)
