"""Accel-NASBench (Ahmad et al., 2024): 5,125 MnasNet-like networks, ImageNet accuracy and six accelerators.

The published table has 5,138 rows: 13 networks were trained twice.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank._errors import TableError
from archrank._tables import UserTable
from archrank.ground_truth import GroundTruth, Metric
from archrank.spaces import MacroSpace, accel_nasbench

LICENCE = "Apache-2.0"
SOURCE = "https://github.com/afzalxo/Accel-NASBench, anb_dataset as one CSV file"
_DEVICES = {
    "a100": "A100",
    "3090": "RTX 3090",
    "tpuv2": "TPUv2",
    "tpuv3": "TPUv3",
    "zcu102": "ZCU102",
    "vck190": "VCK190",
}
TRAINED = (
    Metric("val_top1", "max", "%", (0.0, 100.0), "ImageNet top-1 validation accuracy of a shortened training"),
    Metric("val_top5", "max", "%", (0.0, 100.0), "ImageNet top-5 validation accuracy of a shortened training"),
    Metric("train_time", "min", "s", (0.0, None), "wall time of the training"),
    Metric("macs", "min", "M", (0.0, None), "multiply-accumulates of one forward pass"),
    Metric("params", "min", "M", (0.0, None), "trainable parameters"),
)
MEASURED = (
    *(
        Metric(f"{d}_throughput_mean", "max", "1/s", (0.0, None), f"images per second, {n}")
        for d, n in _DEVICES.items()
    ),
    *(Metric(f"{d}_latency_mean", "min", "ms", (0.0, None), f"one image, {_DEVICES[d]}") for d in ("zcu102", "vck190")),
)


def read(path: str | Path) -> GroundTruth:
    """Read the published CSV file; networks in the file's order, metrics named as its columns.

    Repeated rows of one network are its seeds. Devices on which a network was not measured have NaN.

    Raises
    ------
    TableError
        If the file is not that file, or damaged; one line that names row and column. Costs that are not
        those of the row's network count as damage.
    """
    table = UserTable(path)
    if table.is_text and not table.path.read_bytes().endswith(b"\n"):
        raise TableError(f"{path}: the last line is incomplete, so the file is truncated; download it again")
    space = accel_nasbench()
    parts = [f"block{s}_{part}" for s in range(space.stages) for part in ("e", "k", "l", "se")]
    missing = [c for c in (*parts, *(m.name for m in (*TRAINED, *MEASURED))) if c not in table.frame.columns]
    if missing:
        raise TableError(f"{path}: column {missing[0]!r} is missing; give the accel_nasbench.csv file as published")
    codes = space.codes_from_names(_names(table, space))
    frame = pd.DataFrame({f"stage_{s}": codes[:, s] for s in range(space.stages)})
    frame["seed"] = pd.Series(space.index(codes)).groupby(space.index(codes)).cumcount()
    frame["variant"] = "normal"
    values = {m.name: table.numbers(m.name) for m in TRAINED}
    values |= {m.name: table.numbers(m.name, empty=True) for m in MEASURED}
    for name, cost in (("params", space.params(codes)), ("macs", space.flops(codes))):
        wrong = ~np.isclose(values[name] * 1e6, cost, rtol=0, atol=0.5)
        if wrong.any():
            row = int(np.argmax(wrong))
            table.fail(row, name, f"holds {values[name][row]}, but this network has {cost[row] / 1e6} million")
    return GroundTruth.from_frame(
        space,
        frame.assign(**values),
        {m.name: m for m in (*TRAINED, *MEASURED)},
        name="accel-nasbench",
        licence=LICENCE,
        source=SOURCE,
    )


def _names(table: UserTable, space: MacroSpace) -> NDArray[np.str_]:
    """Block names, str ``(n_rows, 7)``."""
    columns = []
    for stage, known in enumerate(space.blocks):
        numbers = [table.whole_numbers(f"block{stage}_{part}").astype(np.str_).tolist() for part in "ekl"]
        flag = table.frame[f"block{stage}_se"].astype(str).str.strip().str.lower()
        if not flag.isin(["true", "false"]).all():
            row = int(np.argmin(flag.isin(["true", "false"])))
            table.fail(
                row, f"block{stage}_se", f"holds {table.frame[f'block{stage}_se'].iloc[row]!r}; expected True or False"
            )
        suffix = np.where(flag == "true", "se", "").tolist()
        names = np.array([f"e{e}k{k}l{n}{se}" for e, k, n, se in zip(*numbers, suffix, strict=True)])
        unknown = ~np.isin(names, known)
        if unknown.any():
            row = int(np.argmax(unknown))
            table.fail(
                row,
                f"block{stage}_e",
                f"there is no block {str(names[row])!r} at stage {stage}; expansions are 1, 4, 6, kernels 3, 5, "
                f"layers 1 to {space.attributes[stage]['layers'].max()}",
            )
        columns.append(names)
    return np.stack(columns, axis=1)
