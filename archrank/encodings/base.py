"""What all encodings share: they are stateless scikit-learn transformers over codes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from archrank.spaces import Codes, MacroSpace


class CodesEncoding(TransformerMixin, BaseEstimator, ABC):
    """Base of encodings; a subclass gives `transform` and `get_feature_names_out`.

    Nothing is learnt, so `transform` works before `fit`, and `fit` only checks the codes.

    Parameters
    ----------
    space
        The search space that the codes belong to.
    """

    def __init__(self, space: MacroSpace) -> None:
        self.space = space

    def canonical(self, X: ArrayLike) -> Codes:
        """Checked codes, isomorphic architectures made equal, int64 ``(n_archs, n_stages)``."""
        return self.space.canonical(X)

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Check `X` and return self.

        Raises
        ------
        InvalidArchitectureError
            Naming the first row and stage whose code the space does not hold.
        """
        self.space.validate(X)
        return self

    @abstractmethod
    def transform(self, X: ArrayLike) -> Any:
        """Features of `X`, one row per architecture."""

    @abstractmethod
    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the features, str ``(n_features,)``."""

    def __sklearn_is_fitted__(self) -> bool:
        return True


def lookup(tables: Sequence[NDArray[Any]], codes: Codes) -> NDArray[Any]:
    """Rows of one table per stage, side by side: ``(n_archs, sum of widths)`` of the tables' dtype."""
    return np.concatenate([table[codes[:, s]] for s, table in enumerate(tables)], axis=1)


def names_array(names: list[str]) -> NDArray[np.object_]:
    """Feature names as scikit-learn returns them."""
    return np.array(names, dtype=object)
