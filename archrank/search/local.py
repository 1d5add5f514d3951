"""Local search: train the neighbours of the best network, move to whatever is better, start anew in a dead end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from archrank.ground_truth import Metric
from archrank.search.base import Search
from archrank.spaces import Codes, MacroSpace


class LocalSearch(Search):
    """Hill climbing with restarts (White et al., UAI 2021), moving at the first improvement.

    Proposes in random order the networks that differ in one stage from the best network of the present climb. A
    better one takes its place at once. When all neighbours were asked for, the next climb begins with `n_init` random
    networks. A batch that is larger than what is left of a neighbourhood begins the next climb as well.

    Parameters
    ----------
    space, metric, pool, seed
        See `Search`.
    n_init
        Random networks at the beginning of a climb, which goes on from the best of them.

    Examples
    --------
    >>> from archrank.search import run
    >>> from archrank.spaces import blox
    >>> space = blox(stages=2)
    >>> history = run(LocalSearch(space, seed=0), space.params, budget=200)
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
        n_init: int = 5,
    ) -> None:
        super().__init__(space, metric=metric, pool=pool, seed=seed)
        if n_init < 1:
            raise ValueError(f"expected n_init >= 1, got {n_init}")
        self.n_init = n_init
        self._start = 0  # position in the history at which the present climb began

    def _propose(self, n: int) -> Codes:
        # Failed networks count: a climb that begins with failures must not wait for ever.
        begun = self.trained - self._start >= self.n_init
        near = self._neighbourhood() if begun else self._codes[:0]
        near = near[self.rng.permutation(len(near))[:n]]
        if begun and len(near) < n:
            self._start = self.trained
        return np.concatenate([near, self.random(n)]) if len(near) < n else near

    def _neighbourhood(self) -> Codes:
        """New neighbours of the best network of this climb."""
        codes, values = self._codes[self._start :], self._values[self._start :]
        if np.isnan(values).all():
            return codes[:0]
        best = codes[np.nanargmax(self.metric.sign * values)]
        return self.new_of(self.space.neighbours(best[None])[0], besides=codes[:0])

    def state_dict(self) -> dict[str, Any]:
        """See `Search.state_dict`."""
        return super().state_dict() | {"start": self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Search.load_state_dict`."""
        super().load_state_dict(state)
        self._start = state["start"]
