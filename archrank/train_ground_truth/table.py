"""Make a benchmark table of the records in a store."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import archrank
from archrank.ground_truth import GroundTruth, Metric, Signatures
from archrank.spaces import BloxSpace
from archrank.train_ground_truth.store import Store, StoreError

NETWORK_METRICS = {
    m.name: m
    for m in (
        Metric("test_acc", "max", "%", (0.0, 100.0), "top-1 accuracy on the test images"),
        Metric("test_loss", "min", "nats", (0.0, None), "mean cross-entropy on the test images"),
        Metric("val_acc", "max", "%", (0.0, 100.0), "top-1 accuracy on the validation images, last epoch"),
        Metric("val_loss", "min", "nats", (0.0, None), "mean cross-entropy on the validation images, last epoch"),
        Metric("params", "min", "", (0.0, None), "trainable parameters"),
        Metric("flops", "min", "", (0.0, None), "FLOPs of one forward pass, as BLOX counts them"),
        Metric("train_seconds", "min", "s", (0.0, None), "CPU time of training and testing"),
    )
}
BLOCK_METRICS = {
    m.name: m
    for m in (
        Metric("nsr", "min", "", (0.0, None), "noise-to-signal power ratio to the teacher, validation images"),
        Metric("mse", "min", "", (0.0, None), "squared error to the teacher's output, validation images"),
    )
}


def merge(store: Store, name: str, *, licence: str = "", source: str = "") -> GroundTruth:
    """Collect the records of a store into a ground truth.

    Diverged networks are rows whose metrics are NaN, with ``status`` saying so.

    Parameters
    ----------
    name
        Name of the table.
    licence, source
        Text for its card.

    Raises
    ------
    StoreError
        If the store holds no trained network.
    """
    import pandas as pd

    records = store.read_all()
    networks = [r for r in records.values() if "code" in r]
    blocks = [r for r in records.values() if r.get("kind") == "block"]
    if not networks:
        raise StoreError(f"{store.folder} holds no trained network yet; run `archrank train ... --out {store.folder}`")
    space = store.recipe.build_space()
    frame = pd.DataFrame(network_rows(networks, space))
    frame = _in_sample_order(frame, space)
    return GroundTruth.from_frame(
        space,
        frame,
        NETWORK_METRICS,
        name=name,
        default_metric="test_acc",
        signatures=Signatures(pd.DataFrame(block_rows(blocks)), BLOCK_METRICS) if blocks else None,
        provenance=provenance(store, [*networks, *blocks]),
        licence=licence,
        source=source,
    )


def network_rows(records: Sequence[Mapping[str, Any]], space: BloxSpace) -> list[dict[str, Any]]:
    """One row of the long table per network record."""
    codes = [r["code"] for r in records]
    params, flops = space.params(codes), space.flops(codes)
    rows = []
    for record, n_params, n_flops in zip(records, params, flops, strict=True):
        m, host = record["metrics"], record["host"]
        rows.append(
            {f"stage_{s}": b for s, b in enumerate(record["code"])}
            | {"seed": record["seed"], "variant": record["variant"], "status": record["status"]}
            | {"test_acc": m["test_acc"], "test_loss": m["test_loss"]}
            | {"val_acc": m["val_acc"][-1], "val_loss": m["val_loss"][-1]}
            | {"params": int(n_params), "flops": int(n_flops), "train_seconds": host["cpu_seconds"]}
            | {f"{k}_curve": m[k] for k in ("train_loss", "val_acc", "val_loss")}
            | {k: host[k] for k in ("device_name", "threads", "torch")}
        )
    return rows


def block_rows(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row of the signature table per distilled block, by teacher, stage and block."""
    rows = [
        {k: r[k] for k in ("stage", "block", "teacher")} | {k: r["metrics"][k] for k in BLOCK_METRICS} for r in records
    ]
    return sorted(rows, key=lambda r: (r["teacher"], r["stage"], r["block"]))


def _in_sample_order(frame: Any, space: BloxSpace) -> Any:
    """Rows in a fixed order, whatever order the records were made in."""
    stages = [f"stage_{s}" for s in range(space.stages)]
    return frame.sort_values([*reversed(stages), "variant", "seed"], kind="stable").reset_index(drop=True)


def provenance(store: Store, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the table was made: recipe, images, versions, machines, time, code."""
    hosts = [r["host"] for r in records]
    return {
        "recipe": store.recipe.to_dict(),
        "recipe_hash": store.recipe.hash,
        "distill_hash": store.recipe.distill_hash,
        "images_sha256": store.images,
        "archrank": archrank.__version__,
        "commit": _commit(),
        "torch": sorted({h["torch"] for h in hosts}),
        "device_names": sorted({h["device_name"] for h in hosts}),
        "cpu_hours": round(sum(h["cpu_seconds"] for h in hosts) / 3600, 3),
        "finished": max(h["finished"] for h in hosts),
    }


def _commit() -> str | None:
    """Commit of the source tree that this package runs from, None for an installed wheel."""
    folder = Path(archrank.__file__).parent
    if not (folder.parent / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
