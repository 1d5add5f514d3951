"""Checks of a long table, one row per network, seed and variant: what is missing, no number, or there twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
    """Refuse metrics that are no numbers or infinite, and seeds that are no whole numbers.

    Raises
    ------
    TableError
        Naming the column, and the first row where the value is at fault.
    """
    for column in metrics:
        values = _numbers(name, frame, column)
        if np.isinf(values).any():
            row = int(np.argmax(np.isinf(values)))
            raise TableError(f"table {name!r}, row {row}, column {column!r}: infinite; use NaN where absent")
    if frame["seed"].dtype.kind != "i":
        seeds = _numbers(name, frame, "seed")
        whole = (np.abs(seeds) <= _EXACT) & (seeds == np.floor(seeds))
        if not whole.all():
            row = int(np.argmin(whole))
            raise TableError(f"table {name!r}, row {row}, column 'seed': {seeds[row]}; number the seeds from 0")


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


def _numbers(name: str, frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    try:
        return frame[column].to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError, OverflowError) as error:
        raise TableError(f"table {name!r}, column {column!r}: {one_line(error)}; expected numbers") from error
