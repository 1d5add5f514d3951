"""What the blocks are made of, stage by stage and in total."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.encodings.base import CodesEncoding, lookup, names_array


class StructureEncoding(CodesEncoding):
    """Attributes of the chosen blocks, and their sums.

    First the space's `block_features` of every stage; then, for every feature that all stages share, its
    sum over the stages of each group (where the space declares groups) and over all stages. For BLOX
    these are operation counts, depth, first and last operation and wiring; a sum over categories is
    a count. Spaces without attributes have one column for each block.

    Parameters
    ----------
    space
        The search space that the codes belong to.
    """

    def _shared(self) -> list[str]:
        """Features that every stage has; block names are no features that stages share."""
        if not all(self.space.attributes):
            return []
        first, *others = [self.space.block_features(s)[0] for s in range(self.space.stages)]
        return [name for name in first if all(name in names for names in others)]

    def _sums(self) -> list[tuple[str, tuple[int, int]]]:
        """Label and stage range of every sum."""
        if self.space.stages == 1 or not self._shared():
            return []
        groups = [(f"group{i}", group) for i, group in enumerate(self.space.groups)]
        return [*groups, ("total", (0, self.space.stages))]

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """float32 ``(n_archs, n_features)``."""
        codes = self.canonical(X)
        named = [self.space.block_features(s) for s in range(self.space.stages)]
        parts = [lookup([table for _, table in named], codes)]
        if sums := self._sums():
            shared = self._shared()
            # (n_archs, n_stages, n_shared)
            each = np.stack(
                [table[:, [names.index(n) for n in shared]][codes[:, s]] for s, (names, table) in enumerate(named)],
                axis=1,
            )
            parts += [each[:, start:stop].sum(axis=1) for _, (start, stop) in sums]
        return np.concatenate(parts, axis=1)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``stage0.ATTRIBUTE``, ..., ``group0.ATTRIBUTE``, ..., ``total.ATTRIBUTE``, ..."""
        names = [f"stage{s}.{n}" for s in range(self.space.stages) for n in self.space.block_features(s)[0]]
        return names_array(names + [f"{label}.{n}" for label, _ in self._sums() for n in self._shared()])
