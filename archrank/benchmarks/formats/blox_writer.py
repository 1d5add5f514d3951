"""Writing the formats of the released BLOX files, `.blox` and `.csv`, from any table of the space."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archrank._errors import TableError
from archrank._swap import new_file
from archrank.benchmarks.formats.blox_columns import hex_digest
from archrank.benchmarks.formats.blox_export import Columns, curve_lengths, export
from archrank.benchmarks.formats.blox_header import write_header
from archrank.benchmarks.formats.blox_types import (
    FLOAT_MAX,
    FLOAT_SCALE,
    Answers,
    n_answers,
    pack,
    to_little_endian,
)
from archrank.ground_truth import GroundTruth

FORMATS = ("blox", "csv")
_BLOCK = 4096  # rows coded at a time
# One column of a `.blox` file: its type, the bytes of each row, and the bytes of some rows, padded.
_Coded = tuple[str, NDArray[np.int64], Callable[[slice], NDArray[np.uint8]]]


def write(table: GroundTruth, folder: str | Path, coding: str = "blox") -> dict[Path, int]:
    """Write the base, ext, env, info and bench files that a BLOX table fills.

    Accuracies are written with 3 decimals, losses with 6, times in whole seconds, as in the release. Masked first
    epochs are written as the release has them, those of the best epoch. Each file holds the networks for which the
    table has all of its columns.

    Parameters
    ----------
    table
        Any table whose space is BLOX with 2 or 3 stages.
    folder
        Made if it is not there. Files of the same name are replaced, each whole or not at all.
    coding
        "blox" or "csv".

    Returns
    -------
    Number of rows by file.

    Raises
    ------
    TableError
        For another space, and for values that the format cannot hold; nothing is written then.
    """
    if coding not in FORMATS:
        raise TableError(f"unknown format {coding!r}; expected {' or '.join(FORMATS)}")
    coder = _blox if coding == "blox" else _csv
    files = [(rows, coder(rows)) for rows in export(table)]
    if not files:
        raise TableError(f"table {table.name!r} has no column of released files; it has {', '.join(table.metrics)}")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    written = {}
    for rows, content in files:
        path = target / f"{rows.stem}.{coding}"
        with new_file(path) as part:
            part.write_bytes(content)
        written[path] = len(rows.keys)
    return written


# -- csv --------------------------------------------------------------------------------------------


def _csv(rows: Columns) -> bytes:
    text = io.StringIO(newline="")
    texts = [_texts(rows, name) for name in rows.columns]
    csv.writer(text).writerows(zip(*texts, strict=True))
    return write_header(replace(rows.header, coding="csv")) + text.getvalue().encode("utf-8")


def _texts(rows: Columns, name: str) -> Iterator[Any]:
    values, kind = rows.columns[name], rows.header.kind(name)
    if kind == "hash":
        return map(hex_digest, values.tolist())
    if kind == "curve":
        lengths = curve_lengths(values, name, rows.keys)
        return (str(row[:n].tolist()) for row, n in zip(values, lengths.tolist(), strict=True))
    if kind == "vector":
        return (str([[[c[0]], c[1:]] for c in vector]) for vector in values.tolist())
    if kind == "number" and name in ("params", "flops", "train_time_s"):
        return map(int, values.tolist())
    return iter(values.tolist())


# -- blox -------------------------------------------------------------------------------------------


def _blox(rows: Columns) -> bytes:
    n = len(rows.keys)
    types, sizes, blocks = zip(*(_coded(rows, name) for name in rows.columns), strict=True)
    size = 4 + int(sum(s.sum() for s in sizes))
    stream = zlib.compressobj()
    parts = [stream.compress((8 * size).to_bytes(8, "little") + n.to_bytes(4, "little"))]
    for at in range(0, n, _BLOCK):
        rows_of = slice(at, at + _BLOCK)
        coded = [block(rows_of) for block in blocks]
        # Fields of different lengths are coded side by side at full width, then what exceeds their length is left out.
        there = [np.arange(c.shape[1]) < s[rows_of, None] for c, s in zip(coded, sizes, strict=True)]
        parts.append(stream.compress(np.concatenate(coded, axis=1)[np.concatenate(there, axis=1)].tobytes()))
    return write_header(replace(rows.header, coding="blox", types=types)) + b"".join([*parts, stream.flush()])


def _coded(rows: Columns, name: str) -> _Coded:
    values, kind = rows.columns[name], rows.header.kind(name)
    n = len(values)
    if kind == "hash":
        raw = np.frombuffer(values.tobytes(), dtype=np.uint8).reshape(n, 16)[:, ::-1]
        return "hash", np.full(n, 16), lambda block: raw[block]
    if kind == "vector":
        op1, op2, prev, inp, sc = np.moveaxis(values, -1, 0)
        cells = ((op1 * 3 + op2) << 3 | prev << 2 | inp << 1 | sc).astype(np.uint8)
        return "arch", np.full(n, cells.shape[1]), lambda block: cells[block]
    if kind == "text":
        return _coded_text(values, name)
    if kind == "curve":
        lengths = curve_lengths(values, name, rows.keys)
        if values.shape[1] > 255:
            raise TableError(f"{name} has {values.shape[1]} epochs, but .blox holds 255; write csv")
    else:
        values, lengths = values[:, None], None
    if "top" in name:
        return _coded_answers(values, lengths, name, rows.keys)
    whole = name in ("params", "flops", "train_time_s")
    text, width, scale, limit = ("int", 4, 1.0, 2**32 - 1) if whole else ("float", 3, FLOAT_SCALE, FLOAT_MAX)
    stored = np.rint(np.nan_to_num(values) * scale)
    above = stored > limit
    if above.any():
        row, at = (int(i) for i in np.argwhere(above)[0])
        raise TableError(
            f"{name} of network {rows.keys[row]} is {values[row, at]:.10g}, but .blox holds at most "
            f"{limit / scale:.10g}; write csv"
        )
    return _listed(text, stored.astype(np.int64), lengths, lambda v: to_little_endian(v, width), lambda k: k * width)


def _coded_answers(
    values: NDArray[np.float64], lengths: NDArray[np.int64] | None, name: str, keys: NDArray[np.str_]
) -> _Coded:
    of, there = n_answers(name), np.isfinite(values)
    stored = np.rint(np.nan_to_num(values) * of / 100).astype(np.int64)
    other = there & (np.round(stored / of * 100, 3) != np.nan_to_num(values))
    if other.any():
        row, at = (int(i) for i in np.argwhere(other)[0])
        raise TableError(
            f"{name} of network {keys[row]} is {values[row, at]:.3f} %, which is no number of correct answers "
            f"among the {of:,} images that .blox counts; write csv"
        )
    low, high = int(stored[there].min()), int(stored[there].max())
    bits = max(1, (high - low).bit_length())
    shifted = np.where(there, stored - low, 0)
    if lengths is not None:
        text = str(Answers(low, high, bits, of))
        return _listed(text, shifted, lengths, lambda v: pack(v, bits), lambda k: (k * bits + 7) // 8)
    width = (bits + 7) // 8
    text = str(Answers(low, high, 8 * width, of))
    return _listed(text, shifted, None, lambda v: to_little_endian(v, width), lambda k: k * width)


def _listed(
    text: str,
    stored: NDArray[np.int64],
    lengths: NDArray[np.int64] | None,
    code: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    size: Callable[[Any], Any],
) -> _Coded:
    """A column of numbers, or of lists of them, which begin with their length."""
    if lengths is None:
        return text, np.full(len(stored), size(1)), lambda block: code(stored[block])
    first = lengths.astype(np.uint8)[:, None]
    return f"list[{text}]", 1 + size(lengths), lambda block: np.hstack([first[block], code(stored[block])])


def _coded_text(values: NDArray[np.object_], name: str) -> _Coded:
    texts: list[str] = values.tolist()
    wrong = next((t for t in texts if not t.isascii() or len(t) > 255), None)
    if wrong is not None:
        raise TableError(f"{name}: {wrong[:60]!r} is not at most 255 ASCII characters; write csv")
    lengths = np.array([len(t) for t in texts], dtype=np.int64)
    raw = np.array([t.encode("ascii") for t in texts], dtype=f"S{max(1, lengths.max())}")
    matrix = raw.view(np.uint8).reshape(len(texts), -1)
    first = lengths.astype(np.uint8)[:, None]
    return "str", 1 + lengths, lambda block: np.hstack([first[block], matrix[block]])
