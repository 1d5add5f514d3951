"""A report as rich prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from archrank.benchmarks.report import Report

_HEADINGS = ("train", "tau", "95 % interval", "Spearman", "tau top 10 %", "precision 10 %", "regret@10", "RMSE")
_INTERVAL = "95 % interval: of the mean over splits of this table, not of what other networks would give"
_UNCERTAINTY = "50 / 90 %: test networks within these intervals; NLL: nats per network, normal in the metric's unit"


def report_table(report: Report) -> Table:
    """One line for each predictor and number of training networks; calibration only where there is any."""
    metric, rows = report.metric, report.summary().to_dict("records")
    unit = f" [{metric.unit}]" if metric.unit else ""
    better = "higher" if metric.direction == "max" else "lower"
    calibrated = any(not np.isnan(row["coverage90_mean"]) for row in rows)
    several = any(not np.isnan(row["kendall_tau_low"]) for row in rows)
    table = Table(
        title=f"{report.benchmark}: {metric.name}{unit} of {report.n_networks} networks ({better} is better), "
        f"Kendall's tau on {report.n_test} test networks, mean over {report.rows['trial'].nunique()} random splits",
        caption="\n".join([report.noise_text(), *[_INTERVAL] * several, *[_UNCERTAINTY] * calibrated]),
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
    )
    for name in ("predictor", "encoding"):
        table.add_column(name, no_wrap=True)
    for name in (*_HEADINGS, *(("50 / 90 %", "NLL") if calibrated else ()), "fit s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("remarks" if any(row["failures"] for row in rows) else "")
    last = None
    for row in rows:
        if last not in (None, row["predictor"]):
            table.add_section()
        last = row["predictor"]
        ends = (row["kendall_tau_low"], row["kendall_tau_high"])
        interval = "" if np.isnan(ends).any() else f"{ends[0]:.3f} to {ends[1]:.3f}"
        table.add_row(
            row["predictor"],
            row["encoding"],
            str(row["n_train"]),
            f"{row['kendall_tau_mean']:.3f}",
            interval,
            *(f"{row[k]:.3f}" for k in ("spearman_mean", "tau_top10_mean", "precision_top10pct_mean")),
            *(f"{row[k]:.3g}" for k in ("regret_at_10_mean", "rmse_mean")),
            *(_calibration(row) if calibrated else ()),
            f"{row['fit_seconds_median']:.2g}",
            _remarks(row),
        )
    return table


def _calibration(row: Mapping[Any, Any]) -> tuple[str, str]:
    """Coverages in per cent and the likelihood, empty where the predictor cannot tell."""
    shares = [row["coverage50_mean"], row["coverage90_mean"]]
    return (
        "" if np.isnan(shares).any() else " / ".join(f"{100 * share:.0f}" for share in shares),
        "" if np.isnan(row["nll_mean"]) else f"{row['nll_mean']:.2f}",
    )


def _remarks(row: Mapping[Any, Any]) -> str:
    failed = row["failures"] - row["constant"]
    parts = [f"{row['constant']} constant"] if row["constant"] else []
    return ", ".join(parts + ([f"{failed} failed"] if failed else []))
