"""Ground truth: what trained networks reached, and what was measured of single blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank._code_files import read_codes
from archrank._curves import Floats, is_curve, stacked
from archrank._errors import TableError, there_are
from archrank._folder import FORMAT_VERSION, read_folder, write_folder
from archrank._long_table import check_columns, check_trainings, check_values
from archrank._records import Metric, Signatures
from archrank.spaces import Codes, MacroSpace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMAT_VERSION", "GroundTruth", "Metric", "Signatures", "TableError", "read_codes"]


class GroundTruth:
    """Distinct networks of a space with what each of their trainings reached.

    Build one with `from_frame`, `load` or `archrank.load_benchmark`.

    Attributes
    ----------
    name, licence, source
        Text for reports.
    space : MacroSpace
    codes : int64 (n, n_stages)
        Distinct networks in canonical form, in table order of first appearance.
    metrics : dict of str to Metric
    default_metric : str
    signatures : Signatures or None
    provenance : dict
        JSON-ready: how the values were made.
    frame : DataFrame
        The long table: one row per network, seed and variant.
    """

    def __init__(
        self,
        space: MacroSpace,
        frame: pd.DataFrame,
        metrics: Mapping[str, Metric],
        *,
        name: str,
        default_metric: str | None = None,
        signatures: Signatures | None = None,
        provenance: Mapping[str, Any] | None = None,
        licence: str = "",
        source: str = "",
    ) -> None:
        import pandas as pd

        stage_columns = [f"stage_{s}" for s in range(space.stages)]
        check_columns(name, frame, stage_columns, metrics)
        self.name, self.space, self.licence, self.source = name, space, licence, source
        self.metrics = dict(metrics)
        self.default_metric = next(iter(metrics)) if default_metric is None else default_metric
        self.metric(self.default_metric)
        self.provenance = dict(provenance or {})
        self.signatures = None if signatures is None else replace(signatures, n_blocks=space.n_blocks)
        self.frame = frame.reset_index(drop=True)
        if "seed" not in frame.columns:
            self.frame = self.frame.assign(seed=0)
        if "variant" not in frame.columns:
            self.frame = self.frame.assign(variant="normal")
        check_values(name, self.frame, metrics)
        canonical = space.canonical(self.frame[stage_columns].to_numpy())
        rows, distinct = pd.factorize(space.index(canonical))  # numbered by first appearance
        self._row: NDArray[np.int64] = rows.astype(np.int64, copy=False)
        self.codes: Codes = space.from_index(distinct)
        check_trainings(name, self.frame, self._row, space, canonical)

    @classmethod
    def from_frame(cls, space: MacroSpace, frame: pd.DataFrame, metrics: Mapping[str, Metric], **about: Any) -> Self:
        """Build a ground truth from a long table.

        Parameters
        ----------
        space
            The space that the codes belong to.
        frame
            Columns ``stage_0`` ... (block ids), ``seed`` (int, 0 if absent), ``variant`` (text,
            "normal" if absent), one column per metric (NaN where not measured), and columns for
            curves, one value per epoch: lists, or for long tables what
            `archrank._curves.curve_column` makes of an array. Other columns are carried along.
        metrics
            A `Metric` for each metric column.
        **about
            ``name`` (required), ``default_metric`` (the first), ``signatures``, ``provenance``,
            ``licence``, ``source``.

        Raises
        ------
        TableError
            For missing columns, values that are no numbers or infinite, seeds that are no whole
            numbers, or one network twice with the same seed and variant.
        InvalidArchitectureError
            For codes that the space does not hold.
        """
        return cls(space, frame, metrics, **about)

    # -- what is there ------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        return f"GroundTruth({self.name!r}, {len(self)} networks, metrics {', '.join(self.metrics)})"

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """All seeds of the table, ascending."""
        return tuple(int(s) for s in np.unique(self.frame["seed"].to_numpy(np.int64)))

    @cached_property
    def variants(self) -> tuple[str, ...]:
        """Ways of training in the table, in order of appearance."""
        return tuple(str(v) for v in self.frame["variant"].unique())

    @cached_property
    def curve_names(self) -> tuple[str, ...]:
        """Columns that hold one value per epoch."""
        return tuple(str(c) for c in self.frame.columns if is_curve(self.frame[c]))

    def metric(self, name: str | None = None) -> Metric:
        """The `Metric` called `name`, by default the table's default one.

        Raises
        ------
        TableError
            For an unknown name, listing those there are.
        """
        name = self.default_metric if name is None else name
        if name not in self.metrics:
            raise TableError(f"table {self.name!r} has no metric {name!r}; {there_are(name, self.metrics)}")
        return self.metrics[name]

    # -- values -------------------------------------------------------------------------------

    def _rows_of(self, variant: str) -> NDArray[np.bool_]:
        if variant not in self.variants:
            raise TableError(f"table {self.name!r} has no variant {variant!r}; {there_are(variant, self.variants)}")
        return np.asarray(self.frame["variant"].astype(str) == variant)

    def seed_values(self, metric: str | None = None, variant: str = "normal") -> NDArray[np.float64]:
        """Values of each seed, float64 ``(n, n_seeds)`` with columns as in `seeds`; NaN where absent."""
        name = self.metric(metric).name
        rows = self._rows_of(variant)
        out = np.full((len(self), len(self.seeds)), np.nan)
        column = np.searchsorted(np.array(self.seeds), self.frame["seed"].to_numpy(np.int64)[rows])
        out[self._row[rows], column] = self.frame[name].to_numpy(np.float64, na_value=np.nan)[rows]
        return out

    def seed_spread(self, metric: str | None = None, variant: str = "normal") -> float | None:
        """Standard deviation between seeds in the metric's unit, pooled over networks; None without a second seed."""
        values = self.seed_values(metric, variant)
        counts = np.isfinite(values).sum(axis=1)
        values, freedom = values[counts > 1], int((counts[counts > 1] - 1).sum())
        if not freedom:
            return None
        return float(np.sqrt(np.nansum((values - np.nanmean(values, axis=1, keepdims=True)) ** 2) / freedom))

    def values(
        self, metric: str | None = None, seed: Literal["mean"] | int = "mean", variant: str = "normal"
    ) -> NDArray[np.float64]:
        """Values in the metric's unit, float64 ``(n,)``; NaN where absent.

        Parameters
        ----------
        metric
            By default `default_metric`.
        seed
            One seed, or "mean" over the seeds that each network has.
        variant
            "normal", or another way of training such as "distilled".
        """
        table = self.seed_values(metric, variant)
        if seed == "mean":
            with np.errstate(invalid="ignore"):
                return np.asarray(np.nansum(table, axis=1) / np.isfinite(table).sum(axis=1))
        return table[:, self._seed_position(seed)]

    def _seed_position(self, seed: int) -> int:
        if seed not in self.seeds:
            raise TableError(f"table {self.name!r} has no seed {seed!r}; it has {', '.join(map(str, self.seeds))}")
        return self.seeds.index(seed)

    def curves(self, metric: str, seed: int | None = None, variant: str = "normal") -> Floats:
        """Per-epoch values, ``(n, n_epochs)``; NaN where absent, shorter curves padded with NaN.

        float32 where the table holds arrays, then possibly a read-only view; float64 where it holds lists.

        Parameters
        ----------
        metric
            One of `curve_names`, or a metric whose curve is called like it with ``_curve`` at the end.
        seed
            By default the table's first.
        variant
            As in `values`.

        Raises
        ------
        TableError
            If the table holds no such curve.
        """
        name = metric if metric in self.curve_names else f"{metric}_curve"
        if name not in self.curve_names:
            has = f"it has {', '.join(self.curve_names)}" if self.curve_names else "it has no curves"
            raise TableError(f"table {self.name!r} has no per-epoch values {metric!r}; {has}")
        seed = self.seeds[0] if seed is None else self.seeds[self._seed_position(seed)]
        rows = self._rows_of(variant) & (self.frame["seed"].to_numpy(np.int64) == seed)
        rows &= self.frame[name].notna().to_numpy()
        values, at = stacked(self.frame[name] if rows.all() else self.frame[name][rows]), self._row[rows]
        if len(at) == len(self) and (at == np.arange(len(self))).all():
            return values
        out = np.full((len(self), values.shape[1]), np.nan, dtype=values.dtype)
        out[at] = values
        return out

    def lookup(self, codes: ArrayLike) -> NDArray[np.int64]:
        """Rows of `GroundTruth.codes` that hold these networks or isomorphic twins of them.

        Raises
        ------
        TableError
            Naming the first network that the table does not hold.
        """
        codes = self.space.canonical(codes)
        rows = self._positions.get_indexer(self._places(codes)).astype(np.int64, copy=False)
        if (rows < 0).any():
            row = int(np.argmax(rows < 0))
            key = self.space.keys(codes[row : row + 1])[0]
            raise TableError(f"row {row}: network {key} is not among the {len(self)} of table {self.name!r}")
        return rows

    @cached_property
    def _positions(self) -> pd.Index[Any]:
        """Row of each network by its place in the space, as a hash table: 91,125 look-ups take 5 ms."""
        return self._places(self.codes)

    def _places(self, codes: Codes) -> pd.Index[Any]:
        import pandas as pd

        places: pd.Index[Any] = pd.Index(self.space.index(codes))
        return places

    def noise_ceiling(self, metric: str | None = None) -> float | None:
        """The Kendall tau that a perfect predictor expects, None if the table has one seed only.

        See `archrank.benchmarks.noise.measure_noise`, which tells more.
        """
        from archrank.benchmarks.noise import measure_noise  # looks to the right, so only when asked

        return measure_noise(self, metric).ceiling_tau

    # -- on disk ------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the table as a folder of ``meta.json`` and parquet files, all at once or not at all.

        An older table in `folder` is replaced; its other files (README, licence) are kept.

        Raises
        ------
        TableError
            If `folder` holds something else than a table.
        """
        meta = {
            "name": self.name,
            "space": self.space.describe(),
            "default_metric": self.default_metric,
            "licence": self.licence,
            "source": self.source,
            "provenance": self.provenance,
        }
        return write_folder(Path(folder), meta, self.frame, self.metrics, self.signatures)

    @classmethod
    def load(cls, folder: str | Path, verify: bool = True) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        folder
            The table's folder.
        verify
            Compare the checksums of the files first.

        Raises
        ------
        TableError
            For missing, damaged or truncated files, or a format newer than this version reads.
        """
        return cls(**read_folder(Path(folder), verify))
