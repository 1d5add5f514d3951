"""Several predictors as one, weighted by how well each predicts networks that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils.validation import check_is_fitted

from archrank.predictors.base import ONE_SIGMA, NormalOnTarget, State, has_interval, predict_interval
from archrank.predictors.target import Target, Transform, check_features, check_training_data
from archrank.predictors.validation import fold_numbers

_AT_ONCE = 20_000  # architectures to predict at a time: their features of all members stay within 0.2 GB
_FEWEST = 5  # distinct networks from which on weights are learnt

Moments = tuple[NDArray[np.float64], NDArray[np.float64]]


class EnsembleRegressor(NormalOnTarget, RegressorMixin, BaseEstimator):
    """Weighted mean of whole predictors on the standardised scale of the target.

    Parameters
    ----------
    members
        Pairs of a label and a pipeline of `archrank.make_predictor`, on the same space and metric.
    weighting
        "stacked" learns weights >= 0 by least squares on cross-validated predictions of the training networks
        (Breiman, Machine Learning 1996), drawn towards weights in inverse proportion to the squared errors;
        "equal" takes the plain mean, without cross-validation.
    shrinkage
        How many networks count for what is drawn to in "stacked": those weights, and deviations as the members
        give them.
    folds
        Of the cross-validation; repeated networks share one.
    target_transform, best_value
        The scale on which predictions are averaged, as the members' own.
    random_state
        Seed of the members that draw random numbers, and of the folds.

    Attributes
    ----------
    weights_ : ``(n_members,)``
    stretch_ : float, what the members' standard deviations are multiplied by
    members_ : list of the fitted pipelines

    Notes
    -----
    Takes architectures, that is the encoding ``codes``. Variances are those of the members that know theirs,
    averaged by their weights (that of the targets where none does), plus the spread of the members' predictions;
    "stacked" stretches them to the errors on networks not seen in cross-validation, and fits every member
    ``folds + 1`` times. With fewer than five distinct networks weights are equal. With one network, or a constant
    target, predictions are constant.
    """

    held_in_state: ClassVar[tuple[str, ...]] = ("members",)

    def __init__(
        self,
        *,
        members: Sequence[tuple[str, Pipeline]] = (),
        weighting: Literal["stacked", "equal"] = "equal",
        shrinkage: float = 20.0,
        folds: int = 5,
        target_transform: Transform = "log-error",
        best_value: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.members = members
        self.weighting = weighting
        self.shrinkage = shrinkage
        self.folds = folds
        self.target_transform = target_transform
        self.best_value = best_value
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to architectures ``(n, n_stages)`` and metric values ``(n,)``.

        Raises
        ------
        ValueError
            For no members or what are none, an unknown weighting, NaN targets, or what a member refuses.
        """
        self._check_members()
        if self.weighting not in ("stacked", "equal"):
            raise ValueError(f"weighting must be 'stacked' or 'equal', got {self.weighting!r}")
        X, y = check_training_data(self, X, y)
        codes = X.astype(np.int64)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.target_ = Target.fit(y, self.target_transform, self.best_value)
        self.members_ = [self._prepared(model, seed).fit(codes, y) for _, model in self.members]
        self.weights_, self.stretch_ = np.full(len(self.members), 1 / len(self.members)), 1.0
        networks = np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
        if self.weighting == "stacked" and networks.max() + 1 >= _FEWEST and np.ptp(y) > 0:
            self._stack(codes, y, fold_numbers(networks, self.folds, seed), seed)
        return self

    def _check_members(self) -> None:
        if not self.members:
            raise ValueError("an ensemble needs members: pairs of a label and a pipeline of make_predictor, got none")
        for member in self.members:
            pipeline = member[1] if isinstance(member, (tuple, list)) and len(member) == 2 else None
            if not isinstance(pipeline, Pipeline) or "regressor" not in pipeline.named_steps:
                raise ValueError(
                    f"members must be pairs of a label and a pipeline of make_predictor, got {type(member).__name__} "
                    f"{member!r:.80}; write ('mine', make_predictor(...))"
                )

    def _prepared(self, model: Pipeline, seed: int) -> Pipeline:
        """A clone that draws from `seed`, if it draws, and knows the bound that the ensemble knows."""
        made: Pipeline = clone(model)
        given = {"random_state": seed} | ({} if self.best_value is None else {"best_value": self.best_value})
        takes = made["regressor"].get_params(deep=False)
        made["regressor"].set_params(**{key: value for key, value in given.items() if key in takes})
        return made

    def _stack(self, codes: NDArray[np.int64], y: NDArray[np.float64], fold: NDArray[np.int64], seed: int) -> None:
        means, spreads = np.empty((2, len(self.members), len(y)))
        for number in range(fold.max() + 1):
            out = fold == number
            fitted = [self._prepared(model, seed).fit(codes[~out], y[~out]) for _, model in self.members]
            means[:, out], spreads[:, out] = self._moments(fitted, codes[out], spread=True)
        z = self.target_.forward(y)
        drawn_to = 1 / np.maximum(np.mean((means - z) ** 2, axis=1), 1e-9)
        drawn_to /= drawn_to.sum()
        pull = np.sqrt(self.shrinkage)
        design = np.concatenate([means.T, pull * np.eye(len(means))])
        weights, _ = nnls(design, np.concatenate([z, pull * drawn_to]))
        # Where every member does worse than the mean, a constant would rank nothing.
        self.weights_ = weights if weights.any() else drawn_to
        surprise = (z - self.weights_ @ means) / self._spread(means, spreads)
        self.stretch_ = float(np.sqrt((np.sum(surprise**2) + self.shrinkage) / (len(z) + self.shrinkage)))

    def _moments(self, models: Sequence[Pipeline], codes: NDArray[np.int64], spread: bool) -> Moments:
        """Standardised predictions of each model and their deviations, ``(n_models, n)``; NaN where it knows none."""
        means = np.stack([self.target_.place(np.asarray(model.predict(codes))) for model in models])
        spreads = np.full_like(means, np.nan)
        for row, model in enumerate(models if spread else ()):
            if has_interval(model):
                lo, hi = predict_interval(model, codes, ONE_SIGMA)
                spreads[row] = (self.target_.place(hi) - self.target_.place(lo)) / 2
        return means, spreads

    def _spread(self, means: NDArray[np.float64], spreads: NDArray[np.float64]) -> NDArray[np.float64]:
        """Deviations of the weighted mean, ``(n,)``."""
        share = self.weights_ / self.weights_.sum()
        knows = np.isfinite(spreads).all(axis=1) & (share > 0)
        own = share[knows] @ spreads[knows] ** 2 / share[knows].sum() if knows.any() else np.ones(means.shape[1])
        return np.asarray(self.stretch_ * np.sqrt(own + share @ (means - share @ means) ** 2))

    def _mean_and_spread(self, X: ArrayLike, spread: bool) -> Moments:
        check_is_fitted(self)
        codes = check_features(self, X).astype(np.int64)
        parts = [self._moments(self.members_, codes[rows], spread) for rows in gen_batches(len(codes), _AT_ONCE)]
        means, spreads = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return self.weights_ @ means, self._spread(means, spreads) if spread else np.zeros(0)

    def get_state(self) -> State:
        """See `archrank.predictors.base.Persistent`."""
        from archrank.predictors.pipeline_state import state_of

        if not hasattr(self, "members_"):
            return State()
        state = State(
            {
                "target": self.target_.to_dict(),
                "labels": [label for label, _ in self.members],
                "stretch": self.stretch_,
                "n_features_in": self.n_features_in_,
            },
            {"weights": self.weights_},
        )
        for number, member in enumerate(self.members_):
            state |= state_of(member).nested(f"member/{number}")
        return state

    def set_state(self, state: State) -> None:
        """See `archrank.predictors.base.Persistent`."""
        from archrank.predictors.pipeline_state import pipeline_of

        labels = state.values["labels"]
        self.members_ = [pipeline_of(state.part(f"member/{number}")) for number in range(len(labels))]
        self.members = tuple((label, clone(member)) for label, member in zip(labels, self.members_, strict=True))
        self.target_, self.stretch_ = Target(**state.values["target"]), state.values["stretch"]
        self.n_features_in_, self.weights_ = state.values["n_features_in"], state.arrays["weights"]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Rows are architectures: numbers alone are not enough.
        tags.input_tags.two_d_array = False
        tags.input_tags.categorical = True
        return tags


class AutoRegressor(EnsembleRegressor):
    """The default predictor: a stack of the predictors that suit what is known of a space.

    `archrank.make_predictor` gives it its members. The parameters are those of `EnsembleRegressor`; weights are
    learnt.
    """

    def __init__(
        self,
        *,
        members: Sequence[tuple[str, Pipeline]] = (),
        weighting: Literal["stacked", "equal"] = "stacked",
        shrinkage: float = 20.0,
        folds: int = 5,
        target_transform: Transform = "log-error",
        best_value: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            members=members,
            weighting=weighting,
            shrinkage=shrinkage,
            folds=folds,
            target_transform=target_transform,
            best_value=best_value,
            random_state=random_state,
        )
