"""Estimates with 95 % bootstrap intervals over networks or trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from archrank.benchmarks.metrics import kendall
from archrank.benchmarks.noise import MIN_REPEATED
from archrank.ground_truth import GroundTruth

Floats = NDArray[np.float64]
_MOST = 5000
MIN_TRIALS = 5  # fewer have no spread to speak of


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Parameters
    ----------
    value, low, high
        The estimate and the ends of its percentile bootstrap interval; NaN for
        fewer than 5 networks or trials.
    n
        Number of networks, or trials, that it rests on; 0 where not told.

    Examples
    --------
    >>> f"{Estimate(0.5, 0.25, 0.75):+.2f}"
    '+0.50 (95 % +0.25 to +0.75)'
    """

    value: float
    low: float
    high: float
    n: int = 0

    @property
    def decided(self) -> int:
        """Sign of the whole interval: 1 above zero, -1 below, 0 where it holds zero or is unknown."""
        return int(self.low > 0) - int(self.high < 0)

    @property
    def known(self) -> bool:
        """Whether there is an interval: every comparison with the ends of one that is unknown would be false."""
        return bool(np.isfinite([self.low, self.high]).all())

    def __format__(self, spec: str) -> str:
        if not self.known:
            return f"{self.value:{spec}} (interval unknown)"
        return f"{self.value:{spec}} (95 % {self.low:{spec}} to {self.high:{spec}})"

    def columns(self, name: str) -> dict[str, float]:
        """Cells of a table row: ``NAME``, ``NAME_low``, ``NAME_high``."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def estimate_of(row: Any, name: str) -> Estimate:
    """The estimate that `Estimate.columns` put into a row of a table, by `name`."""
    return Estimate(float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"]))


def mean_of(values: Floats, seed: int = 0, resamples: int = 9999) -> Estimate:
    """Mean of values ``(n,)`` of independent networks or trials."""
    return _bootstrapped((values,), np.mean, seed, resamples, vectorized=True)


def tau_of(a: Floats, b: Floats, seed: int = 0, resamples: int = 999) -> Estimate:
    """Kendall's tau-b between two values of the same networks, ``(n,)`` each; networks are resampled."""
    return _of_networks((a, b), kendall, seed, resamples)


def tau_between_seeds(bench: GroundTruth, metric: str, seed: int = 0, resamples: int = 999) -> Estimate | None:
    """Tau between the two seeds that most networks share: what two equal trainings agree. None below 10 networks."""
    values = bench.seed_values(metric)
    there = np.isfinite(values).astype(np.int64)
    shared = np.triu(there.T @ there, 1)
    if shared.max() < MIN_REPEATED:
        return None
    first, second = np.unravel_index(shared.argmax(), shared.shape)
    both = values[np.isfinite(values[:, [first, second]]).all(axis=1)]
    return tau_of(both[:, first], both[:, second], seed, resamples)


def tau_gain(a: Floats, b: Floats, target: Floats, seed: int = 0, resamples: int = 999) -> Estimate:
    """How much higher the tau of `a` with `target` is than that of `b`, on the same networks, ``(n,)`` each."""
    return _of_networks((a, b, target), lambda x, y, t: kendall(x, t) - kendall(y, t), seed, resamples)


def _of_networks(data: tuple[Floats, ...], statistic: Callable[..., float], seed: int, resamples: int) -> Estimate:
    """The statistic of all `n` networks, its interval by resamples of m = 5,000 where there are more.

    The m out of n bootstrap (Bickel, Goetze and van Zwet, 1997) keeps the time in seconds: the errors of resamples
    of m networks are scaled by ``sqrt(m / n)`` to what n networks have.
    """
    n = len(data[0])
    if n <= _MOST:
        return _bootstrapped(data, statistic, seed, resamples)
    value, rng = float(statistic(*data)), np.random.default_rng(seed)
    drawn = (rng.integers(n, size=_MOST) for _ in range(resamples))
    resampled = np.array([statistic(*(v[chosen] for v in data)) for chosen in drawn])
    low, high = value + np.sqrt(_MOST / n) * (np.quantile(resampled, (0.025, 0.975)) - value)
    return Estimate(value, float(low), float(high), n)


def _bootstrapped(
    data: tuple[Floats, ...], statistic: Callable[..., Any], seed: int, resamples: int, vectorized: bool = False
) -> Estimate:
    n, value = len(data[0]), float(statistic(*data)) if len(data[0]) else float("nan")
    if n < MIN_TRIALS:
        return Estimate(value, float("nan"), float("nan"), n)
    interval = bootstrap(
        data,
        statistic,
        n_resamples=resamples,
        paired=True,
        vectorized=vectorized,
        batch=500,  # bounds memory: 10,000 resamples of 90,000 networks would be 7 GB
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), n)
