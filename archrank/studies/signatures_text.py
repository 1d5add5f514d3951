"""What the study of signatures says, figures and verdicts taken from its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from archrank.ground_truth import Metric
from archrank.studies.reference import reference_text
from archrank.studies.statistics import MIN_TRIALS, estimate_of
from archrank.studies.wording import listed


def text(tables: Mapping[str, pd.DataFrame], target: Metric, teacher: str) -> str:
    """Half a page."""
    parts = [
        _alone(tables["networks"], tables["runner_up"], target, teacher),
        _blocks(tables["blocks"], teacher),
        _sets(tables["sets"], tables["choice"]),
        _predictors(tables["predictors"], tables["lead"]),
        reference_text(tables["reference"]),
    ]
    return "\n\n".join(parts)


def _alone(networks: pd.DataFrame, runner_up: pd.DataFrame, target: Metric, teacher: str) -> str:
    rows = networks[(networks["teacher"] == teacher) & (networks["kind"] == "signature")]
    rows = rows.sort_values("kendall_tau", ascending=False)
    each = "; ".join(f"{row['column']} {estimate_of(row, 'kendall_tau'):.3f}" for row in rows.to_dict("records"))
    sentence = (
        f"Without any trained network, the sum of one signature over stages (teacher {teacher}) ranks the "
        f"{rows['n_networks'].iloc[0]} networks by {target.name} with Kendall's tau: {each}."
    )
    if len(rows) < 2:
        return sentence
    row = runner_up.to_dict("records")[0]
    gain = estimate_of(row, "gain")
    verdict = "is the best" if gain.decided > 0 else "is the highest, but not shown to be better than the next"
    return f"{sentence} {row['best']} {verdict}: {gain:+.3f} against {row['second']} on the same networks."


def _blocks(blocks: pd.DataFrame, teacher: str) -> str:
    rows = blocks[(blocks["teacher"] == teacher) & (blocks["kind"] == "signature")]
    sentences = []
    for stage, part in rows.sort_values("kendall_tau", ascending=False).groupby("stage"):
        best, *_, worst = [*part.to_dict("records")] * 2
        sentences.append(
            f"at stage {stage} {best['column']} ranks best, {estimate_of(best, 'kendall_tau'):.3f}, and "
            f"{worst['column']} worst, {estimate_of(worst, 'kendall_tau'):.3f}"
        )
    count = rows["n_blocks"].max()
    return f"Against the mean of the networks that use a block ({count} blocks): {'; '.join(sentences)}."


def _sets(sets: pd.DataFrame, choice: pd.DataFrame) -> str:
    best = sets.to_dict("records")[0]
    verdicts = {1: "gains on", -1: "loses to", 0: "is not shown to differ from"}
    each = []
    for row in choice.to_dict("records"):
        gain = estimate_of(row, "gain")
        each.append(
            f"{row['n_train']} networks (most often {row['most_chosen']}, in {row['times']} of {row['trials']} trials) "
            f"{verdicts[gain.decided]} {row['instead_of']} alone, {gain:+.3f}"
        )
    return (
        f"Of {len(sets)} sets of up to {sets['n_columns'].max()} signatures {best['columns']} has the highest tau, "
        f"{best['kendall_tau']:.3f}, flattered by having been looked up on the same networks. A set chosen on some "
        f"networks and judged on others: chosen on {'; on '.join(each)}."
    )


def _predictors(predictors: pd.DataFrame, lead: pd.DataFrame) -> str:
    if predictors["kendall_tau"].isna().all():
        return "No predictor gave a score."
    ranked = predictors[predictors["shared_tau"].notna()].sort_values("shared_tau", ascending=False)
    if not len(ranked):
        return "No split has scores of all predictors, so that none is named the best."
    sentences = []
    for n, part in ranked.groupby("n_train"):
        best = part.to_dict("records")[0]
        sentences.append(f"with {n} networks {_named(best)}, {estimate_of(best, 'kendall_tau'):.3f}")
    failed = predictors.loc[predictors["failures"] > 0, "predictor"].unique().tolist()
    lost = f" Some trials of {listed(failed)} failed." if failed else ""
    highest = f"Predictor of highest tau on test networks, on the splits that all share: {'; '.join(sentences)}."
    return f"{highest}{_ahead(lead)}{lost}"


def _ahead(lead: pd.DataFrame) -> str:
    """How sure the first place with the most networks is, by the closest rival."""
    if not len(lead):
        return ""
    if lead["trials"].max() < MIN_TRIALS:
        return f" Whether this order holds, {lead['trials'].max()} trials are too few to say."
    leads = {row["other"]: estimate_of(row, "lead") for row in lead.to_dict("records")}
    closest = min(leads, key=lambda other: leads[other].value)
    where = "behind" if leads[closest].value < 0 else "ahead of"
    open_ = [other for other, found in leads.items() if not found.decided]
    behind = [other for other, found in leads.items() if found.decided < 0]
    verdicts = [f"shown to be behind {listed(behind)}"] if behind else []
    verdicts += [f"not shown to be ahead of {listed(open_)}"] if open_ else []
    rest = " and ".join(verdicts) or "all others are shown to be behind"
    return (
        f" With the most networks, on the splits that both had, {lead['best'].iloc[0]} is {where} {closest}, their tau "
        f"differs by {leads[closest]:+.3f}; {rest}."
    )


def _named(row: Any) -> str:
    return f"{row['predictor']} on {row['columns']}"
