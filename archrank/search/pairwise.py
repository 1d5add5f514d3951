"""The best networks of a score over blocks and pairs of blocks under budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.search.block_sums import BlockSum, Budget, PairSum, make_budgets, within
from archrank.search.exact import Direction, Solutions, check_options, one_by_one, solutions
from archrank.search.program import Program
from archrank.search.ranked import best_within
from archrank.spaces import Codes, MacroSpace

# Starts of the local search.
_STARTS = 64


def pairwise_search(
    space: MacroSpace,
    score: PairSum,
    budgets: Mapping[str, float | tuple[float, float]] | None = None,
    *,
    costs: Mapping[str, BlockSum | Sequence[ArrayLike]] | None = None,
    direction: Direction = "max",
    top: int = 1,
    min_distance: int = 1,
    time_limit: float | None = 60.0,
    listable: int = 1_000_000,
) -> Solutions:
    """The best networks of a sum over blocks and pairs of blocks, such as DONNA's second-order model.

    Spaces of up to `listable` architectures are listed. Beyond, an integer program in which products of blocks are
    variables is solved by HiGHS, one for each network. Where its time is over, what it found is bettered by local
    search, and `Solutions.gaps` say how far from the best it may be at the most.

    Parameters
    ----------
    space, budgets, costs, direction, top, min_distance
        See `exact_search`.
    score
        Such as from `archrank.search.model_scores.pairwise_scores`.
    time_limit
        Seconds for the programs of the call together; None for no limit.
    listable
        Architectures up to which a space is listed; 0 for the program always.

    Raises
    ------
    InfeasibleBudgetsError
        Where no network keeps the budgets.
    ValueError
        As `exact_search`.

    Examples
    --------
    >>> from archrank.spaces import blox
    >>> space, rng = blox(stages=2), np.random.default_rng(0)
    >>> score = PairSum(BlockSum([np.zeros(45)] * 2), {(0, 1): rng.normal(size=(45, 45))})
    >>> pairwise_search(space, score, {"params": 600_000}, top=2).gaps
    array([0., 0.])
    """
    check_options(space, direction, top, min_distance)
    score.checked(space, "the score")
    limits = make_budgets(space, budgets, costs)
    turned = score if direction == "min" else score.negative()
    if space.size <= listable:
        codes = space.distinct_codes()
        codes = codes[within(codes, limits)]
        if not len(codes):
            raise Program(space, limits).explain()
        codes = _apart(codes[np.argsort(turned(codes), kind="stable")], top, min_distance)
        status: Literal["optimal", "exhausted"] = "optimal" if len(codes) == top else "exhausted"
        return solutions(codes, score, limits, np.zeros(len(codes)), status)
    pairs = {pair: np.asarray(m) for pair, m in turned.second.items()}
    program = Program(space, limits, pairs)

    def improve(code: Codes | None, earlier: Sequence[Codes]) -> Codes | None:
        starts = best_within(space, turned.first, limits, _STARTS)
        known = [part for part in (starts, code if code is None else code[None]) if part is not None]
        if not known:
            return None
        starts = np.concatenate(known)
        starts = starts[_far(starts, earlier, min_distance)]
        return _local_search(space, turned, limits, starts, earlier, min_distance)

    return one_by_one(program, turned.first, score, direction, top, min_distance, time_limit, improve)


def _apart(codes: Codes, top: int, min_distance: int) -> Codes:
    """From the first on, each network that differs in `min_distance` stages or more from all taken before."""
    taken: list[Codes] = []
    while len(codes) and len(taken) < top:
        if min_distance == 1:
            return codes[:top]
        taken.append(codes[0])
        codes = codes[_far(codes, taken[-1:], min_distance)]
    return np.stack(taken)


def _far(codes: Codes, others: Sequence[Codes], min_distance: int) -> NDArray[np.bool_]:
    far = np.ones(len(codes), dtype=bool)
    for other in others:
        far &= (codes != other).sum(axis=1) >= min_distance
    return far


def _local_search(
    space: MacroSpace,
    score: PairSum,
    budgets: Sequence[Budget],
    codes: Codes,
    earlier: Sequence[Codes],
    min_distance: int,
) -> Codes | None:
    """The least score that steps of one block reach from any of the networks; None where there are none."""
    if not len(codes):
        return None
    values = score(codes)
    while True:
        steps = space.neighbours(codes)
        flat = space.canonical(steps.reshape(-1, space.stages))
        allowed = within(flat, budgets) & _far(flat, earlier, min_distance)
        reached = np.where(allowed, score(flat), np.inf).reshape(len(codes), -1)
        best = reached.argmin(axis=1)
        rows = np.arange(len(codes))
        better = reached[rows, best] < values
        if not better.any():
            return np.asarray(codes[np.argmin(values)])
        codes = np.where(better[:, None], flat.reshape(steps.shape)[rows, best], codes)
        values = np.where(better, reached[rows, best], values)
