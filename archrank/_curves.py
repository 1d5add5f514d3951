"""Values per epoch: one column of fixed-size lists, which is one array ``(n_rows, n_epochs)`` in memory.

91,125 curves of 200 epochs are 73 MB that way, and gigabytes as Python lists of floats. A column is a pandas column
like any other, so filtering, concatenating and parquet need no code of their own. Short tables may hold lists instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.floating[Any]]


def curve_column(values: Floats) -> pd.Series[Any]:
    """A column for `GroundTruth.frame` of ``(n_rows, n_epochs)`` values, NaN where absent; nothing is copied."""
    import pandas as pd
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.FixedSizeListArray.from_arrays(flat, values.shape[1])))


def is_curve(column: pd.Series[Any]) -> bool:
    """Whether a column of a table holds one value per epoch."""
    if column.dtype == object:
        return isinstance(next(iter(column.dropna()), None), (list, tuple, np.ndarray))
    return arrow_types(getattr(column.dtype, "pyarrow_dtype", None)) is not None


def check_curves(column: pd.Series[Any]) -> None:
    """Refuse a column of curves that holds anything but lists of numbers.

    Raises
    ------
    TypeError, ValueError
        Saying what it holds.
    """
    import pyarrow as pa

    if column.dtype != object:
        kind = pa.array(column.array).type.value_type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise TypeError(f"holds lists of {kind}")
        return
    for cell in column.dropna():
        if np.asarray(cell, dtype=np.float64).ndim != 1:
            raise ValueError(f"holds {type(cell).__name__} of {np.ndim(cell)} dimensions")


def stacked(column: pd.Series[Any]) -> Floats:
    """The curves of a column without missing cells, ``(n_rows, n_epochs)``, shorter ones padded with NaN.

    float64 of lists; of fixed-size lists their own precision, and a read-only view where no copy is needed.
    """
    import pyarrow as pa

    if column.dtype != object:
        array = pa.array(column.array)
        if isinstance(array, pa.ChunkedArray):  # of tables that were concatenated
            array = array.combine_chunks()
        values: Floats = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, array.type.list_size)
        return values if values.dtype.kind == "f" else values.astype(np.float64)
    curves = [np.asarray(c, dtype=np.float64) for c in column]
    out = np.full((len(curves), max((len(c) for c in curves), default=0)), np.nan)
    for row, curve in zip(out, curves, strict=True):
        row[: len(curve)] = curve
    return out


def arrow_types(kind: Any) -> Any:
    """For arrow's ``types_mapper``: fixed-size lists stay what they are, pandas decides on all else."""
    import pandas as pd
    import pyarrow as pa

    return pd.ArrowDtype(kind) if isinstance(kind, pa.FixedSizeListType) else None
