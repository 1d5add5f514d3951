"""Linear regression on block signatures with second-order terms (DONNA, Moons et al., ICCV 2021)."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from archrank.predictors.base import State
from archrank.predictors.target import Target, Transform, check_features, check_training_data

# Ridge penalties per training network, and how much smaller second-order features are made than
# first-order ones; a factor of 0 leaves them out. A smaller feature is a more penalised one.
_ALPHAS = np.logspace(-4, 2, 13)
_FACTORS = (0.0, 0.1, 0.3, 1.0)


class DonnaRegressor(RegressorMixin, BaseEstimator):
    """Ridge regression on standardised features, their squares and pairwise products.

    The penalty and the weight of the second-order terms are chosen by the leave-one-out error, in
    closed form; second-order terms are taken up only where they lower that error by more than its
    standard error, so that with few networks the model stays first order.

    Parameters
    ----------
    alpha
        Ridge penalty per training network on standardised features. "loo" chooses it; 0 is ordinary
        least squares with all terms (the shortest solution where there are more terms than networks).
    order
        1 for features alone, 2 with squares and products.
    target_transform
        "log-error" learns ``-log(best_value - y)`` where `best_value` is known; "identity" learns y.
    best_value
        The best value that the metric can reach, such as 100 for an accuracy in per cent.

    Attributes
    ----------
    coef_ : ``(n_features,)`` on standardised features
    quadratic_ : ``(n_features, n_features)``, upper triangle
    intercept_ : float
    alpha_, second_order_ : the chosen penalty and factor

    Notes
    -----
    With one network, or a constant target, predictions are constant.
    """

    def __init__(
        self,
        *,
        alpha: float | Literal["loo"] = "loo",
        order: int = 2,
        target_transform: Transform = "log-error",
        best_value: float | None = None,
    ) -> None:
        self.alpha = alpha
        self.order = order
        self.target_transform = target_transform
        self.best_value = best_value

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to features ``(n, n_features)`` and metric values ``(n,)``."""
        X, y = check_training_data(self, X, y)
        if self.order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, got {self.order!r}")
        if self.alpha != "loo" and not (isinstance(self.alpha, (int, float)) and self.alpha >= 0):
            raise ValueError(f"alpha must be 'loo' or a number >= 0, got {self.alpha!r}")
        self.target_ = Target.fit(y, self.target_transform, self.best_value)
        z = self.target_.forward(y)
        self.mean_, self.scale_ = _moments(X)
        first = (X - self.mean_) / self.scale_
        pairs = np.triu_indices(X.shape[1])
        products = first[:, pairs[0]] * first[:, pairs[1]] if self.order == 2 else np.zeros((len(X), 0))
        means, scales = _moments(products)
        second = (products - means) / scales

        with threadpool_limits(1, user_api="blas"):  # sums, and so the last bits, depend on the number of threads
            if self.alpha == "loo":
                factors = _FACTORS if self.order == 2 else _FACTORS[:1]
                fits = [(f, *_ridge_loo(np.hstack([first, f * second]) if f else first, z)) for f in factors]
            else:
                everything = np.hstack([first, second])
                fits = [(float(self.order - 1), *_ridge(everything, z, float(self.alpha)), np.zeros(len(z)))]
        chosen = fits[0]
        for fit in fits[1:]:
            gain = chosen[3] - fit[3]
            if gain.mean() > gain.std() / np.sqrt(len(gain)):
                chosen = fit
        self.second_order_, coef, self.alpha_ = chosen[:3]

        d = X.shape[1]
        self.coef_ = coef[:d]
        self.quadratic_ = np.zeros((d, d))
        self.intercept_ = 0.0
        if len(coef) > d:
            weights = coef[d:] * (self.second_order_ / scales)
            self.quadratic_[pairs] = weights
            self.intercept_ = -float(weights @ means)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Metric values ``(n,)``."""
        check_is_fitted(self)
        X = check_features(self, X)
        first = (X - self.mean_) / self.scale_
        with threadpool_limits(1, user_api="blas"):
            z = first @ self.coef_ + self.intercept_
            if self.quadratic_.any():
                z = z + ((first @ self.quadratic_) * first).sum(axis=1)
        return self.target_.inverse(z)

    def get_state(self) -> State:
        """See `archrank.predictors.base.Persistent`."""
        if not hasattr(self, "target_"):
            return State()
        values = {"target": self.target_.to_dict()}
        values |= {k: getattr(self, f"{k}_") for k in ("alpha", "second_order", "intercept")}
        arrays = {k: getattr(self, f"{k}_") for k in ("mean", "scale", "coef", "quadratic")}
        return State(values, arrays)

    def set_state(self, state: State) -> None:
        """See `archrank.predictors.base.Persistent`."""
        self.target_ = Target(**state.values["target"])
        for key in ("alpha", "second_order", "intercept"):
            setattr(self, f"{key}_", state.values[key])
        for key, array in state.arrays.items():
            setattr(self, f"{key}_", array)
        self.n_features_in_ = len(self.coef_)


def _moments(X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and spread of each column; columns that are constant up to rounding get spread 1."""
    if not X.size:
        return np.zeros(X.shape[1]), np.ones(X.shape[1])
    mean, spread = X.mean(axis=0), X.std(axis=0)
    constant = spread <= 1e-7 * np.maximum(1e-30, np.abs(X).max(axis=0))
    return mean, np.where(constant, 1.0, spread)


def _ridge(F: NDArray[np.float64], z: NDArray[np.float64], alpha: float) -> tuple[NDArray[np.float64], float]:
    u, s, vt = np.linalg.svd(F, full_matrices=False)
    kept = s > s.max(initial=0.0) * max(F.shape) * np.finfo(float).eps
    shrink = s[kept] / (s[kept] ** 2 + alpha * len(z))
    return vt[kept].T @ (shrink * (u[:, kept].T @ z)), alpha


def _ridge_loo(
    F: NDArray[np.float64], z: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Coefficients, penalty and squared leave-one-out errors ``(n,)`` of the best penalty.

    Features and targets are centred. With hat matrix H (intercept included) the error without network i
    is ``(z_i - (Hz)_i) / (1 - H_ii)``.
    """
    n, d = F.shape
    if n <= d:  # with many products, the n x n Gram matrix is far smaller than they are
        power, u = np.linalg.eigh(F @ F.T)
    else:
        power, v = np.linalg.eigh(F.T @ F)
        u = F @ v / np.sqrt(np.maximum(power, 1e-300))
    kept = power > power.max(initial=0.0) * max(n, d) * np.finfo(float).eps
    power, u = power[kept], u[:, kept]
    projected = u.T @ z
    best: tuple[NDArray[np.float64], float, NDArray[np.float64]] | None = None
    for alpha in _ALPHAS:
        shrink = power / (power + alpha * n)
        hat = (u**2) @ shrink + 1 / n
        errors = ((z - u @ (shrink * projected)) / np.maximum(1 - hat, 1e-10)) ** 2
        if best is None or errors.mean() < best[2].mean():
            best = (F.T @ (u @ (projected / (power + alpha * n))), float(alpha), errors)
    assert best is not None
    return best
