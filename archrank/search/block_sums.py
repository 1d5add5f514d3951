"""Scores and costs that are sums over blocks, or over pairs of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.encodings.cost import check_costs
from archrank.spaces import Codes, MacroSpace

Tables = tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, eq=False)
class BlockSum:
    """``fixed + sum_s tables[s][block of stage s]``: an additive score, or a cost such as latency.

    ``BlockSum(*latency_table(records, space.n_blocks))`` makes one of measured latencies.

    Parameters
    ----------
    tables
        Per stage the values of its blocks, ``(n_blocks of the stage,)``.
    fixed
        What every network has besides.

    Examples
    --------
    >>> BlockSum([[1, 2], [10, 20, 30]], fixed=100)(np.array([[0, 2], [1, 0]]))
    array([131., 112.])
    """

    tables: Sequence[ArrayLike]
    fixed: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", tuple(np.asarray(t, dtype=np.float64) for t in self.tables))

    def __call__(self, codes: Codes) -> NDArray[np.float64]:
        """Values ``(n,)`` of checked codes, summed in the order of `MacroSpace.cost`, so that both agree to the bit."""
        total = np.full(len(codes), float(self.fixed))
        for stage, table in enumerate(self.tables):
            total += np.asarray(table)[codes[:, stage]]
        return total

    def negative(self) -> BlockSum:
        """The sum with its sign turned."""
        return BlockSum([-np.asarray(t) for t in self.tables], -self.fixed)

    def checked(self, space: MacroSpace, what: str) -> BlockSum:
        """Itself.

        Raises
        ------
        ValueError
            If there is not one finite value for each block of the space; `what` names the sum in the message.
        """
        shapes = [np.shape(t) for t in self.tables]
        if shapes != [(n,) for n in space.n_blocks]:
            raise ValueError(
                f"{what} has tables of shapes {shapes}, expected one value per block of each stage of "
                f"space {space.name!r}: {[(n,) for n in space.n_blocks]}"
            )
        for stage, table in enumerate(self.tables):
            finite = np.isfinite(table)
            if not finite.all():
                at = int(np.argmin(finite))
                raise ValueError(
                    f"{what} of stage {stage}, block {space.blocks[stage][at]!r} is {np.asarray(table)[at]}, "
                    "expected a finite number; measure it, or leave the block out of the space"
                )
        if not np.isfinite(self.fixed):
            raise ValueError(f"the fixed part of {what} is {self.fixed}, expected a finite number")
        return self


@dataclass(frozen=True, eq=False)
class PairSum:
    """A sum over blocks and over pairs of blocks: ``first + sum_{s<t} second[s, t][block of s, block of t]``.

    Parameters
    ----------
    first
        The sum over single blocks.
    second
        For pairs of stages ``(s, t)`` with ``s < t`` a matrix ``(n_blocks of s, n_blocks of t)``; pairs that are
        missing count for nothing.

    Examples
    --------
    >>> PairSum(BlockSum([[1, 2], [0, 0]]), {(0, 1): [[0, 5], [0, 0]]})(np.array([[0, 1], [1, 1]]))
    array([6., 2.])
    """

    first: BlockSum
    second: Mapping[tuple[int, int], ArrayLike] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pairs = {pair: np.asarray(m, dtype=np.float64) for pair, m in self.second.items()}
        object.__setattr__(self, "second", pairs)

    def __call__(self, codes: Codes) -> NDArray[np.float64]:
        """Values ``(n,)`` of checked codes."""
        total = self.first(codes)
        for (s, t), matrix in self.second.items():
            total += np.asarray(matrix)[codes[:, s], codes[:, t]]
        return total

    def negative(self) -> PairSum:
        """The sum with its sign turned."""
        return PairSum(self.first.negative(), {pair: -np.asarray(m) for pair, m in self.second.items()})

    def checked(self, space: MacroSpace, what: str) -> PairSum:
        """Itself.

        Raises
        ------
        ValueError
            For a pair that is no pair of stages in order, a wrong shape, or a value that is not finite.
        """
        self.first.checked(space, what)
        for pair, matrix in self.second.items():
            if not 0 <= pair[0] < pair[1] < space.stages:
                raise ValueError(f"{what} has a pair of stages {pair}, expected s < t from 0 to {space.stages - 1}")
            expected = (space.n_blocks[pair[0]], space.n_blocks[pair[1]])
            if np.shape(matrix) != expected:
                raise ValueError(f"{what} of stages {pair} has shape {np.shape(matrix)}, expected {expected}")
            if not np.isfinite(matrix).all():
                raise ValueError(f"{what} of stages {pair} has values that are not finite; give every pair a number")
        return self


@dataclass(frozen=True, eq=False)
class Budget:
    """A cost and the limits, both included, that networks must keep.

    `BlockSum` computes it; `lower` is -inf where there is no lower limit.
    """

    name: str
    cost: BlockSum
    lower: float
    upper: float

    def __str__(self) -> str:
        low = f"{self.lower:,.10g} <= " if np.isfinite(self.lower) else ""
        return f"{low}{self.name}" + (f" <= {self.upper:,.10g}" if np.isfinite(self.upper) else "")

    def met(self, codes: Codes) -> NDArray[np.bool_]:
        """Which networks keep it, bool ``(n,)``."""
        values = self.cost(codes)
        return (self.lower <= values) & (values <= self.upper)


def within(codes: Codes, budgets: Sequence[Budget]) -> NDArray[np.bool_]:
    """Which networks keep all budgets, bool ``(n,)``."""
    return np.asarray(np.logical_and.reduce([np.ones(len(codes), dtype=bool), *(b.met(codes) for b in budgets)]))


def cost_sum(space: MacroSpace, name: str, costs: Mapping[str, BlockSum | Sequence[ArrayLike]] | None) -> BlockSum:
    """A cost by name: one of the user's own, else one that the space knows.

    Raises
    ------
    ValueError
        Where neither has it, or the user's own do not suit the space.
    """
    if costs is not None and name in costs:
        return as_sum(costs[name]).checked(space, f"cost {name!r}")
    check_costs(space, [name])
    return BlockSum(space.block_costs[name], space.fixed_costs.get(name, 0.0)).checked(space, f"cost {name!r}")


def as_sum(tables: BlockSum | Sequence[ArrayLike]) -> BlockSum:
    """Plain tables as a `BlockSum` without a fixed part."""
    return tables if isinstance(tables, BlockSum) else BlockSum(tables)


def make_budgets(
    space: MacroSpace,
    limits: Mapping[str, float | tuple[float, float]] | None,
    costs: Mapping[str, BlockSum | Sequence[ArrayLike]] | None,
) -> list[Budget]:
    """Budgets from ``{cost: upper limit or (lower, upper)}``.

    Raises
    ------
    ValueError
        For unknown costs and for limits that are NaN, below 0 or in the wrong order.
    """
    budgets = []
    for name, limit in (limits or {}).items():
        lower, upper = limit if isinstance(limit, tuple) else (-np.inf, limit)
        if not (upper >= 0 and lower <= upper):
            raise ValueError(
                f"budget {name!r} is {limit}, expected an upper limit >= 0, or a pair (lower, upper) in that order"
            )
        budgets.append(Budget(name, cost_sum(space, name, costs), float(lower), float(upper)))
    return budgets
