"""What a column of a table measures, and numbers measured for single blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from archrank._errors import TableError, there_are
from archrank._long_table import numbers, whole_numbers

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Metric:
    """What a column measures.

    Parameters
    ----------
    name
        The column.
    direction
        "max" where more is better, "min" where less is (loss, latency).
    unit
        For example ``%`` or ``s``; empty for pure numbers.
    bounds
        Lowest and highest possible value, None where there is none.
    description
        One sentence for reports.
    """

    name: str
    direction: Literal["max", "min"] = "max"
    unit: str = ""
    bounds: tuple[float | None, float | None] = (None, None)
    description: str = ""

    def __post_init__(self) -> None:
        if self.direction not in ("max", "min"):
            raise ValueError(f"metric {self.name!r}: direction must be 'max' or 'min', got {self.direction!r}")
        object.__setattr__(self, "bounds", tuple(self.bounds))

    @property
    def sign(self) -> int:
        """+1 where more is better, -1 where less is: ``sign * value`` ranks with the best last."""
        return 1 if self.direction == "max" else -1


@dataclass(frozen=True, eq=False)
class Signatures:
    """Numbers measured for each block alone, for example its error after blockwise distillation.

    Parameters
    ----------
    frame
        One row per stage, block and teacher: columns ``stage``, ``block`` (id), ``teacher`` and one
        column per measured quantity.
    metrics
        A `Metric` for each measured column.
    n_blocks
        Number of blocks at each stage; by default as many as the frame names.
    """

    frame: pd.DataFrame
    metrics: Mapping[str, Metric]
    n_blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        missing = [c for c in ("stage", "block", "teacher", *self.metrics) if c not in self.frame.columns]
        if missing:
            raise TableError(f"signatures lack column {missing[0]!r}; they have {', '.join(map(str, self.frame))}")
        if not self.metrics or self.frame.empty:
            raise TableError("signatures need at least one row and one measured column with a Metric")
        stage, block = (whole_numbers(self.frame, c, "signatures") for c in ("stage", "block"))
        for column in self.metrics:
            numbers(self.frame, column, "signatures")
        if not self.n_blocks:
            n_blocks = tuple(int(block[stage == s].max(initial=-1)) + 1 for s in range(int(stage.max()) + 1))
            object.__setattr__(self, "n_blocks", n_blocks)
        limit = np.array(self.n_blocks)
        bad = (stage < 0) | (stage >= len(limit))
        bad |= (block < 0) | (block >= limit[np.where(bad, 0, stage)])
        if bad.any():
            row = int(np.argmax(bad))
            raise TableError(
                f"signatures, row {row}: stage {stage[row]}, block {block[row]} is not in the space, "
                f"whose stages have {list(self.n_blocks)} blocks"
            )
        keys = self.frame[["stage", "block"]].assign(teacher=self.frame["teacher"].astype(str))
        twice = keys.duplicated().to_numpy()
        if twice.any():
            row = int(np.argmax(twice))
            raise TableError(
                f"signatures, row {row}: stage {stage[row]}, block {block[row]} appears twice; keep one row per teacher"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the measured quantities."""
        return tuple(self.metrics)

    @property
    def default_column(self) -> str:
        """The column that predictors use unless told otherwise: the first."""
        return self.columns[0]

    @property
    def teachers(self) -> tuple[str, ...]:
        """Teachers in the order of the frame."""
        return tuple(str(t) for t in self.frame["teacher"].astype(str).unique())

    @property
    def shared_columns(self) -> tuple[str, ...]:
        """Columns that say the same of a block whoever taught it, such as latency; none where there is one teacher."""
        if len(self.teachers) == 1:
            return ()
        distinct = self.frame.groupby(["stage", "block"])[list(self.columns)].nunique(dropna=False).max()
        return tuple(c for c in self.columns if distinct[c] == 1)

    def table(self, column: str | None = None, teacher: str | None = None) -> tuple[NDArray[np.float64], ...]:
        """Values of one column, one array ``(n_blocks of the stage,)`` per stage; NaN where absent.

        Raises
        ------
        TableError
            For an unknown column or teacher, naming those there are.
        """
        column = self.default_column if column is None else column
        teacher = self.teachers[0] if teacher is None else teacher
        if column not in self.metrics:
            raise TableError(f"unknown signature column {column!r}; {there_are(column, self.columns)}")
        if teacher not in self.teachers:
            raise TableError(f"unknown teacher {teacher!r}; {there_are(teacher, self.teachers)}")
        rows = self.frame[self.frame["teacher"].astype(str) == teacher]
        stage, block = rows["stage"].to_numpy(np.int64), rows["block"].to_numpy(np.int64)
        values = rows[column].to_numpy(np.float64, na_value=np.nan)
        out = tuple(np.full(n, np.nan) for n in self.n_blocks)
        for s, array in enumerate(out):
            array[block[stage == s]] = values[stage == s]
        return out

    def scores(
        self, codes: NDArray[np.integer], columns: Sequence[str] | None = None, teacher: str | None = None
    ) -> NDArray[np.float64]:
        """Sum of the signatures of the chosen blocks, float64 ``(n,)`` for codes ``(n, stages)``, higher for better.

        It is the score of an unfitted `archrank.predictors.hant` (Molchanov et al., ECCV 2022), which wants all blocks
        measured; here it is NaN where a chosen one is not. Several columns are divided by their spread over blocks.

        Raises
        ------
        TableError
            For an unknown column or teacher.
        """
        columns = (self.default_column,) if columns is None else columns
        score = np.zeros(len(codes))
        for column in columns:
            tables = self.table(column, teacher)
            spread = float(np.nanstd(np.concatenate(tables))) if len(columns) > 1 else 1.0
            total = np.sum([table[chosen] for table, chosen in zip(tables, codes.T, strict=True)], axis=0)
            score += self.metrics[column].sign * total / (spread or 1.0)
        return score
