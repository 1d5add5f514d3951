"""Ground truth: what trained networks reached, and what was measured of single blocks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank._tables import TableError, one_line, read_codes
from archrank.spaces import Codes, MacroSpace, space_from_dict

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMAT_VERSION", "GroundTruth", "Metric", "Signatures", "TableError", "read_codes"]

FORMAT_VERSION = 1
_META, _TABLE, _SIGNATURES = "meta.json", "table.parquet", "signatures.parquet"


@dataclass(frozen=True)
class Metric:
    """What a column measures.

    Parameters
    ----------
    name
        The column.
    direction
        "max" where more is better, "min" where less is (loss, latency).
    unit
        For example ``%`` or ``s``; empty for pure numbers.
    bounds
        Lowest and highest possible value, None where there is none.
    description
        One sentence for reports.
    """

    name: str
    direction: Literal["max", "min"] = "max"
    unit: str = ""
    bounds: tuple[float | None, float | None] = (None, None)
    description: str = ""

    def __post_init__(self) -> None:
        if self.direction not in ("max", "min"):
            raise ValueError(f"metric {self.name!r}: direction must be 'max' or 'min', got {self.direction!r}")
        object.__setattr__(self, "bounds", tuple(self.bounds))

    @property
    def sign(self) -> int:
        """+1 where more is better, -1 where less is: ``sign * value`` ranks with the best last."""
        return 1 if self.direction == "max" else -1


@dataclass(frozen=True, eq=False)
class Signatures:
    """Numbers measured for each block alone, for example its error after blockwise distillation.

    Parameters
    ----------
    frame
        One row per stage, block and teacher: columns ``stage``, ``block`` (id), ``teacher`` and one
        column per measured quantity.
    metrics
        A `Metric` for each measured column.
    n_blocks
        Number of blocks at each stage; by default as many as the frame names.
    """

    frame: pd.DataFrame
    metrics: Mapping[str, Metric]
    n_blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        missing = [c for c in ("stage", "block", "teacher", *self.metrics) if c not in self.frame.columns]
        if missing:
            raise TableError(f"signatures lack column {missing[0]!r}; they have {', '.join(map(str, self.frame))}")
        if not self.metrics or self.frame.empty:
            raise TableError("signatures need at least one row and one measured column with a Metric")
        stage, block = (self.frame[c].to_numpy(np.int64) for c in ("stage", "block"))
        if not self.n_blocks:
            n_blocks = tuple(int(block[stage == s].max(initial=-1)) + 1 for s in range(int(stage.max()) + 1))
            object.__setattr__(self, "n_blocks", n_blocks)
        limit = np.array(self.n_blocks)
        bad = (stage < 0) | (stage >= len(limit))
        bad |= (block < 0) | (block >= limit[np.where(bad, 0, stage)])
        if bad.any():
            row = int(np.argmax(bad))
            raise TableError(
                f"signatures, row {row}: stage {stage[row]}, block {block[row]} is not in the space, "
                f"whose stages have {list(self.n_blocks)} blocks"
            )
        twice = self.frame.duplicated(["stage", "block", "teacher"]).to_numpy()
        if twice.any():
            row = int(np.argmax(twice))
            raise TableError(
                f"signatures, row {row}: stage {stage[row]}, block {block[row]} appears twice; keep one row per teacher"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the measured quantities."""
        return tuple(self.metrics)

    @property
    def default_column(self) -> str:
        """The column that predictors use unless told otherwise: the first."""
        return self.columns[0]

    @property
    def teachers(self) -> tuple[str, ...]:
        """Teachers in the order of the frame."""
        return tuple(str(t) for t in self.frame["teacher"].unique())

    def table(self, column: str | None = None, teacher: str | None = None) -> tuple[NDArray[np.float64], ...]:
        """Values of one column, one array ``(n_blocks of the stage,)`` per stage; NaN where absent.

        Raises
        ------
        TableError
            For an unknown column or teacher, naming those there are.
        """
        column = self.default_column if column is None else column
        teacher = self.teachers[0] if teacher is None else teacher
        if column not in self.metrics:
            raise TableError(f"unknown signature column {column!r}; there are {', '.join(self.columns)}")
        if teacher not in self.teachers:
            raise TableError(f"unknown teacher {teacher!r}; there are {', '.join(self.teachers)}")
        rows = self.frame[self.frame["teacher"].astype(str) == teacher]
        stage, block = rows["stage"].to_numpy(np.int64), rows["block"].to_numpy(np.int64)
        values = rows[column].to_numpy(np.float64)
        out = tuple(np.full(n, np.nan) for n in self.n_blocks)
        for s, array in enumerate(out):
            array[block[stage == s]] = values[stage == s]
        return out


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
        stage_columns = [f"stage_{s}" for s in range(space.stages)]
        missing = [c for c in (*stage_columns, *metrics) if c not in frame.columns]
        if missing:
            raise TableError(f"table {name!r} lacks column {missing[0]!r}; it has {', '.join(map(str, frame.columns))}")
        if not metrics or frame.empty:
            raise TableError(f"table {name!r} needs at least one row and one metric")
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
        self._canonical = space.canonical(self.frame[stage_columns].to_numpy())
        ids = space.index(self._canonical)
        unique, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        rank = np.empty(len(unique), dtype=np.int64)
        order = np.argsort(first)
        rank[order] = np.arange(len(unique))
        self._row: NDArray[np.int64] = rank[inverse.reshape(-1)]
        self._sorted_ids, self._sorted_rows = unique, rank
        self.codes: Codes = self._canonical[first[order]]
        self._check_rows()

    @classmethod
    def from_frame(cls, space: MacroSpace, frame: pd.DataFrame, metrics: Mapping[str, Metric], **about: Any) -> Self:
        """Build a ground truth from a long table.

        Parameters
        ----------
        space
            The space that the codes belong to.
        frame
            Columns ``stage_0`` ... (block ids), ``seed`` (int, 0 if absent), ``variant`` (text,
            "normal" if absent), one column per metric (NaN where not measured), and list-valued
            columns for curves, one value per epoch. Other columns are carried along.
        metrics
            A `Metric` for each metric column.
        **about
            ``name`` (required), ``default_metric`` (the first), ``signatures``, ``provenance``,
            ``licence``, ``source``.

        Raises
        ------
        TableError
            For missing columns, values that are no numbers or infinite, or one network twice with
            the same seed and variant.
        InvalidArchitectureError
            For codes that the space does not hold.
        """
        return cls(space, frame, metrics, **about)

    def _check_rows(self) -> None:
        for name in self.metrics:
            try:
                values = self.frame[name].to_numpy(np.float64, na_value=np.nan)
            except (TypeError, ValueError) as error:
                raise TableError(
                    f"table {self.name!r}, column {name!r}: {one_line(error)}; expected numbers"
                ) from error
            if np.isinf(values).any():
                row = int(np.argmax(np.isinf(values)))
                raise TableError(f"table {self.name!r}, row {row}, column {name!r}: infinite; use NaN where absent")
        keys = self.frame[["seed", "variant"]].assign(network=self._row)
        twice = keys.duplicated().to_numpy()
        if twice.any():
            row = int(np.argmax(twice))
            first = int(np.argmax((keys == keys.iloc[row]).all(axis=1).to_numpy()))
            raise TableError(
                f"table {self.name!r}, row {row}: the same network, seed and variant as row {first} "
                f"({self.space.keys(self._canonical[row : row + 1])[0]}); number the seeds, or keep one of the rows"
            )

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
        return tuple(
            str(c)
            for c in self.frame.columns
            if self.frame[c].dtype == object
            and isinstance(next(iter(self.frame[c].dropna()), None), (list, tuple, np.ndarray))
        )

    def metric(self, name: str | None = None) -> Metric:
        """The `Metric` called `name`, by default the table's default one.

        Raises
        ------
        TableError
            For an unknown name, listing those there are.
        """
        name = self.default_metric if name is None else name
        if name not in self.metrics:
            raise TableError(f"table {self.name!r} has no metric {name!r}; it has {', '.join(self.metrics)}")
        return self.metrics[name]

    # -- values -------------------------------------------------------------------------------

    def _rows_of(self, variant: str) -> NDArray[np.bool_]:
        if variant not in self.variants:
            raise TableError(f"table {self.name!r} has no variant {variant!r}; it has {', '.join(self.variants)}")
        return np.asarray(self.frame["variant"].astype(str) == variant)

    def seed_values(self, metric: str | None = None, variant: str = "normal") -> NDArray[np.float64]:
        """Values of each seed, float64 ``(n, n_seeds)`` with columns as in `seeds`; NaN where absent."""
        name = self.metric(metric).name
        rows = self._rows_of(variant)
        out = np.full((len(self), len(self.seeds)), np.nan)
        column = np.searchsorted(np.array(self.seeds), self.frame["seed"].to_numpy(np.int64)[rows])
        out[self._row[rows], column] = self.frame[name].to_numpy(np.float64, na_value=np.nan)[rows]
        return out

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

    def curves(self, metric: str, seed: int | None = None, variant: str = "normal") -> NDArray[np.float64]:
        """Per-epoch values, float64 ``(n, n_epochs)``; NaN where absent, shorter curves padded with NaN.

        `seed` is by default the table's first.

        Raises
        ------
        TableError
            If the table holds no such curve.
        """
        if metric not in self.curve_names:
            has = f"it has {', '.join(self.curve_names)}" if self.curve_names else "it has no curves"
            raise TableError(f"table {self.name!r} has no per-epoch values {metric!r}; {has}")
        seed = self.seeds[0] if seed is None else self.seeds[self._seed_position(seed)]
        rows = self._rows_of(variant) & (self.frame["seed"].to_numpy(np.int64) == seed)
        rows &= self.frame[metric].notna().to_numpy()
        curves = [np.asarray(c, dtype=np.float64) for c in self.frame[metric][rows]]
        out = np.full((len(self), max((len(c) for c in curves), default=0)), np.nan)
        for row, curve in zip(self._row[rows], curves, strict=True):
            out[row, : len(curve)] = curve
        return out

    def lookup(self, codes: ArrayLike) -> NDArray[np.int64]:
        """Rows of `GroundTruth.codes` that hold these networks or isomorphic twins of them.

        Raises
        ------
        TableError
            Naming the first network that the table does not hold.
        """
        codes = self.space.canonical(codes)
        ids = self.space.index(codes)
        at = np.minimum(np.searchsorted(self._sorted_ids, ids), len(self._sorted_ids) - 1)
        wrong = np.asarray(self._sorted_ids[at] != ids, dtype=np.bool_)
        if wrong.any():
            row = int(np.argmax(wrong))
            key = self.space.keys(codes[row : row + 1])[0]
            raise TableError(f"row {row}: network {key} is not among the {len(self)} of table {self.name!r}")
        return self._sorted_rows[at]

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
        target = Path(folder).absolute()
        old = sorted(target.iterdir()) if target.is_dir() else []
        if target.exists() and not target.is_dir():
            raise TableError(f"{target} is a file; give a folder")
        if old and not (target / _META).exists():
            raise TableError(f"{target} is not empty and holds no table; choose another folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            new = Path(scratch) / "new"
            new.mkdir()
            self._write(new)
            for extra in old:
                if extra.is_file() and extra.name not in (_META, _TABLE, _SIGNATURES):
                    shutil.copy2(extra, new / extra.name)
            if not target.exists():
                os.replace(new, target)
                return target
            aside = Path(scratch) / "old"
            os.replace(target, aside)
            try:
                os.replace(new, target)
            except BaseException:
                os.replace(aside, target)
                raise
        return target

    def _write(self, folder: Path) -> None:
        self.frame.to_parquet(folder / _TABLE, index=False, compression="zstd")
        files = [_TABLE]
        if self.signatures is not None:
            self.signatures.frame.to_parquet(folder / _SIGNATURES, index=False, compression="zstd")
            files.append(_SIGNATURES)
        meta = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "space": self.space.describe(),
            "metrics": [asdict(m) for m in self.metrics.values()],
            "default_metric": self.default_metric,
            "signature_metrics": [asdict(m) for m in self.signatures.metrics.values()] if self.signatures else [],
            "licence": self.licence,
            "source": self.source,
            "provenance": self.provenance,
            "sha256": {f: _sha256(folder / f) for f in files},
        }
        (folder / _META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")

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
        folder = Path(folder)
        meta = _read_meta(folder)
        if verify:
            for file, digest in meta["sha256"].items():
                if not (folder / file).exists():
                    raise TableError(f"{folder / file} is missing; restore it or fetch the table again")
                if _sha256(folder / file) != digest:
                    raise TableError(
                        f"{folder / file} is damaged: its checksum is not the one in {_META}; fetch it again"
                    )
        try:
            about = {k: meta[k] for k in ("name", "default_metric", "licence", "source", "provenance")}
            metrics, signature_metrics = (
                {m["name"]: Metric(**m) for m in meta[k]} for k in ("metrics", "signature_metrics")
            )
            space = space_from_dict(meta["space"])
        except (KeyError, TypeError, ValueError) as error:
            raise TableError(f"{folder / _META} is damaged: {type(error).__name__} {one_line(error)}") from error
        signatures = None
        if signature_metrics:
            signatures = Signatures(_read_parquet(folder / _SIGNATURES), signature_metrics)
        return cls(space, _read_parquet(folder / _TABLE), metrics, signatures=signatures, **about)


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / _META
    if not path.exists():
        raise TableError(f"{folder} holds no {_META}; give the folder of a saved table")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        version, checksums = int(meta["format_version"]), dict(meta["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(f"{path} is damaged: {one_line(error)}; fetch the table again") from error
    if version > FORMAT_VERSION:
        raise TableError(
            f"{path} has format version {version}, this archrank reads up to {FORMAT_VERSION}; update archrank"
        )
    return {**meta, "sha256": checksums}


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:  # arrow's own errors are kinds of these
        raise TableError(f"{path} is damaged or truncated: {one_line(error)}; fetch the table again") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
