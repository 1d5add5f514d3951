"""Random search: the baseline of every other method."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.spaces import Codes, MacroSpace


class RandomSearch:
    """Networks of a space in random order, none twice, isomorphic twins included.

    Parameters
    ----------
    space
        Where to search.
    seed
        Decides the order.

    Examples
    --------
    >>> from archrank.spaces import blox
    >>> search = RandomSearch(blox(stages=2), seed=0)
    >>> codes = search.ask(3)
    >>> search.tell(codes, [41.0, 45.5, 43.2])
    >>> search.best()[1]
    45.5
    """

    def __init__(self, space: MacroSpace, seed: int = 0) -> None:
        self.space = space
        self.seed = seed
        self._asked = 0
        self._codes: Codes = np.empty((0, space.stages), dtype=np.int64)
        self._values: NDArray[np.float64] = np.empty(0)

    def ask(self, n: int = 1) -> Codes:
        """The next `n` networks, int64 ``(n, n_stages)``.

        Raises
        ------
        ValueError
            When the space has no more networks.
        """
        # A smaller sample of one seed is a prefix of a larger one.
        codes = self.space.sample(self._asked + n, self.seed)[self._asked :]
        self._asked += n
        return codes

    def tell(self, codes: ArrayLike, values: ArrayLike) -> None:
        """What networks reached, higher is better, ``(n,)``; NaN for one that failed.

        Raises
        ------
        ValueError
            If there is not one value per network.
        """
        rows, told = self.space.canonical(codes), np.asarray(values, dtype=np.float64)
        if told.shape != (len(rows),):
            raise ValueError(f"expected one value for each of {len(rows)} networks, got shape {told.shape}")
        self._codes, self._values = np.concatenate([self._codes, rows]), np.concatenate([self._values, told])

    def best(self) -> tuple[Codes, float]:
        """The best network told so far, ``(n_stages,)``, and its value.

        Raises
        ------
        ValueError
            Before any network succeeded.
        """
        if not np.isfinite(self._values).any():
            raise ValueError("no network has a value yet; tell some first")
        at = int(np.nanargmax(self._values))
        return self._codes[at], float(self._values[at])

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, JSON-ready."""
        values = [float(v) if np.isfinite(v) else None for v in self._values]
        return {"seed": self.seed, "asked": self._asked, "codes": self._codes.tolist(), "values": values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.seed, self._asked = state["seed"], state["asked"]
        self._codes = np.array(state["codes"], dtype=np.int64).reshape(-1, self.space.stages)
        self._values = np.array([np.nan if v is None else v for v in state["values"]], dtype=np.float64)
