"""From a ground truth to the columns of released BLOX files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archrank._errors import TableError
from archrank.benchmarks.formats.blox_fault import tested_epoch
from archrank.benchmarks.formats.blox_header import COLUMNS, HASH, Header, Part
from archrank.benchmarks.formats.blox_names import CURVES, ENVIRONMENT, NUMBERS
from archrank.benchmarks.formats.blox_space import network_digests
from archrank.benchmarks.latencies import latency_columns
from archrank.ground_truth import GroundTruth
from archrank.spaces import BloxSpace
from archrank.spaces.blox_hashes import STORED

_DATASETS = {10: "cifar10", 100: "cifar100"}


@dataclass(frozen=True)
class Columns:
    """The rows of one file.

    Parameters
    ----------
    header
        Without coding and types.
    columns
        As in `archrank.benchmarks.formats.blox_columns`; curves and numbers are float64 with the decimals of the
        release.
    keys
        Of the networks, for messages.
    """

    header: Header
    columns: Mapping[str, NDArray[Any]]
    keys: NDArray[np.str_]

    @property
    def stem(self) -> str:
        """Name of the file without its ending."""
        h = self.header
        return "-".join(["blox", h.part, *(str(x) for x in (h.seed, h.device) if x is not None)])


def export(table: GroundTruth) -> Iterator[Columns]:
    """The files that a BLOX table fills, one at a time.

    Each holds the networks for which the table has all of its columns. Only trainings of variant "normal" are
    exported. Of columns of the release that the table lacks, base and info files need all, ext files one.

    Raises
    ------
    TableError
        If the table is not of BLOX with 2 or 3 stages, or has curves with gaps or two latencies of one device.
    """
    space = table.space
    if not isinstance(space, BloxSpace) or space.stages not in STORED:
        raise TableError(f"table {table.name!r} is of {space.name}; only BLOX with 2 or 3 stages has released files")
    hashes = network_digests(space)[space.index(table.codes)]
    keys = space.keys(table.codes)

    def part(kind: Part, found: Mapping[str, NDArray[Any]], **about: Any) -> Iterator[Columns]:
        rows = np.logical_and.reduce([_present(v) for v in found.values()]) if found else np.zeros(len(table), bool)
        if rows.any():
            header = Header(kind, (HASH, *found), space.stages, "", **about)
            yield Columns(header, {HASH: hashes[rows]} | {k: v[rows] for k, v in found.items()}, keys[rows])

    for seed in table.seeds:
        yield from _trainings(table, seed, part)
    params, flops = (_costs(table, name) for name in ("params", "flops"))
    if params is not None and flops is not None:
        vectors = np.array([[c[0] + c[1] for c in v] for v in space.arch_vectors(table.codes)], dtype=np.int64)
        yield from part("info", {"params": params, "flops": flops, "arch_vec": vectors})
    for device, name in latency_columns(table).items():
        yield from part("bench", {"latency": table.values(name)}, device=device)


def _trainings(table: GroundTruth, seed: int, part: Any) -> Iterator[Columns]:
    curves = {k: _curve(table, v, seed) for k, v in CURVES.items() if v in table.curve_names}
    if seed in table.provenance.get("first_epoch_masked", ()):
        _restore_first_epoch(curves)
    numbers = {
        k: np.round(table.values(v, seed), 3 if "top" in k else 6 if "loss" in k else 0)
        for k, v in NUMBERS.items()
        if v in table.metrics
    }
    epochs = max((c.shape[1] for c in curves.values()), default=1)
    classes = getattr(table.space, "classes", 0)
    about = {"seed": seed, "epochs": epochs, "dataset": table.provenance.get("dataset") or _DATASETS.get(classes, "")}
    known = curves | numbers
    if all(column in known for column in COLUMNS["base"]):
        yield from part("base", {c: known[c] for c in COLUMNS["base"]}, **about)
    yield from part("ext", {c: known[c] for c in COLUMNS["ext"] if c in known}, **about)
    texts = {c.removeprefix(ENVIRONMENT): c for c in table.frame.columns if str(c).startswith(ENVIRONMENT)}
    yield from part("env", {k: _text(table, texts[k], seed) for k in sorted(texts)}, seed=seed)


def _curve(table: GroundTruth, name: str, seed: int) -> NDArray[np.float64]:
    return np.round(table.curves(name, seed).astype(np.float64), 6 if "loss" in name else 3)


def _restore_first_epoch(curves: dict[str, NDArray[np.float64]]) -> None:
    """Repeat the best epoch, as the release does: files cannot say that a value is missing, and are masked again."""
    validation = [k for k in ("val_top1", "val_loss", "val_top5") if k in curves]
    if not validation:
        return
    merit = np.full_like(curves[validation[0]], np.nan)
    for k in validation:  # each network's accuracy, or what it has instead
        merit = np.where(
            np.isnan(merit).all(axis=1, keepdims=True), -curves[k] if k == "val_loss" else curves[k], merit
        )
    epoch = tested_epoch(merit, curves.get("val_loss"))
    for values in (curves[k] for k in validation):
        rows = np.flatnonzero(np.isnan(values[:, 0]))
        values[rows, 0] = values[rows, epoch[rows]]


def _text(table: GroundTruth, column: str, seed: int) -> NDArray[np.object_]:
    frame = table.frame[(table.frame["seed"] == seed) & (table.frame["variant"].astype(str) == "normal")]
    out = np.full(len(table), None, dtype=np.object_)
    stages = [f"stage_{s}" for s in range(table.space.stages)]
    out[table.lookup(frame[stages].to_numpy())] = frame[column].astype(object).where(frame[column].notna(), None)
    return out


def _costs(table: GroundTruth, name: str) -> NDArray[np.float64] | None:
    if name in table.metrics:
        return table.values(name)
    return table.space.cost(name, table.codes) if name in table.space.block_costs else None


def _present(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows that have a value."""
    if values.dtype == object:
        return np.array([v is not None for v in values], dtype=np.bool_)
    if values.dtype.kind == "f" and values.ndim == 2:
        return np.asarray(np.isfinite(values).any(axis=1))
    return np.asarray(np.isfinite(values).reshape(len(values), -1).all(axis=1))


def curve_lengths(values: NDArray[np.float64], name: str, keys: NDArray[np.str_]) -> NDArray[np.int64]:
    """Number of epochs of each curve, which are padded with NaN.

    Raises
    ------
    TableError
        For a curve with a gap.
    """
    there = np.isfinite(values)
    lengths = values.shape[1] - np.argmax(there[:, ::-1], axis=1)
    gaps = there.sum(axis=1) != lengths
    if gaps.any():
        row = int(np.argmax(gaps))
        raise TableError(
            f"{name} of network {keys[row]} lacks epoch {int(np.argmin(there[row]))}; released files cannot say so"
        )
    return np.asarray(lengths)
