"""Records of a table, row by row: their names, whether they trained, and what their training decided."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank._curves import Floats, stacked
from archrank.ground_truth import GroundTruth

_TIMES = ("s", "ms")  # units of what the clock decides, not the training


def trained_rows(table: GroundTruth) -> NDArray[np.bool_]:
    """Records that are not said to have diverged or to have run out of memory."""
    if "status" not in table.frame.columns:
        return np.ones(len(table.frame), dtype=np.bool_)
    return np.asarray(table.frame["status"] == "ok")


def record_names(table: GroundTruth) -> NDArray[np.object_]:
    """``3-14 seed 0`` of every record, with its variant unless that is normal."""
    variant = table.frame["variant"].astype(str)
    text = network_keys(table) + " seed " + table.frame["seed"].astype(str)
    return np.asarray(text.where(variant == "normal", text + " " + variant), dtype=np.object_)


def network_keys(table: GroundTruth) -> pd.Series[str]:
    """Key of the network of every record."""
    stages = [f"stage_{s}" for s in range(table.space.stages)]
    return pd.Series(table.space.keys(table.frame[stages].to_numpy()), dtype=str)


def fingerprints(table: GroundTruth) -> pd.Series[str]:
    """What training decided of every record, as a digest; empty where there is nothing to compare.

    Left out are costs that the code decides, what was measured apart, times, failed trainings, and networks that were
    tested as they were assembled (a curve that is empty): their numbers need not depend on the seed. Epochs that are
    masked count as equal to each other.
    """
    frame = table.frame
    apart = {*table.space.block_costs, *table.provenance.get("measured_apart", ())}
    decided = [m.name for m in table.metrics.values() if m.name not in apart and m.unit not in _TIMES]
    comparable = trained_rows(table) & np.isfinite(frame[table.default_metric].to_numpy(np.float64, na_value=np.nan))
    comparable &= bool(table.curve_names)
    digests = [
        hashlib.blake2b(row, digest_size=16) for row in _one_nan(frame[decided].to_numpy(np.float64, na_value=np.nan))
    ]
    for name in table.curve_names:
        rows = np.flatnonzero(frame[name].notna())
        curves = _one_nan(stacked(frame[name].iloc[rows]))
        recorded = np.zeros(len(frame), dtype=np.bool_)
        recorded[rows] = np.isfinite(curves).any(axis=1)
        comparable &= recorded
        for row, curve in zip(rows, curves, strict=True):
            digests[row].update(curve)
    return pd.Series([d.hexdigest() if c else "" for d, c in zip(digests, comparable, strict=True)], dtype=str)


def _one_nan(values: Floats) -> Floats:
    """A copy in C order whose NaN are one bit pattern."""
    return np.where(np.isnan(values), np.nan, values).astype(values.dtype, order="C", copy=False)
