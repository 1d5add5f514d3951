"""Regularised evolution: the child of a good young network, while the oldest die."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.ground_truth import Metric
from archrank.search.base import Search
from archrank.spaces import Codes, MacroSpace


class EvolutionSearch(Search):
    """Ageing evolution (Real et al., AAAI 2019).

    The population are the last `population` networks that were told a value; failures never enter it. A child is the
    best of `tournament` random members with one stage changed, to a network that was not asked for yet. Where there is
    none, because the parent's neighbours were all asked for or the pool is sparse, it is one of the nearest networks
    left, in number of stages that differ.

    Parameters
    ----------
    space, metric, pool, seed
        See `Search`.
    population
        Size of the population. So many networks are drawn at random first.
    tournament
        Members that compete for being the parent, drawn without replacement; many of them make the search greedy.
    crossover
        Probability that a second tournament gives another parent, from which each stage is taken with
        probability one half before one is changed.

    Examples
    --------
    >>> from archrank.search import run
    >>> from archrank.spaces import blox
    >>> space = blox(stages=2)
    >>> history = run(EvolutionSearch(space, seed=0), space.params, budget=200)
    >>> bool(history.best[-1] == space.params(space.all_codes()).max())
    True
    """

    def __init__(
        self,
        space: MacroSpace,
        *,
        metric: Metric | None = None,
        pool: ArrayLike | None = None,
        seed: int = 0,
        population: int = 20,
        tournament: int = 10,
        crossover: float = 0.0,
    ) -> None:
        super().__init__(space, metric=metric, pool=pool, seed=seed)
        if not 1 <= tournament <= population:
            raise ValueError(f"expected 1 <= tournament <= population, got {tournament} and {population}")
        if not 0 <= crossover <= 1:
            raise ValueError(f"expected a probability of crossover from 0 to 1, got {crossover}")
        self.population, self.tournament, self.crossover = population, tournament, crossover

    def _propose(self, n: int) -> Codes:
        codes, values = self.told
        if len(codes) < self.population:
            return self.random(n)
        codes, fitness = codes[-self.population :], self.metric.sign * values[-self.population :]
        children = codes[:0]
        for _ in range(n):
            child = self._child(codes, fitness, children)
            children = np.concatenate([children, child])
        return children

    def _child(self, codes: Codes, fitness: NDArray[np.float64], besides: Codes) -> Codes:
        """One new network ``(1, n_stages)``; none where all were asked for."""
        parent = self._winner(codes, fitness)
        if self.rng.random() < self.crossover:
            take = self.rng.random(self.space.stages) < 0.5
            parent = np.where(take, self._winner(codes, fitness), parent)
        new = self.new_of(self.space.neighbours(parent[None])[0], besides)
        if not len(new):
            left = self.new_of(self.remaining() if self.listable else self.random(1000), besides)
            distance = (left != parent).sum(axis=1)
            new = left[distance == distance.min(initial=self.space.stages)]
        return new[self.rng.integers(len(new), size=min(1, len(new)))]

    def _winner(self, codes: Codes, fitness: NDArray[np.float64]) -> Codes:
        members = self.rng.permutation(len(codes))[: self.tournament]
        return np.asarray(codes[members[np.argmax(fitness[members])]])
