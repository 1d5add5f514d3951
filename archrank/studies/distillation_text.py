"""What the study of distillation says of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from archrank.ground_truth import Metric
from archrank.studies.statistics import estimate_of
from archrank.studies.wording import compared_with, target_spec, unit_text


def text(tables: Mapping[str, pd.DataFrame], target: Metric) -> str:
    """Each way of distilling against normal training, then the ways against each other."""
    parts = []
    for ranking in tables["ranking"].to_dict("records"):
        variant = str(ranking["variant"])
        of_variant = {name: table[table["variant"] == variant] for name, table in tables.items()}
        rows = of_variant["difference"].set_index("networks")
        whole = rows.reset_index().to_dict("records")[0]
        parts += [_verdict(variant, whole, target), _by_level(rows.drop(index="all"), target)]
        parts.append(_alike(ranking))
        if "curves" in tables and len(of_variant["curves"]):
            parts.append(_over_epochs(of_variant["curves"]))
    if "between" in tables:
        parts.append(" ".join(_against(row, target) for row in tables["between"].to_dict("records")))
    return "\n\n".join(parts)


def _verdict(variant: str, row: Mapping[Any, Any], target: Metric) -> str:
    change = estimate_of(row, "difference")
    verdicts = {1: "beats normal training", -1: "is worse than normal training"}
    verdict = verdicts.get(change.decided * target.sign, "is neither shown to beat normal training nor to be worse")
    return (
        f"Distillation ({variant}) {verdict}: mean {target.name} changes by {change:{target_spec(target)}}"
        f"{unit_text(target)}, from {row['normal_mean']:.2f} to {row['distilled_mean']:.2f}; "
        f"{row['share_better']:.0%} of {row['n_networks']} networks are better with it."
    )


def _against(row: Mapping[Any, Any], target: Metric) -> str:
    change = estimate_of(row, "difference")
    verdict = compared_with(change, target.sign)
    return (
        f"{row['variant']} is {verdict} {row['than']} on the {row['n_networks']} networks of both: "
        f"{change:{target_spec(target)}}{unit_text(target)}."
    )


def _by_level(quarters: pd.DataFrame, target: Metric) -> str:
    changes = [estimate_of(row, "difference") for _, row in quarters.iterrows()]
    each = "; ".join(f"{n} {c:{target_spec(target)}}" for n, c in zip(quarters.index, changes, strict=True))
    text = f"Change of each quarter of the networks, by the mean of both trainings: {each}."
    worst, best = changes[0], changes[-1]
    if not (worst.known and best.known):
        return f"{text} The worst or the best quarter has too few networks to tell who gains more."
    if worst.low > best.high or best.low > worst.high:
        more = "worst" if target.sign * (worst.value - best.value) > 0 else "best"
        return f"{text} The {more} quarter gains more; the intervals of the worst and the best do not overlap."
    return f"{text} The intervals of the worst and the best quarter overlap: who gains more is not decided."


def _alike(ranking: Mapping[Any, Any]) -> str:
    tau = estimate_of(ranking, "kendall_tau")
    text = f"Both ways rank the {ranking['n_networks']} networks with Kendall's tau {tau:.3f}."
    seeds, gain = estimate_of(ranking, "reproducibility_tau"), estimate_of(ranking, "gain")
    if not seeds.known:
        return f"{text} Too few of them have a second seed to say what tau two normal trainings have."
    verdict = {
        -1: "distillation changes the ranking by more than another seed does",
        1: "the two ways agree better than that",
        0: "no change of ranking beyond that of another seed is shown",
    }[gain.decided]
    return (
        f"{text} Of the {ranking['n_reproduced']} with two seeds or more, single trainings of the two ways have "
        f"{ranking['single_tau']:.3f}, two normal ones with different seeds {seeds:.3f}. The difference is "
        f"{gain:+.3f}: {verdict}."
    )


def _over_epochs(curve: pd.DataFrame) -> str:
    first, last = curve.iloc[0], curve.iloc[-1]
    return (
        f"Per epoch ({last['curve']}, {last['n_networks']} networks, {last['n_trainings']} trainings each way) the "
        f"change is {estimate_of(first, 'difference'):+.3g} after epoch {first['epoch']} and "
        f"{estimate_of(last, 'difference'):+.3g} after epoch {last['epoch']}."
    )
