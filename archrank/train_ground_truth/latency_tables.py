"""From measured latencies to tables, and from blocks to whole networks. Pure functions on records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.ground_truth import Metric

Record = Mapping[str, Any]


def additive_prediction(block_table: Sequence[ArrayLike], codes: ArrayLike, fixed: float) -> NDArray[np.float64]:
    """Latency of networks as the sum of their parts, float64 ``(n_archs,)`` in the unit of the table.

    Parameters
    ----------
    block_table
        Per stage the latencies of its blocks, ``(n_blocks of the stage,)``; NaN where not measured.
    codes
        ``(n_archs, n_stages)``.
    fixed
        What stem and head cost.

    Raises
    ------
    ValueError
        If `codes` do not suit the table, or name a block that was not measured.
    """
    rows = np.asarray(codes)
    tables = [np.asarray(t, dtype=np.float64) for t in block_table]
    if rows.ndim != 2 or rows.shape[1] != len(tables) or rows.dtype.kind not in "iu":
        raise ValueError(f"expected whole-number codes (n_archs, {len(tables)}), got {rows.dtype} {rows.shape}")
    total = np.full(len(rows), float(fixed))
    for stage, table in enumerate(tables):
        ids = rows[:, stage]
        bad = (ids < 0) | (ids >= len(table))
        bad |= np.isnan(table[np.where(bad, 0, ids)])
        if bad.any():
            raise ValueError(f"stage {stage}: block {ids[np.argmax(bad)]} has no measured latency; measure it first")
        total += table[ids]
    return total


def latency_table(
    records: Iterable[Record], n_blocks: Sequence[int], value: str = "latency_ms"
) -> tuple[tuple[NDArray[np.float64], ...], float]:
    """Block table and fixed cost for `additive_prediction`, from the records of one device and batch size.

    Parameters
    ----------
    n_blocks
        Blocks per stage of the space.
    value
        ``latency_ms``, or ``cpu_ms`` for CPU time.

    Raises
    ------
    ValueError
        If the records mix machines, devices, batch sizes or threads, or lack stem or head.
    """
    mine = [r for r in records if r.get("kind") in ("block-latency", "fixed-latency")]
    check_one_machine(mine)
    columns = sorted({column_name(r) for r in mine})
    fixed = {r["part"]: r[value] for r in mine if r["kind"] == "fixed-latency"}
    if len(columns) != 1 or set(fixed) != {"stem", "head"}:
        raise ValueError(
            f"expected blocks, stem and head of one device, batch size and thread count, got {columns}, {sorted(fixed)}"
        )
    tables = tuple(np.full(n, np.nan) for n in n_blocks)
    for r in mine:
        if r["kind"] == "block-latency":
            tables[r["stage"]][r["block"]] = r[value]
    return tables, float(sum(fixed.values()))


def additivity(records: Sequence[Record], n_blocks: Sequence[int], value: str = "latency_ms") -> dict[str, float]:
    """How well the sum of parts tells the latency of the networks that were measured whole.

    Returns
    -------
    ``networks`` (their number), ``kendall_tau`` (NaN for less than two networks), ``mean_abs_relative_error``,
    and ``mean_relative_error`` (above 0 where the sum is too large).
    """
    from scipy.stats import kendalltau

    networks = [r for r in records if r.get("kind") == "network-latency"]
    whole = np.array([r[value] for r in networks])
    table, fixed = latency_table(records, n_blocks, value)
    predicted = additive_prediction(table, [r["code"] for r in networks], fixed)
    error = predicted / whole - 1
    return {
        "networks": len(networks),
        "kendall_tau": float(kendalltau(predicted, whole).statistic),
        "mean_abs_relative_error": float(np.abs(error).mean()),
        "mean_relative_error": float(error.mean()),
    }


def column_name(record: Record) -> str:
    """``latency_ms_cpu``; batch sizes and threads other than 1 are part of the name: ``latency_ms_cuda_b64``."""
    batch, threads = int(record["batch_size"]), int(record["threads"])
    return f"latency_ms_{record['label']}" + f"_b{batch}" * (batch != 1) + f"_t{threads}" * (threads != 1)


def check_one_machine(records: Iterable[Record]) -> None:
    """Refuse columns that were measured partly on one machine and partly on another.

    Raises
    ------
    ValueError
        Naming the machines of the first such column.
    """
    machines: dict[str, set[str]] = {}
    for r in records:
        machines.setdefault(column_name(r), set()).add(str(r["device_name"]))
    for column, names in machines.items():
        if len(names) > 1:
            raise ValueError(
                f"{column} was measured on {' and on '.join(sorted(names))}; measure all of it again on one of them, "
                "or give each machine a --label of its own"
            )


def latency_rows(
    records: Iterable[Record], kind: Literal["block-latency", "network-latency"]
) -> tuple[list[dict[str, Any]], dict[str, Metric]]:
    """Rows for a table, in order of stage and block or of code, and the `Metric` of each latency column.

    Parameters
    ----------
    records
        Those of other kinds are passed over.
    kind
        ``block-latency`` gives rows with ``stage`` and ``block``, ``network-latency`` rows with ``code``
        (a tuple). Further columns are named by `column_name`, NaN where not measured.

    Raises
    ------
    ValueError
        See `check_one_machine`.
    """
    rows: dict[tuple[int, ...], dict[str, Any]] = {}
    metrics: dict[str, Metric] = {}
    mine = sorted((r for r in records if r.get("kind") == kind), key=column_name)
    check_one_machine(mine)
    for r in mine:
        column = column_name(r)
        about = f"median time of a forward pass, batch {r['batch_size']}, {r['device_name']}, {r['threads']} thread(s)"
        metrics.setdefault(column, Metric(column, "min", "ms", (0.0, None), about))
        key = (r["stage"], r["block"]) if kind == "block-latency" else tuple(r["code"])
        named = {"stage": key[0], "block": key[1]} if kind == "block-latency" else {"code": key}
        rows.setdefault(key, named)[column] = r["latency_ms"]
    absent = dict.fromkeys(metrics, float("nan"))
    return [absent | rows[key] for key in sorted(rows)], metrics
