"""What a comparison found, as tables, JSON, files and paired differences."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from archrank.benchmarks.calibration import SCORES as CALIBRATION
from archrank.benchmarks.intervals import mean_interval
from archrank.benchmarks.noise import Noise
from archrank.ground_truth import Metric, TableError

if TYPE_CHECKING:
    from rich.table import Table

_LIBRARIES = ("archrank", "numpy", "scipy", "pandas", "scikit-learn", "torch", "torch-geometric", "lightgbm")


def environment() -> dict[str, str]:
    """Versions and machine type, for the record."""
    versions = {name: version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), "machine": platform.machine(), "cpus": str(os.cpu_count())} | versions


@dataclass(frozen=True)
class PairedDifference:
    """Mean tau of one predictor less that of another on the same splits.

    Parameters
    ----------
    first, second
        Predictor labels.
    n_train, trials
        Training networks, and trials in which both gave a score.
    difference
        Mean of tau(first) - tau(second).
    low, high
        Student's 95 % interval of the mean over splits of this table, NaN for fewer than three trials. All splits
        share the table's networks, so that it does not tell what another sample of networks would give.
    """

    first: str
    second: str
    n_train: int
    trials: int
    difference: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero; not where there is none."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class Report:
    """Result of `archrank.compare`.

    Parameters
    ----------
    benchmark
        Name of the benchmark.
    metric
        What was predicted.
    n_networks, n_test
        Distinct networks, and how many of them test in each trial.
    seed
        Of the first trial.
    noise
        Reproducibility and noise ceiling of the target on the same test sets.
    rows
        One row per predictor, n_train and trial, see `to_frame`.
    predictions
        Of the first trial with most training networks: columns ``predictor``, ``true``, ``predicted``.
    reliability
        With most training networks, of predictors that know their uncertainty: columns ``predictor``,
        ``trial``, ``coverage`` (asked for) and ``observed`` (share of the test networks within the intervals).
    """

    benchmark: str
    metric: Metric
    n_networks: int
    n_test: int
    seed: int
    noise: Noise
    rows: pd.DataFrame
    predictions: pd.DataFrame
    reliability: pd.DataFrame
    environment: dict[str, str] = field(default_factory=environment)

    def to_frame(self) -> pd.DataFrame:
        """Every trial: predictor, encoding, n_train, trial, status, scores, calibration, seconds, error.

        ``coverage50``, ``coverage90`` and ``nll`` are NaN of a predictor that does not know its uncertainty.
        ``status`` is "ok", "constant" (all predictions equal: tau 0) or "failed" (scores are NaN and
        ``error`` says why). ``predict_seconds`` is for the test networks.
        """
        return self.rows.copy()

    def summary(self) -> pd.DataFrame:
        """One row per predictor and n_train: means over the trials that gave a score.

        ``failures`` counts trials that failed and trials that predicted a constant; the latter enter
        the means with tau 0. ``kendall_tau_low`` and ``kendall_tau_high`` are Student's 95 % interval
        of the mean over splits of this table, NaN for fewer than three: all splits share its networks, and another
        sample of networks would differ by more.
        """
        rows = []
        for (predictor, encoding, n), part in self.rows.groupby(["predictor", "encoding", "n_train"], sort=False):
            scored = part[part["status"] != "failed"]
            tau = scored["kendall_tau"]
            low, high = np.clip(mean_interval(tau), -1.0, 1.0)
            rows.append(
                {
                    "predictor": predictor,
                    "encoding": encoding,
                    "n_train": n,
                    "trials": len(part),
                    "kendall_tau_mean": tau.mean(),
                    "kendall_tau_std": tau.std(),
                    "kendall_tau_low": low,
                    "kendall_tau_high": high,
                    "spearman_mean": scored["spearman"].mean(),
                    "tau_top10_mean": scored["tau_top10"].mean(),
                    "precision_top10pct_mean": scored["precision_top10pct"].mean(),
                    "regret_at_10_mean": scored["regret_at_10"].mean(),
                    "rmse_mean": scored["rmse"].mean(),
                    **{f"{name}_mean": scored[name].mean() for name in CALIBRATION},
                    "fit_seconds_median": scored["fit_seconds"].median(),
                    "predict_seconds_median": scored["predict_seconds"].median(),
                    "failures": int((part["status"] != "ok").sum()),
                    "constant": int((part["status"] == "constant").sum()),
                }
            )
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """The machine-readable result: JSON-ready, with None where there is no number."""
        keys = (
            "predictor", "encoding", "n_train", "trials", "kendall_tau_mean", "kendall_tau_std", "spearman_mean",
            "tau_top10_mean", "precision_top10pct_mean", "regret_at_10_mean", "coverage50_mean", "coverage90_mean",
            "nll_mean", "fit_seconds_median", "predict_seconds_median", "failures",
        )  # fmt: skip
        return {
            "benchmark": self.benchmark,
            "metric": self.metric.name,
            "n_networks": self.n_networks,
            "noise": {
                "reproducibility_tau": self.noise.reproducibility_tau,
                "ceiling_tau": self.noise.ceiling_tau,
                "seeds": self.noise.seeds,
            },
            "rows": [{k: _plain(row[k]) for k in keys} for row in self.summary().to_dict("records")],
            "environment": self.environment,
        }

    def noise_text(self) -> str:
        """Ceiling and reproducibility in one line, or why they are unknown."""
        if self.noise.ceiling_tau is None:
            return f"noise ceiling unknown: {self.noise.why_unknown}"
        return (
            f"noise ceiling {self.noise.ceiling_tau:.3f} ± {self.noise.ceiling_std:.3f} (a perfect predictor), "
            f"reproducibility {self.noise.reproducibility_tau:.3f} (tau between two seeds, "
            f"{self.noise.repeated} networks)"
        )

    def table(self) -> Table:
        """The report for a terminal, to be printed by rich."""
        from archrank.benchmarks.terminal import report_table

        return report_table(self)

    def paired(self, first: str, second: str, n_train: int | None = None) -> PairedDifference:
        """Compare two predictors on the same splits by Student's paired interval over trials.

        It tells which of the two is ahead on average over splits of this table, with so many of its networks to learn
        from; not what another sample of networks would give.

        Parameters
        ----------
        first, second
            Predictor labels.
        n_train
            By default the largest.

        Raises
        ------
        TableError
            For labels or an n_train that the report does not hold, or fewer than two common trials.
        """
        n = int(self.rows["n_train"].max()) if n_train is None else n_train
        part = self.rows[(self.rows["n_train"] == n) & (self.rows["status"] != "failed")]
        taus = part.pivot_table(index="trial", columns="predictor", values="kendall_tau")
        for label in (first, second):
            if label not in taus:
                raise TableError(f"no scores of {label!r} at n_train {n}; there are {', '.join(map(str, taus))}")
        difference = (taus[first] - taus[second]).dropna().to_numpy()
        if len(difference) < 2:
            raise TableError(f"{first!r} and {second!r} share {len(difference)} trials at n_train {n}; run two or more")
        low, high = mean_interval(difference)
        return PairedDifference(first, second, n, len(difference), float(difference.mean()), low, high)

    def save(self, folder: str | Path) -> Path:
        """Write ``report.json``, ``trials.csv``, ``predictions.csv`` and PNG pictures.

        Where a predictor knows its uncertainty, also ``reliability.csv`` and its picture.
        """
        from archrank.benchmarks.plots import plot_predictions, plot_reliability, plot_tau

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        self.rows.to_csv(folder / "trials.csv", index=False)
        self.predictions.to_csv(folder / "predictions.csv", index=False)
        plot_tau(self, folder / "tau_by_training_networks.png")
        if len(self.predictions):
            plot_predictions(self, folder / "predicted_against_true.png")
        if len(self.reliability):
            self.reliability.to_csv(folder / "reliability.csv", index=False)
            plot_reliability(self, folder / "reliability.png")
        return folder


def _plain(value: Any) -> Any:
    """A JSON value; NaN, which JSON lacks, becomes None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
