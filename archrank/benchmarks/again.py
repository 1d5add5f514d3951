"""The commands that make a table of archrank's own trainings again."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank.benchmarks.facts import distinct, in_order
from archrank.ground_truth import GroundTruth


def commands(table: GroundTruth, recipe: str) -> list[str]:
    """Training, distillation and fine-tuning of the same networks with the same seeds, in order, then the merge.

    Parameters
    ----------
    table
        The table.
    recipe
        Name of its recipe.
    """
    teachers = table.frame["teacher"].fillna("") if "teacher" in table.frame else ""
    frame = table.frame.assign(way=table.frame["variant"].str.partition(":")[0], teacher=teachers)
    trained, taught = [], []
    tuned: dict[tuple[str, str], list[str]] = {}
    for key, part in frame.groupby(["way", "teacher"]):
        way, teacher = map(str, key)
        for archs, seeds in _runs(table, part):
            which = f"--archs {archs} --seeds {seeds}"
            if way == "normal":
                trained.append(_line("train", recipe, which))
            elif way in ("distilled", "distilled-topk"):
                top_k = " --top-k" if way == "distilled-topk" else ""
                taught.append(_line("train", recipe, f"{which} --teacher {_argument(teacher)}{top_k}"))
            elif way == "probe" or way.startswith("finetuned-"):
                tuned.setdefault((teacher, which), []).append(way.removeprefix("finetuned-"))
    distilled = []
    for name in table.signatures.teachers if table.signatures is not None else ():
        keep = " --keep-weights" if any(name == teacher for teacher, _ in tuned) else ""
        distilled.append(_line("distill", recipe, f"--teacher {_argument(name)}{keep}"))
    finetuned = []
    for (teacher, which), epochs in tuned.items():
        after = ",".join(sorted(epochs, key=lambda n: -1 if n == "probe" else int(n)))
        finetuned.append(_line("finetune", recipe, f"{which} --blocks-from store --teacher {teacher} --epochs {after}"))
    return [*trained, *distilled, *taught, *finetuned, f"archrank merge store --name {table.name} --out {table.name}"]


def _line(command: str, recipe: str, options: str) -> str:
    return f"archrank {command} {recipe} --data IMAGES {options} --out store"


def _runs(table: GroundTruth, rows: pd.DataFrame) -> list[tuple[str, str]]:
    """What ``--archs`` and ``--seeds`` take, a run for all seeds that the same networks have.

    Networks that are no beginning of the order of ``--archs N`` need the table as a list, and get all seeds.
    """
    stages = [f"stage_{s}" for s in range(table.space.stages)]
    runs: dict[str, list[int]] = {}
    for seed in sorted(rows["seed"].unique()):
        codes = rows.loc[rows["seed"] == seed, stages].to_numpy()
        runs.setdefault(_archs(table, codes), []).append(int(seed))
    if "table.parquet" in runs:
        runs = {"table.parquet": sorted(seed for seeds in runs.values() for seed in seeds)}
    return [(archs, ",".join(map(str, seeds))) for archs, seeds in runs.items()]


def _archs(table: GroundTruth, codes: NDArray[np.int64]) -> str:
    space = table.space
    ids = np.unique(space.index(table.codes[table.lookup(codes)]))
    if len(ids) == distinct(space):
        return "all"
    return str(len(ids)) if in_order(space, ids) == len(ids) else "table.parquet"


def _argument(teacher: str) -> str:
    """What ``--teacher`` takes for a teacher's name, such as ``3-14`` for ``3-14-s0``."""
    code, _, seed = teacher.rpartition("-s")
    if code.startswith("untrained-"):
        return code.replace("-", ":", 1)
    return code if seed == "0" else f"STORE:normal-{teacher}"
