"""Types of `.blox` columns: how one value is coded in bytes, both ways."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archrank._errors import TableError

FLOAT_SCALE, FLOAT_MAX = 1e6, 2**24 - 1  # 16.777215
_ANSWERS = re.compile(r"b_(\d{1,9})_(\d{1,9})_(\d{1,2})")
_WIDTHS = {"hash": 16, "int": 4, "float": 3}


def n_answers(column: str) -> int:
    """Images that an accuracy counts: of the published split of CIFAR."""
    return 45_000 if "train" in column else 5_000 if "val" in column else 10_000


@dataclass(frozen=True)
class Answers:
    """``b_MIN_MAX_BITS``: correct answers minus `low` in `bits` bits, for accuracies of `of` images."""

    low: int
    high: int
    bits: int
    of: int

    def __str__(self) -> str:
        return f"b_{self.low}_{self.high}_{self.bits}"

    def accuracies(self) -> NDArray[np.float64]:
        """The accuracy in per cent of each stored value, 3 decimals, ``(high - low + 1,)``."""
        return np.round(np.arange(self.low, self.high + 1) / self.of * 100, 3)


@dataclass(frozen=True)
class ColumnType:
    """One column's type.

    Parameters
    ----------
    base
        hash, str, int, float, arch or answers.
    listed
        Whether a field is a list of them.
    width
        Bytes of one value; 0 for str. Items of a list of answers are packed by bits.
    answers
        For accuracies.
    """

    base: str
    listed: bool
    width: int
    answers: Answers | None = None

    @property
    def variable(self) -> bool:
        """Whether a field begins with its length."""
        return self.listed or self.base == "str"

    def bytes_of(self, length: NDArray[np.int64] | int) -> Any:
        """Bytes of a field of so many items or characters, without the length byte."""
        if self.base == "str":
            return length
        if not self.listed:
            return self.width
        return length * self.width if self.answers is None else (length * self.answers.bits + 7) // 8


def parse_type(text: str, column: str, stages: int) -> ColumnType:
    """The type that ``column_types`` names for a column.

    Raises
    ------
    TableError
        For a text that is no type, or a range that its bits do not hold.
    """
    listed = text.startswith("list[") and text.endswith("]")
    item = text[5:-1] if listed else text
    if item in _WIDTHS or item == "arch":
        return ColumnType(item, listed, _WIDTHS.get(item, stages))
    if item == "str" and not listed:
        return ColumnType("str", False, 0)
    found = _ANSWERS.fullmatch(item)
    if not found:
        raise TableError(f"column {column!r} has the unknown type {text[:60]!r}")
    low, high, bits = map(int, found.groups())
    answers = Answers(low, high, bits, n_answers(column))
    if not answers.low <= answers.high <= answers.of or answers.bits > 32:
        raise TableError(f"column {column!r}: {text!r} is no range of 0 to {answers.of:,} correct answers")
    if answers.high - answers.low >= 1 << answers.bits:
        raise TableError(f"column {column!r}: {answers.bits} bits do not hold {answers.low} to {answers.high}")
    return ColumnType("answers", listed, (answers.bits + 7) // 8, answers)


def unpack(raw: NDArray[np.uint8], bits: int, length: int) -> NDArray[np.unsignedinteger[Any]]:
    """Numbers of `bits` bits, least significant bit first, of each row of bytes ``(n, n_bytes)``: ``(n, length)``.

    Eight items fill `bits` bytes, so that every eighth item lies at the same shift: eight strided passes.
    """
    out = np.zeros((len(raw), length), dtype=np.uint16 if bits <= 16 else np.uint32)
    mask = (1 << bits) - 1
    for k in range(min(8, length) if bits else 0):
        shift, first, count = k * bits & 7, k * bits >> 3, (length - k + 7) // 8
        needed = (shift + bits + 7) // 8
        word: Any = np.uint16 if needed <= 2 else np.uint32 if needed <= 4 else np.uint64
        value = raw[:, first::bits][:, :count].astype(word)
        for byte in range(1, needed):
            value |= raw[:, first + byte :: bits][:, :count].astype(word) << word(8 * byte)
        out[:, k::8] = (value >> word(shift)) & word(mask)
    return out


def pack(values: NDArray[np.int64], bits: int) -> NDArray[np.uint8]:
    """Inverse of `unpack`: the bytes of each row, padded at the end of the row."""
    single = (values[..., None] >> np.arange(bits)) & 1
    return np.packbits(single.astype(np.uint8).reshape(len(values), -1), axis=1, bitorder="little")


def little_endian(raw: NDArray[np.uint8], width: int) -> NDArray[np.uint32]:
    """Unsigned numbers of `width` bytes each, of bytes ``(n, k * width)``: ``(n, k)``."""
    out = np.zeros((len(raw), raw.shape[1] // width if width else 1), dtype=np.uint32)
    for byte in range(width):
        out |= raw[:, byte::width].astype(np.uint32) << np.uint32(8 * byte)
    return out


def to_little_endian(values: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """Inverse of `little_endian`: bytes ``(n, k * width)`` of numbers ``(n, k)``."""
    out = (values[..., None] >> (8 * np.arange(width))) & 0xFF
    return out.astype(np.uint8).reshape(len(values), -1)
