"""NAS-Bench-Macro (Su et al., CVPR 2021): CIFAR-10 accuracies of 3,969 networks, three seeds each.

The published JSON holds 6,561 strings, because isomorphic strings are listed one by one with the
same values; each network is kept once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank._errors import TableError, one_line
from archrank.ground_truth import GroundTruth, Metric
from archrank.spaces import Codes, MacroSpace, nas_bench_macro

LICENCE = "Apache-2.0"
SOURCE = "https://github.com/xiusu/NAS-Bench-Macro, data/nas-bench-macro_cifar10.json"
METRICS = (
    Metric("test_acc", "max", "%", (0.0, 100.0), "CIFAR-10 test accuracy"),
    Metric("params", "min", "", (0.0, None), "trainable parameters"),
    Metric("flops", "min", "", (0.0, None), "multiply-accumulates of one forward pass"),
)


def read(path: str | Path) -> GroundTruth:
    """Read the published JSON file.

    Networks stand in lexicographic order of their canonical strings; the target's mean over seeds
    is the published ``mean_acc``.

    Raises
    ------
    TableError
        If the file is not that file, or damaged.
    """
    path = Path(path)
    raw = _read_json(path)
    space = nas_bench_macro()
    strings = sorted(raw)
    bad = next((s for s in strings if len(s) != space.stages or set(s) - set("012")), None)
    if bad is not None:
        raise TableError(f"{path}: key {bad!r} is no NAS-Bench-Macro string; expected eight digits of 0, 1, 2")
    codes = np.array([list(s) for s in strings]).astype(np.int64)
    canonical = space.canonical(codes)
    order = np.lexsort(canonical.T[::-1])  # by stage 0, then stage 1, ...: order of the strings
    index = space.index(canonical[order])
    kept = order[np.concatenate([[True], index[1:] != index[:-1]])]  # lexsort is stable: first twin
    records = [raw[strings[i]] for i in kept]
    unlisted = next((strings[i] for i, r in zip(kept, records, strict=True) if not _has_list(r)), None)
    if unlisted is not None:
        raise TableError(f"{path}: entry {unlisted!r} has no list test_acc; download the file again")
    try:
        seeds = [list(map(float, r["test_acc"])) for r in records]
        costs = {name: np.array([float(r[name]) for r in records]) for name in ("params", "flops")}
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise TableError(f"{path}: a record lacks test_acc, params or flops: {type(error).__name__} {error}") from error
    counts = np.array([len(s) for s in seeds])
    rows = np.repeat(np.arange(len(kept)), counts)
    frame = pd.DataFrame({f"stage_{s}": canonical[kept][rows, s] for s in range(space.stages)})
    frame["seed"] = np.concatenate([np.arange(n) for n in counts])
    frame["variant"] = "normal"
    frame["test_acc"] = np.concatenate(seeds)
    for name, column in costs.items():
        frame[name] = column[rows]
    return GroundTruth.from_frame(
        with_costs(space, canonical[kept], costs),
        frame,
        {m.name: m for m in METRICS},
        name="nas-bench-macro",
        licence=LICENCE,
        source=SOURCE,
    )


def _read_json(path: Path) -> dict[str, Mapping[str, Any]]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise TableError(f"{path}: {error.strerror}; give the path of nas-bench-macro_cifar10.json") from error
    except (ValueError, RecursionError) as error:
        raise TableError(
            f"{path}: not a JSON file, or a truncated one: {one_line(error)}; download it again"
        ) from error
    if not isinstance(raw, dict) or not raw:
        raise TableError(f"{path}: expected a JSON object with one entry per network; download the file again")
    return raw


def _has_list(record: object) -> bool:
    return isinstance(record, dict) and isinstance(record.get("test_acc"), list)


def with_costs(space: MacroSpace, codes: Codes, costs: Mapping[str, NDArray[np.float64]]) -> MacroSpace:
    """The space with additive block costs, where the networks' costs determine them exactly.

    A block costs what it adds over block 0 of its stage, and block 0 everywhere is the fixed part.
    For the published file the residual is zero in parameters and in FLOPs.
    """
    names: list[NDArray[np.bool_]] = [codes[:, s, None] == np.arange(1, n) for s, n in enumerate(space.n_blocks)]
    design = np.concatenate([np.ones((len(codes), 1)), *names], axis=1)
    block_costs, fixed_costs = {}, {}
    for name, total in costs.items():
        weights, _, rank, _ = np.linalg.lstsq(design, total, rcond=None)
        weights = np.rint(weights)
        if rank < design.shape[1] or not np.array_equal(design @ weights, total):
            continue
        edges = np.cumsum([1, *(n - 1 for n in space.n_blocks)])
        block_costs[name] = tuple(np.r_[0.0, weights[a:b]] for a, b in pairwise(edges))
        fixed_costs[name] = float(weights[0])
    return replace(space, block_costs=block_costs, fixed_costs=fixed_costs)
