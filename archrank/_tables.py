"""Reading the files that users write: one row per network, one column per stage.

Every fault is reported as one line that names file, row, column and the cure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from archrank._block_columns import BlockColumn, all_whole, recognise
from archrank._errors import TableError, one_line
from archrank._parquet import read_parquet
from archrank.spaces import Codes, MacroSpace

if TYPE_CHECKING:
    import pandas as pd

STAGE_NAMES = ("stage", "block", "layer")


class UserTable:
    """Cells of a CSV or parquet file, addressed as the user sees them.

    Parameters
    ----------
    path
        ``.csv``, ``.parquet`` or ``.pq``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.is_text = self.path.suffix.lower() == ".csv"
        # A column without a name is the row number that pandas writes unless told otherwise.
        number = ("Unnamed: ", "__index_level_")
        self.frame = self._read().loc[:, lambda f: [not str(c).startswith(number) for c in f.columns]]
        self.frame.columns = [str(c).strip() for c in self.frame.columns]
        if self.frame.empty:
            raise TableError(f"{self.path}: the table has no rows; expected one row per trained network")

    def _read(self) -> pd.DataFrame:
        import pandas as pd

        if not self.path.is_file():  # a pipe or device would never end
            raise TableError(f"{self.path}: no such file; give the path of a CSV or parquet table")
        if not self.path.stat().st_size:
            raise TableError(f"{self.path}: the file is empty; expected a header and one row per network")
        try:
            if self.is_text:
                options: Any = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
                names = pd.read_csv(self.path, header=None, nrows=1, **options).iloc[0]
                _check_names(names)
                if len(names) == 1 and re.search(r"[;\t|]", names[0]):
                    raise ValueError(f"its header is one cell, {names[0]!r}; columns are separated by commas")
                frame: pd.DataFrame = pd.read_csv(self.path, **options)
                if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first for row names
                    raise ValueError("rows have more cells than the header")
                return frame
            if self.path.suffix.lower() in (".parquet", ".pq"):
                table = read_parquet(self.path)
                _check_names(table.schema.names)
                return cast("pd.DataFrame", table.to_pandas())
        except (ValueError, OSError) as error:  # pandas' and arrow's parsing errors are kinds of these
            kind = "CSV" if self.is_text else "parquet"
            raise TableError(f"{self.path}: not a readable {kind} file: {one_line(error)}; export it again") from error
        raise TableError(f"{self.path}: unknown kind of file {self.path.suffix!r}; expected .csv or .parquet")

    def fail(self, row: int, column: str, problem: str) -> NoReturn:
        """Raise the error for one cell; `row` counts from 0."""
        line = f" (line {row + 2})" if self.is_text else ""
        raise TableError(f"{self.path}, row {row + 1}{line}, column {column!r}: {problem}")

    def stage_columns(self, given: Sequence[str] | None = None) -> list[str]:
        """The columns that hold one block each, in stage order."""
        columns = list(self.frame.columns)
        if given is not None:
            for name in given:
                if name not in columns:
                    raise TableError(f"{self.path}: column {name!r} is missing; the table has {', '.join(columns)}")
            return list(given)
        for kind in STAGE_NAMES:
            found = {int(m[1]): c for c in columns if (m := re.fullmatch(rf"{kind}_?(\d+)", c, re.IGNORECASE))}
            if found:
                for stage in range(max(found) + 1):
                    if stage not in found:
                        raise TableError(
                            f"{self.path}: column {kind}_{stage} is missing (found {', '.join(found.values())}); "
                            "stages are numbered from 0 without gaps"
                        )
                return [found[stage] for stage in range(len(found))]
        raise TableError(
            f"{self.path}: no stage columns among {', '.join(columns)}; name them stage_0, stage_1, ... "
            "(block0 or layer0 do as well)"
        )

    def texts(self, column: str) -> NDArray[np.object_]:
        """A column of words, none of them missing or empty, ``(n_rows,)``."""
        cells = self.frame[column]
        empty = (cells.isna() | (cells.astype(str).str.strip() == "")).to_numpy()
        if empty.any():
            self.fail(int(np.argmax(empty)), column, "is empty; expected a word in every row, or no such column")
        return cells.astype(str).str.strip().to_numpy(dtype=object)

    def numbers(self, column: str, empty: bool = False) -> NDArray[np.float64]:
        """A column as finite float64 ``(n_rows,)``; with `empty`, cells may be empty and are NaN."""
        cells = self.frame[column]
        if cells.dtype.kind in "mM":  # numpy would count nanoseconds
            self.fail(0, column, f"holds {_shown(cells.iloc[0])}; expected a number, not a time; remove the column")
        if empty:
            cells = cells.mask(cells.astype(str).str.strip() == "", np.nan)
        try:
            values = cells.to_numpy(dtype=np.float64, na_value=np.nan) if not self.is_text else cells.astype(np.float64)
            values = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            for row, cell in enumerate(cells):
                if not _is_number(cell):
                    said = "is empty" if str(cell).strip() == "" else f"holds {cell!r}, not a number"
                    self.fail(row, column, f"{said}; expected a number; correct it, or remove the row or the column")
            raise
        bad = ~np.isfinite(values) & ~(empty & cells.isna().to_numpy())
        if bad.any():
            row = int(np.argmax(bad))
            self.fail(
                row, column, f"holds {_shown(cells.iloc[row])}; expected a finite number; correct or remove the row"
            )
        return values

    def whole_numbers(self, column: str) -> NDArray[np.int64]:
        """A column as int64 ``(n_rows,)``."""
        values = self.numbers(column)
        bad = (values != np.floor(values)) | (np.abs(values) > 2**53)
        if bad.any():
            row = int(np.argmax(bad))
            self.fail(row, column, f"holds {_shown(self.frame[column].iloc[row])}; expected a whole number")
        return values.astype(np.int64)

    def blocks(self, column: str) -> BlockColumn:
        """Block names or ids of one stage."""
        cells = self.frame[column]
        if cells.dtype.kind == "f":  # ids that a missing value elsewhere turned into floats
            whole = (cells.notna() & (cells == cells.round()) & (cells.abs() <= 2**53)).to_numpy()
            if not whole.all():
                row = int(np.argmin(whole))
                self.fail(row, column, f"holds {_shown(cells.iloc[row])}; expected a block name or a whole block id")
            cells = cells.astype(np.int64)
        try:
            found = BlockColumn.of(cells)
        except TypeError:
            row = next(row for row, c in enumerate(cells) if isinstance(c, (list, dict, np.ndarray, bytes)))
            self.fail(row, column, f"holds {_shown(cells.iloc[row])}; expected a block name or id")
        empty = found.first_row(np.array([text == "" for text in found.texts]))
        if empty is not None:
            self.fail(empty, column, "is empty; expected a block name or id")
        return found

    def codes(self, columns: Sequence[str], space: MacroSpace | None = None) -> tuple[MacroSpace, Codes]:
        """Space and codes; without `space` a known one that the names fit, or one made of the names."""
        cells = [self.blocks(column) for column in columns]
        if space is not None and space.stages != len(columns):
            raise TableError(
                f"{self.path}: {len(columns)} stage columns ({', '.join(columns)}), "
                f"but space {space.name!r} has {space.stages} stages; give one column per stage, "
                f"stage_0 to stage_{space.stages - 1}, or name the space that the table belongs to"
            )
        ids = all_whole(cells)
        if space is None:
            space = None if ids else recognise(cells)
        if space is None:
            self._check_mixture(cells, columns)
            space = MacroSpace.from_blocks([column.names() for column in cells], name=self.path.stem)
        places = [column.places_in(names) for column, names in zip(cells, space.blocks, strict=True)]
        unknown = [column.first_row(place < 0) for column, place in zip(cells, places, strict=True)]
        if any(row is not None for row in unknown):
            if ids:
                return space, self._ids(cells, columns, space)
            row, stage = min((row, stage) for stage, row in enumerate(unknown) if row is not None)
            names = space.blocks[stage]
            some = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
            self.fail(
                row,
                columns[stage],
                f"unknown block {cells[stage].texts[cells[stage].which[row]]!r} of space {space.name!r}; "
                f"expected one of {some}; correct the name or give the space it belongs to",
            )
        return space, np.stack([place[column.which] for column, place in zip(cells, places, strict=True)], axis=1)

    def _check_mixture(self, cells: Sequence[BlockColumn], columns: Sequence[str]) -> None:
        """A few words among ids are typing errors, not blocks."""
        for column, found in zip(columns, cells, strict=True):
            row = found.first_row(~found.is_whole)
            if row is not None and found.share(found.is_whole) > 0.5:
                text = found.texts[found.which[row]]
                self.fail(row, column, f"unknown block {text!r} among whole block ids; expected an id")

    def _ids(self, cells: Sequence[BlockColumn], columns: Sequence[str], space: MacroSpace) -> Codes:
        codes = np.empty((len(self.frame), len(cells)), dtype=np.int64)
        for stage, (found, n) in enumerate(zip(cells, space.n_blocks, strict=True)):
            # The text of missing cells is in every column, if not in any row of it.
            ids = np.array([int(text or 0) for text in found.texts], dtype=np.int64)
            row = found.first_row((ids < 0) | (ids >= n))
            if row is not None:
                self.fail(
                    row,
                    columns[stage],
                    f"unknown block id {ids[found.which[row]]}; space {space.name!r} has blocks 0 to {n - 1}",
                )
            codes[:, stage] = ids[found.which]
        return codes


def _check_names(names: Iterable[str]) -> None:
    """pandas would rename the second of two columns of one name."""
    seen: set[str] = set()
    for name in map(str.strip, names):
        if name and name in seen:
            raise ValueError(f"column {name!r} appears twice")
        seen.add(name)


def _shown(cell: Any) -> str:
    return repr(cell.item() if isinstance(cell, np.generic) else cell)


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True
