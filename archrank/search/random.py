"""Random search: the baseline of every other method."""

from __future__ import annotations

from archrank.search.base import Search
from archrank.spaces import Codes


class RandomSearch(Search):
    """Networks of a space in random order, none twice, isomorphic twins included.

    Examples
    --------
    >>> from archrank.spaces import blox
    >>> search = RandomSearch(blox(stages=2), seed=0)
    >>> codes = search.ask(3)
    >>> search.tell(codes, [41.0, 45.5, 43.2])
    >>> search.best()[1]
    45.5
    """

    def _propose(self, n: int) -> Codes:
        return self.random(n)
