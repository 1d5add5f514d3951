"""NSGA-II (Deb et al., 2002) by pymoo: over predictors and costs, or over networks as they are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.ground_truth import Metric
from archrank.search.base import Search
from archrank.search.pareto import Objective, ParetoFront, minimised, need
from archrank.spaces import Codes, MacroSpace


def pareto_search(
    space: MacroSpace,
    objectives: Sequence[Objective],
    *,
    population: int = 100,
    generations: int = 100,
    allowed: Callable[[Codes], NDArray[np.bool_]] | None = None,
    seed: int = 0,
) -> ParetoFront:
    """The best trade-offs between objectives that are cheap to compute, such as predictions and costs.

    By NSGA-II (Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002).
    Block ids are categories: children take each block from one of two parents, and each stage gets another
    block with probability 1 / stages. Objectives are computed for a whole generation at once. The front is
    that of all networks that were looked at, so it may have more members than the population.

    Parameters
    ----------
    space
        Where to search.
    objectives
        See `Objective`. Of a single one the front is the best network found.
    population, generations
        Their product is the number of networks looked at.
    allowed
        Which networks ``(n, n_stages)`` may be looked at, bool ``(n,)``; by default all.
    seed
        Decides all that is left to chance.

    Raises
    ------
    ValueError
        For no objective, or one that is not finite for a network.
    ImportError
        Without the extra ``archrank[search]``.

    Examples
    --------
    >>> from archrank.spaces import blox
    >>> space = blox(stages=2)
    >>> wide = Objective(Metric("work"), space.flops)                # the more, the better
    >>> front = pareto_search(space, [wide, Objective.cost(space, "params")], population=20, generations=5)
    >>> front.to_frame(space).columns.tolist()
    ['stage_0', 'stage_1', 'work', 'params']
    """
    if not objectives:
        raise ValueError("expected one or more objectives, got none")
    if population < 4 or generations < 1:
        raise ValueError(f"expected population >= 4 and generations >= 1, got {population} and {generations}")
    need("pymoo")
    from archrank.search._nsga2 import evolve

    metrics = [o.metric for o in objectives]
    seen: list[tuple[Codes, NDArray[np.float64]]] = []

    def evaluate(codes: Codes) -> NDArray[np.float64]:
        values = np.stack([objective(codes) for objective in objectives], axis=1)
        seen.append((codes, values))
        return minimised(values, metrics)

    evolve(space, len(objectives), evaluate, population, generations, seed, allowed)
    codes, values = (np.concatenate(part) for part in zip(*seen, strict=True))
    # A network that left the population may come back.
    _, first = np.unique(space.keys(codes), return_index=True)
    return ParetoFront.of(codes[first], values[first], metrics)


class NSGA2Search(Search):
    """Evolution towards the front of the metric and of costs, by training every network it looks at.

    Parents are those that NSGA-II would have let survive of all networks told so far, by rank of
    non-domination and crowding; failed trainings have no children. With no costs this is a genetic
    algorithm that keeps the best.

    Parameters
    ----------
    space, metric, pool, seed
        See `Search`. Where there is a pool, children are replaced by its nearest networks.
    costs
        Names of costs of the space to keep low; by default the first of flops and params that it knows.
    population
        Networks drawn at random first, and parents to choose from later.

    Examples
    --------
    >>> from archrank.spaces import blox
    >>> space = blox(stages=2)
    >>> search = NSGA2Search(space, population=8, seed=0)
    >>> for _ in range(3):
    ...     codes = search.ask(8)
    ...     search.tell(codes, space.flops(codes) / 1e6)
    >>> search.front().metrics[1].name
    'flops'
    """

    def __init__(
        self,
        space: MacroSpace,
        *,
        metric: Metric | None = None,
        pool: ArrayLike | None = None,
        seed: int = 0,
        costs: Sequence[str] | None = None,
        population: int = 20,
    ) -> None:
        super().__init__(space, metric=metric, pool=pool, seed=seed)
        if population < 4:
            raise ValueError(f"expected a population of 4 or more, got {population}")
        need("pymoo")
        self.costs = cost_objectives(space, costs)
        self.population = population

    def _propose(self, n: int) -> Codes:
        codes, values = self.told
        if len(codes) < self.population:
            return self.random(n)
        from archrank.search._nsga2 import offspring

        left = None if self.pool is None else self.remaining()
        if left is not None and len(left) <= n:
            return left
        objectives = minimised(self._all_values(codes, values), self._metrics)
        children = offspring(self.space, codes, objectives, n, self.population, self.rng, self.is_new, left)
        if len(children) < n:  # the survivors' surroundings are used up, so chance goes on
            children = np.concatenate([children, self.new_of(self.random(n), besides=children)])
        return children

    def front(self) -> ParetoFront:
        """The best trade-offs among the networks told so far.

        Raises
        ------
        ValueError
            Before any network succeeded.
        """
        self.best()
        codes, values = self.told
        return ParetoFront.of(codes, self._all_values(codes, values), self._metrics)

    @property
    def _metrics(self) -> list[Metric]:
        return [self.metric, *(c.metric for c in self.costs)]

    def _all_values(self, codes: Codes, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([values, *(cost(codes) for cost in self.costs)], axis=1)


def cost_objectives(space: MacroSpace, costs: Sequence[str] | None) -> list[Objective]:
    """Costs to keep low by name; for None the first of flops, params and others that the space knows, if any."""
    if costs is None:
        known = sorted(space.block_costs, key=lambda name: (name != "flops", name != "params", name))
        costs = known[:1]
    return [Objective.cost(space, name) for name in costs]
