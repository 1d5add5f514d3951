"""Commands that measure without training: ``archrank latency``, ``archrank proxies``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archrank._console import progress
from archrank.train_ground_truth.command_runs import Place, open_store, run, summary
from archrank.train_ground_truth.options import (
    ArchsOpt,
    DataOpt,
    DeviceOpt,
    JsonOpt,
    OutOpt,
    RecipeArg,
    WorkersOpt,
    select_architectures,
    whole_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from archrank.spaces import BloxSpace
    from archrank.train_ground_truth.recipe import Recipe
    from archrank.train_ground_truth.store import Store

_BUSY = 1.2  # wall over CPU time from which a measurement is called disturbed


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(latency)
    app.command()(proxies)


def latency(
    recipe: RecipeArg,
    out: OutOpt,
    blocks: Annotated[str, typer.Option("--blocks", help="all, none, or comma-separated block ids.")] = "all",
    archs: Annotated[
        str,
        typer.Option("--archs", help="Whole networks too: none, all, a number N (N random ones of seed 0), or a file."),
    ] = "none",
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Images of the store; only needed where --out is no store yet."),
    ] = None,
    device: DeviceOpt = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images per pass.")] = 1,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 1,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Timed passes of each block and network.")] = 30,
    warmup: Annotated[int, typer.Option("--warmup", min=0, help="Passes before them that are not timed.")] = 3,
    label: Annotated[
        str,
        typer.Option("--label", help="Name of the device in columns and keys, by default cpu or cuda."),
    ] = "",
    json_: JsonOpt = False,
) -> None:
    """Measure the latency of blocks and networks on this machine's CPU or GPU.

    Each block of each stage (with the reduction after it), stem and head are timed in rounds, one pass of each per
    round, and their medians written into the store. The sum over a network's blocks, stem and head predicts its
    latency: with --blocks all and --archs N, N whole networks are timed too and the prediction is checked against them.

    Measuring again replaces the records of the same device label, batch size and threads. Let nothing else run
    beside it: times of a busy machine are not those of the network, and a warning says so. `archrank merge` makes the
    column latency_ms_cpu of it (latency_ms_cuda_b64 for --batch-size 64, and so on).

    Example: archrank latency blox-mini --out store --archs 40 --device cpu
    """
    import numpy as np

    from archrank.train_ground_truth.latency import Protocol, latency_key, measure_together
    from archrank.train_ground_truth.latency_tables import column_name
    from archrank.train_ground_truth.recipe import load_recipe

    plan = load_recipe(recipe)
    space = plan.build_space()
    protocol = Protocol(
        device=device, batch_size=batch_size, threads=threads, repeats=repeats, warmup=warmup, label=label
    )
    which = _blocks(blocks, space)
    codes = space.sample(0) if archs == "none" else select_architectures(archs, space)
    codes = codes[np.sort(np.unique(codes, axis=0, return_index=True)[1])]  # each once, in order
    if not which and not len(codes):
        raise typer.BadParameter("--blocks none and --archs none leave nothing to measure; give one of them")
    store = _store_for_latency(out, plan, data)
    pairs = [(s, b) for s in range(space.stages) for b in which]
    with progress("measuring") as report:
        records = measure_together(plan, pairs, codes, protocol, report)
    for record in records:
        store.write(latency_key(record), record)
    checked = _check(records, space) if blocks == "all" and len(codes) > 1 else None
    busy = _busy(records)
    column = column_name(records[0])
    if busy is not None and busy > _BUSY:
        typer.echo(
            f"warning: passes took {busy:.1f} times their CPU time, so that something else used the machine; "
            "measure again when it is quiet",
            err=True,
        )
    text = f"{column} of {len(pairs)} blocks and {len(codes)} networks in {out}"
    if checked is not None:
        text += (
            f"; sums of blocks against {checked['networks']} networks: Kendall tau {checked['kendall_tau']:.3f}, "
            f"mean absolute error {100 * checked['mean_abs_relative_error']:.1f} %"
        )
    result = {"store": str(out), "column": column, "blocks": len(pairs), "networks": len(codes)}
    summary(json_, result | {"wall_over_cpu": busy, "additivity": checked}, text)


def proxies(
    recipe: RecipeArg,
    data: DataOpt,
    out: OutOpt,
    archs: ArchsOpt = "all",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the weights and of the batch of images.")] = 0,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = 1,
    json_: JsonOpt = False,
) -> None:
    """Compute zero-cost proxies of untrained networks: synflow, jacob_cov, nwot, grad_norm.

    Each needs one batch of images and no training, and is said to go with the accuracy that training would reach.
    `archrank merge` makes columns of them, which predictors can use and `archrank report --metric` can judge.
    Networks whose record is in the store are passed over.

    Example: archrank proxies blox-mini --data cifar10-jpeg.tar.xz --archs all --workers 2 --out store
    """
    from archrank.train_ground_truth.proxies import PROXY_METRICS, ProxyJob
    from archrank.train_ground_truth.recipe import load_recipe

    plan = load_recipe(recipe)
    jobs = [ProxyJob(tuple(row), seed) for row in select_architectures(archs, plan.build_space()).tolist()]
    store = open_store(out, plan, data)
    run(jobs, plan, store, Place(str(data), device, workers), "proxies")
    records = [record for job in jobs if (record := store.read(job.key)) is not None]
    undefined = {n: sum(r["metrics"][n] != r["metrics"][n] for r in records) for n in PROXY_METRICS}
    summary(
        json_,
        {"store": str(out), "records": len(records), "undefined": undefined},
        f"proxies of {len(records)} networks in {out}, undefined: {sum(undefined.values())}; "
        f"next: archrank merge {out} --out TABLE",
    )


def _blocks(text: str, space: BloxSpace) -> list[int]:
    if text in ("all", "none"):
        return list(range(space.n_blocks[0])) if text == "all" else []
    return whole_numbers("--blocks", text, space.n_blocks[0])


def _store_for_latency(folder: Path, recipe: Recipe, data: Path | None) -> Store:
    """Latency needs no images, but a store belongs to a set of them: that of an existing store is taken over."""
    from archrank.train_ground_truth.store import Store

    if data is not None:
        return open_store(folder, recipe, data)
    if not (folder / "store.json").exists():
        raise typer.BadParameter(f"--out {folder} is no store yet; give --data too, or the store of a training")
    return Store.create(folder, recipe, Store(folder).images)


def _check(records: Sequence[dict[str, Any]], space: BloxSpace) -> dict[str, float]:
    from archrank.train_ground_truth.latency_tables import additivity

    return additivity(records, space.n_blocks)


def _busy(records: Sequence[dict[str, Any]]) -> float | None:
    """Median of wall over CPU time; None where it tells nothing: on a GPU, or with several threads."""
    from statistics import median

    if records[0]["device"] != "cpu" or records[0]["threads"] != 1:
        return None
    return round(float(median(r["latency_ms"] / r["cpu_ms"] for r in records)), 3)
