"""The seam between regressors and the code that saves, checks and assembles them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from sklearn.pipeline import Pipeline

from archrank.predictors.target import Target, check_coverage

ONE_SIGMA = 0.6826894921370859  # coverage of a normal law's interval of one standard deviation


@dataclass(frozen=True)
class State:
    """What a fitted regressor has learnt, in parts that need no pickle.

    A regressor that holds others keeps their states under names of their own: ``state.nested("member/0")``
    puts a name before every key, ``|`` joins states, and `part` takes one out again.

    Attributes
    ----------
    values
        JSON-ready numbers, strings, lists and mappings with string keys; numbers are finite.
    arrays
        Arrays of numbers by name, NaN and infinity allowed; written as safetensors, in C order.
    texts
        Longer texts by name, such as a LightGBM model.

    Examples
    --------
    >>> members = [State({"slope": 2.0}), State({"slope": 3.0})]
    >>> whole = State({"weights": [0.5, 0.5]})
    >>> for i, member in enumerate(members):
    ...     whole |= member.nested(f"member/{i}")
    >>> sorted(whole.values)
    ['member/0/slope', 'member/1/slope', 'weights']
    >>> whole.part("member/1") == members[1]
    True
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.values or self.arrays or self.texts)

    def __or__(self, other: State) -> State:
        """What either holds.

        Raises
        ------
        ValueError
            For a key that both hold.
        """
        pairs = list(zip(self._kinds(), other._kinds(), strict=True))
        if twice := sorted(key for ours, theirs in pairs for key in ours.keys() & theirs.keys()):
            raise ValueError(f"both states hold {twice[0]!r}; nest them under different names")
        return State(*({**ours, **theirs} for ours, theirs in pairs))

    def nested(self, name: str) -> State:
        """The same with ``name/`` before every key; `part` is the inverse."""
        return State(*({f"{name}/{key}": value for key, value in kind.items()} for kind in self._kinds()))

    def part(self, name: str) -> State:
        """What is held under ``name/``, without that; empty where there is nothing."""
        prefix = f"{name}/"
        return State(
            *({k.removeprefix(prefix): v for k, v in kind.items() if k.startswith(prefix)} for kind in self._kinds())
        )

    def _kinds(self) -> tuple[Mapping[str, Any], ...]:
        return self.values, self.arrays, self.texts


@runtime_checkable
class Persistent(Protocol):
    """A regressor that `archrank.save` can write: parameters by scikit-learn, the rest by these two.

    Parameters that are no numbers or texts, such as other predictors, are named by a class attribute
    ``held_in_state``; `set_state` then sets them.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters, as scikit-learn's `BaseEstimator` gives them."""

    def get_state(self) -> State:
        """What has been learnt; of an unfitted regressor an empty `State`."""

    def set_state(self, state: State) -> None:
        """Take up what `get_state` gave; nothing may be computed anew."""


class Uncertain(Protocol):
    """A regressor that knows how far to trust itself.

    Everything is in the metric's unit. `archrank.predictors.target.Target` maps mean and deviation of a
    standardised scale with `std` and `interval`. With one training network, or a constant target, nothing is
    known of the spread: the deviation then is that of ``s = 1``, so that it is positive always.
    """

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Values ``(n,)``, or ``(values, standard deviations)`` of a trained network's metric, each ``(n,)``.

        The deviation is that of the measured metric, noise of the training included, about the prediction. The
        values are the same to the bit with and without deviations.
        """

    def predict_interval(self, X: Any, coverage: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Central intervals ``(lo, hi)``, each ``(n,)``, that hold the share `coverage` of measured metrics."""


class NormalOnTarget:
    """`Uncertain` for a regressor whose law is normal on the standardised scale of its ``target_``."""

    target_: Target

    def _mean_and_spread(self, X: ArrayLike, spread: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Standardised means and deviations, each ``(n,)``; deviations may be anything where not `spread`."""
        raise NotImplementedError

    def predict(
        self, X: ArrayLike, return_std: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Metric values ``(n,)``, with ``return_std`` also their standard deviations ``(n,)``.

        See `archrank.predictors.base.Uncertain`.
        """
        mean, spread = self._mean_and_spread(X, return_std)
        values = self.target_.inverse(mean)
        return (values, self.target_.std(mean, spread)) if return_std else values

    def predict_interval(self, X: ArrayLike, coverage: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Central intervals ``(lo, hi)``, each ``(n,)``, that hold the share `coverage` of measured metrics."""
        return self.target_.interval(*self._mean_and_spread(X, True), coverage)


def has_std(model: Any) -> bool:
    """Whether `predict` of a regressor, or of a pipeline's last step, gives standard deviations.

    It takes ``return_std``, and the parameters have not put its uncertainty out of use (scikit-learn's
    `available_if` on `predict_interval`).
    """
    last = _last(model)
    off = hasattr(type(last), "predict_interval") and not hasattr(last, "predict_interval")
    return not off and "return_std" in signature(last.predict).parameters


def has_interval(model: Any) -> bool:
    """Whether intervals can be had: from `predict_interval`, or else from standard deviations."""
    return hasattr(_last(model), "predict_interval") or has_std(model)


def predict_interval(model: Any, X: ArrayLike, coverage: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Central intervals ``(lo, hi)``, each ``(n,)``, of a fitted regressor or pipeline that `has_interval`.

    A pipeline is asked through its last step, for scikit-learn's `Pipeline` passes on `predict` alone. What
    has deviations only is taken to be normal.
    """
    if isinstance(model, Pipeline):
        return predict_interval(model[-1], model[:-1].transform(X) if len(model) > 1 else X, coverage)
    if hasattr(model, "predict_interval"):
        lo, hi = model.predict_interval(X, coverage)
    else:
        mean, std = model.predict(X, return_std=True)
        reach = ndtri((1 + check_coverage(coverage)) / 2) * np.asarray(std)
        lo, hi = mean - reach, mean + reach
    return np.asarray(lo, dtype=np.float64), np.asarray(hi, dtype=np.float64)


def _last(model: Any) -> Any:
    return model[-1] if isinstance(model, Pipeline) else model
