"""Targets on the scale that a regressor learns, shared by all predictors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from sklearn.utils.validation import validate_data

Transform = Literal["log-error", "identity"]

# Where predictions leave the logarithm, in units of the floor of targets: so near the bound that `inverse`
# still tells apart those beyond it.
_DEEP = 1e-3


@dataclass(frozen=True)
class Target:
    """An increasing map between a metric's unit and the standardised scale of a regressor.

    "log-error" takes the logarithm of the distance to the best value that the metric can reach
    (100 % accuracy, a loss of 0) with the sign that keeps the order: accuracies crowd towards
    their bound, and squared losses on the raw scale spend themselves on the few bad networks.

    Attributes
    ----------
    best
        The bound of the log-error transform, None for the identity.
    upper
        Whether values lie below `best`.
    floor
        Smallest distance to `best` that is told apart in targets; half of the smallest one seen in training.
    mean, scale
        Of the transformed training targets; a constant target has scale 1.
    """

    best: float | None
    upper: bool
    floor: float
    mean: float
    scale: float

    @classmethod
    def fit(cls, y: NDArray[np.float64], transform: str, best_value: float | None) -> Self:
        """Learn the map from training targets ``(n,)``."""
        if transform not in ("log-error", "identity"):
            raise ValueError(f"unknown target_transform {transform!r}; there are 'log-error' and 'identity'")
        best, upper, floor = None, True, 0.0
        if transform == "log-error" and best_value is not None and np.isfinite(best_value):
            upper = bool(y.max() <= best_value)
            distance = np.abs(best_value - y)
            if not upper and y.min() < best_value:
                raise ValueError(
                    f"targets from {y.min():g} to {y.max():g} lie on both sides of best_value={best_value:g}; "
                    "check the metric's bounds and unit, or use target_transform='identity'"
                )
            if distance.any():  # else every network is perfect, and the log has nothing to spread
                best, floor = float(best_value), float(distance[distance > 0].min() / 2)
        unscaled = cls(best, upper, floor, 0.0, 1.0)
        z = unscaled.forward(y)
        spread = float(z.std())
        # Rounding leaves a constant target with a spread of about 1e-16 times its size.
        scale = spread if spread > 1e-12 * max(1.0, float(np.abs(z).max())) else 1.0
        return cls(best, upper, floor, float(z.mean()), scale)

    def forward(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardised targets of metric values."""
        if self.best is not None:
            distance = self.best - y if self.upper else y - self.best
            y = np.log(np.maximum(distance, self.floor)) * (-1.0 if self.upper else 1.0)
        return np.asarray((y - self.mean) / self.scale)

    def place(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardised values of predictions in the metric's unit; strictly increasing, without the floor of targets.

        A prediction may be far better than every training network. Below a distance of ``floor / 1000``, and
        beyond `best`, where there is no logarithm, the map goes on as a straight line, one nat for each floor.
        """
        if self.best is not None:
            distance = (self.best - y if self.upper else y - self.best) / self.floor
            logs = np.log(np.maximum(distance, _DEEP)) + np.minimum(distance - _DEEP, 0.0) + np.log(self.floor)
            y = logs * (-1.0 if self.upper else 1.0)
        return np.asarray((y - self.mean) / self.scale)

    def inverse(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Metric values of standardised predictions."""
        t = np.asarray(z, dtype=np.float64) * self.scale + self.mean
        if self.best is None:
            return t
        # 700 is where exp overflows.
        return np.asarray(
            self.best - np.exp(np.minimum(-t, 700)) if self.upper else self.best + np.exp(np.minimum(t, 700))
        )

    def std(self, z: NDArray[np.float64], s: ArrayLike) -> NDArray[np.float64]:
        """Standard deviations in the metric's unit of standardised means and deviations.

        Half of the width from ``inverse(z - s)`` to ``inverse(z + s)``: exact for the identity, and for the
        log-error transform half of the central 68 % interval, because the deviation of a log-normal law
        follows its long tail. Positive wherever `s` is.
        """
        return (self.inverse(z + np.asarray(s)) - self.inverse(z - np.asarray(s))) / 2

    def interval(
        self, z: NDArray[np.float64], s: ArrayLike, coverage: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Central intervals ``(lo, hi)`` in the metric's unit of a normal law on the standardised scale.

        Its quantiles go through `inverse`, which keeps order: the intervals hold the share `coverage`, never
        reach beyond the bound, and are wider on the side of the bad networks.

        Raises
        ------
        ValueError
            If `coverage` does not lie strictly between 0 and 1.
        """
        reach = ndtri((1 + check_coverage(coverage)) / 2) * np.asarray(s)
        return self.inverse(z - reach), self.inverse(z + reach)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `Target(**data)` is the inverse."""
        return asdict(self)


def check_coverage(coverage: float) -> float:
    """Refuse what is no coverage of an interval.

    Raises
    ------
    ValueError
        If `coverage` does not lie strictly between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must lie between 0 and 1, such as 0.9 for 90 %, got {coverage!r}")
    return float(coverage)


def check_targets(y: ArrayLike) -> None:
    """Refuse targets that are NaN, with the place and the cure.

    Raises
    ------
    ValueError
        Naming the first row whose target is NaN and how many there are.
    """
    array = np.asarray(y)
    if array.dtype.kind == "f" and np.isnan(array).any():
        bad = np.flatnonzero(np.isnan(array).reshape(len(array), -1).any(axis=1))
        raise ValueError(
            f"Input y contains NaN: row {bad[0]} and {len(bad)} of {len(array)} rows in all; "
            "drop the networks without a value before fitting"
        )


def check_training_data(estimator: Any, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Checked 2-D features and 1-D targets; sets ``n_features_in_`` of the estimator."""
    if y is not None:
        check_targets(y)
    features, targets = validate_data(estimator, X, y, dtype=np.float64, y_numeric=True)
    return features, np.asarray(targets, dtype=np.float64)


def check_features(estimator: Any, X: ArrayLike, reset: bool = False) -> NDArray[np.float64]:
    """Checked 2-D features, as many as were seen in `fit` unless `reset`."""
    checked: NDArray[np.float64] = validate_data(estimator, X, dtype=np.float64, reset=reset)
    return checked
