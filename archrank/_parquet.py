"""Reading parquet files, whose size on disk says nothing of their size in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from archrank._errors import one_line

if TYPE_CHECKING:
    import pyarrow as pa

# Bytes to which a parquet file of any size may unpack; larger files may unpack to more.
_UNPACKED = 1 << 28


def read_parquet(path: Path) -> pa.Table:
    """A parquet file, batch by batch, so that a small one that unpacks to an enormous table is noticed in time.

    Raises
    ------
    ValueError
        Whatever is wrong with the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        most = _UNPACKED + 100 * path.stat().st_size
        batches: list[pa.RecordBatch] = []
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                batches.append(batch)
                most -= batch.nbytes
                if most < 0:
                    raise ValueError("it unpacks to more than a hundred times its size")
            # Without what pandas has noted for itself: rows are rows.
            return pa.Table.from_batches(batches, file.schema_arrow).replace_schema_metadata()
    except (OSError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(one_line(error)) from error
