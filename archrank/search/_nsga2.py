"""NSGA-II of pymoo over networks: how they are drawn, crossed, mutated and told apart. Needs ``archrank[search]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.duplicate import DefaultDuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.core.sampling import Sampling
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.optimize import minimize

from archrank.spaces import Codes, MacroSpace

Allowed = Callable[[Codes], NDArray[np.bool_]]


class _Blocks(Problem):
    """Networks of a space, all objectives to be minimised; every population is evaluated in one call."""

    def __init__(self, space: MacroSpace, n_objectives: int, evaluate: Callable[[Codes], Any]) -> None:
        super().__init__(space.stages, n_objectives, xl=0, xu=np.array(space.n_blocks) - 1, vtype=int)
        self.space = space
        self.minimised = evaluate

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        out["F"] = self.minimised(np.asarray(X, dtype=np.int64))


class _Networks(Sampling):
    """Distinct networks, uniformly."""

    def __init__(self, space: MacroSpace, size: int) -> None:
        super().__init__()
        self.space, self.size = space, size

    def _do(self, problem: Any, n_samples: int, *args: Any, random_state: Any = None, **kwargs: Any) -> Codes:
        return self.space.sample(min(n_samples, self.size), random_state)


class _OtherBlock(Mutation):
    """Each stage gets another of its blocks with probability 1 / stages: ids are categories, not numbers."""

    def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
        n_blocks = np.array(problem.space.n_blocks)
        step = random_state.integers(1, np.maximum(n_blocks, 2), size=X.shape)
        change = random_state.random(X.shape) < 1 / problem.space.stages
        codes = np.asarray(X, dtype=np.int64)
        return np.where(change, (codes + step) % n_blocks, codes)


class _Canonical(Repair):
    """One representative of each class of isomorphic networks, so that twins are equal."""

    def _do(self, problem: Any, X: Any, **kwargs: Any) -> Any:
        return problem.space.canonical(np.asarray(X, dtype=np.int64))


class _Nearest(Repair):
    """The network of a pool that differs in the fewest stages, ties at random."""

    def __init__(self, pool: Codes) -> None:
        super().__init__()
        self.pool = pool

    def _do(self, problem: Any, X: Any, random_state: Any = None, **kwargs: Any) -> Any:
        pool = self.pool[random_state.permutation(len(self.pool))]
        X = problem.space.canonical(np.asarray(X, dtype=np.int64))
        distance = np.zeros((len(X), len(pool)), dtype=np.int16)
        for stage in range(X.shape[1]):  # by stage, for an array of all pairs and stages would be large
            distance += X[:, stage, None] != pool[:, stage]
        return pool[distance.argmin(axis=1)]


class _NewAndAllowed(DefaultDuplicateElimination):
    """Drops networks that are in the population already or may not be proposed."""

    def __init__(self, allowed: Allowed | None) -> None:
        super().__init__()
        self.allowed = allowed

    def _do(self, pop: Any, other: Any, is_duplicate: Any) -> Any:
        drop = super()._do(pop, other, is_duplicate)
        if other is None and self.allowed is not None:
            drop |= ~self.allowed(np.asarray(pop.get("X"), dtype=np.int64))
        return drop


def _algorithm(space: MacroSpace, size: int, population: int, allowed: Allowed | None, pool: Codes | None) -> Any:
    return NSGA2(
        population,
        sampling=_Networks(space, size),
        crossover=UniformCrossover(),
        mutation=_OtherBlock(),
        repair=_Canonical() if pool is None else _Nearest(pool),
        eliminate_duplicates=_NewAndAllowed(allowed),
    )


def evolve(
    space: MacroSpace,
    n_objectives: int,
    evaluate: Callable[[Codes], NDArray[np.float64]],
    population: int,
    generations: int,
    seed: int,
    allowed: Allowed | None,
) -> None:
    """Run NSGA-II; `evaluate` sees every network that it looks at, ``(n, n_stages)`` at a time."""
    # A small space may have fewer networks than the population.
    size = len(space.distinct_codes()) if space.size <= 2_000_000 else population
    algorithm = _algorithm(space, size, population, allowed, None)
    minimize(_Blocks(space, n_objectives, evaluate), algorithm, ("n_gen", generations), seed=seed)


def offspring(
    space: MacroSpace,
    codes: Codes,
    minimised: NDArray[np.float64],
    n: int,
    population: int,
    rng: np.random.Generator,
    allowed: Allowed,
    pool: Codes | None,
) -> Codes:
    """Up to `n` children of the `population` survivors among networks with known objectives ``(n, n_objectives)``."""
    algorithm = _algorithm(space, 0, population, allowed, pool)
    algorithm.random_state = rng
    problem = _Blocks(space, minimised.shape[1], lambda codes: None)
    told = Population.new(X=codes, F=minimised)
    parents = algorithm.survival.do(problem, told, n_survive=population, random_state=rng, algorithm=algorithm)
    children = algorithm.mating.do(problem, parents, n, algorithm=algorithm, random_state=rng)
    return np.asarray(children.get("X"), dtype=np.int64).reshape(-1, space.stages)
