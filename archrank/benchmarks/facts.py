"""What a table says of its own extent: how many networks of the space, with how many seeds each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archrank.ground_truth import GroundTruth
from archrank.spaces import MacroSpace


def seed_counts(table: GroundTruth, variant: str = "normal", metric: str | None = None) -> dict[int, int]:
    """How many networks have each number of seeds, by rising number of seeds; `metric` as in `values`."""
    n_seeds = np.isfinite(table.seed_values(metric, variant)).sum(axis=1)
    numbers, networks = np.unique(n_seeds[n_seeds > 0], return_counts=True)
    return {int(n): int(k) for n, k in zip(numbers, networks, strict=True)}


def seeds_text(counts: dict[int, int]) -> str:
    """Such as ``1 to 3 (1 for 400 networks, 3 for 60)``, or ``3`` where all have the same.

    Examples
    --------
    >>> seeds_text({1: 417, 2: 60}), seeds_text({3: 9}), seeds_text({})
    ('1 to 2 (1 for 417 networks, 2 for 60)', '3', '0')
    """
    if len(counts) < 2:
        return str(next(iter(counts), 0))
    first, *others = (f"{n} for {networks:,}" for n, networks in counts.items())
    return f"{min(counts)} to {max(counts)} ({', '.join([f'{first} networks', *others])})"


@dataclass(frozen=True)
class Coverage:
    """How much of its space a table holds.

    Parameters
    ----------
    networks, of
        Distinct networks trained in the normal way; distinct networks of the space, None where they are too many to
        list.
    in_order
        How many of them are the first of the random order that ``--archs N`` takes: a random sample.
    missing
        Keys of the first networks that the table lacks, where it says that it is complete.
    claimed
        Whether its provenance says ``complete``.
    """

    networks: int
    of: int | None
    in_order: int
    missing: tuple[str, ...]
    claimed: bool

    @property
    def holds(self) -> bool:
        """Whether the table is as complete as it says."""
        return self.networks == self.of or not self.claimed

    def __str__(self) -> str:
        if self.networks == self.of:
            return f"all {self.of:,} networks of the space"
        text = f"{self.networks:,} of {'too many to count' if self.of is None else f'{self.of:,}'} networks"
        if self.claimed:
            return f"{text}, but the table says that it is complete; missing are {', '.join(self.missing)}"
        if self.in_order == self.networks:
            return f"{text}, a random sample: the first of the order that --archs N takes"
        if 2 * self.in_order > self.networks:
            return f"{text}, {self.in_order:,} of them a random sample: the first of the order that --archs N takes"
        return f"{text}, chosen otherwise than by --archs N"


def coverage(table: GroundTruth) -> Coverage:
    """Compare the networks of a table with those of its space."""
    space, claimed = table.space, table.provenance.get("complete") is True
    stages = [f"stage_{s}" for s in range(space.stages)]
    rows = np.unique(table.lookup(table.frame.loc[table.frame["variant"] == "normal", stages].to_numpy()))
    ids, size = space.index(table.codes[rows]), distinct(space)
    missing: list[str] = []
    if claimed and size is not None:
        every = space.distinct_codes()
        missing = space.keys(every[~np.isin(space.index(every), ids)][:3]).tolist()
    return Coverage(len(rows), size, in_order(space, ids), tuple(missing), claimed)


def in_order(space: MacroSpace, ids: NDArray[np.int64]) -> int:
    """How many of distinct networks, by index, are the first of the random order that ``--archs N`` takes."""
    return int(np.cumprod(np.isin(space.index(space.sample(len(ids), seed=0)), ids)).sum())


def distinct(space: MacroSpace) -> int | None:
    """Number of distinct networks; None where twins would have to be counted in a space too large to list."""
    if not space.groups:
        return space.size
    try:
        return len(space.distinct_codes())
    except ValueError:
        return None
