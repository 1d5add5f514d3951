"""Zero-cost proxies: numbers measured for whole untrained networks, looked up in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.encodings.base import CodesEncoding, names_array
from archrank.spaces import Codes, MacroSpace

# The columns of a benchmark that cost no training and may therefore be features.
PROXIES = ("log_synflow", "jacob_cov", "nwot", "grad_norm")


@dataclass(frozen=True, eq=False)
class NetworkColumns:
    """Columns known for some networks of a space.

    Parameters
    ----------
    codes
        Canonical, ``(n, n_stages)``.
    columns
        ``{name: float64 (n,)}``.
    """

    codes: Codes
    columns: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of_benchmark(cls, benchmark: Any) -> NetworkColumns | None:
        """The proxies that a `GroundTruth` holds, None if it holds none."""
        names = [name for name in PROXIES if name in benchmark.metrics]
        return cls(benchmark.codes, {name: benchmark.values(name) for name in names}) if names else None


class ProxyEncoding(CodesEncoding):
    """One feature per zero-cost proxy.

    Parameters
    ----------
    space
        The search space that the codes belong to.
    measured
        The proxies and the networks for which they were computed.
    proxies
        Which of them; by default all.

    Raises
    ------
    ValueError
        In every method for an unknown proxy; in `transform` for a network that was not measured.
    """

    def __init__(self, space: MacroSpace, measured: NetworkColumns, proxies: Sequence[str] | None = None) -> None:
        super().__init__(space)
        self.measured = measured
        self.proxies = proxies

    def column_names(self) -> tuple[str, ...]:
        """The proxies in use."""
        there = self.measured.columns
        names = tuple(there) if self.proxies is None else tuple(self.proxies)
        unknown = [name for name in names if name not in there]
        if unknown or not names:
            what = repr(unknown[0]) if unknown else "none"
            raise ValueError(f"unknown proxy {what}; there are {', '.join(there)}")
        return names

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """float32 ``(n_archs, n_proxies)``."""
        codes = self.canonical(X)
        table = np.stack([self.measured.columns[name] for name in self.column_names()], axis=1)
        known = self.space.index(self.measured.codes)
        order = np.argsort(known)
        wanted = self.space.index(codes)
        at = order[np.minimum(np.searchsorted(known[order], wanted), len(order) - 1)]
        missing = (known[at] != wanted) | ~np.isfinite(table[at]).all(axis=1)
        if missing.any():
            row = int(np.argmax(missing))
            raise ValueError(
                f"row {row}: network {self.space.keys(codes[row : row + 1])[0]} has no zero-cost proxies; "
                "compute them with `archrank proxies`, or choose another encoding"
            )
        return table[at].astype(np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The names of the proxies."""
        return names_array(list(self.column_names()))
