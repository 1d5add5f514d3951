"""BossNAS on the NATS-Bench size space (Li et al., ICCV 2021).

32,768 networks given by the widths of five layers, with one CIFAR-10 test accuracy each, and a score
for each of the 136 blocks that the paper's self-supervised blockwise training rates (lower is better).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from archrank._errors import TableError
from archrank._tables import UserTable
from archrank.ground_truth import GroundTruth, Metric, Signatures
from archrank.spaces import bossnas_nats

LICENCE = "none stated"
SOURCE = "https://github.com/changlin31/BossNAS, ranking_nats"
ACCURACY = Metric("test_acc", "max", "%", (0.0, 100.0), "CIFAR-10 test accuracy")
SCORE = Metric("score", "min", "", (None, None), "block score of self-supervised blockwise training")


def read(folder: str | Path) -> GroundTruth:
    """Read ``accuracy.csv`` and ``block_scores.csv`` of a folder; networks in the file's order.

    Raises
    ------
    TableError
        If a file is missing or holds something else; the message names file, row and column.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise TableError(f"{folder}: no such folder; give the one that holds accuracy.csv and block_scores.csv")
    space = bossnas_nats()
    table = _open(folder / "accuracy.csv", ("widths", "cifar10_test_acc"))
    widths = [text.split(":") for text in table.frame["widths"]]
    short = next((row for row, layers in enumerate(widths) if len(layers) != 5), None)
    if short is not None:
        table.fail(short, "widths", "expected five layer widths like 8:8:8:8:8")
    layers = np.array(widths, dtype=np.str_)
    pair = np.char.add(np.char.add(layers[:, 0:4:2], ":"), layers[:, 1:4:2])
    names = np.concatenate([pair, layers[:, 4:]], axis=1)
    for stage, known in enumerate(space.blocks):
        unknown = ~np.isin(names[:, stage], known)
        if unknown.any():
            table.fail(int(np.argmax(unknown)), "widths", "a width is none of 8, 16, ..., 64")
    codes = space.codes_from_names(names)
    frame = pd.DataFrame({f"stage_{s}": codes[:, s] for s in range(space.stages)})
    frame["seed"], frame["variant"] = 0, "normal"
    frame["test_acc"] = table.numbers("cifar10_test_acc")
    return GroundTruth.from_frame(
        space,
        frame,
        {"test_acc": ACCURACY},
        name="bossnas-nats",
        signatures=_signatures(folder / "block_scores.csv", space.blocks),
        licence=LICENCE,
        source=SOURCE,
    )


def _open(path: Path, columns: tuple[str, ...]) -> UserTable:
    table = UserTable(path)
    for column in columns:
        if column not in table.frame.columns:
            raise TableError(f"{path}: column {column!r} is missing; it has {', '.join(table.frame.columns)}")
    return table


def _signatures(path: Path, blocks: tuple[tuple[str, ...], ...]) -> Signatures:
    table = _open(path, ("stage", "block", "score"))
    ids = {(stage, name): i for stage, names in enumerate(blocks) for i, name in enumerate(names)}
    stage = table.whole_numbers("stage")
    keys = list(zip(stage.tolist(), table.frame["block"].tolist(), strict=True))
    unknown = next((row for row, key in enumerate(keys) if key not in ids), None)
    if unknown is not None:
        table.fail(unknown, "block", f"unknown block {keys[unknown][1]!r} of stage {keys[unknown][0]}")
    frame = pd.DataFrame({"stage": stage, "block": [ids[k] for k in keys], "teacher": "bossnas"})
    frame["score"] = table.numbers("score")
    return Signatures(frame, {"score": SCORE})
