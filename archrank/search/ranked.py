"""The k best networks of an additive score under budgets, by enumeration with Lagrangian bounds.

For networks within budgets and any prices ``p >= 0`` the score is at least ``score + sum p (cost - limit)``. That is
a sum over blocks again, so the least that any completion of a beginning can reach is known by one addition.
Beginnings are extended stage by stage, all at once, and those that cannot reach the k-th best network known are
dropped; what is left at the end holds the k best. The prices are the dual values of the linear relaxation, which make
the bound of the empty beginning that of the relaxation, and some about them: a beginning that has spent much of a
budget is bounded best by a higher price for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from archrank.search.block_sums import BlockSum, Budget, within
from archrank.search.program import forced_skips
from archrank.spaces import Codes, MacroSpace

Array = NDArray[np.float64]

# Beginnings kept at a stage: few at first, which finds good networks, then as many as memory holds.
_WIDTHS = (1_000, 20_000, 400_000, 1_500_000)
# Extensions looked at together, for the sake of memory.
_PORTION = 500_000
# Vectors of prices, and the spread of their logarithms about the dual values.
_PRICES, _SPREAD = 60, 0.5
# Room for rounding in bounds, in parts of the sizes that are summed.
_ROOM = 1e-9


def best_within(space: MacroSpace, score: BlockSum, budgets: Sequence[Budget], top: int) -> Codes | None:
    """The `top` networks with the least score, ``(<= top, n_stages)``, the best first, or all where there are fewer.

    None where too many beginnings had to be kept, so that nothing is proven.
    """
    limits = _upper_limits(budgets)
    prices = _prices(space, score, limits)
    if prices is None:
        return np.empty((0, space.stages), dtype=np.int64)
    sweep = _Sweep.of(space, score, limits, prices)
    worst = np.inf
    for width in _WIDTHS:
        codes, complete = sweep.run(worst, max(width, 2 * top))
        codes = codes[within(codes, budgets)]
        values = score(codes)
        order = np.lexsort([*codes.T[::-1], values])[:top]
        if complete:
            return codes[order]
        if len(order) == top:
            worst = min(worst, float(values[order[-1]]))
    return None


def _upper_limits(budgets: Sequence[Budget]) -> list[tuple[BlockSum, float]]:
    """Lower limits as upper ones of the negative cost."""
    upper = [(b.cost, b.upper) for b in budgets if np.isfinite(b.upper)]
    lower = [(b.cost.negative(), -b.lower) for b in budgets if np.isfinite(b.lower)]
    return upper + lower


def _prices(space: MacroSpace, score: BlockSum, limits: Sequence[tuple[BlockSum, float]]) -> Array | None:
    """Prices of the limits ``(n_prices, n_limits)``, dual values first; None where no relaxed network keeps the limits.

    Any prices give a true bound, so it does no harm that the solver and the draws about its result are inexact.
    """
    if not limits:
        return np.zeros((1, 0))
    stage = np.repeat(np.arange(space.stages), space.n_blocks)
    rows = np.stack([np.concatenate(cost.tables) for cost, _ in limits])
    unit = np.abs(rows).max(axis=1)
    unit[unit == 0] = 1.0
    values = np.concatenate(score.tables)
    size = float(np.abs(values).max()) or 1.0
    found = linprog(
        values / size,
        A_ub=rows / unit[:, None],
        b_ub=np.array([limit - cost.fixed for cost, limit in limits]) / unit,
        A_eq=(stage == np.arange(space.stages)[:, None]).astype(np.float64),
        b_eq=np.ones(space.stages),
        bounds=(0, 1),
        method="highs",
    )
    if found.status == 2:
        return None
    duals = np.maximum(-found.ineqlin.marginals, 0.0) if found.success else np.zeros(len(limits))
    # A limit without a price binds once much of it is spent.
    drawn = np.maximum(duals, 0.03) * np.exp(np.random.default_rng(0).normal(0, _SPREAD, (_PRICES - 1, len(limits))))
    return np.asarray(np.concatenate([duals[None], drawn]) * size / unit)


@dataclass(frozen=True, eq=False)
class _Sweep:
    """Enumeration of the networks whose bounds are low enough.

    Attributes
    ----------
    score, costs
        Values of blocks per stage: ``(n_blocks,)`` and ``(n_limits, n_blocks)``.
    room
        What blocks may cost in all, ``(n_limits,)``.
    prices
        ``(n_prices, n_limits)``.
    skips
        See `forced_skips`.
    fixed, size
        What the score has besides its blocks, and a bound on the size of what is added up.
    """

    score: list[Array]
    costs: list[Array]
    room: Array
    prices: Array
    skips: list[int | None]
    fixed: float
    size: float

    @classmethod
    def of(cls, space: MacroSpace, score: BlockSum, limits: Sequence[tuple[BlockSum, float]], prices: Array) -> _Sweep:
        tables = [np.asarray(t) for t in score.tables]
        costs = [
            np.array([cost.tables[s] for cost, _ in limits], dtype=np.float64).reshape(len(limits), n)
            for s, n in enumerate(space.n_blocks)
        ]
        spent = sum(np.abs(c).max(axis=1) for c in costs)
        room = np.array([limit - cost.fixed for cost, limit in limits]) + _ROOM * spent
        size = abs(score.fixed) + sum(float(np.abs(t).max()) for t in tables) + float(prices[0] @ (spent + abs(room)))
        return cls(tables, costs, room, prices, forced_skips(space), score.fixed, size)

    def run(self, worst: float, width: int) -> tuple[Codes, bool]:
        """Networks whose bounds are not above `worst`, and whether they are all of them.

        Not all where more than `width` beginnings were left at a stage; then those with the best bounds went on.
        """
        worst += _ROOM * self.size
        priced = [t + self.prices @ c for t, c in zip(self.score, self.costs, strict=True)]
        after = _least_after(priced)  # (n_stages + 1, n_prices)
        cost_after = _least_after(self.costs)
        dtype = np.int16 if max(map(len, self.score)) < 2**15 else np.int64
        codes, complete = np.empty((1, 0), dtype=dtype), True
        score, spent = np.full(1, self.fixed), np.zeros((len(self.room), 1))
        for stage, (table, cost) in enumerate(zip(self.score, self.costs, strict=True)):
            first = score + self.prices[0] @ (spent - self.room[:, None])
            skip = self.skips[stage - 1] if stage else None
            left = []
            for parent, block in _extensions(worst - first - after[stage + 1, 0], priced[stage][0]):
                keep = (spent[:, parent] + cost[:, block] <= (self.room - cost_after[stage + 1])[:, None]).all(axis=0)
                if skip is not None:
                    keep &= (codes[parent, stage - 1] != skip) | (block == skip)
                parent, block = parent[keep], block[keep]
                total, over = score[parent] + table[block], spent[:, parent] + cost[:, block] - self.room[:, None]
                bound = np.full(len(parent), -np.inf)
                for price, rest in zip(self.prices, after[stage + 1], strict=True):
                    np.maximum(bound, total + price @ over + rest, out=bound)
                chosen, all_of_them = _lowest(bound, worst, width)
                complete &= all_of_them
                left.append((parent[chosen], block[chosen], bound[chosen]))
            parent, block, bound = (np.concatenate(part) for part in zip(*left, strict=True))
            chosen, all_of_them = _lowest(bound, worst, width)
            complete &= all_of_them
            parent, block = parent[chosen], block[chosen]
            codes = np.concatenate([codes[parent], block[:, None].astype(dtype)], axis=1)
            score, spent = score[parent] + table[block], spent[:, parent] + cost[:, block]
        return codes.astype(np.int64), complete


def _extensions(room: Array, table: Array) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Parents ``(n,)`` with each block that adds no more than their room, as pairs, in portions."""
    order = np.argsort(table, kind="stable")
    counts = np.searchsorted(table[order], room, side="right")
    total = np.cumsum(counts)
    portion = (total - 1) // _PORTION
    for parents in np.split(np.arange(len(counts)), np.flatnonzero(np.diff(portion)) + 1):
        mine = counts[parents]
        first = np.cumsum(mine) - mine
        yield np.repeat(parents, mine), order[np.arange(mine.sum()) - np.repeat(first, mine)]


def _lowest(bound: Array, worst: float, width: int) -> tuple[NDArray[np.int64], bool]:
    """Where bounds are not above `worst`, and whether these are all; not where they are more than `width`."""
    chosen = np.flatnonzero(bound <= worst)
    if len(chosen) <= width:
        return chosen, True
    return chosen[np.argpartition(bound[chosen], width)[:width]], False


def _least_after(tables: Sequence[Array]) -> Array:
    """The least that the stages from s on can add, ``(n_stages + 1, n)``, of tables ``(n, n_blocks)``."""
    least = np.array([t.min(axis=1) for t in tables])
    return np.concatenate([np.cumsum(least[::-1], axis=0)[::-1], np.zeros((1, least.shape[1]))])
