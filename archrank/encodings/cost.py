"""Additive costs of the networks on a log scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank._errors import there_are
from archrank.encodings.base import CodesEncoding, lookup, names_array
from archrank.spaces import MacroSpace


class CostEncoding(CodesEncoding):
    """``log(1 + cost)`` of the whole network and of the block of each stage.

    The logarithm makes parameters, FLOPs and latencies comparable; the 1 keeps skip blocks finite.

    Parameters
    ----------
    space
        The search space that the codes belong to.
    costs
        Names of costs that the space knows.

    Raises
    ------
    ValueError
        In every method, where the space does not know a cost.
    """

    def __init__(self, space: MacroSpace, costs: Sequence[str] = ("params", "flops")) -> None:
        super().__init__(space)
        self.costs = costs

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """float32 ``(n_archs, n_costs * (1 + n_stages))``."""
        codes = self.canonical(X)
        check_costs(self.space, self.costs)
        parts = []
        for name in self.costs:
            parts.append(self.space.cost(name, codes)[:, None])
            parts.append(lookup([column[:, None] for column in self.space.block_costs[name]], codes))
        return np.log1p(np.concatenate(parts, axis=1)).astype(np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``log_params``, ``stage0.log_params``, ..."""
        check_costs(self.space, self.costs)
        return names_array(
            [
                name
                for cost in self.costs
                for name in (f"log_{cost}", *(f"stage{s}.log_{cost}" for s in range(self.space.stages)))
            ]
        )


def check_costs(space: MacroSpace, costs: Sequence[str]) -> None:
    """Refuse names of costs that a space does not know, and none at all.

    Raises
    ------
    ValueError
        Listing the costs that there are.
    """
    known = sorted(space.block_costs)
    missing = [name for name in costs if name not in known]
    if not known:
        raise ValueError(f"space {space.name!r} knows no costs; give it block_costs or use another encoding")
    if missing or not costs:
        what = missing[0] if missing else "none"
        raise ValueError(f"unknown cost {what!r} of space {space.name!r}; {there_are(what, known)}")
