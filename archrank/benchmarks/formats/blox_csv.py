"""The payload of released `.csv` files: rows without a header line, lists as Python writes them."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from archrank._errors import TableError, one_line
from archrank.benchmarks.formats.blox_columns import MAX_ROWS, Columns, digests, padded, vectors_of_text
from archrank.benchmarks.formats.blox_header import Header

_BLOCK = 1 << 23  # bytes read at a time; a row must be shorter


def read_payload(file: IO[bytes], header: Header, path: Path) -> Columns:
    """Read the rows from where `file` stands, some thousand at a time.

    Raises
    ------
    TableError
        For rows of another number of fields, or values that are no numbers, lists, hashes or vectors.
    """
    pieces: dict[str, list[Any]] = {column: [] for column in header.columns}
    n_rows = 0
    try:
        for batch in _batches(file, header):
            n_rows += batch.num_rows
            if n_rows > MAX_ROWS:
                raise TableError(f"{path}: more than the {MAX_ROWS:,} rows that this reader admits")
            for column, array in zip(header.columns, batch.columns, strict=True):
                pieces[column].append(_piece(array, header, column, path))
    except pa.ArrowException as error:
        raise TableError(f"{path}: not the rows that its header describes: {one_line(error)[:300]}") from error
    return {
        column: padded(parts, f"{path}, column {column!r}")
        if header.kind(column) == "curve"
        else np.concatenate(parts or [np.empty(0)])
        for column, parts in pieces.items()
    }


def _batches(file: IO[bytes], header: Header) -> pyarrow.csv.CSVStreamingReader:
    numbers = {c: pa.float64() if header.kind(c) == "number" else pa.string() for c in header.columns}
    return pyarrow.csv.open_csv(
        file,
        pyarrow.csv.ReadOptions(column_names=list(header.columns), block_size=_BLOCK, use_threads=False),
        pyarrow.csv.ParseOptions(newlines_in_values=False),
        # Nothing but a number is a number: not "", not "NA".
        pyarrow.csv.ConvertOptions(column_types=numbers, null_values=[], strings_can_be_null=False),
    )


def _piece(array: pa.Array, header: Header, column: str, path: Path) -> Any:
    kind = header.kind(column)
    if kind == "number":
        return array.to_numpy(zero_copy_only=False)
    if kind == "hash":
        return digests(array.to_pylist(), path)
    if kind == "vector":
        return vectors_of_text(array.to_pylist(), header.stages, path)
    if kind == "curve":
        return _lists(array, column, path)
    return array.to_numpy(zero_copy_only=False)


def _lists(texts: pa.Array, column: str, path: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Length and values of each list of numbers."""
    listed = pc.and_(pc.starts_with(texts, "["), pc.ends_with(texts, "]"))
    if not pc.all(listed).as_py():
        text = texts[listed.index(False).as_py()].as_py()
        raise TableError(f"{path}, column {column!r}: {text[:40]!r} is no list of numbers")
    inner = pc.utf8_slice_codeunits(texts, 1, -1)
    lists = pc.split_pattern(pc.if_else(pc.equal(inner, ""), pa.scalar(None, pa.string()), inner), ", ")
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    return lengths, lists.flatten().cast(pa.float32()).to_numpy()
