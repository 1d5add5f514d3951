"""The commands that make a table of archrank's own trainings again."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank.benchmarks.facts import distinct, in_order
from archrank.encodings.proxy import PROXIES
from archrank.ground_truth import GroundTruth

_WHOLE = "table.parquet"  # as a list of architectures: all of the table
_LATENCY = re.compile(r"latency_ms_(?P<label>\w+?)(_b(?P<batch>\d+))?(_t(?P<threads>\d+))?")


def commands(table: GroundTruth, recipe: str) -> list[str]:
    """Training, distillation, fine-tuning and measuring of the same networks with the same seeds, then the merge.

    In an order that works. Networks that are no beginning of the order of ``--archs N`` need the table as a list,
    see `more_than_there_is`.

    Parameters
    ----------
    table
        The table.
    recipe
        Name of its recipe.
    """
    groups = _groups(table)
    tuned: dict[tuple[str, int, str], list[str]] = {}
    normal: list[tuple[str, str]] = []
    taught = []
    for (way, teacher, block_seed), part in groups.items():
        for archs, seeds in _runs(table, part):
            which = f"--archs {archs} --seeds {seeds}"
            if way == "normal":
                normal.append((which, seeds))
            elif way in ("distilled", "distilled-topk"):
                top_k = " --top-k" if way == "distilled-topk" else ""
                taught.append(_line("train", recipe, f"{which} --teacher {_argument(teacher)}{top_k}"))
            elif way == "probe" or way.startswith("finetuned-"):
                tuned.setdefault((teacher, block_seed, which), []).append(way.removeprefix("finetuned-"))
    names = {*_teachers(table), *(teacher for _, teacher, _ in groups)}
    kept = {name.rpartition("-s")[2] for name in names if _argument(name).startswith("store:")}
    trained = [
        _line("train", recipe, which + " --keep-weights" * (not kept.isdisjoint(seeds.split(","))))
        for which, seeds in normal
    ]
    blocks = {(name, 0): False for name in _teachers(table)}
    blocks |= {(teacher, seed): True for teacher, seed, _ in tuned if teacher}
    distilled = [
        _line("distill", recipe, f"--teacher {_argument(name)}{f' --seed {s}' * bool(s)}{' --keep-weights' * keep}")
        for (name, s), keep in blocks.items()
    ]
    finetuned = []
    for (teacher, seed, which), epochs in tuned.items():
        after = ",".join(sorted(epochs, key=lambda n: -1 if n == "probe" else int(n)))
        whose = f" --teacher {teacher}" * bool(teacher) + f" --block-seed {seed}" * bool(seed)
        finetuned.append(_line("finetune", recipe, f"{which} --blocks-from store{whose} --epochs {after}"))
    merge = f"archrank merge store --name {table.name} --out {table.name}"
    return [*trained, *distilled, *taught, *finetuned, *_measured(table, recipe), merge]


def more_than_there_is(table: GroundTruth) -> dict[str, int]:
    """Ways of which `commands` train more than the table holds, every network with each seed, and what it holds."""
    more: dict[str, int] = {}
    for (way, _, _), part in _groups(table).items():
        for archs, seeds in _runs(table, part):
            if archs == _WHOLE and len(part) < len(table) * len(seeds.split(",")):
                more[way] = more.get(way, 0) + len(part)
    return more


def _groups(table: GroundTruth) -> dict[tuple[str, str, int], pd.DataFrame]:
    """Rows by way of training, teacher, and seed of the blocks."""
    named = table.frame["variant"].str.partition(":")
    blocks = named[2].str.extract(r"-b(\d+)$")[0].fillna("0").astype(int)
    teachers = table.frame["teacher"].fillna("") if "teacher" in table.frame else ""
    frame = table.frame.assign(way=named[0], teacher=teachers, block_seed=blocks)
    groups = frame.groupby(["way", "teacher", "block_seed"])
    return {(str(w), str(t), int(str(b))): part for (w, t, b), part in groups}


def _teachers(table: GroundTruth) -> tuple[str, ...]:
    return table.signatures.teachers if table.signatures is not None else ()


def _line(command: str, recipe: str, options: str) -> str:
    return f"archrank {command} {recipe} --data IMAGES {options} --out store"


def _measured(table: GroundTruth, recipe: str) -> list[str]:
    """What was measured without training."""
    lines = []
    if proxies := [name for name in PROXIES if name in table.metrics]:
        lines.append(_line("proxies", recipe, f"--archs {_with_value(table, proxies[0])}"))
    columns = [*table.metrics, *(table.signatures.columns if table.signatures is not None else ())]
    for name in dict.fromkeys(columns):
        if found := _LATENCY.fullmatch(name):
            label, batch, threads = found["label"], found["batch"], found["threads"]
            options = f" --archs {_with_value(table, name)}" if name in table.metrics else ""
            options += f" --device {label}" if label in ("cpu", "cuda") else f" --label {label}"
            options += f" --batch-size {batch}" * bool(batch) + f" --threads {threads}" * bool(threads)
            lines.append(f"archrank latency {recipe}{options} --out store")
    return lines


def _with_value(table: GroundTruth, metric: str) -> str:
    return _archs(table, np.flatnonzero(np.isfinite(table.values(metric))))


def _runs(table: GroundTruth, rows: pd.DataFrame) -> list[tuple[str, str]]:
    """What ``--archs`` and ``--seeds`` take, a run for all seeds that the same networks have.

    Where networks are no beginning of the order of ``--archs N``, the whole table gets all seeds.
    """
    stages = [f"stage_{s}" for s in range(table.space.stages)]
    runs: dict[str, list[int]] = {}
    for seed in sorted(rows["seed"].unique()):
        networks = table.lookup(rows.loc[rows["seed"] == seed, stages].to_numpy())
        runs.setdefault(_archs(table, networks), []).append(int(seed))
    if _WHOLE in runs:
        runs = {_WHOLE: sorted(seed for seeds in runs.values() for seed in seeds)}
    return [(archs, ",".join(map(str, seeds))) for archs, seeds in runs.items()]


def _archs(table: GroundTruth, networks: NDArray[np.int64]) -> str:
    """What ``--archs`` takes for these networks, places in the table."""
    space = table.space
    ids = np.unique(space.index(table.codes[networks]))
    if len(ids) == distinct(space):
        return "all"
    return str(len(ids)) if in_order(space, ids) == len(ids) else _WHOLE


def _argument(teacher: str) -> str:
    """What ``--teacher`` takes for a teacher's name, such as ``3-14`` for ``3-14-s0``."""
    code, _, seed = teacher.rpartition("-s")
    if code.startswith("untrained-"):
        return code.replace("-", ":", 1)
    return code if seed == "0" or not teacher else f"store:normal-{teacher}"
