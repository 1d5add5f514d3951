"""Blockwise search: signatures of single blocks say which networks to train (DONNA, HANT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.ground_truth import Metric
from archrank.predictors.context import Context
from archrank.predictors.registry import build
from archrank.search.base import Search
from archrank.search.block_sums import BlockSum, make_budgets, within
from archrank.search.exact import exact_search
from archrank.search.nsga2 import cost_objectives, pareto_search
from archrank.search.pareto import Objective, minimised, need
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

    @property
    def uses_signatures(self) -> bool:
        """See `Search.uses_signatures`."""
        return True


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
        See `Search`. Where all networks can be listed, the front is exact and takes no NSGA-II.
    signatures
        Block signatures, such as those of a `GroundTruth`.
    predictor
        Name of a predictor as `archrank.make_predictor` takes it.
    columns, teacher
        Which signature columns (default: their default column), and of which teacher.
    costs
        Names of costs of the space to keep low; by default the first of flops and params that it knows. Without
        any the front is the best prediction.
    initial
        Networks trained before the predictor is fitted first.
    population, generations
        Of NSGA-II.

    Raises
    ------
    ValueError
        Without signatures of every block, or for a cost that the space does not know.
    """

    def __init__(
        self,
        space: MacroSpace,
        signatures: SignatureTables | None = None,
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
        self.initial, self.population, self.generations = initial, population, generations

    def _propose(self, n: int) -> Codes:
        if len(self.told[1]) < self.initial:
            return self.random(n)
        self.predictor.fit(*self.told)
        objectives = [Objective.predicted(self.metric, self.predictor), *self.costs]
        return self._listed_fronts(objectives)[:n] if self.listable else self._evolved_fronts(objectives, n)

    def _listed_fronts(self, objectives: Sequence[Objective]) -> Codes:
        """All networks that are left: the front, the front of the others, and so on, in each the best first."""
        left = self.remaining()
        if not len(left):
            return left
        values = np.stack([objective(left) for objective in objectives], axis=1)
        low = minimised(values, [o.metric for o in objectives])
        return left[np.lexsort([low[:, 0], need("moocore").pareto_rank(low)])]

    def _evolved_fronts(self, objectives: Sequence[Objective], n: int) -> Codes:
        """`n` networks of the front that NSGA-II finds, and of the front of the others where it has fewer."""
        found: Codes = np.empty((0, self.space.stages), dtype=np.int64)

        def allowed(codes: Codes) -> NDArray[np.bool_]:
            return self.is_new(codes) & ~np.isin(self.space.index(codes), self.space.index(found))

        while len(found) < n:
            front = pareto_search(
                self.space,
                objectives,
                population=self.population,
                generations=self.generations,
                allowed=allowed,
                seed=int(self.rng.integers(2**31)),
            )
            found = np.concatenate([found, front.codes])
        return found[:n]


class HantSearch(_BlockwiseSearch):
    """HANT (Molchanov et al., ECCV 2022): networks in the order of their sum of signatures, under budgets.

    The order is that of `archrank.search.exact.exact_search`, so that the space may be of any size. It needs no
    training, and what is told does not change it.

    Parameters
    ----------
    space, metric, pool, seed
        See `Search`; nothing is left to chance.
    signatures
        Block signatures, such as those of a `GroundTruth`.
    columns, teacher
        Which signature columns (default: their default column), and of which teacher.
    budgets, costs
        Limits on costs, and costs besides those of the space, as `exact_search` takes them.

    Raises
    ------
    ValueError
        Without signatures of every block, for unknown costs, or where no network keeps the budgets.
    """

    deterministic = True

    def __init__(
        self,
        space: MacroSpace,
        signatures: SignatureTables | None = None,
        *,
        metric: Metric | None = None,
        pool: ArrayLike | None = None,
        seed: int = 0,
        columns: Sequence[str] | None = None,
        teacher: str | None = None,
        budgets: Mapping[str, float | tuple[float, float]] | None = None,
        costs: Mapping[str, BlockSum | Sequence[ArrayLike]] | None = None,
    ) -> None:
        super().__init__(space, signatures, "hant", columns, teacher, metric=metric, pool=pool, seed=seed)
        self.score = self._score()
        self.budgets, self.costs = budgets, costs
        exact_search(space, self.score, budgets, costs=costs)  # says so at once where no network keeps the budgets
        self._ranked: Codes | None = None
        if self.pool is not None:
            kept = self.pool[within(self.pool, make_budgets(space, budgets, costs))]
            self._ranked = kept[np.argsort(-self.metric.sign * self.score(kept), kind="stable")]

    def _score(self) -> BlockSum:
        """The weighted signatures per block, whose sum the predictor gives."""
        encoding = self.predictor[0]
        tables = [encoding.tables(column) for column in encoding.column_names()]
        weights = np.reshape(self.predictor[-1].weights, (len(tables), self.space.stages))
        return BlockSum(
            [sum(w[s] * t[s] for w, t in zip(weights, tables, strict=True)) for s in range(len(weights[0]))]
        )

    def _propose(self, n: int) -> Codes:
        if self._ranked is not None:
            return self._ranked[self.is_new(self._ranked)][:n]
        # Of so many networks at least n are new, unless the space ends.
        found = exact_search(
            self.space,
            self.score,
            self.budgets,
            costs=self.costs,
            direction=self.metric.direction,
            top=len(self._asked) + n,
        )
        return found.codes[self.is_new(found.codes)][:n]
