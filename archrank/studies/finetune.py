"""Do networks assembled from distilled blocks rank as networks trained from scratch, and after how many epochs?

DONNA (Moons et al., ICCV 2021) spares full trainings by fine-tuning networks put together from blocks that a teacher
taught. That pays where the cheap accuracies rank networks as the dear ones do, and better than what is cheaper still:
the sum of the blocks' signatures, and the first epochs of training from scratch.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank.encodings.proxy import NetworkColumns
from archrank.ground_truth import GroundTruth, Metric, TableError
from archrank.studies.base import Draw, Progress, Study, data_line
from archrank.studies.drawing import draw_intervals
from archrank.studies.needs import need_variants
from archrank.studies.reference import reference, reference_lines, reference_text
from archrank.studies.statistics import Floats, estimate_of, of_common_seeds, tau_above_seeds, tau_gain, tau_of
from archrank.studies.wording import compared_with, listed, target_spec, unit_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUESTION = (
    "Do accuracies of networks put together from distilled blocks and fine-tuned rank networks as training from "
    "scratch does, and how many epochs of fine-tuning does it take?"
)
_COMMAND = "archrank finetune RECIPE --data IMAGES --archs N --blocks-from store --epochs 0,1,5 --out store"


def run(
    bench: GroundTruth,
    *,
    quick: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    metric: str | None = None,
) -> Study:
    """Compare variants ``finetuned-EPOCHS`` with the means over seeds of normal training, on the same networks.

    Parameters
    ----------
    bench, quick, seed, progress
        As in `archrank.studies.run_study`.
    metric
        By default the table's default metric.

    Raises
    ------
    TableError
        Where the table has no fine-tuned networks, or fewer than three that were also trained normally.
    """
    found = need_variants(bench, "finetune", r"finetuned-\d+", "networks fine-tuned from distilled blocks", _COMMAND)
    target, resamples = bench.metric(metric), 299 if quick else 1999
    normal = bench.values(target.name)
    tuned = {v: bench.values(target.name, variant=v) for v in sorted(found, key=lambda v: (_epochs(v), v))}
    # The same networks for all, so that taus can be compared.
    common = np.asarray(np.isfinite(np.column_stack([normal, *tuned.values()])).all(axis=1))
    if common.sum() < 3:
        raise TableError(
            f"study 'finetune': table {bench.name!r} has {common.sum()} networks with {target.name} both from scratch "
            f"and in each of {', '.join(tuned)}, expected 3 or more; give `archrank train` and `archrank finetune` the "
            "same --archs"
        )
    truth = (target.sign * normal)[common]
    ways = {v: ("fine-tuned", _epochs(v), target.sign * values) for v, values in tuned.items()} | _cheaper(
        bench, target
    )
    rows, left_out, above = [], [], []
    for step, (way, (kind, epochs, score)) in enumerate(ways.items()):
        if progress is not None:
            progress(step, len(ways), way)
        if missing := int((~np.isfinite(score[common])).sum()):
            left_out.append({"way": way, "n_missing": missing})
        else:
            tau = tau_of(score[common], truth, seed, resamples)
            rows.append({"way": way, "kind": kind, "epochs": epochs, "n_networks": tau.n, **tau.columns("kendall_tau")})
            if kind == "fine-tuned" and (beside := tau_above_seeds(bench, target.name, way, common, seed, resamples)):
                single, gain = beside
                above.append({"way": way, "n_networks": gain.n, "single_tau": single, **gain.columns("gain")})
    values = pd.DataFrame({v: x[common] for v, x in tuned.items()})
    level = pd.DataFrame(
        [{"variant": v, "mean": values[v].mean(), **_above_normal(bench, target, v, common)} for v in tuned]
    )
    tables = {
        "ranking": pd.DataFrame(rows),
        "left_out": pd.DataFrame(left_out, columns=["way", "n_missing"]),
        "gains": pd.DataFrame(
            _gains(target.sign * values, truth, seed, resamples),
            columns=["way", "less", "gain", "gain_low", "gain_high"],
        ),
        "level": level,
        "reference": reference(bench, target.name, seed, resamples, common),
        "above_seeds": pd.DataFrame(
            above, columns=["way", "n_networks", "single_tau", "gain", "gain_low", "gain_high"]
        ),
    }
    extent = f"{len(truth)} networks both from scratch and in each of {', '.join(tuned)}"
    return Study(
        "finetune",
        "Fine-tuned against from-scratch accuracy",
        QUESTION,
        data_line(bench, target.name, extent),
        tables,
        _text(tables, target),
        {"tau": _figure(tables, target)},
    )


def _above_normal(bench: GroundTruth, target: Metric, variant: str, among: NDArray[np.bool_]) -> dict[str, float | int]:
    """Mean difference from training from scratch with the same seeds, and of how many networks; NaN of none."""
    normal, tuned = of_common_seeds(bench, target.name, variant)
    difference = (tuned - normal)[among]
    difference = difference[np.isfinite(difference)]
    mean = float(difference.mean()) if len(difference) else float("nan")
    return {"above_normal": mean, "n_above_normal": len(difference)}


def _epochs(variant: str) -> int:
    return int(variant.partition(":")[0].removeprefix("finetuned-"))


def _cheaper(bench: GroundTruth, target: Metric) -> dict[str, tuple[str, int, Floats]]:
    """What costs no fine-tuning: the signature sums of the same teachers, and the first epochs from scratch.

    The latter share seed and luck with the target, of which they are the beginning.
    """
    ways: dict[str, tuple[str, int, Floats]] = {}
    if bench.signatures is not None:
        named = set(bench.frame["teacher"].astype(str)) if "teacher" in bench.frame else set()
        column = bench.signatures.default_column
        for teacher in [t for t in bench.signatures.teachers if t in named] or bench.signatures.teachers[:1]:
            score = bench.signatures.scores(bench.codes, [column], teacher)
            ways[f"sum of {column}, {teacher}"] = ("signatures", 0, score)
    if curve := NetworkColumns.of_curve(bench, target):
        epochs = list(curve.columns.values())
        for done in (2**power for power in range(len(epochs).bit_length()) if 2**power < len(epochs)):
            values = epochs[done - 1]
            ways[f"from scratch, epoch {done} of {len(epochs)}"] = ("from scratch", done, target.sign * values)
    return ways


def _gains(scores: pd.DataFrame, truth: Floats, seed: int, resamples: int) -> list[dict[str, Any]]:
    """Tau of each variant less that of the same teacher's with fewer epochs, on the same resampled networks."""
    by_teacher: dict[str, list[str]] = {}
    for variant in map(str, scores):
        by_teacher.setdefault(variant.partition(":")[2], []).append(variant)
    return [
        {"way": more, "less": fewer}
        | tau_gain(scores[more].to_numpy(), scores[fewer].to_numpy(), truth, seed, resamples).columns("gain")
        for names in by_teacher.values()
        for fewer, more in pairwise(names)
    ]


def _text(tables: Mapping[str, pd.DataFrame], target: Metric) -> str:
    rows = tables["ranking"].to_dict("records")
    tuned = [row for row in rows if row["kind"] == "fine-tuned"]
    each = "; ".join(f"{row['way']} {estimate_of(row, 'kendall_tau'):.3f}" for row in tuned)
    parts = [
        f"Kendall's tau with {target.name} from scratch, {tuned[0]['n_networks']} networks: {each}.",
        " ".join(_gain(row) for row in tables["gains"].to_dict("records")),
        _against_cheaper(rows, tuned),
        _left_out(tables["left_out"], tuned[0]["n_networks"]),
        _level(tables["level"], tuned[0]["n_networks"], target),
        _below(tables["reference"], tables["above_seeds"], tuned),
    ]
    return "\n\n".join(part for part in parts if part)


def _gain(row: Mapping[Any, Any]) -> str:
    gain = estimate_of(row, "gain")
    verdict = {1: "ranks better than", -1: "ranks worse than", 0: "is not shown to rank otherwise than"}[gain.decided]
    return f"{row['way']} {verdict} {row['less']}: tau changes by {gain:+.3f}."


def _against_cheaper(rows: list[dict[Any, Any]], tuned: list[dict[Any, Any]]) -> str:
    """Beside what ranks without fine-tuning."""
    best = max(tuned, key=lambda row: row["kendall_tau"])
    cheaper = [row for row in rows if row["kind"] != "fine-tuned"]
    if not cheaper:
        return ""
    each = "; ".join(f"{row['way']} {estimate_of(row, 'kendall_tau'):.3f}" for row in cheaper)
    above = [row["way"] for row in cheaper if row["kendall_tau"] >= best["kendall_tau"]]
    verdict = f"does not rank better than {listed(above)}" if above else "has a higher tau than all of these"
    return (
        f"Without fine-tuning, on the same networks: {each}. The best of the fine-tuned, {best['way']}, {verdict}. "
        "First epochs from scratch share seed and luck with the target."
    )


def _left_out(left_out: pd.DataFrame, n: int) -> str:
    """Which cheaper ways do not stand beside the fine-tuned, and why."""
    if not len(left_out):
        return ""
    each = [f"{row['way']} ({row['n_missing']})" for row in left_out.to_dict("records")]
    return f"Not compared, because values of some of the {n} networks are missing (how many): {listed(each)}."


def _level(level: pd.DataFrame, n: int, target: Metric) -> str:
    spec = target_spec(target)
    each = []
    for row in level.to_dict("records"):
        difference = (
            f"{row['above_normal']:{spec}}{unit_text(target)}" if row["n_above_normal"] else "no seed in common"
        )
        some = 0 < row["n_above_normal"] < n
        of = f", of the {row['n_above_normal']} networks with a seed in common" if some else ""
        each.append(f"{row['variant']} {row['mean']:.2f} ({difference}{of})")
    return f"Mean {target.name} and its difference from training from scratch with the same seeds: {'; '.join(each)}."


def _below(table: pd.DataFrame, above_seeds: pd.DataFrame, tuned: list[dict[Any, Any]]) -> str:
    """Where the best stands against the ceiling, and all against two seeds of the same networks.

    The ceiling is of the target, a mean over seeds; two seeds are single trainings, and so must be what is compared
    to them.
    """
    best = max(tuned, key=lambda row: row["kendall_tau"])
    tau = estimate_of(best, "kendall_tau")
    parts = [reference_text(table)]
    for row in table[table["what"] == "noise ceiling"].to_dict("records"):  # simulated, without an interval
        ceiling = row["kendall_tau"]
        way = "below" if tau.high < ceiling else "above" if tau.low > ceiling else "not shown to be below"
        parts.append(f"The best fine-tuned ranking, of {best['way']}, is {way} the noise ceiling.")
    each = []
    for row in above_seeds.to_dict("records"):
        gain = estimate_of(row, "gain")
        each.append(
            f"{row['way']} has {row['single_tau']:.3f} and is {compared_with(gain)} another training, {gain:+.3f}"
        )
    if each:
        parts.append(f"With single trainings from scratch, as two seeds are: {'; '.join(each)}.")
    return " ".join(parts)


def _figure(tables: Mapping[str, pd.DataFrame], target: Metric) -> Draw:
    def draw(figure: Figure) -> None:
        lines = reference_lines(tables["reference"])
        title = f"Tau with {target.name} from scratch"
        draw_intervals(figure, tables["ranking"], "way", "kendall_tau", group="kind", lines=lines, title=title)

    return draw
