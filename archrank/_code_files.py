"""Architectures from the files that users write: CSV, parquet or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from archrank._errors import TableError, one_line
from archrank._tables import UserTable
from archrank.spaces import BloxSpace, Codes, MacroSpace


def read_codes(path: str | Path, space: MacroSpace, stage_columns: Sequence[str] | None = None) -> Codes:
    """Read architectures from a file.

    Parameters
    ----------
    path
        CSV or parquet with one column per stage (block names or ids), or JSON: for BLOX a list of
        architecture vectors, for any space a list of code rows.
    space
        The space that the architectures belong to.
    stage_columns
        Names of the stage columns, if they are not ``stage_0``, ``stage_1``, ...

    Returns
    -------
    int64 ``(n_archs, n_stages)``, rows as in the file.

    Raises
    ------
    TableError
        Naming file, row, column and the cure.
    """
    if Path(path).suffix.lower() == ".json":
        return _json_codes(Path(path), space)
    table = UserTable(path)
    return table.codes(table.stage_columns(stage_columns), space)[1]


def _json_codes(path: Path, space: MacroSpace) -> Codes:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise TableError(f"{path}: {error.strerror}; give the path of a JSON file of architectures") from error
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path}: not JSON: {one_line(error)}") from error
    if not isinstance(data, list) or not data:
        raise TableError(f"{path}: expected a JSON list with one entry per architecture")
    for row, entry in enumerate(data):
        if not isinstance(entry, list) or len(entry) != space.stages:
            got = f"{len(entry)} stages" if isinstance(entry, list) else repr(entry)
            raise TableError(f"{path}: architecture {row} has {got}, expected a list of {space.stages} stages")
    nested = isinstance(data[0], list) and bool(data[0]) and isinstance(data[0][0], list)
    try:
        if nested and isinstance(space, BloxSpace):
            return space.from_arch_vectors(data)
        return space.validate(data)
    except (ValueError, TypeError, OverflowError) as error:
        raise TableError(f"{path}: {one_line(error)}") from error
