"""One ground truth from the contents of released BLOX files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank._errors import TableError
from archrank.benchmarks.formats.blox_columns import Content
from archrank.benchmarks.formats.blox_header import HASH, Part
from archrank.benchmarks.formats.blox_names import LATENCY, METRICS, latency_metric
from archrank.benchmarks.formats.blox_space import info_codes, network_digests, positions, sized_space
from archrank.benchmarks.formats.blox_training import Training, aligned, training
from archrank.ground_truth import GroundTruth
from archrank.spaces import blox

_Places = NDArray[np.int64]


def assemble(contents: Sequence[Content], source: str) -> GroundTruth:
    """The ground truth of some files.

    Networks are those that were trained, in the order of the first seed's files; without any file of training, those
    that the others name. Its provenance tells the seeds whose first epoch is masked (``first_epoch_masked``) and how
    many rows were left out because no network of the space has their hash (``unknown_rows``).

    Raises
    ------
    TableError
        If the files contradict each other, or hold no network of the space.
    """
    _check_places(contents)
    stages = _common(contents, "stages")
    dataset = _common([c for c in contents if c.header.dataset is not None], "dataset")
    known = network_digests(blox(stages))
    placed = [(content, positions(content.columns[HASH], known)) for content in contents]
    for content, _ in placed:
        if content.header.part == "info" and "arch_vec" in content.columns:
            info_codes(content, blox(stages), known)  # the hashes are right, so that they are enough
    trainings = _trainings(placed)
    frame = _frame(trainings, placed)
    if frame.empty:
        raise TableError(f"{source}: no row is of a network of BLOX with {stages} stages; fetch the files again")
    codes = blox(stages).from_index(frame.pop("index").to_numpy())
    costs = [frame[c].to_numpy() if c in frame else None for c in ("params", "flops")]
    metrics = [m for m in METRICS if m.name in frame]
    metrics += [latency_metric(str(c.header.device)) for c in contents if c.header.part == "bench"]
    if not metrics:
        raise TableError(f"{source}: only environments; give a base, ext, info or bench file as well")
    return GroundTruth.from_frame(
        sized_space(stages, dataset, codes, *costs),
        pd.concat([pd.DataFrame(codes, columns=[f"stage_{s}" for s in range(stages)]), frame], axis=1),
        {m.name: m for m in metrics},
        name="blox",
        source=source,
        provenance={
            "files": [c.path.name for c in contents],
            "dataset": dataset,
            "first_epoch_masked": [seed for seed, t in trainings.items() if t.masked],
            "unknown_rows": sum(int((places < 0).sum()) for _, places in placed),
        },
    )


def _check_places(contents: Sequence[Content]) -> None:
    """No two files may hold the same part of the table."""
    seen: dict[Any, Content] = {}
    for content in contents:
        h = content.header
        first = seen.setdefault((h.part, h.seed, h.device), content)
        if first is not content:
            of = f" of seed {h.seed}" if h.seed is not None else f" of device {h.device!r}" if h.device else ""
            raise TableError(f"{first.path} and {content.path}: both hold {h.part}{of}; give one of them")


def _common(contents: Sequence[Content], field: str) -> Any:
    """What all headers agree upon; None of no headers."""
    for content in contents[1:]:
        first, other = (getattr(c.header, field) for c in (contents[0], content))
        if first != other:
            raise TableError(
                f"{contents[0].path} and {content.path}: the one is of {field} {first!r}, the other of {other!r}; "
                "keep them in folders of their own"
            )
    return getattr(contents[0].header, field) if contents else None


def _trainings(placed: Sequence[tuple[Content, _Places]]) -> dict[int, Training]:
    """Trainings by rising seed."""
    seeds = sorted({c.header.seed for c, _ in placed if c.header.seed is not None})
    order: tuple[Part, ...] = ("base", "ext", "env")  # of appearance, whatever the order of the files
    parts = {(c.header.seed, c.header.part): (c, places) for c, places in placed}
    return {seed: training({part: parts[seed, part] for part in order if (seed, part) in parts}) for seed in seeds}


def _frame(trainings: dict[int, Training], placed: Sequence[tuple[Content, _Places]]) -> pd.DataFrame:
    """Rows of all seeds, with what is known of the networks whatever the seed."""
    if len(trainings) == 1:
        frame = next(t.frame(t.epochs, seed) for seed, t in trainings.items())
    elif trainings:
        epochs = max(t.epochs for t in trainings.values())
        order = pd.Index(pd.unique(np.concatenate([t.index for t in trainings.values()])))
        frames = [t.frame(epochs, seed).sort_values("index", key=order.get_indexer) for seed, t in trainings.items()]
        frame = pd.concat(frames, ignore_index=True)
    else:
        index = pd.unique(np.concatenate([places[places >= 0] for _, places in placed]))
        frame = pd.DataFrame({"index": index, "seed": 0})
    index = frame["index"].to_numpy()
    added = {}
    for content, places in placed:
        for name in ("params", "flops", "latency"):
            if name in content.columns:
                column = name if content.header.device is None else f"{LATENCY}{content.header.device}"
                added[column] = aligned(content.columns[name], places, index)
    return frame.assign(**added)
