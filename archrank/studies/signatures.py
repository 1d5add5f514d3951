"""Which block signature ranks blocks, which predicts networks, and what do predictors add to it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from archrank._errors import there_are
from archrank.benchmarks.metrics import kendall
from archrank.benchmarks.splits import permutation
from archrank.ground_truth import GroundTruth, TableError
from archrank.studies.base import Draw, Progress, Study, data_line
from archrank.studies.drawing import draw_intervals
from archrank.studies.needs import need_signatures, sizes_that_fit
from archrank.studies.predicting import Contestant, compared, lead, summary
from archrank.studies.reference import reference, reference_lines
from archrank.studies.signatures_text import text
from archrank.studies.statistics import Floats, mean_of, tau_gain, tau_of
from archrank.studies.teacher_facts import complete_columns, describe_teachers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUESTION = (
    "Which signature of single blocks ranks blocks and predicts the accuracy of whole networks, alone and by predictor "
    "and number of training networks, and which set of signatures is best?"
)
_SIZES = (20, 50, 100)
_LARGEST_SET = 3


def run(
    bench: GroundTruth,
    *,
    quick: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    metric: str | None = None,
    trials: int | None = None,
    teacher: str | None = None,
    predictors: Sequence[str] | None = None,
) -> Study:
    """Rank blocks and networks by signatures of one teacher, and those of the other teachers beside it.

    Parameters
    ----------
    bench, quick, seed, progress
        As in `archrank.studies.run_study`.
    metric
        By default the table's default metric.
    trials
        Random splits for predictors; by default 10, quick 3.
    teacher
        Whose signatures predictors and sets use; by default the best trained one.
    predictors
        By default hant, donna, donna:signature+cost and gbdt:signature, and auto unless `quick`.

    Raises
    ------
    TableError
        Where no teacher has signatures of every block, or too few networks are there to train predictors.
    """
    target, resamples = bench.metric(metric), 199 if quick else 999
    signatures, complete = need_signatures(bench, "signatures"), complete_columns(bench, "signatures")
    chosen = str(describe_teachers(bench, list(complete), target.name)["teacher"][0]) if teacher is None else teacher
    if chosen not in complete:
        raise TableError(f"no teacher {chosen!r} with signatures of every block; {there_are(chosen, complete)}")
    columns, truth = complete[chosen], target.sign * bench.values(target.name)
    there = np.isfinite(truth)
    sizes = sizes_that_fit(bench, "signatures", _SIZES, int(there.sum()))
    repeats = trials or (3 if quick else 10)
    sums, blocks = [], []
    for name in complete:
        for column in signatures.columns:
            kind = "signature" if column in complete[name] else "other"
            score = signatures.scores(bench.codes, [column], name)
            both = there & np.isfinite(score)
            tau = tau_of(score[both], truth[both], seed, resamples)
            sums.append(
                {"teacher": name, "column": column, "kind": kind, "n_networks": tau.n, **tau.columns("kendall_tau")}
            )
            if name == chosen or not quick:
                blocks += [{"kind": kind} | row for row in _blocks(bench, truth, name, column, seed, resamples)]
    subsets = [c for size in range(1, _LARGEST_SET + 1) for c in combinations(columns, size)]
    scores = {"+".join(c): signatures.scores(bench.codes, c, chosen)[there] for c in subsets}
    sets, choice = _choices(scores, truth[there], sizes, max(repeats, 10), seed)
    fast = _contestants(bench, chosen, columns, predictors)
    # It fits an ensemble with cross-validation: half of the splits keep the study within minutes.
    slow = [] if quick or predictors is not None else [Contestant("auto", chosen, tuple(columns))]
    report = compared(fast, bench, target.name, sizes, repeats, seed, progress, slow)
    tables = {
        "networks": pd.DataFrame(sums),
        "blocks": pd.DataFrame(blocks),
        "sets": sets,
        "choice": choice,
        "predictors": summary(report, [*fast, *slow]),
        "lead": lead(report, sizes[-1]),
        "reference": reference(bench, target.name, seed, resamples),
        "runner_up": pd.DataFrame([_runner_up(scores, columns, truth[there], seed, resamples)]),
    }
    return Study(
        "signatures",
        "Signatures of blocks as predictors of networks",
        QUESTION,
        data_line(
            bench, target.name, f"signatures of teachers {', '.join(complete)}; sets and predictors use {chosen}"
        ),
        tables,
        text(tables, target, chosen),
        _figures(tables, chosen),
    )


def _blocks(
    bench: GroundTruth, truth: Floats, teacher: str, column: str, seed: int, resamples: int
) -> list[dict[str, Any]]:
    """Tau, at each stage, of the signature of a block with the mean of the networks that use it."""
    signatures = need_signatures(bench, "signatures")
    rows = []
    for stage, values in enumerate(signatures.table(column, teacher)):
        by_block = pd.Series(truth).groupby(bench.codes[:, stage]).mean().reindex(range(len(values)))
        means = np.asarray(by_block, dtype=np.float64)
        both = np.isfinite(means) & np.isfinite(values)
        tau = tau_of(signatures.metrics[column].sign * values[both], means[both], seed, resamples)
        rows.append(
            {"teacher": teacher, "column": column, "stage": stage, "n_blocks": tau.n, **tau.columns("kendall_tau")}
        )
    return rows


def _choices(
    scores: Mapping[str, Floats], truth: Floats, sizes: Sequence[int], trials: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tau of each set on all networks, and what a set chosen on few networks is worth on the others.

    The best of many sets on all networks is flattered by having been looked up there.
    """
    first = next(iter(scores))
    sets = pd.DataFrame(
        {"columns": name, "n_columns": name.count("+") + 1, "kendall_tau": kendall(score, truth)}
        for name, score in scores.items()
    )
    choice = []
    for n in sizes:
        gains, chosen = [], []
        for trial in range(trials):
            order = permutation(len(truth), seed + trial)
            train, test = order[:n], order[n:][:2000]
            best = max(scores, key=lambda name: kendall(scores[name][train], truth[train]))
            chosen.append(best)
            gains.append(kendall(scores[best][test], truth[test]) - kendall(scores[first][test], truth[test]))
        most = pd.Series(chosen).value_counts()
        gain = mean_of(np.array(gains))
        choice.append(
            {
                "n_train": n,
                "trials": trials,
                "most_chosen": most.index[0],
                "times": int(most.iloc[0]),
                "instead_of": first,
            }
            | gain.columns("gain")
        )
    return sets.sort_values("kendall_tau", ascending=False, ignore_index=True), pd.DataFrame(choice)


def _runner_up(
    scores: Mapping[str, Floats], columns: Sequence[str], truth: Floats, seed: int, resamples: int
) -> dict[str, Any]:
    """The two columns of highest tau, and by how much they differ on the same networks."""
    best, second = (sorted(columns, key=lambda c: -kendall(scores[c], truth)) * 2)[:2]
    gain = tau_gain(scores[best], scores[second], truth, seed, resamples)
    return {"best": best, "second": second, **gain.columns("gain")}


def _contestants(
    bench: GroundTruth, teacher: str, columns: Sequence[str], names: Sequence[str] | None
) -> list[Contestant]:
    """Each predictor on the default column and on all."""
    with_costs = ["donna:signature+cost"] if bench.space.block_costs else []
    names = ["hant", "donna", *with_costs, "gbdt:signature"] if names is None else names
    offers = dict.fromkeys([(columns[0],), tuple(columns)])
    return [Contestant(name, teacher, offer) for name in names for offer in offers]


def _figures(tables: Mapping[str, pd.DataFrame], teacher: str) -> Mapping[str, Draw]:
    lines = reference_lines(tables["reference"])

    def alone(figure: Figure) -> None:
        table = tables["networks"].query("kind == 'signature'")
        title = "Sum of signatures, no network trained"
        draw_intervals(figure, table, "column", "kendall_tau", group="teacher", lines=lines, title=title)

    def predicted(figure: Figure) -> None:
        table = tables["predictors"]
        table = table.assign(
            way=table["predictor"] + "\n" + table["columns"], trained=table["n_train"].astype(str) + " networks"
        )
        title = f"Predictors on signatures of {teacher}"
        draw_intervals(figure, table, "way", "kendall_tau", group="trained", lines=lines, title=title)

    return {"signature_sums": alone, "predictors": predicted}
