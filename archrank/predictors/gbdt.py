"""Gradient-boosted trees that work from a handful of networks."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from archrank.predictors.base import State
from archrank.predictors.target import Target, Transform, check_features, check_training_data


class GBDTRegressor(RegressorMixin, BaseEstimator):
    """LightGBM with sizes that follow the number of training networks.

    LightGBM's own defaults ask for 20 networks per leaf and 3 per bin, and so predict a constant
    below about 40 networks.

    Parameters
    ----------
    n_estimators, learning_rate
        Number of trees and their shrinkage.
    num_leaves
        Leaves per tree; by default ``n / 50``, between 3 and 16.
    min_child_samples
        Networks per leaf; by default ``n / 50``, between 2 and 10 (1 below 40 networks).
    reg_lambda
        L2 penalty on leaf values.
    colsample, subsample
        Shares of the features and of the networks that each tree sees; below 8 networks each sees them all.
    target_transform
        "log-error" learns ``-log(best_value - y)`` where `best_value` is known; "identity" learns y.
    best_value
        The best value that the metric can reach, such as 100 for an accuracy in per cent.
    n_jobs
        Threads.
    random_state
        Seed, generator or None.

    Attributes
    ----------
    booster_ : `lightgbm.Booster`, or None where predictions are constant

    Notes
    -----
    With one network, or a constant target, predictions are constant.
    """

    def __init__(
        self,
        *,
        n_estimators: int = 500,
        learning_rate: float = 0.05,
        num_leaves: int | None = None,
        min_child_samples: int | None = None,
        reg_lambda: float = 1.0,
        colsample: float = 0.5,
        subsample: float = 0.5,
        target_transform: Transform = "log-error",
        best_value: float | None = None,
        n_jobs: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.num_leaves = num_leaves
        self.min_child_samples = min_child_samples
        self.reg_lambda = reg_lambda
        self.colsample = colsample
        self.subsample = subsample
        self.target_transform = target_transform
        self.best_value = best_value
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _settings(self, n: int, seed: int) -> dict[str, Any]:
        leaves = int(np.clip(n // 50, 3, 16)) if self.num_leaves is None else self.num_leaves
        child = self.min_child_samples
        if child is None:
            child = 1 if n < 40 else int(np.clip(n // 50, 2, 10))
        return {
            "objective": "regression",
            "learning_rate": self.learning_rate,
            "num_leaves": leaves,
            "min_data_in_leaf": child,
            "min_data_in_bin": 1,
            "min_sum_hessian_in_leaf": 0.0,
            "lambda_l2": self.reg_lambda,
            "feature_fraction": self.colsample,
            "bagging_fraction": self.subsample,
            "bagging_freq": 1 if n >= 8 else 0,
            "feature_pre_filter": False,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": self.n_jobs,
            "seed": seed,
            "verbosity": -1,
        }

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to features ``(n, n_features)`` and metric values ``(n,)``."""
        import lightgbm

        X, y = check_training_data(self, X, y)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.target_ = Target.fit(y, self.target_transform, self.best_value)
        self.booster_ = None
        if len(y) > 1 and np.ptp(y) > 0:
            settings = self._settings(len(y), seed)
            data = lightgbm.Dataset(X, self.target_.forward(y), params=settings)
            self.booster_ = lightgbm.train(settings, data, num_boost_round=self.n_estimators)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Metric values ``(n,)``."""
        check_is_fitted(self, "target_")
        X = check_features(self, X)
        if self.booster_ is None:
            return self.target_.inverse(np.zeros(len(X)))
        return self.target_.inverse(np.asarray(self.booster_.predict(X, num_threads=self.n_jobs)))

    def get_state(self) -> State:
        """See `archrank.predictors.base.Persistent`."""
        if not hasattr(self, "target_"):
            return State()
        values = {"target": self.target_.to_dict(), "n_features_in": self.n_features_in_}
        return State(values, texts={} if self.booster_ is None else {"booster": self.booster_.model_to_string()})

    def set_state(self, state: State) -> None:
        """See `archrank.predictors.base.Persistent`."""
        import lightgbm

        self.target_ = Target(**state.values["target"])
        self.n_features_in_ = state.values["n_features_in"]
        text = state.texts.get("booster")
        self.booster_ = None if text is None else lightgbm.Booster(model_str=text)
