"""Blockwise search: signatures of single blocks say which networks to train (DONNA, HANT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.encodings.cost import check_costs
from archrank.ground_truth import Metric
from archrank.predictors.context import Context
from archrank.predictors.registry import build
from archrank.search.base import Search
from archrank.search.nsga2 import cost_objectives, pareto_search
from archrank.search.pareto import Objective, ParetoFront, need
from archrank.spaces import Codes, MacroSpace

if TYPE_CHECKING:
    from archrank.encodings.signature import SignatureTables


class _BlockwiseSearch(Search):
    """A search with a predictor over block signatures."""

    def __init__(
        self,
        space: MacroSpace,
        signatures: SignatureTables | None,
        predictor: str,
        columns: Sequence[str] | None,
        teacher: str | None,
        **shared: Any,
    ) -> None:
        super().__init__(space, **shared)
        if signatures is None:
            raise ValueError(
                f"{type(self).__name__} needs block signatures and there are none; measure them with "
                "`archrank distill`, or search with another method"
            )
        choices = {"columns": columns, "teacher": teacher}
        self.predictor = build(predictor, Context(space, self.metric, signatures, choices=choices), random_state=0)
        self.predictor[0].transform(np.zeros((1, space.stages), dtype=np.int64))  # refuses incomplete signatures


class DonnaSearch(_BlockwiseSearch):
    """DONNA (Moons et al., ICCV 2021): a few networks, a predictor over signatures, and the front that it sees.

    First `initial` networks at random. From then on, whenever networks are asked for, a predictor is fitted
    to the signatures and values of all told so far, NSGA-II seeks the front of prediction and costs among the
    networks not asked for yet, and its members are proposed, the best prediction first. To train a whole front,
    as the paper does, ask for many at once; asked for one at a time, this is a search for the best network. Networks
    told from elsewhere, such as fine-tuned ones of the same metric, count towards `initial`.

    Parameters
    ----------
    space, metric, pool, seed
        See `Search`. A pool is listed, so its front is exact and takes no NSGA-II.
    signatures
        Block signatures, such as those of a `GroundTruth`.
    predictor
        Name of a predictor as `archrank.make_predictor` takes it.
    columns, teacher
        Which signature columns (default: their default column), and of which teacher.
    costs
        Names of costs of the space to keep low; by default the first of flops and params that it knows.
    initial
        Networks trained before the predictor is fitted first.
    population, generations
        Of NSGA-II.

    Raises
    ------
    ValueError
        Without signatures of every block, or where the space knows no cost.
    """

    def __init__(
        self,
        space: MacroSpace,
        signatures: SignatureTables | None,
        *,
        metric: Metric | None = None,
        pool: ArrayLike | None = None,
        seed: int = 0,
        predictor: str = "donna",
        columns: Sequence[str] | None = None,
        teacher: str | None = None,
        costs: Sequence[str] | None = None,
        initial: int = 10,
        population: int = 100,
        generations: int = 50,
    ) -> None:
        super().__init__(space, signatures, predictor, columns, teacher, metric=metric, pool=pool, seed=seed)
        if initial < 1:
            raise ValueError(f"expected initial >= 1, got {initial}")
        need("pymoo")
        self.costs = cost_objectives(space, costs)
        check_costs(space, [c.metric.name for c in self.costs])
        self.initial, self.population, self.generations = initial, population, generations

    def _propose(self, n: int) -> Codes:
        if len(self.told[1]) < self.initial:
            return self.random(n)
        self.predictor.fit(*self.told)
        chosen = self._front(np.empty((0, self.space.stages), dtype=np.int64))[:n]
        # Where more are asked for than a front has, the front behind it is next.
        while len(chosen) < n and len(front := self._front(chosen)):
            chosen = np.concatenate([chosen, front])[:n]
        return chosen

    def _front(self, without: Codes) -> Codes:
        """The predicted front of new networks other than some, the best prediction first."""
        taken = set(self.space.keys(without).tolist())

        def allowed(codes: Codes) -> NDArray[np.bool_]:
            return self.is_new(codes) & [key not in taken for key in self.space.keys(codes).tolist()]

        objectives = [Objective.predicted(self.metric, self.predictor), *self.costs]
        if self.pool is None:
            options = {"population": self.population, "generations": self.generations}
            seed = int(self.rng.integers(2**31))
            return pareto_search(self.space, objectives, allowed=allowed, seed=seed, **options).codes
        left = self.pool[allowed(self.pool)]
        if not len(left):
            return left
        values = np.stack([objective(left) for objective in objectives], axis=1)
        return ParetoFront.of(left, values, [o.metric for o in objectives]).codes


class HantSearch(_BlockwiseSearch):
    """HANT (Molchanov et al., ECCV 2022): networks in the order of their sum of signatures, under budgets.

    No training is needed for the order, and what is told does not change it.

    Parameters
    ----------
    space, metric, pool, seed
        See `Search`; nothing is left to chance.
    signatures
        Block signatures, such as those of a `GroundTruth`.
    columns, teacher
        Which signature columns (default: their default column), and of which teacher.
    budgets
        Upper limits, ``{cost of the space: value}``; networks beyond one are not proposed.

    Raises
    ------
    ValueError
        Without signatures of every block, for unknown costs, or where no network is within the budgets.
    """

    def __init__(
        self,
        space: MacroSpace,
        signatures: SignatureTables | None,
        *,
        metric: Metric | None = None,
        pool: ArrayLike | None = None,
        seed: int = 0,
        columns: Sequence[str] | None = None,
        teacher: str | None = None,
        budgets: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(space, signatures, "hant", columns, teacher, metric=metric, pool=pool, seed=seed)
        codes = space.distinct_codes() if self.pool is None else self.pool
        for cost, limit in (budgets or {}).items():
            check_costs(space, [cost])
            codes = codes[space.cost(cost, codes) <= limit]
        if not len(codes):
            raise ValueError(f"no network is within the budgets {dict(budgets or {})}; raise one of them")
        score = self.metric.sign * np.asarray(self.predictor.predict(codes))
        self._ranked: Codes = codes[np.argsort(-score, kind="stable")]

    def _propose(self, n: int) -> Codes:
        found, step = [], max(1000, 2 * n)
        for start in range(0, len(self._ranked), step):
            some = self._ranked[start : start + step]
            found.append(some[self.is_new(some)])
            if sum(map(len, found)) >= n:
                break
        return np.concatenate(found)[:n]
