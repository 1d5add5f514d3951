"""Networks under budgets as an integer program, solved by HiGHS through `scipy.optimize.milp`.

Each block of each stage is a 0-1 variable, and each stage takes one block. Limits on additive costs are rows, as is
the rule that keeps one of each set of twins. A score over pairs of blocks adds variables for products (the
reformulation of Adams and Sherali, Management Science 32(10), 1986): for each block b of stage s, the products of b
with the blocks of stage t add up to the variable of b. They need not be whole numbers: that follows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, milp
from scipy.sparse import block_array, coo_array, csr_array, eye_array, hstack, kron

from archrank.search.block_sums import BlockSum, Budget, within
from archrank.spaces import Codes, MacroSpace

# HiGHS stops at an absolute gap of 1e-6, so scores are stretched to this range: a proof to 1e-10 of it.
_RANGE = 1e4
# It keeps rows to 1e-6, so the largest coefficient of a budget is this: limits are kept to 1e-9 of it.
_COEFFICIENT = 1e3

Pairs = Mapping[tuple[int, int], NDArray[np.float64]]


class Row(NamedTuple):
    """Rows of the program: ``lower <= A x <= upper``."""

    A: Any  # sparse (n_rows, n_variables)
    lower: float
    upper: float


class InfeasibleBudgetsError(ValueError):
    """No network keeps all budgets; the message says which of them is out of reach."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What one solve found.

    Attributes
    ----------
    code
        The best network found ``(n_stages,)``, None where the time was over before there was one.
    bound
        No network scores less, in the unit of the score.
    optimal
        Whether `code` is proven to be the best.
    """

    code: Codes | None
    bound: float
    optimal: bool


def forced_skips(space: MacroSpace) -> list[int | None]:
    """Per stage the id of the skip block, where it may only be followed by a skip in canonical codes; else None."""
    out: list[int | None] = [None] * space.stages
    if space.skip is not None:
        for start, stop in space.groups:
            for stage in range(start + 1, stop - 1):
                out[stage] = space.blocks[stage].index(space.skip)
    return out


class Program:
    """The networks of a space, one of each set of twins, that keep budgets."""

    def __init__(self, space: MacroSpace, budgets: Sequence[Budget], pairs: Pairs | None = None) -> None:
        self.space, self.budgets, self.pairs = space, list(budgets), dict(pairs or {})
        self._start = np.concatenate([[0], np.cumsum(space.n_blocks)])
        self._n = int(self._start[-1])
        self._rows = [self._one_block_per_stage(), *self._twins(), *map(self._budget, self.budgets), *self._products()]

    def minimise(self, score: BlockSum, seconds: float = np.inf, cuts: Sequence[Row] = ()) -> Answer:
        """The network with the least score, the products of `pairs` included.

        Raises
        ------
        InfeasibleBudgetsError
            Without text, where there is none.
        """
        deadline = time.monotonic() + seconds
        # One block is taken per stage, so a shift of a stage's values changes nothing but the digits that are left.
        tables = [t - t.min() for t in map(np.asarray, score.tables)]
        weights = np.concatenate([*tables, *(m.ravel() for m in self.pairs.values())])
        shift = score.fixed + sum(float(np.min(t)) for t in score.tables)
        spread = sum(float(np.ptp(t)) for t in [*tables, *self.pairs.values()])
        scale = _RANGE / spread if spread > 0 else 1.0
        whole = np.zeros(len(weights), dtype=np.int64)
        whole[: self._n] = 1
        extra = list(cuts)
        while True:
            left = deadline - time.monotonic()
            rows = [*self._rows, *map(self._widened, extra)]
            found = milp(
                weights * scale,
                integrality=whole,
                bounds=Bounds(0, 1),
                constraints=rows,
                options={"mip_rel_gap": 0.0, "time_limit": max(left, 0.01)},
            )
            if found.status == 2:
                raise InfeasibleBudgetsError
            if found.status not in (0, 1):
                raise RuntimeError(f"the solver gave up: {found.message}")
            # Without a relaxation solved in time, what each term can give at the least is a bound still.
            least = sum(float(m.min()) for m in self.pairs.values())
            bound = shift + max(least, -np.inf if found.mip_dual_bound is None else found.mip_dual_bound / scale)
            if found.x is None:
                return Answer(None, bound, False)
            ends = zip(self._start[:-1], self._start[1:], strict=True)
            code = np.array([int(np.argmax(found.x[a:b])) for a, b in ends], dtype=np.int64)
            if within(code[None], self.budgets)[0]:
                return Answer(code, bound, found.status == 0)
            # What oversteps a budget by less than the solver's tolerance is cut off by name.
            extra.append(self.cut(code))

    def cut(self, code: Codes, distance: int = 1) -> Row:
        """The row that keeps `distance` or more stages different from a network."""
        row = np.zeros((1, self._n))
        row[0, self._start[:-1] + code] = 1
        return Row(csr_array(row), -np.inf, self.space.stages - distance)

    def explain(self) -> InfeasibleBudgetsError:
        """Why no network keeps the budgets."""
        where, limits = f"no network of space {self.space.name!r}", ", ".join(map(str, self.budgets))
        alone = Program(self.space, [])
        for b in self.budgets:
            for sign, limit, most in ((1, b.upper, "least"), (-1, b.lower, "most")):
                if not np.isfinite(limit):
                    continue
                signed = b.cost if sign == 1 else b.cost.negative()
                reached = float(b.cost(self._code(alone.minimise(signed))[None])[0])
                if sign * reached > sign * limit:
                    word = "raise" if sign == 1 else "lower"
                    return InfeasibleBudgetsError(
                        f"{where} keeps {b}: the {most} {b.name} of any is {reached:,.10g}; {word} the limit"
                    )
        text = f"{where} keeps {limits}, though each limit alone can be kept; widen one of them"
        for i, b in enumerate(self.budgets):
            others = self.budgets[:i] + self.budgets[i + 1 :]
            try:
                least = self._code(Program(self.space, others).minimise(b.cost))
            except InfeasibleBudgetsError:
                continue
            return InfeasibleBudgetsError(
                f"{text}: with the others kept, the least {b.name} is {float(b.cost(least[None])[0]):,.10g}"
            )
        return InfeasibleBudgetsError(text)

    # -- rows ---------------------------------------------------------------------------------

    def _one_block_per_stage(self) -> Row:
        stage = np.repeat(np.arange(self.space.stages), self.space.n_blocks)
        rows = csr_array((np.ones(self._n), (stage, np.arange(self._n))))
        return self._widened(Row(rows, 1, 1))

    def _twins(self) -> list[Row]:
        places = [(s, b) for s, b in enumerate(forced_skips(self.space)) if b is not None]
        if not places:
            return []
        here = np.array([self._start[s] + b for s, b in places])
        after = np.array([self._start[s + 1] + b for s, b in places])
        n = np.arange(len(places))
        values = np.repeat([1.0, -1.0], len(n))
        rows = coo_array((values, (np.tile(n, 2), np.concatenate([here, after]))), shape=(len(n), self._n))
        return [self._widened(Row(rows.tocsr(), -np.inf, 0))]

    def _budget(self, budget: Budget) -> Row:
        row = np.concatenate(budget.cost.tables)
        limits = np.array([budget.lower, budget.upper]) - budget.cost.fixed
        if float(budget.cost.fixed).is_integer() and (row == np.rint(row)).all():
            # Half way between two possible sums the solver's tolerance is out of play.
            limits = np.array([np.ceil(limits[0]) - 0.5, np.floor(limits[1]) + 0.5])
        scale = _COEFFICIENT / (float(np.abs(row).max()) or 1.0)
        return self._widened(Row(csr_array(row[None] * scale), limits[0] * scale, limits[1] * scale))

    def _products(self) -> list[Row]:
        if not self.pairs:
            return []
        singles, products = [], []
        for s, t in self.pairs:
            n, m = self.space.n_blocks[s], self.space.n_blocks[t]
            for stage, size, sums in (
                (s, n, kron(eye_array(n), np.ones((1, m)))),
                (t, m, kron(np.ones((1, n)), eye_array(m))),
            ):
                columns = self._start[stage] + np.arange(size)
                singles.append(coo_array((-np.ones(size), (np.arange(size), columns)), shape=(size, self._n)))
                products.append(sums)
        # Each pair has its own columns, so the products lie on a diagonal of blocks, two row sets to a block.
        both = [block_array([[products[i]], [products[i + 1]]]) for i in range(0, len(products), 2)]
        diagonal = block_array([[b if i == j else None for j in range(len(both))] for i, b in enumerate(both)])
        rows = hstack([block_array([[x] for x in singles]), diagonal], format="csr")
        return [Row(rows, 0, 0)]

    def _widened(self, row: Row) -> Row:
        """A row on blocks with zeros for the products."""
        more = sum(m.size for m in self.pairs.values())
        if not more or row.A.shape[1] != self._n:
            return row
        return Row(hstack([row.A, csr_array((row.A.shape[0], more))], format="csr"), row.lower, row.upper)

    @staticmethod
    def _code(answer: Answer) -> Codes:
        if answer.code is None:
            raise RuntimeError("the solver stopped without a network and without a time limit")
        return answer.code
