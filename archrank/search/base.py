"""What all search methods share: what was asked and told, twins, resuming."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.ground_truth import Metric
from archrank.spaces import Codes, MacroSpace

# Above this many architectures a space is sampled and not listed, unless a pool is given.
_LISTABLE = 2_000_000


class SearchExhaustedError(ValueError):
    """There is no network left that was not asked for yet."""


class Search(ABC):
    """A method that asks for networks to train and is told their values.

    A subclass says in `_propose` what to train next; this class keeps the record. No network is
    asked for twice, isomorphic twins included, and a method knows nothing of a network but what it was told.

    A subclass that leaves nothing to chance, so that every seed asks the same, sets ``deterministic = True``; studies
    then run it once.

    Parameters
    ----------
    space
        Where to search.
    metric
        What is told: its direction decides what is better, its unit is that of the values. By default
        a metric where more is better.
    pool
        The only networks that may be asked for, ``(n, n_stages)``, such as those that a table holds; kept
        canonical, without twins, in the order of `MacroSpace.index`. By default all of the space.
    seed
        Decides all that is left to chance.

    Raises
    ------
    ValueError
        For an empty pool, or one with networks that the space does not hold.
    """

    deterministic: ClassVar[bool] = False

    def __init__(
        self, space: MacroSpace, *, metric: Metric | None = None, pool: ArrayLike | None = None, seed: int = 0
    ) -> None:
        self.space = space
        self.metric = Metric("score") if metric is None else metric
        self.seed = seed
        self.pool: Codes | None = None
        if pool is not None:
            canonical = space.canonical(pool)
            self.pool = canonical[np.unique(space.index(canonical), return_index=True)[1]]
            if not len(self.pool):
                raise ValueError("the pool holds no network; give some, or no pool to search the whole space")
        self.rng = np.random.default_rng(seed)
        self._codes: Codes = np.empty((0, space.stages), dtype=np.int64)
        self._values: NDArray[np.float64] = np.empty(0)
        # A network is known by its place in the space, which is exact and quick to compare. Where all networks can be
        # listed, in the order of their places, a mask says which are left.
        self._asked: dict[int, None] = {}
        self._listed: Codes | None = self.pool
        if pool is None and space.size <= _LISTABLE:
            self._listed = space.distinct_codes()
        if self._listed is not None:
            self._places = space.index(self._listed)
            self._left = np.ones(len(self._places), dtype=bool)

    # -- ask and tell -------------------------------------------------------------------------

    def ask(self, n: int = 1) -> Codes:
        """`n` networks to train next, int64 ``(n, n_stages)``, canonical, none asked for before.

        Fewer than `n` where the space or pool ends.

        Raises
        ------
        SearchExhaustedError
            When every network was asked for.
        """
        if n < 1:
            raise ValueError(f"ask for 1 or more networks, got {n}")
        codes = _distinct(self.space, self._propose(n))[:n]
        if not self.is_new(codes).all():
            raise AssertionError(f"{type(self).__name__} proposed a network that was asked for or is not in the pool")
        if not len(codes):
            raise SearchExhaustedError(
                f"none of the networks that {type(self).__name__} may ask for is left, {len(self._asked)} were asked "
                "for; widen the pool, the space or the budgets"
            )
        self._note(codes)
        return codes

    def tell(self, codes: ArrayLike, values: ArrayLike) -> None:
        """What networks reached, in the metric's unit, ``(n,)``; NaN for one whose training failed.

        Networks that were never asked for, such as those trained earlier, may be told as well.

        Raises
        ------
        ValueError
            If there is not one value per network, or a value is infinite.
        """
        rows, told = self.space.canonical(codes), np.asarray(values, dtype=np.float64)
        if told.shape != (len(rows),):
            raise ValueError(f"expected one value for each of {len(rows)} networks, got shape {told.shape}")
        if np.isinf(told).any():
            raise ValueError(f"value {int(np.isinf(told).argmax())} is infinite; tell NaN for a failed training")
        self._note(rows)
        self._codes, self._values = np.concatenate([self._codes, rows]), np.concatenate([self._values, told])
        self._learn(rows, told)

    @abstractmethod
    def _propose(self, n: int) -> Codes:
        """Up to `n` new networks; empty when there is none."""

    def _learn(self, codes: Codes, values: NDArray[np.float64]) -> None:  # noqa: B027
        """Take in what was just told; by default a method reads `told` when it proposes."""

    # -- for subclasses -----------------------------------------------------------------------

    def is_new(self, codes: ArrayLike) -> NDArray[np.bool_]:
        """Which networks may be asked for, bool ``(n,)``: in the pool, and neither they nor a twin asked for yet."""
        places = self.space.index(self.space.canonical(codes))
        if self._listed is None:
            return np.array([place not in self._asked for place in places.tolist()], dtype=bool)
        at, there = self._find(places)
        return there & self._left[at]

    def new_of(self, codes: ArrayLike, besides: Codes) -> Codes:
        """Those of some networks that may be asked for, canonical and distinct, other than canonical `besides`."""
        new = _distinct(self.space, codes)
        new = new[self.is_new(new)]
        return new[~np.isin(self.space.index(new), self.space.index(besides))]

    def random(self, n: int) -> Codes:
        """Up to `n` new networks, uniformly; empty where none is left."""
        if self._listed is not None:
            left = self.remaining()
            return left[self.rng.permutation(len(left))[:n]]
        found = self.space.sample(n + len(self._asked), self.rng)
        return found[self.is_new(found)][:n]

    def remaining(self) -> Codes:
        """All networks that may still be asked for, in the order of `MacroSpace.index`.

        Raises
        ------
        ValueError
            For a space of more than two million architectures without a pool.
        """
        if self._listed is None:
            raise ValueError(f"space {self.space.name!r} is too large to list ({self.space.size:.2e}); give a pool")
        return self._listed[self._left]

    @property
    def uses_signatures(self) -> bool:
        """Whether block signatures guide it, which cost a distillation of all blocks."""
        return False

    @property
    def listable(self) -> bool:
        """Whether there is a pool, or the space is small enough for `remaining`."""
        return self._listed is not None

    def _find(self, places: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Rows of the listed networks at these places, and whether they are listed at all."""
        at = np.minimum(np.searchsorted(self._places, places), len(self._places) - 1)
        return at, np.asarray(self._places[at] == places, dtype=bool)

    def _note(self, codes: Codes) -> None:
        """Take down canonical networks as asked for."""
        places = self.space.index(codes)
        self._asked.update(dict.fromkeys(places.tolist()))
        if self._listed is not None:
            at, there = self._find(places)
            self._left[at[there]] = False

    @property
    def told(self) -> tuple[Codes, NDArray[np.float64]]:
        """Networks whose training did not fail, in the order told, and their values in the metric's unit."""
        there = np.isfinite(self._values)
        return self._codes[there], self._values[there]

    @property
    def history(self) -> tuple[Codes, NDArray[np.float64]]:
        """All networks in the order told, and their values; NaN for one whose training failed."""
        return self._codes, self._values

    # -- results and resuming -----------------------------------------------------------------

    @property
    def trained(self) -> int:
        """Number of networks told, failed ones included: what a budget counts."""
        return len(self._values)

    def best(self) -> tuple[Codes, float]:
        """The best network told so far, ``(n_stages,)``, and its value.

        Raises
        ------
        ValueError
            Before any network succeeded.
        """
        codes, values = self.told
        if not len(values):
            raise ValueError("no network has a value yet; tell some first")
        at = int(np.argmax(self.metric.sign * values))
        return codes[at], float(values[at])

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, JSON-ready. A subclass adds its own keys to those of this class."""
        return {
            "method": type(self).__name__,
            "seed": self.seed,
            "rng": self.rng.bit_generator.state,
            "asked": list(self._asked),
            "codes": self._codes.tolist(),
            "values": [float(v) if np.isfinite(v) else None for v in self._values],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a search with the same space, pool and parameters.

        Raises
        ------
        ValueError
            For the state of another method, or networks that the space does not hold.
        """
        if state["method"] != type(self).__name__:
            raise ValueError(f"this is the state of {state['method']}, expected {type(self).__name__}")
        codes = np.array(state["codes"], dtype=np.int64)
        self._codes = self.space.validate(codes) if len(codes) else self._codes[:0]
        self._values = np.array([np.nan if v is None else v for v in state["values"]], dtype=np.float64)
        self.seed = state["seed"]
        self.rng.bit_generator.state = state["rng"]
        self._asked = {}
        if self._listed is not None:
            self._left[:] = True
        if state["asked"]:
            self._note(self.space.from_index(np.array(state["asked"], dtype=object)))


def _distinct(space: MacroSpace, codes: ArrayLike) -> Codes:
    """Canonical form, the first of each set of twins, in order."""
    canonical = space.canonical(codes)
    _, first = np.unique(space.index(canonical), return_index=True)
    return canonical[np.sort(first)]
