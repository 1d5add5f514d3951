"""The payload of released `.pickle` files: a pickled list of rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archrank._errors import TableError, one_line
from archrank.benchmarks.formats.blox_columns import MAX_ROWS, Columns, check_size, digests, padded
from archrank.benchmarks.formats.blox_header import Header
from archrank.benchmarks.formats.blox_plain_pickle import elements, plain_data

_BLOCK = 4096  # curves stacked at a time


def read_payload(payload: bytes, header: Header, path: Path) -> Columns:
    """Read the rows of a pickle, of which nothing is ever executed.

    Raises
    ------
    TableError
        For anything but a list of rows with the values that the header names.
    """
    try:
        found = plain_data(payload)
    except ValueError as error:
        raise TableError(f"{path}: {one_line(error)}; fetch the file again, or take its csv") from error
    if not isinstance(found, list) or len(found) > MAX_ROWS:
        raise TableError(f"{path}: expected a pickled list of at most {MAX_ROWS:,} rows")
    rows = []
    for number, found_row in enumerate(found, 1):
        row = elements(found_row, len(header.columns))
        if row is None:
            raise TableError(f"{path}, row {number}: expected one value for each of {', '.join(header.columns)}")
        rows.append(row)
    columns = zip(*rows, strict=True) if rows else ((),) * len(header.columns)
    return {name: _column(values, header, name, path) for name, values in zip(header.columns, columns, strict=True)}


def _column(values: Sequence[Any], header: Header, name: str, path: Path) -> NDArray[Any]:
    kind = header.kind(name)
    is_right = {"number": _is_number, "curve": _is_list, "vector": _is_list}.get(kind, _is_text)
    wrong = next((i for i, v in enumerate(values) if not is_right(v)), None)
    if wrong is not None:
        raise TableError(f"{path}, row {wrong + 1}, column {name!r}: a {type(values[wrong]).__name__}, not a {kind}")
    try:
        if kind == "hash":
            return digests(values, path)
        if kind == "text":
            return np.array(values, dtype=np.object_)
        if kind == "number":
            return np.array(values, dtype=np.float64)
        return _digits(values, header.stages) if kind == "vector" else _curves(values, header, f"{path}, {name}")
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{path}, column {name!r}: {one_line(error)[:200]}") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _curves(values: Sequence[Any], header: Header, what: str) -> NDArray[np.float32]:
    check_size(sum(map(len, values)) * 4, what)  # before they are walked: one long list may stand in every row
    lengths = np.array([sum(len(x) if isinstance(x, np.ndarray) else 1 for x in v) for v in values], dtype=np.int64)
    check_size(len(values) * int(lengths.max(initial=0)) * 4, what)
    pieces = []
    for at in range(0, len(values), _BLOCK):
        flat = [np.asarray(x, dtype=np.float64) for curve in values[at : at + _BLOCK] for x in curve]
        if any(x.ndim > 1 for x in flat):
            raise ValueError("a list within a list of numbers")
        pieces.append((lengths[at : at + _BLOCK], np.concatenate([np.empty(0), *map(np.atleast_1d, flat)])))
    return padded(pieces, what)


def _digits(values: Sequence[Any], stages: int) -> NDArray[np.int64]:
    """Digits ``(n, stages, 5)`` of nested lists ``[[op1], [op2, prev, inp, sc]]``."""
    flat = []
    for vector in values:
        cells = [(first, rest) for first, rest in vector]
        if len(cells) != stages or any(len(first) != 1 or len(rest) != 4 for first, rest in cells):
            raise ValueError(f"an architecture vector without {stages} cells [[op1], [op2, prev, inp, sc]]")
        digits = [digit for first, rest in cells for digit in (*first, *rest)]
        if not all(isinstance(d, int) and 0 <= d <= 2 for d in digits):
            raise ValueError("digits of an architecture vector are 0, 1 or 2")
        flat.append(digits)
    return np.array(flat, dtype=np.int64).reshape(-1, stages, 5)
