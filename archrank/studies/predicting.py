"""Predictors that learn from signatures of a chosen teacher and chosen columns, on the splits of `archrank.compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from archrank.benchmarks.evaluate import compare
from archrank.benchmarks.report import Report
from archrank.ground_truth import GroundTruth
from archrank.studies.base import Progress
from archrank.studies.statistics import MIN_TRIALS


@dataclass(frozen=True)
class Contestant:
    """A predictor of `archrank.make_predictor` and the signatures that it sees."""

    predictor: str
    teacher: str
    columns: tuple[str, ...]

    @property
    def label(self) -> str:
        """Such as ``donna on nsr+kl of 33-4-s0``."""
        return f"{self.predictor} on {'+'.join(self.columns)} of {self.teacher}"

    def make(self, bench: GroundTruth, metric: str, seed: int) -> Any:
        """The unfitted predictor."""
        from archrank.predictors import make_predictor

        return make_predictor(
            self.predictor, bench, metric, teacher=self.teacher, columns=self.columns, random_state=seed
        )


def compared(
    contestants: Sequence[Contestant],
    bench: GroundTruth,
    metric: str,
    n_train: Sequence[int],
    trials: int,
    seed: int,
    progress: Progress | None,
    slow: Sequence[Contestant] = (),
) -> Report:
    """The report of `archrank.compare`; `slow` contestants run on the first half of the same splits."""

    def part(some: Sequence[Contestant], times: int) -> Report:
        factories = {c.label: (lambda seed, c=c: c.make(bench, metric, seed)) for c in some}
        return compare(factories, bench, n_train, times, seed, metric, progress)

    report = part(contestants, trials)
    if not slow:
        return report
    return replace(report, rows=pd.concat([report.rows, part(slow, -(-trials // 2)).rows], ignore_index=True))


def summary(report: Report, contestants: Sequence[Contestant]) -> pd.DataFrame:
    """One row for each contestant and number of training networks.

    Columns ``predictor``, ``columns``, ``teacher``, ``n_train``, ``trials``, ``kendall_tau`` with Student's 95 %
    interval of the mean over splits of this table, ``spearman``, ``failures``, and ``shared_tau``, the mean tau on the
    splits of `shared`.
    """
    table = report.summary()
    means = {n: shared(report, n).mean() for n in table["n_train"].unique()}
    table["shared_tau"] = [
        means[n].get(name, np.nan) for n, name in zip(table["n_train"], table["predictor"], strict=True)
    ]
    about = pd.DataFrame(
        [(c.label, c.predictor, "+".join(c.columns), c.teacher) for c in contestants],
        columns=["label", "name", "columns", "teacher"],
    )
    names = {"name": "predictor", "kendall_tau_mean": "kendall_tau", "spearman_mean": "spearman"}
    table = table.merge(about, left_on="predictor", right_on="label").drop(columns="predictor").rename(columns=names)
    ends = ["kendall_tau", "kendall_tau_low", "kendall_tau_high"]
    return table[["predictor", "columns", "teacher", "n_train", "trials", *ends, "spearman", "failures", "shared_tau"]]


def shared(report: Report, n_train: int) -> pd.DataFrame:
    """Tau of each contestant (columns) on the splits (rows) on which all of them gave a score.

    Means over other splits do not compare: some splits are easier. Contestants with fewer than two scores are left
    out, unless there was but one split.
    """
    rows = report.rows[(report.rows["n_train"] == n_train) & (report.rows["status"] != "failed")]
    taus = rows.pivot_table(index="trial", columns="predictor", values="kendall_tau")
    return taus.dropna(axis="columns", thresh=min(2, len(taus))).dropna()


def lead(report: Report, n_train: int) -> pd.DataFrame:
    """By how much the contestant of highest mean tau on the splits that all share is ahead of each other one.

    Columns ``best``, ``other``, ``trials``, ``lead`` with Student's paired 95 % interval of the mean over splits of
    this table, NaN for fewer than 5. Each pair is compared on the splits that these two share, which may be more than
    all do: the lead over a contestant that ran on more of them can be negative. No row where all share fewer than two.
    """
    taus = shared(report, n_train)
    ranked = list(taus.mean().sort_values(ascending=False).index) if len(taus) > 1 else []
    pairs = [report.paired(str(ranked[0]), str(other), n_train) for other in ranked[1:]]
    table = pd.DataFrame(
        [(p.first, p.second, p.trials, p.difference, p.low, p.high) for p in pairs],
        columns=["best", "other", "trials", "lead", "lead_low", "lead_high"],
    )
    table.loc[table["trials"] < MIN_TRIALS, ["lead_low", "lead_high"]] = np.nan
    return table
