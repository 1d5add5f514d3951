"""How well ground truth ranks at all: training with another seed gives another ranking.

Two numbers, not to be confused. *Reproducibility* is Kendall's tau between two seeds. The *noise
ceiling* is the tau that a perfect predictor, one that knows what each network reaches on average,
would expect against the target in use, which is a mean over few seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archrank.benchmarks.metrics import kendall
from archrank.benchmarks.splits import n_test, permutation
from archrank.ground_truth import GroundTruth

# Below this many networks with two seeds, the spread between seeds is not known well enough to tell.
MIN_REPEATED = 10

# Degrees of freedom pooled for the spread at one level of the metric.
_WINDOW = 100

_DRAWS = 20  # simulated targets for each test set
_CALIBRATION = 4000  # networks that calibrate the simulation


@dataclass(frozen=True)
class Noise:
    """What the seeds of a table say about it.

    Parameters
    ----------
    reproducibility_tau
        Mean Kendall tau between two seeds, over the networks that have both.
    ceiling_tau, ceiling_std
        The tau that a perfect predictor expects on the test sets, and its spread over test sets.
    seeds
        The largest number of seeds that a network has.
    repeated
        Number of networks with two seeds or more.
    spread
        Pooled standard deviation between seeds, in the metric's unit.

    The taus are None where fewer than 10 networks have two seeds, or no two networks have the same two: the ceiling
    is then unknown.
    """

    reproducibility_tau: float | None
    ceiling_tau: float | None
    ceiling_std: float | None
    seeds: int
    repeated: int
    spread: float | None

    @property
    def why_unknown(self) -> str:
        """Why there is no ceiling."""
        if self.repeated >= MIN_REPEATED:
            return (
                f"no two of the {self.repeated} networks with a second seed have the same two; number the seeds of "
                "each network 0, 1, ..."
            )
        return f"{f'{self.repeated} networks have' if self.repeated else 'no network has'} a second seed"


def measure_noise(
    table: GroundTruth,
    metric: str | None = None,
    trials: int = 10,
    seed: int = 0,
    variant: str = "normal",
    among: NDArray[np.bool_] | None = None,
) -> Noise:
    """Reproducibility and noise ceiling of a metric, on the test sets that `compare` uses.

    The spread between seeds is pooled over networks of similar level, because bad networks often
    scatter more. The perfect predictor's values are the observed means, drawn together by the factor
    with which two simulated seeds agree as well as two real ones do (means of few seeds are wider
    apart than the networks are). Each network's target is its value plus noise of its own number of
    seeds. On simulated tables of 300 networks this stays within 0.05 of the truth even where two
    seeds agree at 0.35 only.

    Parameters
    ----------
    table
        The ground truth.
    metric
        By default the table's default metric.
    trials, seed
        As in `compare`.
    variant
        Way of training, "normal" by default.
    among
        Networks of the table, bool ``(n_networks,)``, to draw the ceiling for, in place of test sets. The spread
        between seeds and the reproducibility remain those of the whole table.
    """
    values = table.seed_values(metric, variant)
    there = np.isfinite(values).any(axis=1)
    values = values[there]
    counts = np.isfinite(values).sum(axis=1)
    repeated = int((counts > 1).sum())
    most = int(counts.max(initial=0))
    if repeated < MIN_REPEATED or np.isnan(agreement := reproducibility(values)):
        return Noise(None, None, None, most, repeated, None)
    mean = np.nansum(values, axis=1) / counts
    variance = spread_by_level(values, mean, counts)
    rng = np.random.default_rng(seed)
    known = mean.mean() + _shrinkage(mean, variance, counts > 1, agreement, rng) * (mean - mean.mean())
    taus = []
    for trial in range(trials):
        if among is None:
            test = permutation(len(mean), seed + trial)[len(mean) - n_test(len(mean)) :]
        else:
            test = np.flatnonzero(among[there])
        errors = rng.normal(size=(_DRAWS, len(test))) * np.sqrt(variance / counts)[test]
        taus.append(np.mean([kendall(known[test], known[test] + e) for e in errors]))
    return Noise(
        agreement, float(np.mean(taus)), float(np.std(taus)), most, repeated, table.seed_spread(metric, variant)
    )


def reproducibility(values: NDArray[np.float64]) -> float:
    """Mean tau between two seeds, weighted by the networks that have both; values ``(n, n_seeds)``.

    NaN where no two networks have the same two seeds.
    """
    return mean_tau(values, values, np.triu(np.ones((values.shape[1],) * 2, dtype=bool), 1))


def mean_tau(first: NDArray[np.float64], second: NDArray[np.float64], pairs: NDArray[np.bool_] | None = None) -> float:
    """Mean tau between columns of two tables of the same networks, weighted by the networks that have both.

    Parameters
    ----------
    first, second
        Values, ``(n, k)`` and ``(n, m)``, NaN where absent.
    pairs
        Which pairs of columns, bool ``(k, m)``; by default all. Those that fewer than two networks have do not count.

    Returns
    -------
    float
        NaN where no pair counts.
    """
    has = [np.isfinite(values) for values in (first, second)]
    shared = has[0].T.astype(np.float64) @ has[1]
    counted = shared >= 2 if pairs is None else pairs & (shared >= 2)
    taus, weights = [], []
    for a, b in np.argwhere(counted):
        both = has[0][:, a] & has[1][:, b]
        taus.append(kendall(first[both, a], second[both, b]))
        weights.append(shared[a, b])
    return float(np.average(taus, weights=weights)) if taus else float("nan")


def spread_by_level(
    values: NDArray[np.float64], mean: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Variance between seeds at each network's level, float64 ``(n,)``.

    A moving average over the repeated networks in order of their means, about 100 degrees of freedom
    wide; networks with one seed get the variance of their neighbours in level.
    """
    repeated = np.flatnonzero(counts > 1)
    repeated = repeated[np.argsort(mean[repeated], kind="stable")]
    squares = np.nansum((values[repeated] - mean[repeated, None]) ** 2, axis=1)
    freedom = counts[repeated] - 1
    half = max(1, round(_WINDOW / freedom.mean() / 2))
    # At either end the window keeps its width, for a narrow one would know the spread badly.
    start = np.clip(np.arange(len(repeated)) - half, 0, max(0, len(repeated) - 2 * half))
    stop = np.minimum(start + 2 * half, len(repeated))
    sums = np.concatenate([[0.0], np.cumsum(squares)])
    degrees = np.concatenate([[0.0], np.cumsum(freedom)])
    level = (sums[stop] - sums[start]) / (degrees[stop] - degrees[start])
    return np.asarray(np.interp(mean, mean[repeated], level))


def _shrinkage(
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    repeated: NDArray[np.bool_],
    agreement: float,
    rng: np.random.Generator,
) -> float:
    """The factor on the means with which two simulated seeds have the tau of two real ones."""
    chosen = rng.permutation(np.flatnonzero(repeated))[:_CALIBRATION]
    mean, deviation = mean[chosen], np.sqrt(variance[chosen])
    first, second = rng.normal(size=(2, 3, len(chosen))) * deviation
    low, high = 0.0, 1.5
    for _ in range(12):  # tau rises with the factor: bisection to 0.0004
        factor = (low + high) / 2
        taus = [kendall(factor * mean + a, factor * mean + b) for a, b in zip(first, second, strict=True)]
        low, high = (factor, high) if float(np.mean(taus)) < agreement else (low, factor)
    return (low + high) / 2
