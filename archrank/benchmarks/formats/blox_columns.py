"""Columns of BLOX files in memory, whatever file they were read from, and the checks that all of them must pass."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archrank._curves import Floats
from archrank._errors import TableError
from archrank.benchmarks.formats.blox_header import HASH, Header

# Hashes: bytes (n,) of 16; vectors: int64 digits (n, stages, 5); curves: float32 (n, n_epochs), NaN where a
# curve is shorter; numbers: float64 (n,), NaN where absent; text: str objects (n,).
Columns = Mapping[str, NDArray[Any]]

_CELL = r"\[\[\d\], \[\d, \d, \d, \d\]\]"
MAX_ROWS = 100_000  # the space has 91,125 networks, and a file may hold a few that are none of them
MAX_BYTES = 1 << 29  # of one column; that of all curves of 200 epochs takes 73 MB


@dataclass(frozen=True)
class Content:
    """One file: where it lies, its header and its columns."""

    path: Path
    header: Header
    columns: Columns

    def __len__(self) -> int:
        return len(self.columns[HASH])


def digests(hashes: Sequence[str], path: Path) -> NDArray[np.bytes_]:
    """Hex hashes as 16 bytes each.

    Raises
    ------
    TableError
        Naming the first that is no hash.
    """
    text = "".join(hashes)
    lengths = np.fromiter(map(len, hashes), dtype=np.int64, count=len(hashes))
    if (lengths == 32).all():
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            raw = b""
        if len(raw) == 16 * len(hashes):  # fromhex skips spaces
            return np.frombuffer(raw, dtype="S16")
    row = next(i for i, h in enumerate(hashes) if not re.fullmatch("[0-9a-fA-F]{32}", h))
    raise TableError(f"{path}, row {row + 1}: {hashes[row][:40]!r} is no model hash of 32 hex digits")


def hex_digest(digest: bytes) -> str:
    """The text of one hash; numpy drops the zero bytes at its end."""
    return digest.ljust(16, b"\0").hex()


def padded(parts: Iterable[tuple[NDArray[np.int64], Floats]], what: str) -> NDArray[np.float32]:
    """Curves as float32 ``(n, n_epochs)`` from pieces of (lengths, values one after the other).

    Raises
    ------
    TableError
        If one long curve among short ones would take too much memory; `what` names file and column.
    """
    pieces = list(parts)
    width = max((int(lengths.max(initial=0)) for lengths, _ in pieces), default=0)
    n = sum(len(lengths) for lengths, _ in pieces)
    check_size(n * width * 4, what)
    out = np.full((n, width), np.nan, dtype=np.float32)
    row = 0
    for lengths, values in pieces:
        block = out[row : row + len(lengths)]
        if (lengths == width).all():
            block[...] = values.reshape(block.shape)
        else:
            block[np.arange(width) < lengths[:, None]] = values
        row += len(lengths)
    return out


def check_size(size: int, what: str) -> None:
    """Refuse what would not fit in memory, before it is made."""
    if size > MAX_BYTES:
        raise TableError(
            f"{what} would take {size / 1e9:,.1f} GB in memory, more than the {MAX_BYTES / 1e9:.1f} GB that this "
            "reader admits; the file is damaged or was made to do harm"
        )


def vectors_of_text(texts: Sequence[str], stages: int, path: Path) -> NDArray[np.int64]:
    """Digits ``(n, stages, 5)`` of architecture vectors as Python writes them."""
    pattern = re.compile(rf"\[{', '.join([_CELL] * stages)}\]")
    wrong = next((i for i, text in enumerate(texts) if not pattern.fullmatch(text)), None)
    if wrong is not None:
        raise TableError(
            f"{path}, row {wrong + 1}: {texts[wrong][:90]!r} is no architecture vector of {stages} cells "
            "[[op1], [op2, prev, inp, sc]]"
        )
    joined = "".join(texts).encode("ascii").translate(None, b"[], ")
    return (np.frombuffer(joined, dtype=np.uint8) - ord("0")).astype(np.int64).reshape(-1, stages, 5)


def check(content: Content) -> Content:
    """Refuse a file without rows, with a network twice, or with values that cannot be.

    Raises
    ------
    TableError
        Naming file, row and column.
    """
    path, header = content.path, content.header
    n = len(content)
    if n == 0:
        raise TableError(f"{path}: no rows; expected one per network")
    if n > MAX_ROWS:
        raise TableError(f"{path}: {n:,} rows, but this reader admits {MAX_ROWS:,}")
    hashes = content.columns[HASH]
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    if len(same):
        first, second = (int(i) for i in order[same[0] : same[0] + 2])
        raise TableError(f"{path}, rows {first + 1} and {second + 1}: both hold {hex_digest(hashes[first])}; keep one")
    for name, values in content.columns.items():
        kind = header.kind(name)
        if kind == "curve" and header.epochs is not None and values.shape[1] > header.epochs:
            raise TableError(f"{path}, column {name!r}: {values.shape[1]} epochs, but the header says {header.epochs}")
        if kind in ("curve", "number"):
            top = 100.0 if "top" in name else np.finfo(np.float64).max
            lowest, highest = (f.reduce(values, axis=None, initial=0.0) for f in (np.fmin, np.fmax))  # but for NaN
            if lowest < 0 or highest > top:
                row = int(np.argwhere((values < 0) | (values > top))[0][0])
                allowed = "0 to 100 %" if "top" in name else "finite and not negative"
                raise TableError(f"{path}, row {row + 1}, column {name!r}: a value out of range, expected {allowed}")
    return content
