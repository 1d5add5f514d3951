"""Numbers measured for whole networks and looked up in a table; zero-cost proxies above all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank._errors import there_are
from archrank.encodings.base import CodesEncoding, names_array
from archrank.spaces import Codes, MacroSpace

# The columns of a benchmark that cost no training and may therefore be features.
PROXIES = ("log_synflow", "jacob_cov", "nwot", "grad_norm")


class NotMeasuredError(ValueError):
    """A network has no features, because they are measured for whole networks and this one was not."""


@dataclass(frozen=True, eq=False)
class NetworkColumns:
    """Columns known for some networks of a space.

    Parameters
    ----------
    codes
        Canonical, ``(n, n_stages)``.
    columns
        ``{name: float64 (n,)}``, NaN where not measured.
    directions
        Which way columns improve, "max" or "min"; those that are not named: "max".
    """

    codes: Codes
    columns: Mapping[str, NDArray[np.float64]]
    directions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_benchmark(cls, benchmark: Any) -> NetworkColumns | None:
        """The proxies that a `GroundTruth` holds, None if it holds none."""
        names = [name for name in PROXIES if name in benchmark.metrics]
        if not names:
            return None
        directions = {name: benchmark.metrics[name].direction for name in names}
        return cls(benchmark.codes, {name: benchmark.values(name) for name in names}, directions)

    @classmethod
    def of_curve(cls, benchmark: Any, metric: Any) -> NetworkColumns | None:
        """One column for each epoch of the curve that tells of a `Metric`, None if a `GroundTruth` has none.

        A curve is called like its metric, with or without ``_curve`` at the end. The metric's own curve comes
        first, then that of another metric in the same unit and direction (``val_acc`` of ``test_acc``), then one
        whose name ends alike. Of each network it is the curve of its first seed.
        """
        name = curve_of(benchmark, metric)
        if name is None:
            return None
        values = benchmark.curves(name)
        for seed in benchmark.seeds[1:]:
            other = benchmark.curves(name, seed)
            width = max(values.shape[1], other.shape[1])
            values, other = (
                np.pad(c, ((0, 0), (0, width - c.shape[1])), constant_values=np.nan) for c in (values, other)
            )
            absent = np.isnan(values).all(axis=1)
            values[absent] = other[absent]
        columns = {f"{name} after {i + 1}": column for i, column in enumerate(values.T)}
        return cls(benchmark.codes, columns, dict.fromkeys(columns, metric.direction))

    def rows(
        self, space: MacroSpace, codes: ArrayLike, names: Sequence[str], what: str, cure: str
    ) -> NDArray[np.float32]:
        """Columns of these networks, float32 ``(n, len(names))``.

        Raises
        ------
        NotMeasuredError
            Naming the first network without them: it "has no `what`; `cure`, or choose another encoding".
        """
        codes = space.canonical(codes)
        table = np.stack([self.columns[name] for name in names], axis=1)
        known = space.index(self.codes)
        order = np.argsort(known)
        wanted = space.index(codes)
        at = order[np.minimum(np.searchsorted(known[order], wanted), len(order) - 1)]
        missing = (known[at] != wanted) | ~np.isfinite(table[at]).all(axis=1)
        if missing.any():
            row = int(np.argmax(missing))
            key = space.keys(codes[row : row + 1])[0]
            raise NotMeasuredError(f"row {row}: network {key} has no {what}; {cure}, or choose another encoding")
        return table[at].astype(np.float32)


def curve_of(benchmark: Any, metric: Any) -> str | None:
    """Name of the curve that tells of a `Metric`, None if a `GroundTruth` has none; see `NetworkColumns.of_curve`."""

    def like(name: str) -> int:
        base = name.removesuffix("_curve")
        other = benchmark.metrics.get(base)
        if base == metric.name:
            return 0
        if other is not None:
            return 1 if (other.unit, other.direction) == (metric.unit, metric.direction) else 3
        return 2 if base.split("_")[-1] == metric.name.split("_")[-1] else 3

    best = min(benchmark.curve_names, key=like, default=None)
    return None if best is None or like(best) == 3 else str(best)


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
        In every method for an unknown proxy.
    NotMeasuredError
        In `transform` for a network that was not measured.
    """

    def __init__(self, space: MacroSpace, measured: NetworkColumns, proxies: Sequence[str] | None = None) -> None:
        super().__init__(space)
        self.measured = measured
        self.proxies = proxies

    def column_names(self) -> tuple[str, ...]:
        """The proxies in use."""
        there = self.measured.columns
        # A saved model gives the columns back in another order.
        names = tuple(sorted(there)) if self.proxies is None else tuple(self.proxies)
        unknown = [name for name in names if name not in there]
        if unknown or not names:
            what = unknown[0] if unknown else "none"
            raise ValueError(f"unknown proxy {what!r}; {there_are(what, there)}")
        return names

    @property
    def direction(self) -> str:
        """Which way a single proxy improves, "max" or "min"; several are taken to grow with quality."""
        names = self.column_names()
        return self.measured.directions.get(names[0], "max") if len(names) == 1 else "max"

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """float32 ``(n_archs, n_proxies)``."""
        names = self.column_names()
        return self.measured.rows(self.space, X, names, "zero-cost proxies", "compute them with `archrank proxies`")

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The names of the proxies."""
        return names_array(list(self.column_names()))
