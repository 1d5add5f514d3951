"""Does training with a teacher's logits beat training alone?

Knowledge distillation (Hinton et al., 2015) mixes the labels with the teacher's answers. The question is asked of the
same networks with the same seeds, so that what a network or a seed is worth cancels out of the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.stats import rankdata

from archrank.encodings.proxy import curve_of
from archrank.ground_truth import GroundTruth, Metric, TableError
from archrank.studies.base import Draw, Progress, Study, data_line
from archrank.studies.distillation_text import text
from archrank.studies.drawing import draw_intervals
from archrank.studies.needs import need_variants, only_when_training
from archrank.studies.statistics import (
    UNKNOWN,
    Floats,
    mean_of,
    of_common_seeds,
    tau_above_seeds,
    tau_between_seeds,
    tau_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUESTION = "Does learning from a teacher's logits give better networks than labels alone, and does it rank them alike?"
_COMMAND = "archrank train RECIPE --data IMAGES --archs N --teacher ARCH --out store"
_QUARTERS = ("worst quarter", "second quarter", "third quarter", "best quarter")


def run(
    bench: GroundTruth,
    *,
    quick: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    metric: str | None = None,
    train: str | None = None,
    data: str | Path | None = None,
    networks: int | None = None,
    store: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
) -> Study:
    """Compare every variant ``distilled...`` with normal training of the same networks and seeds.

    Parameters
    ----------
    bench, quick, seed, progress
        As in `archrank.studies.run_study`.
    metric
        By default the table's default metric.
    train, data, networks, store
        Train so many random networks both ways by this recipe on these images, and study them in place of
        `bench`; see `archrank.studies.train_distilled.train_both_ways`.
    device, workers
        Of `train`: by default "auto" and one process.

    Raises
    ------
    TableError
        Where the table has no distilled networks, or none of them was trained normally with the same seed.
    """
    if train is not None:
        from archrank.studies.train_distilled import train_both_ways

        count = networks or (6 if quick else 20)
        bench = train_both_ways(
            train, data, count, store=store, seed=seed, progress=progress, device=device or "auto", workers=workers or 1
        )
    else:
        only_when_training(data=data, networks=networks, store=store, device=device, workers=workers)
    variants = need_variants(bench, "distillation", "distilled.*", "networks trained with a teacher", _COMMAND)
    target, resamples = bench.metric(metric), 499 if quick else 1999
    differences, rankings, curves = [], [], []
    for step, variant in enumerate(variants):
        if progress is not None:
            progress(step, len(variants), variant)
        normal, distilled, among = _pairs(bench, target.name, variant)
        differences += [{"variant": variant} | row for row in _differences(normal, distilled, target)]
        tau = tau_of(normal, distilled, seed, resamples)
        seeds = tau_between_seeds(bench, target.name, seed, resamples, among) or UNKNOWN
        beside = tau_above_seeds(bench, target.name, variant, among, seed, resamples)
        single, gain = beside or (float("nan"), UNKNOWN)
        rankings.append(
            {"variant": variant, "n_networks": tau.n, **tau.columns("kendall_tau")}
            | {"n_reproduced": seeds.n, **seeds.columns("reproducibility_tau")}
            | {"single_tau": single, **gain.columns("gain")}
            | {"normal_std": float(normal.std()), "distilled_std": float(distilled.std())}
        )
        curves += [{"variant": variant} | row for row in _curves(bench, target, variant)]
    tables = {"difference": pd.DataFrame(differences), "ranking": pd.DataFrame(rankings)}
    if between := [row for pair in combinations(variants, 2) for row in _between(bench, target, *pair)]:
        tables["between"] = pd.DataFrame(between)
    if curves:
        tables["curves"] = pd.DataFrame(curves)
    extent = ", ".join(f"{r.variant} {r.n_networks}" for r in tables["ranking"].itertuples())
    return Study(
        "distillation",
        "Distillation against normal training",
        QUESTION,
        data_line(bench, target.name, f"networks trained both ways with the same seed: {extent}"),
        tables,
        text(tables, target),
        _figures(tables, target),
    )


def _pairs(bench: GroundTruth, metric: str, variant: str) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Normal and distilled values, means over common seeds, ``(n,)`` each, of the networks that have both; which."""
    normal, distilled = of_common_seeds(bench, metric, variant)
    there = np.isfinite(normal)
    if not there.any():
        raise TableError(
            f"study 'distillation': no network of table {bench.name!r} has {metric} both of variant 'normal' and of "
            f"{variant!r} with the same seed; train the same --archs and --seeds with and without --teacher"
        )
    return normal[there], distilled[there], there


def _between(bench: GroundTruth, target: Metric, first: str, other: str) -> list[dict[str, Any]]:
    """How much one way of distilling, or one teacher, gives more than another, same networks and seeds; [] without."""
    a, b = of_common_seeds(bench, target.name, first, base=other)
    difference = mean_of((b - a)[np.isfinite(a)])
    if not difference.n:
        return []
    return [{"variant": first, "than": other, "n_networks": difference.n, **difference.columns("difference")}]


def _differences(normal: Floats, distilled: Floats, target: Metric) -> list[dict[str, Any]]:
    # Quarters by the mean of both trainings: quarters by the normal value alone would hold networks that were unlucky
    # in it at the bottom, and distillation would seem to help them (regression to the mean).
    level = rankdata(target.sign * (normal + distilled), method="ordinal") - 1
    quarter = 4 * level // len(level)
    groups = [("all", quarter >= 0), *((name, quarter == i) for i, name in enumerate(_QUARTERS))]
    rows = []
    for name, chosen in groups:
        if not chosen.any():
            continue
        difference = (distilled - normal)[chosen]
        rows.append(
            {
                "networks": name,
                "n_networks": len(difference),
                "normal_mean": float(normal[chosen].mean()),
                "distilled_mean": float(distilled[chosen].mean()),
                **mean_of(difference).columns("difference"),
                "share_better": float((target.sign * difference > 0).mean()),
            }
        )
    return rows


def _curves(bench: GroundTruth, target: Metric, variant: str) -> list[dict[str, Any]]:
    """Mean of each epoch over networks, with the interval of the paired difference.

    Of a network it is the mean over the seeds that have the epoch both ways: trainings of one network are not
    independent.
    """
    name = curve_of(bench, target)
    if name is None:
        return []
    pairs = [[bench.curves(name, s, v).astype(np.float64) for v in ("normal", variant)] for s in bench.seeds]
    pairs = [pair for pair in pairs if min(curve.shape[1] for curve in pair)]  # a seed without curves has no epochs
    epochs = min((curve.shape[1] for pair in pairs for curve in pair), default=0)
    rows = []
    for epoch in range(epochs):
        a, b = (np.stack([pair[way][:, epoch] for pair in pairs]) for way in (0, 1))  # (n_seeds, n_networks)
        both = np.isfinite(a) & np.isfinite(b)
        if both.any():
            there = both.any(axis=0)
            normal, distilled = (np.nanmean(np.where(both, v, np.nan)[:, there], axis=0) for v in (a, b))
            difference = mean_of(distilled - normal)
            rows.append(
                {"curve": name, "epoch": epoch + 1, "n_networks": difference.n, "n_trainings": int(both.sum())}
                | {"normal_mean": float(normal.mean()), "distilled_mean": float(distilled.mean())}
                | difference.columns("difference")
            )
    return rows


def _figures(tables: Mapping[str, pd.DataFrame], target: Metric) -> Mapping[str, Draw]:
    def by_level(figure: Figure) -> None:
        title, x = "Change by distillation, with 95 % intervals", f"{target.name}: distilled less normal"
        several = "variant" if len(tables["ranking"]) > 1 else None
        table, lines = tables["difference"], {"no change": 0.0}
        draw_intervals(figure, table, "networks", "difference", group=several, lines=lines, xlabel=x, title=title)

    def by_epoch(figure: Figure) -> None:
        axes = figure.add_subplot()
        ways = list(tables["curves"].groupby("variant", sort=False))
        alike = len({tuple(rows["normal_mean"]) for _, rows in ways}) == 1  # the same networks and seeds for all
        for i, (variant, rows) in enumerate(ways):
            if not (alike and i):
                label = "normal" if alike else f"normal, as {variant}"
                axes.plot(rows["epoch"], rows["normal_mean"], marker="o", markersize=4, label=label)
            axes.plot(rows["epoch"], rows["distilled_mean"], marker="s", markersize=4, label=str(variant))
        name = tables["curves"]["curve"].iloc[0].removesuffix("_curve")
        axes.set(xlabel="epoch", ylabel=name, title="Mean over networks trained both ways")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize="small")

    figures: dict[str, Draw] = {"change_by_level": by_level}
    return figures | ({"change_by_epoch": by_epoch} if "curves" in tables else {})
