"""A search on a table, several times: how good the best network is after so many trainings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank._swap import new_file
from archrank.benchmarks.latencies import latency_column
from archrank.encodings.cost import check_costs
from archrank.ground_truth import GroundTruth, Metric
from archrank.search.registry import make_search
from archrank.search.run import History, Progress, run, table_objective

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class TableSearch:
    """Trials of one method on one table.

    Attributes
    ----------
    benchmark, method
        Names.
    metric
        What was searched for.
    values
        Values of all networks that could have been asked for, ``(n_pool,)``.
    histories
        One for each trial; trial t had seed ``seed + t``.
    seed
        That of the first trial.
    limits
        Budgets that networks had to keep.
    """

    benchmark: str
    method: str
    metric: Metric
    values: NDArray[np.float64]
    histories: tuple[History, ...]
    seed: int
    limits: Mapping[str, float]

    @property
    def best_of_table(self) -> float:
        """The best value that could be found."""
        return float(self.metric.sign * (self.metric.sign * self.values).max())

    def curves(self) -> NDArray[np.float64]:
        """Best value so far of each trial, ``(n_trials, budget)``."""
        return np.stack([history.best for history in self.histories])

    def summary(self) -> pd.DataFrame:
        """One row for 1, 2, 5, 10, 20, 50, ... networks and the last.

        Columns ``trained``; ``best_median``, ``best_p05``, ``best_p95`` over trials; ``rank_median``, the place of
        the best network among all that could have been asked for, 1 for the best.
        """
        curves = self.curves()
        budget = curves.shape[1]
        steps = [s * 10**e for e in range(len(str(budget))) for s in (1, 2, 5) if s * 10**e < budget]
        trained = np.array([*steps, budget])
        at = curves[:, trained - 1]
        low, middle, high = np.quantile(at, [0.05, 0.5, 0.95], axis=0)
        better = np.sort(self.metric.sign * self.values)
        ranks = len(better) - np.searchsorted(better, self.metric.sign * at, side="right") + 1
        return pd.DataFrame(
            {
                "trained": trained,
                "best_median": middle,
                "best_p05": low,
                "best_p95": high,
                "rank_median": np.median(ranks, axis=0),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """The machine-readable result."""
        from archrank.benchmarks.report import environment

        return {
            "benchmark": self.benchmark,
            "method": self.method,
            "metric": self.metric.name,
            "budget": len(self.histories[0]),
            "trials": len(self.histories),
            "seed": self.seed,
            "limits": dict(self.limits),
            "n_networks": len(self.values),
            "best_of_table": self.best_of_table,
            "rows": self.summary().to_dict("records"),
            "environment": environment(),
        }

    def save(self, folder: str | Path) -> Path:
        """Write ``history.csv`` (every network of every trial), ``search.png`` and ``search.json``, each whole."""
        from matplotlib.figure import Figure

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        trials = pd.concat([h.to_frame().assign(trial=t) for t, h in enumerate(self.histories)], ignore_index=True)
        with new_file(folder / "history.csv") as part:
            trials.to_csv(part, index=False)
        figure = Figure(figsize=(6.4, 4.4), dpi=150, layout="constrained")
        self.draw(figure)
        with new_file(folder / "search.png") as part:
            figure.savefig(part)
        with new_file(folder / "search.json") as part:
            part.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return folder

    def draw(self, figure: Figure) -> None:
        """Median and 5 % to 95 % of the best value by networks trained, and the best of the table."""
        low, middle, high = np.quantile(self.curves(), [0.05, 0.5, 0.95], axis=0)
        axes = figure.add_subplot()
        trained = np.arange(1, len(middle) + 1)
        axes.fill_between(trained, low, high, alpha=0.25, linewidth=0, label="5 % to 95 % of trials")
        axes.plot(trained, middle, label="median")
        axes.axhline(self.best_of_table, color="black", linestyle="--", label="best of the table")
        unit = f" [{self.metric.unit}]" if self.metric.unit else ""
        axes.set(xlabel="trained networks", ylabel=f"best {self.metric.name}{unit}")
        axes.set_title(f"{self.benchmark}: {self.method}, {len(self.histories)} trials")
        axes.legend(fontsize="small")


def search_table(
    bench: GroundTruth,
    method: str,
    budget: int,
    *,
    metric: str | None = None,
    trials: int = 10,
    batch: int = 1,
    seed: int = 0,
    predictor: str | None = None,
    limits: Mapping[str, float] | None = None,
    progress: Progress | None = None,
    **params: Any,
) -> TableSearch:
    """Search a table several times, looking networks up instead of training them.

    Parameters
    ----------
    bench
        The table; methods are told means over seeds.
    method, metric, predictor, **params
        As in `archrank.search.make_search`.
    budget, batch
        As in `archrank.search.run`.
    trials, seed
        Trial t has seed ``seed + t``. One trial is made of a method that leaves nothing to chance.
    limits
        As in `within`.
    progress
        Called with (trials done, trials, label).

    Raises
    ------
    ValueError
        For unknown names, or a budget larger than the number of networks.
    """
    if trials < 1:
        raise ValueError(f"expected 1 or more trials, got {trials}")
    target, values = bench.metric(metric), bench.values(metric)
    there = np.isfinite(values) & within(bench, limits or {})
    if not 1 <= budget <= there.sum():
        among = f" with {', '.join(f'{name} <= {most:g}' for name, most in limits.items())}" if limits else ""
        raise ValueError(f"a budget of {budget} networks does not suit: there are {there.sum()} to search among{among}")
    pool, objective = bench.codes[there], table_objective(bench, metric)
    histories = []
    for t in range(trials):
        if progress is not None:
            progress(t, trials, f"{method}, trial {t}")
        search = make_search(method, bench, target.name, pool=pool, seed=seed + t, predictor=predictor, **params)
        histories.append(run(search, objective, budget, batch))
        if search.deterministic:
            break
    return TableSearch(bench.name, method, target, values[there], tuple(histories), seed, dict(limits or {}))


def not_measured(bench: GroundTruth, limits: Mapping[str, float]) -> int:
    """How many networks keep no limit of `within`, because they lack the latency that it asks for."""
    unknown = np.zeros(len(bench), dtype=bool)
    for kind, _, device in (name.partition(":") for name in limits):
        if kind == "latency":
            unknown |= np.isnan(bench.values(latency_column(bench, device or None)))
    return int(unknown.sum())


def within(bench: GroundTruth, limits: Mapping[str, float]) -> NDArray[np.bool_]:
    """Which networks of a table keep upper limits, bool ``(n,)``.

    Parameters
    ----------
    bench
        The table.
    limits
        By name: a cost that the space knows (``params``, ``flops``), ``latency`` for the only latency that the table
        holds, or ``latency:DEVICE``. Networks without a measured latency do not keep one.

    Raises
    ------
    ValueError
        Where the space or the table does not know it, listing what there is.
    """
    keeps = np.ones(len(bench), dtype=bool)
    for name, limit in limits.items():
        kind, _, device = name.partition(":")
        if kind == "latency":
            keeps &= bench.values(latency_column(bench, device or None)) <= limit
        else:
            check_costs(bench.space, [name])
            keeps &= bench.space.cost(name, bench.codes) <= limit
    return keeps
