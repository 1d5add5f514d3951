"""One column for each block of each stage."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.preprocessing import OneHotEncoder

from archrank.encodings.base import CodesEncoding, names_array


class OneHotEncoding(CodesEncoding):
    """One-hot code of canonical architectures; scikit-learn's `OneHotEncoder` does the work.

    Parameters
    ----------
    space
        The search space that the codes belong to.

    Examples
    --------
    >>> from archrank.spaces import MacroSpace
    >>> encoding = OneHotEncoding(MacroSpace.from_blocks([["a", "b"], ["x", "y", "z"]]))
    >>> encoding.transform([[1, 2]])
    array([[0., 1., 0., 0., 1.]], dtype=float32)
    >>> list(encoding.get_feature_names_out())
    ['stage0=a', 'stage0=b', 'stage1=x', 'stage1=y', 'stage1=z']
    """

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """float32 ``(n_archs, sum of blocks over stages)``."""
        codes = self.canonical(X)
        if not len(codes):
            return np.zeros((0, sum(self.space.n_blocks)), np.float32)
        encoder = OneHotEncoder(
            categories=[np.arange(n) for n in self.space.n_blocks], sparse_output=False, dtype=np.float32
        )
        return np.asarray(encoder.fit(codes[:1]).transform(codes))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``stage0=BLOCK``, ..."""
        return names_array([f"stage{s}={name}" for s, names in enumerate(self.space.blocks) for name in names])
