"""Make a benchmark table of the records in a store."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import archrank
from archrank._errors import one_line
from archrank.ground_truth import GroundTruth, Metric, Signatures
from archrank.spaces import BloxSpace
from archrank.train_ground_truth.latency_tables import latency_rows
from archrank.train_ground_truth.proxies import PROXY_METRICS, proxy_rows
from archrank.train_ground_truth.recipe import Recipe
from archrank.train_ground_truth.store import Store, StoreError, record_key

Record = Mapping[str, Any]
_PERCENT, _POSITIVE = (0.0, 100.0), (0.0, None)
NETWORK_METRICS = (
    Metric("test_acc", "max", "%", _PERCENT, "top-1 accuracy on the test images"),
    Metric("test_loss", "min", "nats", _POSITIVE, "mean cross-entropy on the test images"),
    Metric("val_acc", "max", "%", _PERCENT, "top-1 accuracy on the validation images, tested epoch"),
    Metric("val_loss", "min", "nats", _POSITIVE, "mean cross-entropy on the validation images, tested epoch"),
    Metric("params", "min", "", _POSITIVE, "trainable parameters"),
    Metric("flops", "min", "", _POSITIVE, "FLOPs of one forward pass, as BLOX counts them"),
    Metric("train_seconds", "min", "s", _POSITIVE, "CPU time of training and testing"),
)
BLOCK_METRICS = (
    Metric("nsr", "min", "", _POSITIVE, "noise-to-signal power ratio to the teacher's output, validation images"),
    Metric("mse", "min", "", _POSITIVE, "squared error to the teacher's output, validation images"),
    Metric("acc_change", "max", "points", (-100.0, 100.0), "change of the teacher's accuracy with this block in it"),
    Metric("ce_change", "min", "nats", (None, None), "change of the teacher's cross-entropy with this block in it"),
    Metric("kl", "min", "nats", _POSITIVE, "divergence of the teacher's answers with this block in it"),
    Metric("params", "min", "", _POSITIVE, "trainable parameters of the block's operations"),
    Metric("flops", "min", "", _POSITIVE, "FLOPs of the block's operations"),
)
CURVES = ("train_loss", "val_acc", "val_loss")
# What may decide a record's bits, and what a record was that was made before the fact was written down.
HOST_FACTS = {
    "device": "",
    "device_name": "",
    "processor": "",
    "threads": 0,
    "torch": "",
    "python": "",
    "deterministic": True,
    "compiled": False,
}


def merge(store: Store, name: str, *, licence: str = "", source: str = "") -> GroundTruth:
    """Collect the records of a store into a ground truth.

    Diverged networks are rows whose metrics are NaN, with ``status`` saying so. Variants of several teachers
    carry the teacher in their name (``distilled:3-14-s0``), those of blocks distilled with several seeds the seed too
    where it is not 0 (``finetuned-1:3-14-s0-b2``). Signatures of blocks distilled with several seeds are means.
    Zero-cost proxies and whole-network latencies become metrics, block latencies a signature column.

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
    try:
        return _merge(store, name, licence, source)
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise StoreError(
            f"{store.folder}: a record lacks or misplaces a value ({type(error).__name__}: {one_line(error)}); delete "
            "the record that was altered and run the command that made it again"
        ) from error


def _merge(store: Store, name: str, licence: str, source: str) -> GroundTruth:
    records = list(store.read_all().values())
    networks = [r for r in records if "variant" in r]
    blocks = [r for r in records if r.get("kind") == "block"]
    if not networks:
        raise StoreError(f"{store.folder} holds no trained network yet; run `archrank train ... --out {store.folder}`")
    space = store.recipe.build_space()
    facts = provenance(store, [*networks, *blocks])
    frame, extra = _with_measurements(network_frame(networks, store.recipe, space, facts["hosts"]), records)
    trained = {tuple(r["code"]) for r in networks if r["variant"] == "normal"}
    facts |= {"complete": len(trained) == space.size, "measured_apart": [m.name for m in extra]}
    return GroundTruth.from_frame(
        space,
        frame,
        {m.name: m for m in (*NETWORK_METRICS, *extra)},
        name=name,
        default_metric="test_acc",
        signatures=_signatures(blocks, records, networks, space) if blocks else None,
        provenance=facts,
        licence=licence,
        source=source,
    )


def network_frame(
    records: Sequence[Record], recipe: Recipe, space: BloxSpace, hosts: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """One row per network, seed and variant, in a fixed order whatever order the records were made in.

    ``host`` is the record's place in `hosts`, which `provenance` lists.
    """
    codes = [r["code"] for r in records]
    sources = {v: {_source(r) for r in records if r["variant"] == v} for v in {r["variant"] for r in records}}
    rows = []
    for record, params, flops in zip(records, space.params(codes), space.flops(codes), strict=True):
        m, variant = record["metrics"], record["variant"]
        accuracy, loss = m["val_acc"], m["val_loss"]
        at = len(accuracy) - 1
        if recipe.training.weights == "best-val":
            at = max(range(len(accuracy)), key=lambda e: (accuracy[e], -loss[e], e))
        # The epochs before a training failed, which its curves show, are no result of it.
        val_acc, val_loss = (accuracy[at], loss[at]) if record["status"] == "ok" else (math.nan, math.nan)
        rows.append(
            {f"stage_{s}": b for s, b in enumerate(record["code"])}
            | {"seed": record["seed"], "status": record["status"], "teacher": record.get("teacher", "")}
            | {"variant": variant if len(sources[variant]) == 1 else f"{variant}:{_source(record)}"}
            | {"test_acc": m["test_acc"], "test_loss": m["test_loss"], "val_acc": val_acc, "val_loss": val_loss}
            | {"params": int(params), "flops": int(flops), "train_seconds": record["host"]["cpu_seconds"]}
            | {f"{k}_curve": m[k] for k in CURVES}
            | {"host": hosts.index(host_facts(record))}
        )
    order = [*(f"stage_{s}" for s in reversed(range(space.stages))), "variant", "seed"]
    return pd.DataFrame(rows).sort_values(order, kind="stable").reset_index(drop=True)


def _source(record: Record) -> str:
    """The teacher that a network was trained with, and the seed of its blocks where that is not 0."""
    blocks = f"-b{record['block_seed']}" if record.get("block_seed") else ""
    return f"{record.get('teacher', '')}{blocks}"


def _with_measurements(frame: pd.DataFrame, records: Sequence[Record]) -> tuple[pd.DataFrame, list[Metric]]:
    """Add the columns of zero-cost proxies and network latencies, NaN where not measured."""
    stages = [c for c in frame.columns if c.startswith("stage_")]
    latencies, latency_metrics = latency_rows(records, "network-latency")
    added: list[Metric] = []
    for rows, metrics in ((proxy_rows(records), PROXY_METRICS), (latencies, latency_metrics)):
        if rows:
            table = pd.DataFrame([r | dict(zip(stages, r["code"], strict=True)) for r in rows]).drop(columns="code")
            frame = frame.merge(table, on=stages, how="left", validate="many_to_one")
            added += metrics.values()
    return frame, added


def _signatures(
    blocks: Sequence[Record], records: Sequence[Record], networks: Sequence[Record], space: BloxSpace
) -> Signatures:
    """One row per teacher, stage and block, with the columns that were measured: the mean over seeds of distillation.

    The teacher that was best on the validation images comes first, which makes it the default; those whose
    training the store does not hold, untrained ones among them, come last.
    """
    accuracy = {
        record_key(r["code"], r["seed"]).removeprefix("normal-"): max(r["metrics"]["val_acc"])
        for r in networks
        if r["variant"] == "normal" and r["status"] == "ok"
    }
    which, costs = ["stage", "block", "teacher"], ["params", "flops"]
    measured = [m.name for m in BLOCK_METRICS if m.name not in costs]
    rows = [{k: r[k] for k in which} | {c: r["metrics"].get(c, math.nan) for c in measured} for r in blocks]
    frame = pd.DataFrame(rows).groupby(which, as_index=False, dropna=False)[measured].mean()
    for c in costs:
        frame[c] = [space.block_costs[c][s][b] for s, b in zip(frame["stage"], frame["block"], strict=True)]
    rank = -frame["teacher"].map(accuracy).fillna(-1.0)
    frame = frame.assign(rank=rank).sort_values(["rank", "teacher", "stage", "block"], kind="stable", ignore_index=True)
    latencies, latency_metrics = latency_rows(records, "block-latency")
    if latencies:
        frame = frame.merge(pd.DataFrame(latencies), on=["stage", "block"], how="left", validate="many_to_one")
    metrics = {m.name: m for m in BLOCK_METRICS if frame[m.name].notna().any()} | latency_metrics
    return Signatures(frame[["stage", "block", "teacher", *metrics]], metrics, space.n_blocks)


def host_facts(record: Record) -> dict[str, Any]:
    """What may decide the bits of a record besides recipe, architecture, seed and images."""
    return {k: record["host"].get(k, unsaid) for k, unsaid in HOST_FACTS.items()}


def provenance(store: Store, records: Sequence[Record]) -> dict[str, Any]:
    """How the table was made: recipe, images, versions, machines (the distinct ones), time, code."""
    hosts = {tuple(facts.values()): facts for facts in map(host_facts, records)}
    return {
        "recipe": store.recipe.to_dict(),
        "recipe_hash": store.recipe.hash,
        "distill_hash": store.recipe.distill_hash,
        "images_sha256": store.images,
        "archrank": archrank.__version__,
        "commit": _commit(),
        "hosts": [hosts[key] for key in sorted(hosts, key=str)],
        "cpu_hours": round(sum(r["host"]["cpu_seconds"] for r in records) / 3600, 3),
        "finished": max(r["host"]["finished"] for r in records),
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
