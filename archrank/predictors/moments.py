"""Features over a whole space, which are known before any network is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DRAWS = 2000


def space_sample(context: Any, encoding: Any) -> NDArray[np.float64] | None:
    """Features of random architectures, ``(2000, n_features)``; every block of a stage counts alike.

    None for features that are known of measured networks only, which `NotMeasuredError` tells.
    """
    from archrank.encodings.proxy import NotMeasuredError

    blocks = np.array(context.space.n_blocks)
    codes = np.random.default_rng(0).integers(0, blocks, size=(_DRAWS, len(blocks)))
    try:
        return np.asarray(encoding.transform(codes), dtype=np.float64)
    except NotMeasuredError:
        return None


def space_moments(context: Any, encoding: Any) -> dict[str, Any]:
    """The parameter ``moments`` of a regressor, see `sample_moments`, of an encoding's features over the space."""
    return sample_moments(space_sample(context, encoding))


def sample_moments(X: NDArray[np.float64] | None) -> dict[str, Any]:
    """Means and spreads of what `space_sample` gave.

    Empty where it knows none; a regressor then takes those of its training data.
    """
    return {} if X is None else {"moments": (tuple(X.mean(axis=0).tolist()), tuple(X.std(axis=0).tolist()))}


def feature_moments(
    X: NDArray[np.float64], moments: tuple[Sequence[float], Sequence[float]] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Mean and spread of each feature, and whether it varies by more than rounding, each ``(n_features,)``.

    Those of the parameter `moments`, or where it is None of the training features ``(n, n_features)``.

    Raises
    ------
    ValueError
        For moments of another number of features.
    """
    if moments is None:
        mean, spread = X.mean(axis=0), X.std(axis=0)
    else:
        mean, spread = (np.asarray(m, dtype=np.float64) for m in moments)
        if mean.shape != (X.shape[1],) or spread.shape != mean.shape:
            raise ValueError(
                f"moments must hold a mean and a spread for each of {X.shape[1]} features, "
                f"got shapes {mean.shape} and {spread.shape}"
            )
    return mean, spread, spread > 1e-7 * np.maximum(1e-30, np.abs(X).max(axis=0))
