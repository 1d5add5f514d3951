"""Which networks train a predictor and which test it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_TEST = 1000


def n_test(n_networks: int) -> int:
    """Size of every test set: a third of the networks, at most 1,000.

    Examples
    --------
    >>> n_test(300), n_test(3969)
    (100, 1000)
    """
    return min(MAX_TEST, n_networks // 3)


def permutation(n_networks: int, seed: int) -> NDArray[np.int64]:
    """The order of one trial: its first n train, its last `n_test` test, so training sets are nested."""
    return np.random.default_rng(seed).permutation(n_networks).astype(np.int64)
