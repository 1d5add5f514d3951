"""Does a better teacher give better signatures, and is an untrained one good enough?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from archrank.ground_truth import GroundTruth, Metric, TableError
from archrank.studies.base import Draw, Progress, Study, data_line
from archrank.studies.drawing import draw_intervals
from archrank.studies.needs import need_signatures, sizes_that_fit
from archrank.studies.predicting import Contestant, compared, summary
from archrank.studies.reference import reference, reference_lines, reference_text
from archrank.studies.statistics import estimate_of, mean_of, tau_gain, tau_of
from archrank.studies.teacher_facts import complete_columns, describe_teachers
from archrank.studies.wording import compared_with, listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUESTION = "How much do signatures depend on the quality of the teacher, and what is an untrained teacher worth?"
_PREDICTORS = ("hant", "donna")
_SIZES = (50,)


def run(
    bench: GroundTruth,
    *,
    quick: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    metric: str | None = None,
    trials: int | None = None,
) -> Study:
    """Compare the teachers of a table's signatures on the same networks and the same splits.

    Parameters
    ----------
    bench, quick, seed, progress
        As in `archrank.studies.run_study`.
    metric
        By default the table's default metric.
    trials
        Random splits for predictors; by default 30, quick 10.

    Raises
    ------
    TableError
        Where fewer than two teachers have signatures of every block, or too few networks can train predictors.
    """
    target, resamples = bench.metric(metric), 199 if quick else 999
    signatures = need_signatures(bench, "teacher", and_from="OTHER")
    complete = complete_columns(bench, "teacher", teachers=2)
    shared = signatures.shared_columns
    columns = [c for c in next(iter(complete.values())) if c not in shared and all(c in v for v in complete.values())]
    if not columns:
        raise TableError(
            f"study 'teacher': no signature of table {bench.name!r} is complete for all of {', '.join(complete)} and "
            "differs between them; run `archrank distill` with the same --columns for each teacher, then "
            "`archrank merge store --out TABLE`"
        )
    teachers = describe_teachers(bench, list(complete), target.name)
    column, truth = columns[0], target.sign * bench.values(target.name)
    there = np.isfinite(truth)
    sizes = sizes_that_fit(bench, "teacher", _SIZES, int(there.sum()))
    names = teachers["teacher"].tolist()
    scores = {(t, c): signatures.scores(bench.codes, [c], t)[there] for t in names for c in columns}
    sums = [
        {"teacher": t, "column": c, "n_networks": len(truth[there])}
        | tau_of(score, truth[there], seed, resamples).columns("kendall_tau")
        for (t, c), score in scores.items()
    ]
    contestants = [Contestant(p, t, (column,)) for p in _PREDICTORS for t in names]
    report = compared(contestants, bench, target.name, sizes, trials or (10 if quick else 30), seed, progress)
    predicted = summary(report, contestants)
    losses = [
        {"ranking": f"sum of {c}", "teacher": t, "reference": names[0]}
        | tau_gain(scores[t, c], scores[names[0], c], truth[there], seed, resamples).columns("difference")
        for c in columns
        for t in names[1:]
    ]
    losses += _of_predictors(report.rows, contestants, names[0])
    tables = {
        "teachers": teachers.merge(pd.DataFrame(sums).query("column == @column"), on="teacher"),
        "columns": pd.DataFrame(sums),
        "predictors": predicted,
        "differences": pd.DataFrame(losses),
        "reference": reference(bench, target.name, seed, resamples),
    }
    return Study(
        "teacher",
        "Signatures by quality of the teacher",
        QUESTION,
        data_line(bench, target.name, f"signatures of teachers {', '.join(names)}"),
        tables,
        _text(tables, target),
        _figures(tables),
    )


def _of_predictors(rows: pd.DataFrame, contestants: Sequence[Contestant], best: str) -> list[dict[str, Any]]:
    """Tau with each teacher less that with the best one, mean over the same splits of this table."""
    rows = rows[rows["status"] != "failed"]
    found = []
    for n, part in rows.groupby("n_train"):
        taus = part.pivot_table(index="trial", columns="predictor", values="kendall_tau")
        for contestant in contestants:
            reference = replace(contestant, teacher=best).label
            if contestant.teacher == best or contestant.label not in taus or reference not in taus:
                continue
            difference = (taus[contestant.label] - taus[reference]).dropna().to_numpy(np.float64)
            found.append(
                {"ranking": f"{contestant.predictor}, {n} networks", "teacher": contestant.teacher, "reference": best}
                | mean_of(np.asarray(difference)).columns("difference")
            )
    return found


def _text(tables: Mapping[str, pd.DataFrame], target: Metric) -> str:
    differences = tables["differences"]
    columns = differences[differences["ranking"].str.startswith("sum of ")]
    rest = differences[~differences["ranking"].str.startswith("sum of ")]
    parts = [_teachers(tables["teachers"], target), _quality(tables["teachers"], columns)]
    untrained = tables["teachers"].loc[tables["teachers"]["training"] == "untrained", "teacher"].tolist()
    if len(untrained) == len(tables["teachers"]):
        parts.append(
            f"No trained teacher is there: {untrained[0]}, to which the others are compared, is untrained too."
        )
        untrained = untrained[1:]  # the first has no row of differences
    parts += [_untrained(columns[columns["teacher"] == teacher]) for teacher in untrained]
    parts.append(_predictors(tables["predictors"], rest))
    parts.append(reference_text(tables["reference"]))
    return "\n\n".join(part for part in parts if part)


def _teachers(teachers: pd.DataFrame, target: Metric) -> str:
    each = []
    for row in teachers.to_dict("records"):
        own = f"{target.name} {row['own']:.2f}, rank {row['rank']} of {row['of']}"
        known = {"trained": own, "untrained": "random weights", "unknown": "own value not in the table"}[
            row["training"]
        ]
        each.append(f"{row['teacher']} ({known}) {estimate_of(row, 'kendall_tau'):.3f}")
    first = teachers.to_dict("records")[0]
    return (
        f"Kendall's tau of the sum of {first['column']}, {first['n_networks']} networks, by teacher: {'; '.join(each)}."
    )


def _quality(teachers: pd.DataFrame, differences: pd.DataFrame) -> str:
    """Whether better teachers rank better, by the default signature."""
    trained = teachers[teachers["training"] == "trained"]
    if len(trained) < 2:
        return "With fewer than two trained teachers, nothing is said about the quality of teachers."
    order = "in" if trained["kendall_tau"].is_monotonic_decreasing else "not in"
    sentence = f"The {len(trained)} trained teachers rank networks {order} the order of their own values"
    rows = differences[differences["ranking"] == f"sum of {teachers['column'].iloc[0]}"]
    rows = rows[rows["teacher"].isin(trained["teacher"])]
    return f"{sentence}: {'; '.join(_against(row) for row in rows.to_dict('records'))}."


def _against(row: Mapping[Any, Any]) -> str:
    difference = estimate_of(row, "difference")
    return f"{row['teacher']} is {compared_with(difference)} {row['reference']}, {difference:+.3f}"


def _untrained(differences: pd.DataFrame) -> str:
    rows = differences.to_dict("records")
    each = "; ".join(f"{row['ranking']} {estimate_of(row, 'difference'):+.3f}" for row in rows)
    lost = [row["ranking"] for row in rows if estimate_of(row, "difference").decided < 0]
    won = [row["ranking"] for row in rows if estimate_of(row, "difference").decided > 0]
    verdicts = [f"loses with {listed(lost)}"] if lost else []
    verdicts += [f"gains with {listed(won)}"] if won else []
    verdict = " and ".join(verdicts) or "is not shown to lose or gain with any signature"
    return f"{rows[0]['teacher']}, against {rows[0]['reference']}, {verdict}: {each}."


def _predictors(predictors: pd.DataFrame, differences: pd.DataFrame) -> str:
    ranked = predictors[predictors["kendall_tau"].notna()].sort_values("kendall_tau", ascending=False)
    each = []
    for (name, n), part in ranked.groupby(["predictor", "n_train"], sort=False):
        levels = ", ".join(f"{row['teacher']} {row['kendall_tau']:.3f}" for row in part.to_dict("records"))
        each.append(f"{name} with {n} networks: {levels}")
    decided = [row for row in differences.to_dict("records") if estimate_of(row, "difference").decided]
    shown = "; ".join(f"{row['ranking']}, {_against(row)}" for row in decided)
    verdict = (
        f"On the same splits of this table: {shown}." if shown else "On the same splits no teacher is shown to differ."
    )
    return f"Predictors on the same signature: {'; '.join(each)}. {verdict}"


def _figures(tables: Mapping[str, pd.DataFrame]) -> Mapping[str, Draw]:
    lines = reference_lines(tables["reference"])

    def columns(figure: Figure) -> None:
        title = "Sum of signatures by teacher, best teacher first"
        draw_intervals(figure, tables["columns"], "column", "kendall_tau", group="teacher", lines=lines, title=title)

    def predictors(figure: Figure) -> None:
        table = tables["predictors"]
        table = table.assign(way=table["predictor"] + ", " + table["n_train"].astype(str) + " networks")
        title = f"Predictors on {table['columns'].iloc[0]} by teacher"
        draw_intervals(figure, table, "way", "kendall_tau", group="teacher", lines=lines, title=title)

    return {"signature_sums": columns, "predictors": predictors}
