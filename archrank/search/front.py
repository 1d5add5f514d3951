"""The whole front of an additive score against additive costs, exact, stage by stage.

A beginning that another one beats in score and in all costs can be left out, whatever comes after: both may be
completed alike. So the front of the first stages with each block of the next holds the front of one stage more
(dynamic programming as for the multiple-choice knapsack problem; Kellerer, Pferschy and Pisinger, 2004, ch. 11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.ground_truth import Metric
from archrank.search.block_sums import BlockSum, as_sum, cost_sum, make_budgets, within
from archrank.search.pareto import ParetoFront, need
from archrank.search.program import Program, forced_skips
from archrank.spaces import Codes, MacroSpace

Array = NDArray[np.float64]

# Beginnings that a stage may give rise to, for the sake of memory.
_MOST = 20_000_000


def exact_front(
    space: MacroSpace,
    score: BlockSum | Sequence[ArrayLike],
    against: str | Sequence[str],
    budgets: Mapping[str, float] | None = None,
    *,
    costs: Mapping[str, BlockSum | Sequence[ArrayLike]] | None = None,
    metric: Metric | None = None,
) -> ParetoFront:
    """All best trade-offs between a sum over blocks and one or more additive costs.

    Parameters
    ----------
    space
        Where to search; one cost is quick for 10^30 networks, two where the front itself is not too large.
    score
        One value per block and stage: arrays per stage, or a `BlockSum`.
    against
        The cost or costs to keep low, known to the space or among `costs`.
    budgets
        Upper limits ``{cost: limit}``. A cost that is limited but not among `against` takes part in the comparison
        of beginnings, so it costs time as one that is.
    costs
        Costs besides those that the space knows, in the form of `score`.
    metric
        What the score is; its direction says what is better. By default more is better.

    Returns
    -------
    ParetoFront
        The best score first. Of networks equal in score and costs there is one.

    Raises
    ------
    InfeasibleBudgetsError
        Where no network keeps the budgets.
    ValueError
        For tables that do not suit the space, unknown costs, lower limits, or a front too large to hold.
    ImportError
        For more than one cost without the extra ``archrank[search]``.

    Examples
    --------
    >>> from archrank.spaces import blox
    >>> space = blox(stages=3)
    >>> front = exact_front(space, space.block_costs["flops"], "params")
    >>> front.values.shape[1], bool((np.diff(front.values[:, 1]) < 0).all())
    (2, True)
    """
    metric = Metric("score") if metric is None else metric
    names = [against] if isinstance(against, str) else list(against)
    total = as_sum(score).checked(space, "the score")
    limits = make_budgets(space, budgets, costs)
    if any(np.isfinite(b.lower) for b in limits):
        raise ValueError("a front takes upper limits only; drop networks below a limit from the result")
    if not names:
        raise ValueError("name one or more costs to set against the score")
    upper = {b.name: b.upper for b in limits}
    sums = {name: cost_sum(space, name, costs) for name in dict.fromkeys([*names, *upper])}
    objectives = [total.negative() if metric.direction == "max" else total, *sums.values()]
    room = np.array([np.inf, *(upper.get(name, np.inf) for name in sums)])
    codes = _front(space, objectives, room)
    values = np.stack([total(codes), *(sums[name](codes) for name in names)], axis=1)
    fits = within(codes, limits)
    if not fits.any():
        raise Program(space, limits).explain()
    codes, values = codes[fits], values[fits]
    # Limited costs that nobody asked for go out of the comparison, and with them what only they kept in.
    low = values * np.array([-metric.sign, *(1 for _ in names)])
    keep = _undominated(low)
    order = keep[np.lexsort(low[keep].T[::-1])]
    metrics = (metric, *(Metric(name, "min") for name in names))
    return ParetoFront(codes[order], values[order], metrics)


def _front(space: MacroSpace, objectives: Sequence[BlockSum], room: Array) -> Codes:
    """Networks that no other beats in the objectives, all low, with rounding to spare in `room`."""
    tables = [np.stack([np.asarray(o.tables[s]) for o in objectives], axis=1) for s in range(space.stages)]
    least = np.array([t.min(axis=0) for t in tables])
    after = np.concatenate([np.cumsum(least[::-1], axis=0)[::-1], np.zeros((1, least.shape[1]))])
    size = sum(np.abs(t).max(axis=0) for t in tables)
    room = room - np.array([o.fixed for o in objectives]) + 1e-9 * size
    skips = forced_skips(space)
    values, forced = np.zeros((1, len(objectives))), np.zeros(1, dtype=bool)
    steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for stage, table in enumerate(tables):
        skip, before = skips[stage], skips[stage - 1] if stage else None
        blocks = np.arange(len(table))
        if skip is None and before is None:  # else a better block may not be free to follow
            blocks = _undominated(table)
        if len(values) * len(blocks) > _MOST:
            raise ValueError(
                f"the front of the first {stage} of {space.stages} stages has {len(values):,} members, too many to go "
                "on; set budgets, round the tables, leave costs out, or use archrank.search.nsga2.pareto_search"
            )
        parent, block = np.repeat(np.arange(len(values)), len(blocks)), np.tile(blocks, len(values))
        grown = values[parent] + table[block]
        fits = (grown + after[stage + 1] <= room).all(axis=1)
        fits &= ~forced[parent] | (block == before)
        parent, block, grown = parent[fits], block[fits], grown[fits]
        closed = block == skip if skip is not None else np.zeros(len(block), dtype=bool)
        kept = np.concatenate([np.flatnonzero(part)[_undominated(grown[part])] for part in (~closed, closed)])
        if not len(kept):
            return np.empty((0, space.stages), dtype=np.int64)
        values, forced = grown[kept], closed[kept]
        steps.append((parent[kept], block[kept]))
    codes = np.empty((len(values), space.stages), dtype=np.int64)
    row = np.arange(len(values))
    for stage in range(space.stages - 1, -1, -1):
        parent, block = steps[stage]
        codes[:, stage], row = block[row], parent[row]
    return codes


def _undominated(values: Array) -> NDArray[np.int64]:
    """Rows that no other beats where low is good, one of each set of equal rows."""
    if values.shape[1] > 2:
        return np.flatnonzero(need("moocore").is_nondominated(values, keep_weakly=False))
    order = np.lexsort([values[:, 0], values[:, 1]])
    first = values[order, 0]
    better = np.ones(len(first), dtype=bool)
    better[1:] = first[1:] < np.minimum.accumulate(first)[:-1]
    return np.asarray(order[better])
