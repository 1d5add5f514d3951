"""Estimates with 95 % intervals over networks or trials: of means by Student, of taus by bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from archrank.benchmarks.intervals import mean_interval
from archrank.benchmarks.metrics import kendall
from archrank.benchmarks.noise import MIN_REPEATED, mean_tau, reproducibility
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
        The estimate and the ends of its interval, see `mean_of` and `tau_of`; NaN for fewer than 5 networks or
        trials.
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


UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))


def estimate_of(row: Any, name: str) -> Estimate:
    """The estimate that `Estimate.columns` put into a row of a table, by `name`."""
    return Estimate(float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"]))


def mean_of(values: Floats) -> Estimate:
    """Mean of values ``(n,)`` with Student's interval, see `archrank.benchmarks.intervals.mean_interval`.

    Each value is that of one network, or of one trial. Trials on splits of one table share its networks: their
    interval is that of the mean over splits of this table, not of what another sample of networks would give.
    """
    value = float(np.mean(values)) if len(values) else float("nan")
    low, high = mean_interval(values) if len(values) >= MIN_TRIALS else (float("nan"), float("nan"))
    return Estimate(value, low, high, len(values))


def finite_or_nan(value: float | np.floating) -> float:
    """The value, NaN where it is infinite: what tables write for never."""
    return float(value) if np.isfinite(value) else float("nan")


def tau_of(a: Floats, b: Floats, seed: int = 0, resamples: int = 999) -> Estimate:
    """Kendall's tau-b between two values of the same networks, ``(n,)`` each, with its percentile bootstrap interval.

    Networks are resampled.
    """
    return _of_networks((a, b), kendall, seed, resamples)


def tau_between_seeds(
    bench: GroundTruth, metric: str, seed: int = 0, resamples: int = 999, among: NDArray[np.bool_] | None = None
) -> Estimate | None:
    """Mean tau between two seeds, over the networks that have both: what two equal trainings agree.

    The value is that of `archrank.benchmarks.noise.reproducibility`. None where too few networks have two seeds for
    `archrank.benchmarks.noise.measure_noise`.

    `among`, bool ``(n_networks,)``, are those to which it will be compared; by default all of the table.
    """
    repeated = _repeated(bench, metric, among)
    if repeated is None:
        return None
    seeds = _columns(bench.seed_values(metric)[repeated])
    return _of_networks(seeds, lambda *each: reproducibility(np.column_stack(each)), seed, resamples)


def tau_above_seeds(
    bench: GroundTruth, metric: str, variant: str, among: NDArray[np.bool_], seed: int = 0, resamples: int = 999
) -> tuple[float, Estimate] | None:
    """Mean tau of single trainings of `variant` with single normal ones, and how much higher than between two seeds.

    Both are of the same networks: those `among` which have two seeds or more. Means over seeds would have higher taus
    than single trainings, for no merit of the variant. None where `tau_between_seeds` is.

    Parameters
    ----------
    bench, metric
        The table and one of its metrics.
    variant
        Way of training, compared seed by seed: the mean is over all pairs of its seeds and normal ones.
    among
        Networks to compare, bool ``(n_networks,)``.
    seed, resamples
        As in `tau_of`.
    """
    repeated = _repeated(bench, metric, among)
    if repeated is None:
        return None
    first, normal = (_columns(bench.seed_values(metric, v)[repeated]) for v in (variant, "normal"))

    def gain(*each: Floats) -> float:
        others, seeds = np.column_stack(each[: len(first)]), np.column_stack(each[len(first) :])
        return mean_tau(others, seeds) - reproducibility(seeds)

    single = mean_tau(np.column_stack(first), np.column_stack(normal))
    return single, _of_networks((*first, *normal), gain, seed, resamples)


def _repeated(bench: GroundTruth, metric: str, among: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Which networks have two seeds or more; None below 10, or where no two of them have the same two."""
    values = bench.seed_values(metric)
    repeated: NDArray[np.bool_] = np.isfinite(values).sum(axis=1) > 1
    repeated = repeated if among is None else repeated & among
    if repeated.sum() < MIN_REPEATED or np.isnan(reproducibility(values[repeated])):
        return None
    return repeated


def _columns(values: Floats) -> tuple[Floats, ...]:
    """Columns that have a value."""
    return tuple(values[:, np.isfinite(values).any(axis=0)].T)


def of_common_seeds(bench: GroundTruth, metric: str, variant: str, base: str = "normal") -> tuple[Floats, Floats]:
    """Values of `base` and of `variant`, means over the seeds that a network has of both, ``(n,)``; NaN without.

    Seeds differ in level, for all networks alike: means over different seeds would differ by that.
    """
    first, other = bench.seed_values(metric, base), bench.seed_values(metric, variant)
    both = np.isfinite(first) & np.isfinite(other)
    count = np.where(both.any(axis=1), both.sum(axis=1), np.nan)
    return np.where(both, first, 0).sum(axis=1) / count, np.where(both, other, 0).sum(axis=1) / count


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


def _bootstrapped(data: tuple[Floats, ...], statistic: Callable[..., float], seed: int, resamples: int) -> Estimate:
    n, value = len(data[0]), float(statistic(*data)) if len(data[0]) else float("nan")
    if n < MIN_TRIALS:
        return Estimate(value, float("nan"), float("nan"), n)
    interval = bootstrap(
        data,
        statistic,
        n_resamples=resamples,
        paired=True,
        vectorized=False,
        batch=500,  # bounds memory: 1,999 resamples of 5,000 networks would be 80 MB for each of the data
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), n)
