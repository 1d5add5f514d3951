"""What no ranking can be expected to surpass: the agreement of two seeds, and the noise ceiling."""

from __future__ import annotations

from typing import Any

import pandas as pd

from archrank.benchmarks.noise import measure_noise
from archrank.ground_truth import GroundTruth
from archrank.studies.statistics import tau_between_seeds


def reference(bench: GroundTruth, metric: str, seed: int, resamples: int) -> pd.DataFrame:
    """Columns ``what``, ``n_networks`` and ``kendall_tau`` with its interval; no row where too few seeds are there.

    The noise ceiling is simulated (`archrank.benchmarks.noise.measure_noise`) and has no interval.
    """
    seeds, noise = tau_between_seeds(bench, metric, seed, resamples), measure_noise(bench, metric)
    rows: list[dict[str, Any]] = []
    if seeds is not None:
        rows.append({"what": "two seeds", "n_networks": seeds.n, **seeds.columns("kendall_tau")})
    if noise.ceiling_tau is not None:
        rows.append({"what": "noise ceiling", "n_networks": len(bench), "kendall_tau": noise.ceiling_tau})
    return pd.DataFrame(rows, columns=["what", "n_networks", "kendall_tau", "kendall_tau_low", "kendall_tau_high"])


def reference_text(table: pd.DataFrame) -> str:
    """One sentence."""
    if not len(table):
        return "How well any ranking could agree with this target is unknown: too few networks have a second seed."
    values = "; ".join(f"{row['what']} {row['kendall_tau']:.3f}" for row in table.to_dict("records"))
    return f"For comparison, tau of: {values}."


def reference_lines(table: pd.DataFrame) -> dict[str, float]:
    """What `archrank.studies.drawing.draw_intervals` marks."""
    return {row["what"]: row["kendall_tau"] for row in table.to_dict("records")}
