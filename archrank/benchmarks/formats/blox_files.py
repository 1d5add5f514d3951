"""Released BLOX files on disk: which there are in a folder, and what one of them holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from archrank._errors import TableError
from archrank.benchmarks.formats.blox_columns import Content, check, check_size
from archrank.benchmarks.formats.blox_header import PREFERENCE, read_header

# Seeds are numbers; a device may have any name, with dots, dashes and underscores.
_NAME = re.compile(r"blox-(base-\d+|ext-\d+|env-\d+|info|bench-.+)\.(blox|csv|pickle)")


def find_files(path: Path, preference: Sequence[str] = PREFERENCE) -> list[Path]:
    """The files to read: `path` itself, or of a folder each table once, in the preferred format that it has.

    The order does not depend on the folder's listing.

    Raises
    ------
    TableError
        If there is nothing to read.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise TableError(f"{path}: no such folder; give the folder of the blox-* files, or one of them")
    found = {m: f for f in path.iterdir() if (m := _NAME.fullmatch(f.name)) and f.is_file()}
    tables = sorted({m[1] for m in found})
    by_name = {(m[1], m[2]): f for m, f in found.items()}
    chosen = [next((by_name[t, f] for f in preference if (t, f) in by_name), None) for t in tables]
    files = [f for f in chosen if f is not None]
    if not files:
        raise TableError(
            f"{path}: no BLOX files; expected names such as blox-base-0, blox-info, blox-bench-DEVICE "
            f"ending in .{', .'.join(preference)}"
        )
    return files


def read_file(path: Path) -> Content:
    """Read one file, whatever its format and name; its header says what it holds.

    Raises
    ------
    TableError
        If it cannot be read; one line that names the file.
    """
    # Formats are imported when needed: pyarrow's CSV reader is of no use to someone who has .blox files.
    with path.open("rb") as file:
        header = read_header(file, path)
        if header.coding != "csv":  # which is read piece by piece
            check_size(path.stat().st_size // len(header.columns), f"{path}: a column")
        if header.coding == "blox":
            from archrank.benchmarks.formats import blox_binary

            columns = blox_binary.read_payload(file.read(), header, path)
        elif header.coding == "pickle":
            from archrank.benchmarks.formats import blox_pickle

            columns = blox_pickle.read_payload(file.read(), header, path)
        else:
            from archrank.benchmarks.formats import blox_csv

            columns = blox_csv.read_payload(file, header, path)
    return check(Content(path, header, columns))
