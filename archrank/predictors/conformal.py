"""Intervals with a guarantee, around any predictor (CV+, Barber et al., Annals of Statistics 2021)."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from archrank.predictors.base import State
from archrank.predictors.pipeline_state import pipeline_of, plain, state_of
from archrank.predictors.target import Target, check_coverage, check_targets
from archrank.predictors.validation import fold_numbers, isomorphism_groups, space_of

# Architectures whose candidate ends, one for each training network, are held in memory at once.
_CHUNK = 4096


class ConformalPredictor(RegressorMixin, BaseEstimator):
    """A predictor with CV+ intervals; jackknife+ where there are no more networks than folds.

    Each training network i is predicted by a clone that was fitted without its fold. With that error
    ``R_i``, and the same clone's prediction ``m_i(x)`` of a new network x, the interval reaches from a low order
    statistic of ``m_i(x) - R_i`` to a high one of ``m_i(x) + R_i``.

    Errors are taken on the scale on which the regressor learns, as far as it has ``target_transform`` and
    ``best_value``: intervals of an accuracy then never pass 100 % and are wider for bad networks.

    Parameters
    ----------
    model
        Pipeline of `archrank.make_predictor`, which is cloned and stays as it is.
    cv
        Number of folds. `fit` fits ``cv + 1`` clones.
    random_state
        Draws the folds.

    Attributes
    ----------
    model_ : the clone fitted to all networks, which makes the predictions
    fold_models_ : list of clones, each fitted without one fold
    fold_ : int64 ``(n,)``, the fold of each training network
    residuals_ : float64 ``(n,)``, absolute errors without that fold, on the standardised scale

    Notes
    -----
    If training and new networks are drawn alike (exchangeable, such as uniform samples of a space) an
    interval of coverage ``1 - a`` holds the new value with probability at least
    ``1 - 2 a - min(2 (1 - 1/K) / (n/K + 1), (1 - K/n) / (K + 1))`` for K folds and n networks, and at least
    ``1 - 2 a`` for jackknife+, whatever the predictor; close to ``1 - a`` in practice. The probability is over draws of
    training set and new network together: it is not promised for each architecture by itself, nor for
    networks that a search has picked because their predictions are high. Isomorphic networks and repeated
    rows share a fold, and count as one draw only where each occurs equally often. The scale is learnt from the
    same targets, which the guarantee strictly allows for a fixed one only.

    Below ``n = coverage / (1 - coverage)`` networks (9 for 90 %) no finite interval has the coverage: the
    ends are infinite, or the metric's bound. From a coverage of 0.5 on intervals are never empty and grow with
    it; below, one that would be empty is the point in the middle.

    Examples
    --------
    >>> from archrank import make_predictor
    >>> from archrank.spaces import blox
    >>> space = blox(stages=2)
    >>> codes = space.sample(40, seed=0)
    >>> y = np.log(space.flops(codes))
    >>> model = ConformalPredictor(make_predictor("donna:cost", space), cv=5).fit(codes[:30], y[:30])
    >>> lo, hi = model.predict_interval(codes[30:], coverage=0.8)
    >>> bool(((lo <= y[30:]) & (y[30:] <= hi)).mean() >= 0.6)
    True
    """

    def __init__(self, model: Any, *, cv: int = 10, random_state: int | None = 0) -> None:
        self.model = model
        self.cv = cv
        self.random_state = random_state

    def fit(self, codes: ArrayLike, y: ArrayLike) -> Self:
        """Fit to codes ``(n, n_stages)`` and metric values ``(n,)``.

        Raises
        ------
        ValueError
            For NaN targets, fewer than two folds or distinct networks, or what the predictor refuses.
        """
        codes, y = np.asarray(codes), np.asarray(y, dtype=np.float64)
        check_targets(y)
        self.fold_ = fold_numbers(isomorphism_groups(space_of(self.model), codes), self.cv, self.random_state)
        params = self.model.get_params()
        transform = params.get("regressor__target_transform", "identity")
        self.target_ = Target.fit(y, transform, params.get("regressor__best_value"))
        self.fold_models_ = []
        errors = np.empty(len(y))
        for number in range(self.fold_.max() + 1):
            out = self.fold_ == number
            self.fold_models_.append(clone(self.model).fit(codes[~out], y[~out]))
            errors[out] = self.target_.forward(y[out]) - self._predict(self.fold_models_[-1], codes[out])
        self.residuals_ = np.abs(errors)
        self.model_ = clone(self.model).fit(codes, y)
        return self

    def _predict(self, model: Any, codes: NDArray[Any]) -> NDArray[np.float64]:
        """On the standardised scale."""
        return self.target_.place(np.asarray(model.predict(codes), dtype=np.float64))

    def predict(self, codes: ArrayLike) -> NDArray[np.float64]:
        """Metric values ``(n,)``: those of `model` fitted to all networks, whatever the folds."""
        check_is_fitted(self)
        return np.asarray(self.model_.predict(codes), dtype=np.float64)

    def predict_interval(self, codes: ArrayLike, coverage: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Intervals ``(lo, hi)``, each ``(n,)``, in the metric's unit.

        Raises
        ------
        ValueError
            If `coverage` does not lie strictly between 0 and 1.
        """
        check_is_fitted(self)
        codes = np.asarray(codes)
        n = len(self.residuals_)
        rank = math.ceil(check_coverage(coverage) * (n + 1) - 1e-9)  # less what rounding adds to a whole number
        low, high = np.full(len(codes), -np.inf), np.full(len(codes), np.inf)
        if rank <= n:
            by_fold = np.stack([self._predict(model, codes) for model in self.fold_models_])
            reach = self.residuals_[:, None]
            for start in range(0, len(codes), _CHUNK):
                part = slice(start, start + _CHUNK)
                centre = by_fold[self.fold_, part]
                low[part] = np.partition(centre - reach, n - rank, axis=0)[n - rank]
                high[part] = np.partition(centre + reach, rank - 1, axis=0)[rank - 1]
        empty = low > high
        low[empty] = high[empty] = (low[empty] + high[empty]) / 2
        lo, hi = self.target_.inverse(low), self.target_.inverse(high)
        # The inverse keeps predictions finite; ends that are not known stay infinite on their open side.
        bounded_below = self.target_.best is not None and not self.target_.upper
        bounded_above = self.target_.best is not None and self.target_.upper
        return (lo if bounded_below else np.where(np.isinf(low), -np.inf, lo)), (
            hi if bounded_above else np.where(np.isinf(high), np.inf, hi)
        )

    def get_state(self) -> State:
        """All that `archrank.save` writes: parameters, residuals, and the pipelines nested under their names."""
        params = {"cv": self.cv, "random_state": self.random_state, "target": self.target_.to_dict()}
        state = State(plain(params, "of a ConformalPredictor"), {"fold": self.fold_, "residuals": self.residuals_})
        for name, model in {"model": self.model_, **{f"fold/{i}": m for i, m in enumerate(self.fold_models_)}}.items():
            state |= state_of(model).nested(name)
        return state

    @classmethod
    def from_state(cls, state: State) -> Self:
        """What `get_state` described, fitted."""
        whole = pipeline_of(state.part("model"))
        made = cls(clone(whole), cv=state.values["cv"], random_state=state.values["random_state"])
        made.target_ = Target(**state.values["target"])
        made.fold_, made.residuals_, made.model_ = state.arrays["fold"], state.arrays["residuals"], whole
        made.fold_models_ = [pipeline_of(state.part(f"fold/{i}")) for i in range(int(made.fold_.max()) + 1)]
        return made
