"""What no ranking can be expected to surpass: the agreement of two seeds, and the noise ceiling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank.benchmarks.noise import measure_noise
from archrank.ground_truth import GroundTruth
from archrank.studies.statistics import estimate_of, tau_between_seeds


def reference(
    bench: GroundTruth, metric: str, seed: int, resamples: int, among: NDArray[np.bool_] | None = None
) -> pd.DataFrame:
    """Columns ``what``, ``n_networks`` and ``kendall_tau`` with its interval; no row where too few seeds are there.

    The noise ceiling is simulated (`archrank.benchmarks.noise.measure_noise`) and has no interval: over test sets, or
    over the networks `among`.

    Parameters
    ----------
    among
        The networks that taus of the study are of, bool ``(n_networks,)``; by default all that have a value.
        ``n_networks`` of the two seeds are those of them that have both.
    """
    seeds = tau_between_seeds(bench, metric, seed, resamples, among)
    noise = measure_noise(bench, metric, among=among)
    there = np.isfinite(bench.values(metric))
    rows: list[dict[str, Any]] = []
    if seeds is not None:
        rows.append({"what": "two seeds", "n_networks": seeds.n, **seeds.columns("kendall_tau")})
    if noise.ceiling_tau is not None:
        n_networks = int((there if among is None else there & among).sum())
        rows.append({"what": "noise ceiling", "n_networks": n_networks, "kendall_tau": noise.ceiling_tau})
    return pd.DataFrame(rows, columns=["what", "n_networks", "kendall_tau", "kendall_tau_low", "kendall_tau_high"])


def reference_text(table: pd.DataFrame) -> str:
    """One sentence."""
    if not len(table):
        return "How well any ranking could agree with this target is unknown: too few networks have a second seed."
    each = []
    for row in table.to_dict("records"):
        tau = estimate_of(row, "kendall_tau")
        value = f"{tau:.3f}" if tau.known else f"{tau.value:.3f}"  # the ceiling is simulated and has no interval
        each.append(f"{row['what']} {value}, {row['n_networks']} networks")
    return f"For comparison, tau of: {'; '.join(each)}."


def reference_lines(table: pd.DataFrame) -> dict[str, float]:
    """What `archrank.studies.drawing.draw_intervals` marks."""
    return {row["what"]: row["kendall_tau"] for row in table.to_dict("records")}
