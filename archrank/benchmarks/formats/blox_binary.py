"""The payload of `.blox` files: one zlib stream of rows, whose fields lie column by column.

Where the fields of a row begin is found first, at once if all rows are alike, then each column is decoded over blocks
of rows. What a payload says of its size is checked before it is believed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archrank._errors import TableError
from archrank.benchmarks.formats.blox_columns import MAX_ROWS, Columns, check_size
from archrank.benchmarks.formats.blox_header import Header
from archrank.benchmarks.formats.blox_types import FLOAT_SCALE, ColumnType, little_endian, parse_type, unpack

_BLOCK = 4096  # rows decoded at a time: what fits the processor's cache
Bytes = NDArray[np.uint8]


def read_payload(payload: bytes, header: Header, path: Path) -> Columns:
    """Decode the payload of a `.blox` file.

    Raises
    ------
    TableError
        If it is damaged, or says that it holds more than it can.
    """
    try:
        named = zip(header.types, header.columns, strict=True)
        types = [parse_type(text, column, header.stages) for text, column in named]
    except TableError as error:
        raise TableError(f"{path}: {error}; fetch the file again") from error
    for column, kind in zip(header.columns, types, strict=True):
        if not _fits(header.kind(column), kind):
            raise TableError(f"{path}: column {column!r} of a {header.part} file cannot have this type")
    n_rows, raw = _inflate(payload, types, path)
    fields = _find_fields(raw, n_rows, types, path)
    return {
        column: _decode(raw, field, header.stages, f"{path}, column {column!r}")
        for column, field in zip(header.columns, fields, strict=True)
    }


def _fits(kind: str, of: ColumnType) -> bool:
    return {
        "hash": not of.listed and of.base == "hash",
        "vector": not of.listed and of.base == "arch",
        "text": of.base == "str",
        "curve": of.listed and of.base in ("answers", "float", "int"),
        "number": not of.listed and of.base in ("answers", "float", "int"),
    }[kind]


# -- size -------------------------------------------------------------------------------------------


def _inflate(payload: bytes, types: list[ColumnType], path: Path) -> tuple[int, Bytes]:
    """Number of rows and their bytes."""
    stream = zlib.decompressobj()
    try:
        head = stream.decompress(payload, 12)
        if len(head) < 12:
            raise TableError(f"{path}: the payload ends within its first 12 bytes; fetch the file again")
        bits, n_rows = int.from_bytes(head[:8], "little"), int.from_bytes(head[8:], "little")
        size = bits // 8 - 4
        least, most = (sum(int(t.variable) + t.bytes_of(length) for t in types) for length in (0, 255))
        if bits % 8 or not n_rows * least <= size <= n_rows * most:
            raise TableError(f"{path}: {n_rows:,} rows cannot take the {size:,} bytes that the file claims")
        # A hash is random, so that no compression makes its 16 bytes much smaller.
        if n_rows > min(MAX_ROWS, len(payload) // 8):
            raise TableError(f"{path}: claims {n_rows:,} rows, which its {len(payload):,} bytes cannot hold")
        check_size(size, str(path))
        body = stream.decompress(stream.unconsumed_tail, size + 1)
        rest = stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise TableError(f"{path}: the zlib stream is damaged ({error}); fetch the file again") from error
    if len(body) != size or rest or not stream.eof or stream.unused_data:
        raise TableError(
            f"{path}: the payload is not of the {size:,} bytes that it claims; it is truncated or damaged, "
            "fetch the file again"
        )
    return n_rows, np.frombuffer(body, dtype=np.uint8)


# -- where the fields are ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Field:
    """Where the values of one column begin, int64 ``(n,)``, and how many items each has."""

    of: ColumnType
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def blocks(self, raw: Bytes) -> Iterator[tuple[NDArray[np.int64], int, Bytes]]:
        """Row numbers, number of items, and bytes of fields of equal length, some thousand rows at a time."""
        for length in np.unique(self.lengths).tolist():
            rows = np.flatnonzero(self.lengths == length)
            width = int(self.of.bytes_of(length))
            if width == 0:
                yield rows, length, np.empty((len(rows), 0), dtype=np.uint8)
                continue
            windows = np.lib.stride_tricks.sliding_window_view(raw, width)
            for at in range(0, len(rows), _BLOCK):
                block = rows[at : at + _BLOCK]
                yield block, length, windows[self.starts[block]]


def _find_fields(raw: Bytes, n_rows: int, types: list[ColumnType], path: Path) -> list[_Field]:
    starts, lengths = _regular(raw, n_rows, types) or _scan(raw, n_rows, types, path)
    return [_Field(t, s, n) for t, s, n in zip(types, starts.T, lengths.T, strict=True)]


_Places = tuple[NDArray[np.int64], NDArray[np.int64]]


def _regular(raw: Bytes, n_rows: int, types: list[ColumnType]) -> _Places | None:
    """Places of the fields where every row has the lengths of the first one, else None."""
    if n_rows == 0 or len(raw) % n_rows:
        return None
    row_size = len(raw) // n_rows
    rows = raw.reshape(n_rows, row_size)
    offsets, lengths, at = [], [], 0
    for of in types:
        length = 0
        if of.variable:
            if at >= row_size or (rows[:, at] != rows[0, at]).any():
                return None
            length = int(rows[0, at])
            at += 1
        offsets.append(at)
        lengths.append(length)
        at += of.bytes_of(length)
    if at != row_size:
        return None
    starts = np.arange(n_rows)[:, None] * row_size + np.array(offsets)
    return starts, np.broadcast_to(np.array(lengths), starts.shape)


def _scan(raw: Bytes, n_rows: int, types: list[ColumnType], path: Path) -> _Places:
    """Places of the fields, length by length: a field's length is known only when the one before it is."""
    sizes = [(t.variable, [int(t.bytes_of(length)) for length in range(256)]) for t in types]
    data, at = raw.tobytes(), 0
    starts, lengths = np.empty((2, n_rows, len(types)), dtype=np.int64)
    try:
        for row in range(n_rows):
            for column, (variable, size) in enumerate(sizes):
                length = data[at] if variable else 0
                at += variable
                starts[row, column] = at
                lengths[row, column] = length
                at += size[length]
    except IndexError:
        at = len(data) + 1
    if at != len(data):
        raise TableError(f"{path}: its {n_rows:,} rows do not take the {len(data):,} bytes there are; fetch it again")
    return starts, lengths


# -- values -----------------------------------------------------------------------------------------


def _decode(raw: Bytes, field: _Field, stages: int, what: str) -> NDArray[Any]:
    of, n = field.of, len(field.starts)
    if of.base == "str":
        return _texts(raw, field, what)
    if of.listed:
        width = int(field.lengths.max(initial=0))
        check_size(n * width * 4, what)
        curves = np.full((n, width), np.nan, dtype=np.float32)
        for rows, length, block in field.blocks(raw):
            curves[rows, :length] = _values(block, of, length, what)
        return curves
    if of.base == "hash":
        parts = [np.ascontiguousarray(block[:, ::-1]) for _, _, block in field.blocks(raw)]
        return np.concatenate([*parts, np.empty((0, 16), np.uint8)]).view("S16").reshape(-1)
    if of.base == "arch":
        cells = np.concatenate([*(block for _, _, block in field.blocks(raw)), np.empty((0, stages), np.uint8)])
        return _digits(cells.astype(np.int64), what)
    numbers = np.empty(n)
    for rows, _, block in field.blocks(raw):
        numbers[rows] = _values(block, of, 1, what)[:, 0]
    return numbers


def _values(block: Bytes, of: ColumnType, length: int, what: str) -> NDArray[Any]:
    """Numbers ``(n, length)`` of the bytes of equally long fields."""
    if of.answers is None:
        values = little_endian(block, of.width)
        return values / FLOAT_SCALE if of.base == "float" else values.astype(np.float64)
    stored = unpack(block, of.answers.bits, length) if of.listed else little_endian(block, of.width)
    table = of.answers.accuracies().astype(np.float32 if of.listed else np.float64)
    if stored.size and int(stored.max()) >= len(table):
        raise TableError(f"{what}: a value above the highest of {of.answers}; the file is damaged, fetch it again")
    return table.take(stored)


def _digits(cells: NDArray[np.int64], what: str) -> NDArray[np.int64]:
    """Digits (op1, op2, prev, inp, sc) of cells that are coded in a byte each."""
    operations = cells >> 3
    if (operations > 8).any():
        row = int(np.argwhere(operations > 8)[0][0])
        raise TableError(f"{what}, row {row + 1}: no architecture vector; the file is damaged, fetch it again")
    parts = (operations // 3, operations % 3, cells >> 2 & 1, cells >> 1 & 1, cells & 1)
    return np.stack(parts, axis=-1)


def _texts(raw: Bytes, field: _Field, what: str) -> NDArray[np.object_]:
    data, known = raw.tobytes(), dict[bytes, str]()
    out = np.empty(len(field.starts), dtype=np.object_)
    for row, (start, length) in enumerate(zip(field.starts.tolist(), field.lengths.tolist(), strict=True)):
        text = data[start : start + length]
        if text not in known:
            if not text.isascii():
                raise TableError(f"{what}, row {row + 1}: not ASCII; the file is damaged, fetch it again")
            known[text] = text.decode("ascii")
        out[row] = known[text]
    return out
