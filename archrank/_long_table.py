"""Checks of long tables, one row per network, seed and variant: what is missing, no number, or there twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archrank._curves import check_curves, is_curve
from archrank._errors import TableError, one_line
from archrank.spaces import Codes, MacroSpace

if TYPE_CHECKING:
    import pandas as pd

_EXACT = 2**53  # whole numbers up to here are exact as float64


def check_columns(name: str, frame: pd.DataFrame, stages: Iterable[str], metrics: Iterable[str]) -> None:
    """Refuse a table without rows, without metrics, or without one of these columns.

    Raises
    ------
    TableError
        Naming the first missing column.
    """
    metrics = list(metrics)
    missing = [c for c in (*stages, *metrics) if c not in frame.columns]
    if missing:
        raise TableError(f"table {name!r} lacks column {missing[0]!r}; it has {', '.join(map(str, frame.columns))}")
    if not metrics or frame.empty:
        raise TableError(f"table {name!r} needs at least one row and one metric")


def check_values(name: str, frame: pd.DataFrame, metrics: Iterable[str]) -> None:
    """Refuse metrics that are no numbers or infinite, seeds that are no whole numbers, and curves of anything else.

    Raises
    ------
    TableError
        Naming the column, and the first row where the value is at fault.
    """
    table = f"table {name!r}"
    for column in metrics:
        infinite = np.isinf(numbers(frame, column, table))
        if infinite.any():
            raise TableError(f"{table}, row {np.argmax(infinite)}, column {column!r}: infinite; use NaN where absent")
    whole_numbers(frame, "seed", table)
    for label, cells in frame.items():
        try:
            if is_curve(cells):
                check_curves(cells)
        except (TypeError, ValueError) as error:
            raise TableError(f"{table}, column {label!r}: {one_line(error)}; expected one number per epoch") from error


def check_trainings(
    name: str, frame: pd.DataFrame, networks: NDArray[np.int64], space: MacroSpace, canonical: Codes
) -> None:
    """Refuse two trainings of one network with the same seed and variant.

    Parameters
    ----------
    networks, canonical
        Of each row a number of its network, ``(n_rows,)``, and the codes, ``(n_rows, n_stages)``.

    Raises
    ------
    TableError
        Naming both rows and the network.
    """
    keys = frame[["seed", "variant"]].assign(network=networks)
    twice = keys.duplicated().to_numpy()
    if twice.any():
        row = int(np.argmax(twice))
        first = int(np.argmax((keys == keys.iloc[row]).all(axis=1).to_numpy()))
        raise TableError(
            f"table {name!r}, row {row}: the same network, seed and variant as row {first} "
            f"({space.keys(canonical[row : row + 1])[0]}); number the seeds, or keep one of the rows"
        )


def numbers(frame: pd.DataFrame, column: str, what: str) -> NDArray[np.float64]:
    """A column as float64 ``(n_rows,)``, NaN where absent.

    Raises
    ------
    TableError
        If it holds anything but numbers; `what` says of which table it is.
    """
    try:
        if frame[column].dtype.kind in "mM":  # numpy would count nanoseconds
            raise ValueError(f"holds times ({frame[column].dtype})")
        return frame[column].to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError, OverflowError) as error:
        raise TableError(f"{what}, column {column!r}: {one_line(error)}; expected numbers") from error


def whole_numbers(frame: pd.DataFrame, column: str, what: str) -> NDArray[np.int64]:
    """A column as int64 ``(n_rows,)``.

    Raises
    ------
    TableError
        Naming the first row that holds no whole number; `what` says of which table it is.
    """
    if frame[column].dtype.kind == "i" and not frame[column].hasnans:
        return frame[column].to_numpy(np.int64)
    values = numbers(frame, column, what)
    whole = (np.abs(values) <= _EXACT) & (values == np.floor(values))
    if not whole.all():
        row = int(np.argmin(whole))
        raise TableError(f"{what}, row {row}, column {column!r}: {values[row]}; expected a whole number")
    return values.astype(np.int64)
