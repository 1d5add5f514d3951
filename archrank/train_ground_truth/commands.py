"""Commands that make ground truth: ``archrank train``, ``distill``, ``finetune``, ``merge``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archrank._errors import there_are
from archrank.train_ground_truth.command_runs import Place, open_store, run, summary
from archrank.train_ground_truth.options import (
    SEEDS,
    ArchsOpt,
    DataOpt,
    DeviceOpt,
    FastOpt,
    JsonOpt,
    KeepOpt,
    Launcher,
    LauncherOpt,
    OutOpt,
    RecipeArg,
    SeedsOpt,
    WorkersOpt,
    epochs_or_probe,
    select_architectures,
    whole_numbers,
)
from archrank.train_ground_truth.teacher_option import find_teacher, teacher_of_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from archrank.train_ground_truth.launch import Job
    from archrank.train_ground_truth.store import Store


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(train)
    app.command()(distill)
    app.command()(finetune)
    app.command()(merge)


def train(
    recipe: RecipeArg,
    data: DataOpt,
    out: OutOpt,
    archs: ArchsOpt = "all",
    seeds: SeedsOpt = "0",
    teacher: Annotated[
        str, typer.Option("--teacher", help="Learn from its logits too (knowledge distillation), see `distill`.")
    ] = "",
    top_k: Annotated[
        bool,
        typer.Option("--top-k", help="With --teacher: keep only its largest probabilities (top_k of the recipe's kd)."),
    ] = False,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = 1,
    launcher: LauncherOpt = Launcher.local,
    keep_weights: KeepOpt = False,
    fast: FastOpt = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Train through torch.compile; pays on GPUs.")] = False,
    json_: JsonOpt = False,
) -> None:
    """Train networks and record their accuracies: the ground truth.

    Every finished network is one record in the store. A run that was killed is simply started again:
    it goes on where it was. Next: `archrank distill` for block signatures, `archrank merge` for a table.

    Example: archrank train blox-mini --data cifar10-jpeg.tar.xz --archs 60 --seeds 0,1 --workers 2 --out store
    """
    from archrank.train_ground_truth.jobs import TrainJob
    from archrank.train_ground_truth.recipe import load_recipe

    plan = load_recipe(recipe)
    if top_k and not (teacher and plan.kd.top_k):
        raise typer.BadParameter("--top-k needs --teacher and a recipe whose [kd] top_k is above 0")
    codes = select_architectures(archs, plan.build_space())
    numbers = whole_numbers("--seeds", seeds, SEEDS)
    store = open_store(out, plan, data)
    place = Place(str(data), device, workers, launcher.value)
    source = find_teacher(teacher, plan, store, place) if teacher else None
    jobs = [
        TrainJob(tuple(row), seed, source, top_k, keep_weights, fast, compiled)
        for seed in numbers
        for row in codes.tolist()
    ]
    run(jobs, plan, store, place, "training")
    _report_networks(jobs, store, recipe, json_)


def distill(
    recipe: RecipeArg,
    data: DataOpt,
    teacher: Annotated[
        str,
        typer.Option(
            "--teacher",
            help="STORE:KEY of a network trained with --keep-weights; an architecture such as 3-14 (trained first "
            "if the store does not hold its weights); or untrained:3-14 for one with random weights.",
        ),
    ],
    out: OutOpt,
    stages: Annotated[str, typer.Option("--stages", help="all, or comma-separated stages from 0.")] = "all",
    blocks: Annotated[str, typer.Option("--blocks", help="all, or comma-separated block ids.")] = "all",
    columns: Annotated[str, typer.Option("--columns", help="all, or some of nsr,mse,acc_change,ce_change,kl.")] = "all",
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, max=SEEDS - 1, help="Seed of the blocks' weights and of the order of images."),
    ] = 0,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = 1,
    launcher: LauncherOpt = Launcher.local,
    keep_weights: KeepOpt = False,
    fast: FastOpt = False,
    json_: JsonOpt = False,
) -> None:
    """Distil every block from a teacher, stage by stage: the signatures.

    Each candidate block learns to give the teacher's output from the teacher's input. Its signatures, measured on
    held-out images: nsr and mse, the error that is left; acc_change, ce_change and kl, what happens to the
    teacher's answers when this block replaces its own. One pass of the teacher serves up to ten blocks, which are
    recorded together. With --keep-weights the blocks can be assembled into networks by `archrank finetune`.

    Example: archrank distill blox-mini --data cifar10-jpeg.tar.xz --teacher 3-14 --workers 2 --out store
    """
    from archrank.train_ground_truth.jobs import distill_jobs
    from archrank.train_ground_truth.recipe import load_recipe
    from archrank.train_ground_truth.signatures import SIGNATURES

    plan = load_recipe(recipe)
    space = plan.build_space()
    at = list(range(space.stages)) if stages == "all" else whole_numbers("--stages", stages, space.stages)
    which = list(range(space.n_blocks[0])) if blocks == "all" else whole_numbers("--blocks", blocks, space.n_blocks[0])
    wanted = SIGNATURES if columns == "all" else tuple(columns.split(","))
    if unknown := sorted(set(wanted) - set(SIGNATURES)):
        raise typer.BadParameter(f"--columns: no signature {unknown[0]!r}; {there_are(unknown[0], SIGNATURES)}")
    store = open_store(out, plan, data)
    place = Place(str(data), device, workers, launcher.value)
    source = find_teacher(teacher, plan, store, place)
    jobs = distill_jobs(
        dict.fromkeys(at, which), source, seed, parts=workers, columns=wanted, keep_weights=keep_weights, fast=fast
    )
    run(jobs, plan, store, place, "distilling")
    summary(
        json_,
        {"store": str(out), "teacher": source.name, "blocks": len(at) * len(which), "columns": list(wanted)},
        f"signatures of {len(at)} x {len(which)} blocks from teacher {source.name} in {out}",
    )


def finetune(
    recipe: RecipeArg,
    data: DataOpt,
    blocks_from: Annotated[
        Path, typer.Option("--blocks-from", help="Store of `archrank distill --keep-weights`, teacher included.")
    ],
    out: OutOpt,
    archs: ArchsOpt = "all",
    epochs: Annotated[
        str,
        typer.Option(
            "--epochs",
            help="Comma-separated; 0 tests as assembled, probe fits a linear classifier; default: the recipe's.",
        ),
    ] = "",
    seeds: SeedsOpt = "0",
    teacher: Annotated[
        str, typer.Option("--teacher", help="If the store holds blocks of several teachers: 3-14, or 3-14-s0.")
    ] = "",
    block_seed: Annotated[
        int, typer.Option("--block-seed", min=0, help="Blocks that `archrank distill --seed` made with this seed.")
    ] = 0,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = 1,
    launcher: LauncherOpt = Launcher.local,
    keep_weights: KeepOpt = False,
    fast: FastOpt = False,
    json_: JsonOpt = False,
) -> None:
    """Assemble networks from distilled blocks, train on for a few epochs, and record their accuracies.

    The records are variants (finetuned-0, finetuned-1, probe, ...) of the same networks, beside those that `train`
    made from scratch, so that the two can be compared.

    Example: archrank finetune blox-mini --data pictures.tar --archs 40 --blocks-from store --epochs 0,1 --out store
    """
    from archrank.train_ground_truth.jobs import FinetuneJob
    from archrank.train_ground_truth.recipe import load_recipe
    from archrank.train_ground_truth.store import Store

    plan = load_recipe(recipe)
    codes = select_architectures(archs, plan.build_space())
    numbers = whole_numbers("--seeds", seeds, SEEDS)
    lengths = epochs_or_probe(epochs, plan.finetune.epochs)
    source = teacher_of_blocks(Store(blocks_from), teacher)
    store = open_store(out, plan, data)
    jobs = [
        # A probe has no weights to keep.
        FinetuneJob(tuple(row), seed, source, str(blocks_from), block_seed, n, keep_weights and n is not None, fast)
        for n in lengths
        for seed in numbers
        for row in codes.tolist()
    ]
    run(jobs, plan, store, Place(str(data), device, workers, launcher.value), "fine-tuning")
    _report_networks(jobs, store, recipe, json_)


def merge(
    store: Annotated[Path, typer.Argument(help="A store that `archrank train` and `distill` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the table; any BENCHMARK argument takes it.")],
    name: Annotated[str, typer.Option("--name", help="Name of the table; by default that of the folder.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Licence text for the table.")] = "",
    source: Annotated[str, typer.Option("--source", help="Where the images came from.")] = "",
    json_: JsonOpt = False,
) -> None:
    """Collect a store into a benchmark folder (parquet + meta.json).

    Example: archrank merge store --out my-table && archrank report my-table
    """
    from archrank.train_ground_truth.store import Store
    from archrank.train_ground_truth.table import merge as collect

    table = collect(Store(store), name or out.name, licence=licence, source=source)
    table.save(out)
    summary(
        json_,
        {"benchmark": str(out), "networks": len(table), "seeds": list(table.seeds)},
        f"{len(table)} networks in {out}; try: archrank report {out}",
    )


def _report_networks(jobs: Sequence[Job], store: Store, recipe: str, as_json: bool) -> None:
    records = [record for job in jobs if (record := store.read(job.key)) is not None]
    diverged = sum(r["status"] != "ok" for r in records)
    summary(
        as_json,
        {"store": str(store.folder), "records": len(records), "diverged": diverged},
        f"{len(records)} records of {recipe} in {store.folder}, {diverged} diverged; "
        f"next: archrank merge {store.folder} --out TABLE",
    )
