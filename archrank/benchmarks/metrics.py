"""How well predictions rank networks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau, spearmanr

from archrank.ground_truth import Metric

SCORES = ("kendall_tau", "spearman", "tau_top10", "precision_top10pct", "regret_at_10", "rmse")


def kendall(a: ArrayLike, b: ArrayLike) -> float:
    """Kendall's tau-b; 0 where either side is constant, because it then ranks nothing.

    NaN for fewer than two networks.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if len(a) < 2:
        return float("nan")
    if is_constant(a) or is_constant(b):
        return 0.0
    return float(kendalltau(a, b).statistic)


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation, with `kendall`'s rules for constants and for single networks."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if len(a) < 2:
        return float("nan")
    if is_constant(a) or is_constant(b):
        return 0.0
    return float(spearmanr(a, b).statistic)


def is_constant(values: NDArray[np.float64]) -> bool:
    """Whether all values are equal."""
    return bool(values.size == 0 or np.all(values == values.flat[0]))


def top_share(true: NDArray[np.float64], sign: int) -> tuple[NDArray[np.bool_], int]:
    """The true top 10 % as a mask, and how many are asked for; ties at the edge all count as top."""
    k = max(1, len(true) // 10)
    rising = sign * true
    return rising >= np.sort(rising)[-k], k


def score(true: ArrayLike, predicted: ArrayLike, metric: Metric) -> dict[str, float]:
    """All scores of one set of predictions.

    Parameters
    ----------
    true, predicted
        float ``(n,)`` in the metric's unit.
    metric
        Its direction says which end is the top.

    Returns
    -------
    dict
        ``kendall_tau`` (tau-b), ``spearman``, ``tau_top10`` (tau-b within the true top 10 %, NaN if
        that is one network), ``precision_top10pct`` (share of the predicted top 10 % that is in the
        true one), ``regret_at_10`` (how far the best of the predicted top 10 stays behind the best
        there is, in the metric's unit, never negative), ``rmse`` (in the metric's unit).

    Examples
    --------
    >>> score([1.0, 2.0, 3.0], [10.0, 20.0, 30.0], Metric("acc"))["kendall_tau"]
    1.0
    """
    true, predicted = np.asarray(true, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    sign = metric.sign
    top, k = top_share(true, sign)
    order = np.argsort(-sign * predicted, kind="stable")
    return {
        "kendall_tau": kendall(true, predicted),
        "spearman": spearman(true, predicted),
        "tau_top10": kendall(true[top], predicted[top]),
        "precision_top10pct": float(top[order[:k]].mean()),
        "regret_at_10": float((sign * true).max() - (sign * true[order[:10]]).max()),
        "rmse": float(np.sqrt(np.mean((true - predicted) ** 2))),
    }
