"""Which networks of a macro space a cell-based search can express."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archrank.ground_truth import TableError
from archrank.spaces import Codes, MacroSpace


def is_uniform(space: MacroSpace, codes: Codes) -> NDArray[np.bool_]:
    """Which networks repeat one cell, bool ``(n,)``; `codes` are canonical.

    A cell is the block of a stage. Where the space has groups of stages it is a whole group, of which a shorter
    group takes the beginning.

    Raises
    ------
    TableError
        If the stages do not offer the same blocks.
    """
    grouped = {s for start, stop in space.groups for s in range(start, stop)}
    parts = sorted([*space.groups, *((s, s + 1) for s in range(space.stages) if s not in grouped)])
    start, stop = max(parts, key=lambda part: part[1] - part[0])
    same = np.ones(len(codes), dtype=bool)
    for first, last in parts:
        offered, cell = space.blocks[first:last], space.blocks[start : start + last - first]
        if offered != cell:
            raise TableError(
                f"{_stages(first, last)} and {_stages(start, stop)} of space {space.name!r} offer different blocks, "
                "so that no cell can be repeated; choose a table whose stages offer the same, such as blox-mini"
            )
        same &= (codes[:, first:last] == codes[:, start : start + last - first]).all(axis=1)
    return same


def _stages(first: int, stop: int) -> str:
    return f"stage {first}" if stop == first + 1 else f"stages {first} to {stop - 1}"
