"""Can good networks be found without a good teacher?

Blockwise search needs a teacher whose blocks are copied. The iterative search starts from an untrained one and takes
the best network of each round as the teacher of the next.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from archrank.ground_truth import GroundTruth, Metric
from archrank.studies.base import Progress, Study, data_line
from archrank.studies.blockwise_rounds import Trace, Workshop, blockwise_search, pass_in_networks, random_search
from archrank.studies.iterative_tables import (
    BEST_TEACHER,
    ITERATIVE,
    ONE_SHOT,
    RANDOM,
    SAME_COST,
    curves,
    differences,
    rounds_table,
    summary,
)
from archrank.studies.needs import only_when_training
from archrank.studies.statistics import estimate_of
from archrank.studies.table_workshop import TableWorkshop, teacher_table, teachers_of
from archrank.studies.wording import listed, target_spec, unit_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUESTION = (
    "Starting from an untrained teacher, is it worth to take the best network found as the next teacher, "
    "against one search of the same cost?"
)


def run(
    bench: GroundTruth,
    *,
    quick: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    metric: str | None = None,
    trials: int | None = None,
    rounds: int = 4,
    per_round: int = 5,
    train: str | None = None,
    data: str | Path | None = None,
    store: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
) -> Study:
    """Compare iterative with one-shot blockwise search, on a table or by training.

    Parameters
    ----------
    bench
        A table with signatures from an untrained teacher and from trained ones; not used with `train`.
    quick, seed, progress
        As in `archrank.studies.run_study`.
    metric
        By default the table's own.
    trials
        Repetitions, each with another random half of the table's networks to choose from; 100 by default,
        10 if `quick`. Intervals are of the mean over halves of this table, not of what another sample of networks
        would give.
    rounds, per_round
        Of the iterative search: networks trained in each round.
    train, data, store
        Search for real by this recipe on these images, once, see `archrank.studies.trained_workshop`. Networks and
        blocks stay in the folder `store`, and a run that was killed goes on there.
    device, workers
        Of `train`: by default "auto" and one process.

    Returns
    -------
    Study
        Tables ``searches``, ``differences`` (iterative less each other search), ``rounds`` (which teacher was used),
        ``curves`` (best value by networks trained) and, on a table, ``teachers``.

    Raises
    ------
    TableError
        If the table has no signatures of an untrained or of a trained teacher.
    """
    if train is not None:
        from archrank.studies.trained_workshop import TrainedWorkshop

        workshop = TrainedWorkshop.open(
            train, data, store, seed=seed, progress=progress, device=device or "auto", workers=workers or 1
        )
        target, worth = workshop.metric, pass_in_networks(workshop.space, workshop.recipe.to_dict())
        found = [_searches(workshop, workshop.untrained, rounds, per_round, worth)]
        tops = np.array([np.nan])
        more = {"winners": workshop.winners({name: trace.winner()[0] for name, trace in found[0].items()})}
        line = workshop.data_line()
    else:
        only_when_training(data=data, store=store, device=device, workers=workers)
        target, worth = bench.metric(metric), pass_in_networks(bench.space, bench.provenance.get("recipe"))
        untrained, trained = teachers_of(bench, target.name)
        values = bench.values(target.name)
        there = np.flatnonzero(np.isfinite(values))
        best = max(trained, key=lambda name: target.sign * trained[name])
        count = trials or (10 if quick else 100)
        found, tops = [], np.empty(count)
        for trial in range(count):
            if progress is not None:
                progress(trial, count, f"trial {trial}")
            half = np.random.default_rng(seed + trial).permutation(there)[: -(-len(there) // 2)]
            tops[trial] = target.sign * (target.sign * values[half]).max()
            table = TableWorkshop(bench, target.name, half, trained)
            searches = _searches(table, untrained, rounds, per_round, worth)
            searches[BEST_TEACHER] = blockwise_search(table, best, 1, rounds * per_round)
            searches[RANDOM] = random_search(table, _affordable(searches[ITERATIVE], worth, passes=0), seed + trial)
            found.append(searches)
        more = {"teachers": teacher_table(untrained, trained, bench, target.name)}
        line = data_line(
            bench,
            target.name,
            f"signatures from an untrained and {len(trained)} trained teachers; a simulation: the nearest of these "
            "teachers that is not better stands for the winner of a round",
        )
    tables = {
        "searches": summary(found, tops, target, worth),
        "differences": differences(found, target),
        "rounds": rounds_table(found, per_round),
        "curves": curves(found, tops, target),
        **more,
    }
    regret = bool(np.isfinite(tops).all())
    return Study(
        name="iterative",
        title="Iterative blockwise search against one search of the same cost",
        question=QUESTION,
        data=line,
        tables=tables,
        text=_text(tables, target, worth, regret),
        figures={"curves": lambda figure: _draw(figure, tables["curves"], target, regret)},
    )


def _searches(workshop: Workshop, untrained: str, rounds: int, per_round: int, worth: float) -> dict[str, Trace]:
    """The iterative search; one with as many trained networks; one that pays networks for the further passes."""
    iterative = blockwise_search(workshop, untrained, rounds, per_round)
    return {
        ITERATIVE: iterative,
        ONE_SHOT: blockwise_search(workshop, untrained, 1, len(iterative)),
        SAME_COST: blockwise_search(workshop, untrained, 1, _affordable(iterative, worth, passes=1)),
    }


def _affordable(trace: Trace, worth: float, passes: int) -> int:
    """Networks that can be trained at the cost of a search by one that distils `passes` times."""
    return len(trace) + int((trace.passes - passes) * worth)


def _text(tables: dict[str, pd.DataFrame], target: Metric, worth: float, regret: bool) -> str:
    searches, spec, unit = tables["searches"].set_index("search"), target_spec(target), unit_text(target)
    mine = searches.loc[ITERATIVE]
    gains = "; ".join(
        f"over {row['against']} {estimate_of(row, 'gain'):{spec}}{unit} at the end and "
        f"{estimate_of(row, 'gain_on_the_way'):{spec}} on the way"
        for row in tables["differences"].to_dict("records")
    )
    taught = tables["rounds"].sort_values(["round", "share"], ascending=[True, False])
    teachers = "; ".join(
        f"round {number}, " + ", ".join(f"{row.teacher} ({row.share:.0%})" for row in part.itertuples())
        for number, part in taught.groupby("round")
    )
    parts = [
        f"The iterative search trained {mine['trained']:.0f} networks and distilled all blocks {mine['passes']:.0f} "
        f"times (medians of {mine['trials']:.0f} trials). One pass counts as {worth:.1f} trainings of a network, by "
        f"numbers of blocks and epochs: {mine['cost_in_networks']:.0f} in all. One-shot search trained as many with "
        f"the untrained teacher alone; of the same cost, it trains more networks in place of the further passes.",
        f"What iterative search gains in {target.name}, mean over trials, at the end of both and on the way (the best "
        f"so far, averaged over the networks that both trained): {gains}. {_verdict(tables['differences'])}",
        f"Teachers of the iterative search: {teachers}.",
    ]
    if regret:
        distances = "; ".join(
            f"{name} {row['regret_mean']:.2f}, found in {row['found_best']:.0%} of trials"
            + (
                f" (median after {after:.0f} networks)"
                if np.isfinite(after := row["trained_until_best_median"])
                else ""
            )
            for name, row in searches.iterrows()
        )
        parts.insert(
            2,
            f"Each trial chooses from another random half of the table. Mean distance to the best network in it, "
            f"in {target.name}: {distances}.",
        )
    if "teachers" in tables and np.isfinite(head_start := tables["teachers"]["better_than"][0]):
        parts.append(
            f"The untrained teacher knows no weights, but its architecture, once trained, is better than "
            f"{head_start:.0%} of the table: a start that a user without any knowledge does not have."
        )
    return "\n\n".join(parts)


def _verdict(differences: pd.DataFrame) -> str:
    """What the intervals decide of the networks found at the end."""
    found = {row["against"]: estimate_of(row, "gain") for row in differences.to_dict("records")}
    if not all(gain.known for gain in found.values()):
        return f"With {differences['trials'].min()} trials nothing is shown."
    words = {1: "shown to be better than", -1: "shown to be worse than", 0: "not shown to differ from"}
    groups = {how: [repr(name) for name, gain in found.items() if gain.decided == sign] for sign, how in words.items()}
    return " ".join(f"At the end it is {how} {listed(names)}." for how, names in groups.items() if names)


def _draw(figure: Figure, table: pd.DataFrame, target: Metric, regret: bool) -> None:
    """Mean and 5 % to 95 % band by networks trained."""
    axes = figure.add_subplot()
    for name, part in table.groupby("search", sort=False):
        line = axes.plot(part["trained"], part["mean"], label=str(name))[0]
        axes.fill_between(part["trained"], part["p05"], part["p95"], color=line.get_color(), alpha=0.1, linewidth=0)
    if regret:  # near zero, where the searches differ, as wide as the rest
        axes.set_yscale("symlog", linthresh=max(0.02 * float(table["p95"].max()), 1e-9))
    what = f"distance to the best {target.name}" if regret else f"best {target.name}"
    axes.set(xlabel="networks trained", ylabel=f"{what} [{target.unit}]" if target.unit else what)
    axes.legend(fontsize="small")
