"""Which search finds the best networks with the fewest trainings?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from archrank.ground_truth import GroundTruth
from archrank.studies.base import Progress, Study, data_line
from archrank.studies.blockwise_rounds import pass_in_networks
from archrank.studies.nas_tables import curves, methods_table, reached_table, shortest, tops_table, trials_table
from archrank.studies.trials import Arena, Trial, run_trial
from archrank.studies.wording import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from archrank.search.base import Search

QUESTION = "How good is the best network after so many trainings, by search method, and when is the top reached?"
_QUICK = ("random", "local", "evolution", "hant", "donna", "predictor")
_FEW = 20  # trainings after which methods are compared, and before which no trial ends
# Methods whose trials take seconds, for they fit predictors or rank all networks: fewer of them by default.
_SLOW = ("donna", "predictor", "rerank")


def run(
    bench: GroundTruth,
    *,
    quick: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    metric: str | None = None,
    trials: int | None = None,
    budget: int | None = None,
    methods: Sequence[str] | None = None,
    predictor: str | None = None,
    told: str = "mean",
    until_top: bool = True,
    n_jobs: int = 1,
    store: str | Path | None = None,
) -> Study:
    """Run all methods on a table, trial t of each with seed ``seed + t``.

    Parameters
    ----------
    bench, quick, seed, progress
        As in `archrank.studies.run_study`. `quick` takes fewer methods, trials and networks.
    metric
        By default the table's own.
    trials
        Per method; by default 100, and 30 of those that take seconds each (10 and 4 if `quick`). One of a method
        that leaves nothing to chance.
    budget
        Networks trained in a trial, at most all of the table; by default 150 or a quarter of the table, whichever is
        less (40 if `quick`).
    methods
        Names of `archrank.search.list_searches`; by default all that the table allows.
    predictor
        Of the method "predictor", by default its own.
    told
        "mean": methods are told the mean over a network's seeds; "seed0": the value of seed 0, as a user sees who
        trains once. They are judged by the mean in either case.
    until_top
        End a trial when it has trained a network of the true top 0.1 %, but not before 20 trainings. Methods are then
        compared after 20 trainings and curves end with the shortest trial of a method; else both go to the budget.
    n_jobs
        Trials at once, each in a process; -1 for one per core.
    store
        Folder in which finished trials are kept: a run that was killed goes on there.

    Returns
    -------
    Study
        Tables ``methods`` (its ``pass_in_networks`` is what the block signatures that a method uses would have cost
        in trainings of a network, 0 where it uses none: no other column counts it), ``reached`` (share of trials that
        trained a top, by networks trained), ``curves``, ``trials``, ``tops`` and ``left_out``.

    Raises
    ------
    ValueError
        For an unknown method or `told`, or one of `methods` that the table does not allow.
    """
    from joblib import Parallel, delayed

    target = bench.metric(metric)
    arena = Arena(bench, target, _told(told))
    searches, left_out = _allowed(arena, methods, _QUICK if quick else None, predictor)
    names = list(searches)
    worth = pass_in_networks(bench.space, bench.provenance.get("recipe"))
    passes = {name: worth * search.uses_signatures for name, search in searches.items()}
    budget = min(budget or min(40 if quick else 150, max(1, len(arena.rows) // 4)), len(arena.rows))
    folder = None if store is None else Path(store)
    until = arena.top(0.001) if until_top else np.inf
    jobs = [
        (name, _params(name, predictor), seed + t)
        for name, search in searches.items()
        for t in range(1 if search.deterministic else trials or _default_trials(name, quick))
    ]
    found: list[Trial] = []
    running = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        delayed(run_trial)(arena, name, params, number, budget, until, _FEW, folder) for name, params, number in jobs
    )
    for trial in running:
        found.append(trial)
        if progress is not None:
            progress(len(found), len(jobs), f"{trial.method}, seed {trial.seed}")
    found.sort(key=lambda trial: (names.index(trial.method), trial.seed))
    after = min(_FEW if until_top else budget, shortest(found))
    tables = {
        "methods": methods_table(found, arena, budget, after, passes),
        "reached": reached_table(found, arena, budget),
        "curves": curves(found, arena),
        "trials": trials_table(found, arena, after),
        "tops": tops_table(arena),
        "left_out": pd.DataFrame(left_out, columns=["method", "reason"]),
    }
    what = "the mean over seeds" if arena.told == "mean" else f"the value of seed {arena.told}"
    return Study(
        name="nas-methods",
        title="Best network by number of trainings, for every search method",
        question=QUESTION,
        data=data_line(bench, target.name, f"methods are told {what}"),
        tables=tables,
        text=_text(tables, arena, budget, [name for name, search in searches.items() if search.deterministic]),
        figures={
            "reached": lambda figure: _draw_reached(figure, tables["reached"]),
            "curves": lambda figure: _draw_curves(figure, tables["curves"], arena),
        },
    )


def _told(text: str) -> Literal["mean"] | int:
    if text == "mean":
        return "mean"
    number = text.removeprefix("seed")
    if text == number or not number.isdigit():
        raise ValueError(f"unknown told {text!r}; expected 'mean', or 'seed0' for the value of seed 0")
    return int(number)


def _default_trials(name: str, quick: bool) -> int:
    return (4 if quick else 30) if name in _SLOW else (10 if quick else 100)


def _params(name: str, predictor: str | None) -> dict[str, Any]:
    return {"predictor": predictor} if predictor and name == "predictor" else {}


def _allowed(
    arena: Arena, asked: Sequence[str] | None, few: Sequence[str] | None, predictor: str | None
) -> tuple[dict[str, Search], list[tuple[str, str]]]:
    """Methods that can be built on this table, by name, and why the others cannot."""
    from archrank.search.registry import list_searches, make_search

    def make(name: str) -> Search:
        return make_search(name, arena.bench, arena.metric.name, **_params(name, predictor))

    if asked is not None:
        return {name: make(name) for name in asked}, []
    searches, left_out = {}, []
    for name in list_searches():
        if few is not None and name not in few:
            left_out.append((name, "by quick"))
            continue
        try:
            searches[name] = make(name)
        except (ValueError, ImportError) as error:
            if _params(name, predictor):
                raise  # the user's own choice
            left_out.append((name, str(error)))
    return searches, left_out


def _text(tables: dict[str, pd.DataFrame], arena: Arena, budget: int, deterministic: Sequence[str]) -> str:
    rows = tables["methods"].to_dict("records")
    n, unit, tops = len(arena.rows), f" {arena.metric.unit}".rstrip(), tables["tops"]["networks"]

    def band(row: dict[Any, Any], name: str) -> str:
        if row["method"] in deterministic:
            return "deterministic, one trial"
        return f"{_count(row[f'{name}_p05'], budget)} to {_count(row[f'{name}_p95'], budget)}, {row['trials']} trials"

    def reached(name: str) -> str:
        ranked = sorted(rows, key=lambda row: (np.nan_to_num(row[f"{name}_median"], nan=np.inf), row["regret_mean"]))
        return "; ".join(
            f"{row['method']} {_count(row[f'{name}_median'], budget)} ({band(row, name)})" for row in ranked
        )

    ranked = sorted(rows, key=lambda row: row["regret_mean"])
    regrets = "; ".join(f"{row['method']} {row['regret_mean']:.3g}" for row in ranked)
    parts = [
        f"Networks trained until the first of the true top 0.1 % ({tops[0]} of {n:,}) was among them, "
        f"median and 5 % to 95 % of trials: {reached('top01')}.",
        f"The same for the top 1 % ({tops[1]} of {n:,}): {reached('top1')}.",
        f"Mean distance of the network that looks best to the truly best, in {arena.metric.name}{unit} after "
        f"{rows[0]['regret_after']} trainings, which all trials went through: {regrets}.",
    ]
    if paid := [row for row in rows if row["pass_in_networks"]]:
        parts.append(
            f"Block signatures were there for free, to {listed([row['method'] for row in paid])}: to distil all blocks "
            f"once costs as much as {paid[0]['pass_in_networks']:.1f} trainings of a network, by numbers of blocks and "
            "epochs, and no figure above counts it."
        )
    if len(left_out := tables["left_out"]):
        parts.append("Left out: " + "; ".join(f"{row.method} ({row.reason})" for row in left_out.itertuples()) + ".")
    return "\n\n".join(parts)


def _count(value: Any, budget: int) -> str:
    return f">{budget}" if np.isnan(value) else f"{value:g}"


def _draw_reached(figure: Figure, table: pd.DataFrame) -> None:
    """Share of trials that trained one of the top 0.1 %, by trainings."""
    axes = figure.add_subplot()
    for name, part in table.groupby("method", sort=False):
        axes.step(part["trained"], part["top01"], where="post", label=str(name))
    axes.set(xlabel="networks trained", ylabel="trials that reached the top 0.1 %", ylim=(-0.02, 1.02))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _draw_curves(figure: Figure, table: pd.DataFrame, arena: Arena) -> None:
    """Distance to the best network by trainings: median and band from 5 % to 95 %, as far as all trials went."""
    axes = figure.add_subplot()
    for name, part in table.groupby("method", sort=False):
        line = axes.plot(part["trained"], part["regret_median"], label=str(name))[0]
        band = (part["regret_p05"], part["regret_p95"])
        axes.fill_between(part["trained"], *band, color=line.get_color(), alpha=0.1, linewidth=0)
    # Logarithmic where there is something to see, linear down to zero, which is the best network itself.
    axes.set_yscale("symlog", linthresh=0.01 * float(np.ptp(arena.scores)))
    axes.set_xscale("log")
    axes.set(xlabel="networks trained", ylabel=f"distance to the best {arena.metric.name} {arena.metric.unit}".rstrip())
    axes.legend(fontsize="small")
