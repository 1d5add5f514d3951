"""The best networks of an additive score under budgets, proven to be the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.search.block_sums import BlockSum, Budget, as_sum, make_budgets
from archrank.search.program import Answer, InfeasibleBudgetsError, Program
from archrank.search.ranked import best_within
from archrank.spaces import Codes, MacroSpace

if TYPE_CHECKING:
    import pandas as pd

    from archrank.search.block_sums import PairSum

Direction = Literal["max", "min"]


@dataclass(frozen=True, eq=False)
class Solutions:
    """Networks within budgets, the best first.

    Attributes
    ----------
    codes
        int64 ``(k, n_stages)``, canonical, no two of them twins.
    scores
        float64 ``(k,)``.
    costs
        Every cost with a budget, ``{name: float64 (k,)}``.
    gaps
        float64 ``(k,)``, in the unit of the score: by how much the best network that is at least the minimum
        distance from all earlier rows may be better than this one. 0 where it is proven that none is.
    status
        "optimal"; "exhausted" where there are fewer networks than asked for, all of them found and proven; "time
        limit" where the time was over first: `gaps` say what is proven of the rows that there are.
    """

    codes: Codes
    scores: NDArray[np.float64]
    costs: dict[str, NDArray[np.float64]]
    gaps: NDArray[np.float64]
    status: Literal["optimal", "exhausted", "time limit"]

    def __len__(self) -> int:
        return len(self.codes)

    def to_frame(self, space: MacroSpace) -> pd.DataFrame:
        """One row per network: its blocks by name, ``stage_0`` ..., then ``score``, the costs and ``gap``."""
        import pandas as pd

        blocks = pd.DataFrame(space.names(self.codes), columns=[f"stage_{s}" for s in range(space.stages)])
        return blocks.assign(score=self.scores, **self.costs, gap=self.gaps)


def exact_search(
    space: MacroSpace,
    score: BlockSum | Sequence[ArrayLike],
    budgets: Mapping[str, float | tuple[float, float]] | None = None,
    *,
    costs: Mapping[str, BlockSum | Sequence[ArrayLike]] | None = None,
    direction: Direction = "max",
    top: int = 1,
    min_distance: int = 1,
    time_limit: float | None = None,
    method: Literal["enumeration", "program"] = "enumeration",
) -> Solutions:
    """The best networks of a sum over blocks under limits on additive costs.

    By enumeration with bounds (`archrank.search.ranked`) where that proves the answer with the memory it allows
    itself; else, and for networks at a distance, by integer programs solved by HiGHS, one for each network, in which
    those found before are cut off.

    Parameters
    ----------
    space
        Where to search. It may have 10^30 networks.
    score
        One value per block and stage: arrays per stage, or a `BlockSum`, such as from
        `archrank.search.model_scores.additive_scores`.
    budgets
        Upper limits ``{cost: limit}``, or pairs ``(lower, upper)``, both included, in the unit of the cost.
    costs
        Costs besides those that the space knows, such as a latency, in the form of `score`.
    direction
        "max" where more is better, "min" where less is.
    top
        How many networks. Where scores are equal at the end of the list, any of them.
    min_distance
        Stages in which any two of the networks differ at the least. Each network is the best among those that are
        far enough from all before it.
    time_limit
        Seconds for the integer programs of the call together; None for no limit.
    method
        "program" leaves the enumeration out. Both prove the same; for many stages the enumeration is quicker.

    Raises
    ------
    InfeasibleBudgetsError
        Where no network keeps the budgets; a `ValueError` that says how far off they are.
    ValueError
        For tables that do not suit the space or hold NaN, and for unknown costs or bad limits.

    Examples
    --------
    >>> from archrank.spaces import blox
    >>> space = blox(stages=3)
    >>> found = exact_search(space, space.block_costs["flops"], {"params": 2_000_000}, top=3)
    >>> found.codes.shape, found.status, bool((found.costs["params"] <= 2_000_000).all())
    ((3, 3), 'optimal', True)
    """
    check_options(space, direction, top, min_distance)
    if method not in ("enumeration", "program"):
        raise ValueError(f"method must be 'enumeration' or 'program', got {method!r}")
    total = as_sum(score).checked(space, "the score")
    limits = make_budgets(space, budgets, costs)
    turned = total if direction == "min" else total.negative()
    program = Program(space, limits)
    found: Codes | None = None
    if method == "enumeration" and min_distance == 1:
        found = best_within(space, turned, limits, top)
        if found is not None and not len(found):
            raise program.explain()
    if found is not None:
        status: Literal["optimal", "exhausted"] = "optimal" if len(found) == top else "exhausted"
        return solutions(found, total, limits, np.zeros(len(found)), status)
    return one_by_one(program, turned, total, direction, top, min_distance, time_limit)


def one_by_one(
    program: Program,
    turned: BlockSum,
    total: BlockSum | PairSum,
    direction: Direction,
    top: int,
    min_distance: int,
    time_limit: float | None,
    improve: Callable[[Codes | None, Sequence[Codes]], Codes | None] | None = None,
) -> Solutions:
    """Networks each by a program of its own, in which those before are cut off.

    `turned` is what the program minimises, `total` the score itself; `improve` may better what a program that ran out
    of time has found, given the networks before.
    """
    deadline = time.monotonic() + (np.inf if time_limit is None else time_limit)
    codes: list[Codes] = []
    bounds: list[float] = []
    status: Literal["optimal", "exhausted", "time limit"] = "optimal"
    sign = -1.0 if direction == "max" else 1.0
    while len(codes) < top:
        try:
            cuts = [program.cut(c, min_distance) for c in codes]
            answer = program.minimise(turned, deadline - time.monotonic(), cuts)
        except InfeasibleBudgetsError:
            if not codes:
                raise program.explain() from None
            status = "exhausted"
            break
        code = answer.code
        if not answer.optimal:
            status = "time limit"
            code = code if improve is None else improve(code, codes)
        if code is not None:
            codes.append(code)
            bounds.append(_bound(answer, code, total, sign))
        if status == "time limit":
            break
    if not codes:
        raise TimeoutError(
            f"no network was found within {time_limit} s, nor is it proven that there is none; raise time_limit"
        )
    rows = np.stack(codes)
    return solutions(rows, total, program.budgets, np.maximum(sign * total(rows) - bounds, 0.0), status)


def _bound(answer: Answer, code: Codes, total: BlockSum | PairSum, sign: float) -> float:
    return sign * float(total(code[None])[0]) if answer.optimal else answer.bound


def solutions(
    codes: Codes,
    total: BlockSum | PairSum,
    budgets: Sequence[Budget],
    gaps: NDArray[np.float64],
    status: Literal["optimal", "exhausted", "time limit"],
) -> Solutions:
    """`Solutions` of networks in order."""
    return Solutions(codes, total(codes), {b.name: b.cost(codes) for b in budgets}, gaps, status)


def check_options(space: MacroSpace, direction: str, top: int, min_distance: int) -> None:
    """Refuse options that no search can meet.

    Raises
    ------
    ValueError
        Saying which.
    """
    if direction not in ("max", "min"):
        raise ValueError(f"direction must be 'max' or 'min', got {direction!r}")
    if top < 1:
        raise ValueError(f"ask for 1 or more networks, got top={top}")
    if not 1 <= min_distance <= space.stages:
        raise ValueError(f"min_distance must be from 1 to the {space.stages} stages, got {min_distance}")
