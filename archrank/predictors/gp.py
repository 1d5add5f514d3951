"""An exact Gaussian process over architectures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from archrank._torch import cpu_threads
from archrank.predictors.base import NormalOnTarget, State
from archrank.predictors.gp_kernel import Kernel, Pairs, Parts
from archrank.predictors.moments import feature_moments
from archrank.predictors.parts import check_parts
from archrank.predictors.target import Target, Transform, check_features, check_training_data

# Entries of a covariance between test and training networks that are computed at a time.
_CHUNK = 400_000
_LEAST_NOISE = 1e-4  # variance on the standardised scale, so that the covariance keeps its root


class GPRegressor(NormalOnTarget, RegressorMixin, BaseEstimator):
    """Gaussian process whose kernel knows which part of a network each feature describes.

    Covariances are those of `archrank.predictors.gp_kernel.Kernel`: networks whose sums and costs are alike,
    whose blocks are alike stage by stage, and whose signatures are alike, have like metrics. Hyperparameters
    maximise the marginal likelihood times their priors (Rasmussen & Williams 2006, 5.4.1): with the priors, 20
    networks are enough to fit them.

    Parameters
    ----------
    parts
        What each feature describes, see `archrank.predictors.parts.feature_parts`; `archrank.make_predictor` gives
        it. By default every feature is a ``total``.
    moments
        Mean and spread of each feature, by which features are standardised. `archrank.make_predictor` gives those
        over the space; by default those of the training data.
    max_learn
        Hyperparameters are learnt from so many networks, chosen at random where there are more; predictions use
        all.
    target_transform
        "log-error" learns ``-log(best_value - y)`` where `best_value` is known; "identity" learns y.
    best_value
        The best value that the metric can reach, such as 100 for an accuracy in per cent.
    n_jobs
        CPU threads; results depend on their number in the last bits.
    random_state
        Seed of the choice of `max_learn` networks.

    Attributes
    ----------
    theta_
        Logarithms of the hyperparameters, ``(k,)``, named by `Kernel.names`.
    log_likelihood_
        Logarithm of the marginal likelihood of the standardised targets, averaged over repeated networks. Where
        there are more than `max_learn` distinct networks it is that of the `max_learn` from which hyperparameters
        were learnt, and does not compare with that of another number; 0 where nothing was learnt.

    Notes
    -----
    With one network, or a constant target, predictions are constant. Repeated networks count as repeated
    measurements of one. Fitting takes time of order ``n^3``.
    """

    def __init__(
        self,
        *,
        parts: Sequence[str] | None = None,
        moments: tuple[Sequence[float], Sequence[float]] | None = None,
        max_learn: int = 500,
        target_transform: Transform = "log-error",
        best_value: float | None = None,
        n_jobs: int = 1,
        random_state: int | None = 0,
    ) -> None:
        self.parts = parts
        self.moments = moments
        self.max_learn = max_learn
        self.target_transform = target_transform
        self.best_value = best_value
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to features ``(n, n_features)`` and metric values ``(n,)``.

        Raises
        ------
        ValueError
            For parts or moments of another number of features, unknown parts, or NaN targets.
        """
        X, y = check_training_data(self, X, y)
        if self.parts is not None:
            check_parts(self.parts, X.shape[1])
        self.target_ = Target.fit(y, self.target_transform, self.best_value)
        mean, spread, varies = feature_moments(X, self.moments)
        self.used_ = np.flatnonzero(varies)
        self.mean_, self.scale_ = mean[self.used_], spread[self.used_]
        rows, which = np.unique(X[:, self.used_], axis=0, return_inverse=True)
        times = np.bincount(which.reshape(-1)).astype(np.float64)
        z = np.bincount(which.reshape(-1), self.target_.forward(y)) / times
        self.train_, self.times_ = (rows - self.mean_) / self.scale_, times
        self.known_ = bool(len(z) > 1 and np.ptp(y) > 0)
        with cpu_threads(self.n_jobs):
            train = self._parts(self.train_)
            self._kernel = Kernel.of(train)
            self.theta_, self.log_likelihood_ = self._kernel.prior_mean, 0.0
            if self.known_:
                self._learn(z)
            self._condition(train, z if self.known_ else np.zeros(len(z)))
        return self

    def _parts(self, Z: NDArray[np.float64]) -> Parts:
        names = ["total"] * self.n_features_in_ if self.parts is None else list(self.parts)
        return Parts.of(Z, [names[i] for i in self.used_])

    def _covariance(self, theta: torch.Tensor, pairs: Pairs, times: torch.Tensor) -> torch.Tensor:
        noise = self._kernel.take(theta, "noise") + _LEAST_NOISE
        return self._kernel(theta, pairs) + torch.diag(noise / times)

    def _learn(self, z: NDArray[np.float64]) -> None:
        """Hyperparameters of the largest posterior density."""
        chosen = np.arange(len(z))
        if len(z) > self.max_learn:
            chosen = np.random.default_rng(self.random_state).permutation(len(z))[: self.max_learn]
        parts = self._parts(self.train_[chosen])
        pairs, times = Pairs.of(parts, parts), torch.from_numpy(self.times_[chosen])
        target = torch.from_numpy(z[chosen])
        mean, sd = self._kernel.prior_mean, self._kernel.prior_sd
        prior_mean, prior_sd = torch.from_numpy(mean), torch.from_numpy(sd)

        def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            theta = torch.tensor(values, requires_grad=True)
            root, failed = torch.linalg.cholesky_ex(self._covariance(theta, pairs, times))
            if failed:  # rounding at the edge of what is allowed
                return 1e10, np.zeros_like(values)
            fit = torch.linalg.solve_triangular(root, target[:, None], upper=False)
            likelihood = -(fit**2).sum() / 2 - root.diagonal().log().sum()
            total = (((theta - prior_mean) / prior_sd) ** 2).sum() / 2 - likelihood
            (gradient,) = torch.autograd.grad(total, theta)
            return total.item(), gradient.numpy()

        bounds = list(zip(mean - 4 * sd, mean + 4 * sd, strict=True))
        found = minimize(loss, mean, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 80})
        self.theta_ = found.x
        self.log_likelihood_ = float(
            -found.fun + (((found.x - mean) / sd) ** 2).sum() / 2 - len(chosen) / 2 * np.log(2 * np.pi)
        )

    def _condition(self, train: Parts, z: NDArray[np.float64]) -> None:
        """What predictions need: the root of the covariance and the dual weights."""
        with torch.no_grad():
            K = self._covariance(torch.from_numpy(self.theta_), Pairs.of(train, train), torch.from_numpy(self.times_))
            root = torch.linalg.cholesky(K)
            self.root_ = root.numpy()
            self.dual_ = torch.cholesky_solve(torch.from_numpy(z)[:, None], root)[:, 0].numpy()

    def _mean_and_spread(self, X: ArrayLike, spread: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        check_is_fitted(self)
        X = check_features(self, X)[:, self.used_]
        Z = (X - self.mean_) / self.scale_
        n, step = len(Z), max(1, _CHUNK // len(self.train_))
        mean, deviation = np.zeros(n), np.ones(n)
        if not self.known_:
            return mean, deviation
        theta, dual, root = (torch.from_numpy(a) for a in (self.theta_, self.dual_, self.root_))
        with cpu_threads(self.n_jobs), torch.inference_mode():
            train, noise = self._parts(self.train_), self._kernel.take(theta, "noise") + _LEAST_NOISE
            for first in range(0, n, step):
                some = slice(first, first + step)
                test = self._parts(Z[some])
                K = self._kernel(theta, Pairs.of(test, train))
                mean[some] = (K @ dual).numpy()
                if spread:
                    known = (torch.linalg.solve_triangular(root, K.T, upper=False) ** 2).sum(dim=0)
                    unknown = (self._kernel.variance(theta, test) - known).clamp_min(0)
                    deviation[some] = (unknown + noise).sqrt().numpy()
        return mean, deviation

    _ARRAYS = ("used", "mean", "scale", "train", "times", "theta", "root", "dual")

    def get_state(self) -> State:
        """See `archrank.predictors.base.Persistent`."""
        if not hasattr(self, "target_"):
            return State()
        values = {"target": self.target_.to_dict(), "known": self.known_, "log_likelihood": self.log_likelihood_}
        arrays = {key: getattr(self, f"{key}_") for key in self._ARRAYS}
        return State(values | {"n_features_in": self.n_features_in_}, arrays)

    def set_state(self, state: State) -> None:
        """See `archrank.predictors.base.Persistent`."""
        self.target_ = Target(**state.values["target"])
        self.known_, self.log_likelihood_ = state.values["known"], state.values["log_likelihood"]
        self.n_features_in_ = state.values["n_features_in"]
        for key in self._ARRAYS:
            setattr(self, f"{key}_", state.arrays[key])
        self._kernel = Kernel.of(self._parts(self.train_))
