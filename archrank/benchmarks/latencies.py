"""Which columns of a table are latencies, and on which device: one rule for queries and for released files."""

from __future__ import annotations

import re

from archrank.ground_truth import GroundTruth, TableError

# latency, latency_ms, latency_DEVICE, latency_ms_DEVICE, with ":" for "_" as well; DEVICE_latency, DEVICE_latency_mean.
_LATENCY = re.compile(r"latency(?:[_:]ms)?(?:[_:](?P<after>.+))?|(?P<before>.+)_latency(?:_mean)?")


def latency_columns(table: GroundTruth) -> dict[str, str]:
    """Column of each device whose latency the table has, by the device's name.

    A column that names no device is that of a device "latency".

    Raises
    ------
    TableError
        For two columns of one device, such as ``latency_cpu`` and ``latency_ms_cpu``.
    """
    columns: dict[str, str] = {}
    for name in table.metrics:
        if found := _LATENCY.fullmatch(name):
            device = found["after"] or found["before"] or "latency"
            if device in columns:
                raise TableError(
                    f"table {table.name!r} has two latencies of device {device!r}: {columns[device]} and {name}; "
                    "give the devices different names, or remove one of the columns"
                )
            columns[device] = name
    return columns


def latency_column(table: GroundTruth, device: str | None = None) -> str:
    """Column of a device's latency; `device` may be left out where the table has one.

    Raises
    ------
    TableError
        If the table has none of that device, or several and `device` is left out.
    """
    columns = latency_columns(table)
    if not columns:
        raise TableError(f"table {table.name!r} has no latency; measure it with `archrank latency`, or choose another")
    if device is None and len(columns) == 1:
        return next(iter(columns.values()))
    if device not in columns:
        problem = "has latencies of several devices" if device is None else f"has no latency of device {device!r}"
        raise TableError(f"table {table.name!r} {problem}; name one of {', '.join(columns)}")
    return columns[device]
