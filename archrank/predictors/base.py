"""The seam between regressors and the code that saves, checks and assembles them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray


@dataclass(frozen=True)
class State:
    """What a fitted regressor has learnt, in parts that need no pickle.

    Attributes
    ----------
    values
        JSON-ready numbers, strings, lists and mappings.
    arrays
        Arrays by name; written as safetensors.
    texts
        Longer texts by name, such as a LightGBM model.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Persistent(Protocol):
    """A regressor that `archrank.save` can write: parameters by scikit-learn, the rest by these two."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters, as scikit-learn's `BaseEstimator` gives them."""

    def get_state(self) -> State:
        """What has been learnt; of an unfitted regressor an empty `State`."""

    def set_state(self, state: State) -> None:
        """Take up what `get_state` gave; nothing may be computed anew."""
