"""The YAML header of a released BLOX file: what the file holds, and how its payload is coded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

import yaml

from archrank._errors import TableError, one_line
from archrank.spaces.blox_blocks import OPS

Part = Literal["base", "ext", "env", "info", "bench"]
Kind = Literal["hash", "vector", "curve", "number", "text"]

PREFERENCE = ("blox", "csv", "pickle")  # the quickest to read first
HASH = "model_hash"
# Columns after the hash, in the order of the release; those of env are any, and all of them text.
COLUMNS: dict[Part, dict[str, Kind]] = {
    "base": {"val_top1": "curve", "test_top1": "number", "train_time_s": "number"},
    "ext": {
        "train_top1": "curve",
        "train_loss": "curve",
        "train_top5": "curve",
        "val_loss": "curve",
        "val_top5": "curve",
        "test_loss": "number",
        "test_top5": "number",
    },
    "env": {},
    "info": {"params": "number", "flops": "number", "arch_vec": "vector"},
    "bench": {"latency": "number"},
}
_DATASET_TYPES = {"info": "static", "env": "env", "bench": "benchmarking", "base": "training", "ext": "training"}
_PARTS: dict[str, Part] = {"static": "info", "env": "env", "benchmarking": "bench", "base": "base", "ext": "ext"}
_FORMATS = {"custom": "blox", "csv": "csv", "pickle": "pickle"}
_FIRST, _LAST, _LIMIT = b"---\n", b"\n---\n", 1024
_MAX_STAGES = 3  # the spaces whose hashes are all known


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Parameters
    ----------
    part
        Which of the five kinds of file.
    columns
        All columns in order; the first is the model hash.
    stages
        Stages of the space.
    coding
        "blox", "csv" or "pickle".
    types
        Type text of each column, for "blox" only.
    seed, device, epochs, dataset
        Where the part has them.
    """

    part: Part
    columns: tuple[str, ...]
    stages: int
    coding: str
    types: tuple[str, ...] = ()
    seed: int | None = None
    device: str | None = None
    epochs: int | None = None
    dataset: str | None = None

    def kind(self, column: str) -> Kind:
        """What sort of values a column holds."""
        if column == HASH:
            return "hash"
        return "text" if self.part == "env" else COLUMNS[self.part][column]


def read_header(file: IO[bytes], path: Path) -> Header:
    """Read the header; `file` then stands at the first byte of the payload.

    Raises
    ------
    TableError
        If there is no such header within 1,024 bytes, or it does not describe a BLOX file.
    """
    start = file.read(_LIMIT)
    end = start.find(_LAST)
    if not start.startswith(_FIRST) or end < 0:
        raise TableError(
            f"{path}: no YAML header from '---' to '---' within the first {_LIMIT:,} bytes; "
            "expected a released BLOX file (base, ext, env, info or bench)"
        )
    file.seek(end + len(_LAST))
    try:
        # Every scalar stays text: no dates, no octal numbers, and no objects.
        raw = yaml.load(start[len(_FIRST) : end], Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise TableError(f"{path}: the header is not YAML: {one_line(error)[:200]}; fetch the file again") from error
    return _Fields(raw, path).header()


def write_header(header: Header) -> bytes:
    """The header as the release writes it.

    Raises
    ------
    TableError
        If it is longer than the 1,024 bytes that readers allow.
    """
    cell = [[3], [3, 2, 2, 2]]
    fields: dict[str, Any] = {
        "version": 1,
        "search_space": {"shape": [cell] * header.stages, "nodes": 2, "stages": header.stages, "ops": list(OPS)},
        "dataset_type": _DATASET_TYPES[header.part],
        "columns": list(header.columns),
    }
    extra = {k: getattr(header, k) for k in ("seed", "epochs", "dataset") if getattr(header, k) is not None}
    if header.part in ("base", "ext"):
        extra["part"] = header.part
    fields |= extra if header.device is None else {"device": header.device}
    fields["format"] = next(k for k, v in _FORMATS.items() if v == header.coding)
    if header.types:
        fields["column_types"] = dict(zip(header.columns, header.types, strict=True))
    text: bytes = _FIRST + yaml.safe_dump(fields, sort_keys=False).encode("ascii") + _FIRST
    if len(text) > _LIMIT:
        raise TableError(f"a header of {len(text):,} bytes, but readers allow {_LIMIT:,}; leave out or shorten columns")
    return text


class _Fields:
    """The header's fields, checked. Values that are no text are never shown: aliases may make them endless."""

    def __init__(self, raw: Any, path: Path) -> None:
        self.path = path
        self.raw = self.mapping(raw, "the header")

    def fail(self, problem: str) -> NoReturn:
        raise TableError(f"{self.path}: {problem}; expected the header of a released BLOX file")

    def mapping(self, value: Any, what: str) -> Mapping[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            self.fail(f"{what} is no mapping")
        return value

    def text(self, fields: Mapping[str, Any], key: str) -> str:
        value = fields.get(key)
        if not isinstance(value, str):
            self.fail(f"the header's {key!r} is missing or no text")
        return value

    def number(self, fields: Mapping[str, Any], key: str) -> int:
        value = self.text(fields, key)
        if not (value.isascii() and value.isdecimal() and len(value) <= 9):
            self.fail(f"the header's {key!r} is {value!r}, no whole number")
        return int(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.raw.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            self.fail(f"the header's {key!r} is no list of names")
        return tuple(value)

    def header(self) -> Header:
        raw = self.raw
        if self.text(raw, "version") != "1":
            self.fail(f"the header's 'version' is {raw['version']!r}, this archrank reads version 1")
        coding = _FORMATS.get(self.text(raw, "format"))
        if coding is None:
            self.fail(f"the header's 'format' is {raw['format']!r}, none of {', '.join(_FORMATS)}")
        part, columns = self.part(), self.texts("columns")
        training = part in ("base", "ext")
        return Header(
            part,
            self.columns(part, columns),
            self.stages(),
            coding,
            self.types(columns) if coding == "blox" else (),
            seed=self.number(raw, "seed") if training or part == "env" else None,
            device=self.text(raw, "device") if part == "bench" else None,
            epochs=self.number(raw, "epochs") if training else None,
            dataset=self.text(raw, "dataset") if training else None,
        )

    def part(self) -> Part:
        kind = self.text(self.raw, "dataset_type")
        if kind not in _DATASET_TYPES.values():
            self.fail(f"the header's 'dataset_type' is {kind!r}, none of training, static, env, benchmarking")
        if kind == _DATASET_TYPES["base"]:  # the two parts of one
            kind = self.text(self.raw, "part")
            if kind not in ("base", "ext"):
                self.fail(f"the header's 'part' is {kind!r}, neither base nor ext")
        if kind not in _PARTS:
            self.fail(
                f"the header's 'dataset_type' is {kind!r}, none of {', '.join(sorted(set(_DATASET_TYPES.values())))}"
            )
        return _PARTS[kind]

    def columns(self, part: Part, columns: tuple[str, ...]) -> tuple[str, ...]:
        if columns[0] != HASH or len(columns) < 2 or len(set(columns)) < len(columns):
            self.fail(f"the header's 'columns' must be {HASH} and one or more others, each once")
        for column in columns[1:]:
            if part != "env" and column not in COLUMNS[part]:
                self.fail(f"unknown column {column!r} of a {part} file; those are {', '.join(COLUMNS[part])}")
        return columns

    def types(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        types = self.mapping(self.raw.get("column_types"), "the header's 'column_types'")
        return tuple(self.text(types, column) for column in columns)

    def stages(self) -> int:
        space = self.mapping(self.raw.get("search_space"), "the header's 'search_space'")
        stages = self.number(space, "stages")
        # Compared, not walked: a comparison ends at the first difference, however deep the aliases are.
        if not 1 <= stages <= _MAX_STAGES or space.get("shape") != [[["3"], ["3", "2", "2", "2"]]] * stages:
            self.fail("the header's 'search_space' is not BLOX with 1 to 3 stages")
        if space.get("ops") != list(OPS) or space.get("nodes") != "2":
            self.fail(f"the header's operations are not {', '.join(OPS)} in two nodes")
        return stages
