"""What all search methods share: what was asked and told, twins, resuming."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.ground_truth import Metric
from archrank.spaces import Codes, MacroSpace


class SearchExhaustedError(ValueError):
    """There is no network left that was not asked for yet."""


class Search(ABC):
    """A method that asks for networks to train and is told their values.

    A subclass says in `_propose` what to train next; this class keeps the record. No network is
    asked for twice, isomorphic twins included, and a method knows nothing of a network but what it was told.

    Parameters
    ----------
    space
        Where to search.
    metric
        What is told: its direction decides what is better, its unit is that of the values. By default
        a metric where more is better.
    pool
        The only networks that may be asked for, ``(n, n_stages)``, such as those that a table holds;
        by default all of the space.
    seed
        Decides all that is left to chance.
    """

    def __init__(
        self, space: MacroSpace, *, metric: Metric | None = None, pool: ArrayLike | None = None, seed: int = 0
    ) -> None:
        self.space = space
        self.metric = Metric("score") if metric is None else metric
        self.seed = seed
        self.pool: Codes | None = None if pool is None else _distinct(space, pool)
        self._allowed = None if self.pool is None else frozenset(space.keys(self.pool).tolist())
        self.rng = np.random.default_rng(seed)
        self._asked: dict[str, None] = {}
        self._codes: Codes = np.empty((0, space.stages), dtype=np.int64)
        self._values: NDArray[np.float64] = np.empty(0)

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
        new = self.is_new(codes)
        if not new.all():
            raise AssertionError(f"{type(self).__name__} proposed a network that was asked for or is not in the pool")
        if not len(codes):
            raise SearchExhaustedError(f"all {len(self._asked)} networks of the search were asked for; none is left")
        self._asked.update(dict.fromkeys(self.space.keys(codes).tolist()))
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
        self._asked.update(dict.fromkeys(self.space.keys(rows).tolist()))
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
        keys = self.space.keys(codes).tolist()
        return np.array([k not in self._asked and (self._allowed is None or k in self._allowed) for k in keys], bool)

    def random(self, n: int) -> Codes:
        """Up to `n` new networks, uniformly; empty where none is left."""
        if self.pool is not None or self.space.size <= 2_000_000:
            left = self.remaining()
            return left[self.rng.permutation(len(left))[:n]]
        found = self.space.sample(n + len(self._asked), self.rng)
        return found[self.is_new(found)][:n]

    def remaining(self) -> Codes:
        """All networks that may still be asked for; only for a pool or a space that can be listed."""
        codes = self.space.distinct_codes() if self.pool is None else self.pool
        return codes[self.is_new(codes)]

    @property
    def told(self) -> tuple[Codes, NDArray[np.float64]]:
        """Networks whose training did not fail, in the order told, and their values in the metric's unit."""
        there = np.isfinite(self._values)
        return self._codes[there], self._values[there]

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
            For the state of another method.
        """
        if state["method"] != type(self).__name__:
            raise ValueError(f"this is the state of {state['method']}, expected {type(self).__name__}")
        self.seed = state["seed"]
        self.rng.bit_generator.state = state["rng"]
        self._asked = dict.fromkeys(state["asked"])
        self._codes = np.array(state["codes"], dtype=np.int64).reshape(-1, self.space.stages)
        self._values = np.array([np.nan if v is None else v for v in state["values"]], dtype=np.float64)


def _distinct(space: MacroSpace, codes: ArrayLike) -> Codes:
    """Canonical form, the first of each set of twins, in order."""
    canonical = space.canonical(codes)
    _, first = np.unique(space.keys(canonical), return_index=True)
    return canonical[np.sort(first)]
