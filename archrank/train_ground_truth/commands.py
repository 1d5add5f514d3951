"""Commands that make ground truth: ``archrank train``, ``distill``, ``merge``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from archrank.spaces import BloxSpace, Codes
    from archrank.train_ground_truth.launch import Progress

RecipeArg = Annotated[str, typer.Argument(help="Packaged recipe (blox-mini, ...) or a TOML file.")]
DataOpt = Annotated[
    Path,
    typer.Option("--data", help="Folder or tar of train/CLASS/* and test/CLASS/*, or a CIFAR binary archive."),
]
OutOpt = Annotated[Path, typer.Option("--out", help="Store: a folder with one record per network; made if need be.")]
DeviceOpt = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")]
WorkersOpt = Annotated[int, typer.Option("--workers", min=1, help="Processes; on a CPU one per core.")]
KeepOpt = Annotated[bool, typer.Option("--keep-weights", help="Keep the weights, so that a network can be a teacher.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print a machine-readable summary on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(train)
    app.command()(distill)
    app.command()(merge)


def train(
    recipe: RecipeArg,
    data: DataOpt,
    out: OutOpt,
    archs: Annotated[
        str, typer.Option("--archs", help="all, a number N (N random networks of seed 0), or a file of architectures.")
    ] = "all",
    seeds: Annotated[str, typer.Option("--seeds", help="Comma-separated training seeds.")] = "0",
    device: DeviceOpt = "auto",
    workers: WorkersOpt = 1,
    keep_weights: KeepOpt = False,
    json_: JsonOpt = False,
) -> None:
    """Train networks and record their accuracies: the ground truth.

    Every finished network is one record in the store. A run that was killed is simply started again:
    it goes on where it was. Next: `archrank distill` for block signatures, `archrank merge` for a table.

    Example: archrank train blox-mini --data cifar10-jpeg.tar.xz --archs 60 --seeds 0,1 --workers 2 --out store
    """
    from archrank.train_ground_truth.jobs import run_many
    from archrank.train_ground_truth.recipe import load_recipe

    plan = load_recipe(recipe)
    codes = select_architectures(archs, plan.build_space())
    numbers = _whole_numbers("--seeds", seeds)
    with _progress("training") as report:
        records = run_many(
            codes,
            plan,
            numbers,
            out,
            data=data,
            device=device,
            workers=workers,
            keep_weights=keep_weights,
            progress=report,
        )
    diverged = sum(r["status"] != "ok" for r in records)
    _summary(
        json_,
        {"store": str(out), "records": len(records), "diverged": diverged},
        f"{len(records)} records of {recipe} in {out}, {diverged} diverged; next: archrank merge {out} --out TABLE",
    )


def distill(
    recipe: RecipeArg,
    data: DataOpt,
    teacher: Annotated[
        str,
        typer.Option(
            "--teacher",
            help="STORE:KEY of a network trained with --keep-weights, or an architecture such as 3-14 "
            "(trained first if the store does not hold its weights).",
        ),
    ],
    out: OutOpt,
    stages: Annotated[str, typer.Option("--stages", help="all, or comma-separated stages from 0.")] = "all",
    blocks: Annotated[str, typer.Option("--blocks", help="all, or comma-separated block ids.")] = "all",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the blocks' weights and of the order of images.")] = 0,
    device: DeviceOpt = "auto",
    workers: WorkersOpt = 1,
    keep_weights: KeepOpt = False,
    json_: JsonOpt = False,
) -> None:
    """Distil every block from a teacher, stage by stage: the signatures.

    Each candidate block learns to give the teacher's output from the teacher's input; how well it does
    so on held-out images (NSR: noise-to-signal ratio, lower is better) is its signature. One pass of the teacher
    serves all blocks of a stage.

    Example: archrank distill blox-mini --data cifar10-jpeg.tar.xz --teacher 3-14 --workers 2 --out store
    """
    from archrank.train_ground_truth.jobs import DistillJob, TrainJob
    from archrank.train_ground_truth.launch import Setup, run_jobs
    from archrank.train_ground_truth.recipe import load_recipe
    from archrank.train_ground_truth.store import Store

    plan = load_recipe(recipe)
    space = plan.build_space()
    at = range(space.stages) if stages == "all" else _whole_numbers("--stages", stages, space.stages)
    which = range(space.n_blocks[0]) if blocks == "all" else _whole_numbers("--blocks", blocks, space.n_blocks[0])
    setup = Setup(plan, str(data), device)
    if ":" in teacher:
        folder, key = teacher.rsplit(":", 1)
        source = Store(folder)
        record = source.read(key)
        if record is None or "code" not in record:
            raise typer.BadParameter(f"{folder} has no network {key!r}; its keys look like {source.keys()[:1]}")
        code = tuple(record["code"])
        source.weights(key)
        store = _open(out, plan, data)
    else:
        code = _one_code(teacher, space)
        source = store = _open(out, plan, data)
        key = TrainJob(code, seed).key
        if not (store.folder / "weights" / f"{key}.safetensors").exists():
            store.forget(key)
            with _progress("training the teacher") as report:
                run_jobs([TrainJob(code, seed, keep_weights=True)], setup, store, progress=report)
    groups = [list(which)[i :: max(1, workers)] for i in range(max(1, workers))]
    jobs = [
        DistillJob(s, tuple(group), key.removeprefix("normal-"), code, str(source.folder), key, seed, keep_weights)
        for s in at
        for group in groups
        if group
    ]
    with _progress("distilling") as report:
        ran = run_jobs(jobs, setup, store, workers=workers, progress=report)
    _summary(
        json_,
        {"store": str(out), "teacher": key, "blocks": len(list(at)) * len(list(which)), "jobs_run_now": ran},
        f"signatures of {len(list(at))} x {len(list(which))} blocks from teacher {key} in {out}",
    )


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
    _summary(
        json_,
        {"benchmark": str(out), "networks": len(table), "seeds": list(table.seeds)},
        f"{len(table)} networks in {out}; try: archrank report {out}",
    )


# -- arguments ------------------------------------------------------------------------------------


def select_architectures(text: str, space: BloxSpace) -> Codes:
    """``all``, a number of random networks of seed 0, or a file of architectures."""
    from archrank.ground_truth import read_codes

    if text == "all":
        return space.all_codes()
    if text.isdigit():
        return space.sample(int(text), seed=0)
    return read_codes(Path(text), space)


def _one_code(text: str, space: BloxSpace) -> tuple[int, ...]:
    """``3-14`` or ``conv>conv,bconv``."""
    parts = text.split("-") if text.replace("-", "").isdigit() else text.split(",")
    if len(parts) != space.stages:
        raise typer.BadParameter(f"--teacher {text!r} names {len(parts)} blocks, the space has {space.stages} stages")
    codes = space.validate([[int(p) for p in parts]]) if parts[0].isdigit() else space.codes_from_names([parts])
    return tuple(int(b) for b in codes[0])


def _whole_numbers(option: str, text: str, below: int | None = None) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{option} {text!r}: expected comma-separated whole numbers") from None
    wrong = [n for n in numbers if n < 0 or (below is not None and n >= below)]
    if wrong:
        limit = "" if below is None else f" to {below - 1}"
        raise typer.BadParameter(f"{option} {text!r}: {wrong[0]} is out of range, expected 0{limit} or more"[:200])
    return list(dict.fromkeys(numbers))


def _open(folder: Path, recipe: Any, data: Path) -> Any:
    from archrank.train_ground_truth.data import load_images
    from archrank.train_ground_truth.store import Store

    images = load_images(data, recipe.space.image_size * recipe.data.pool)
    return Store.create(folder, recipe, images.sha256)


# -- what the user sees -----------------------------------------------------------------------------


@contextmanager
def _progress(title: str) -> Iterator[Progress]:
    """A progress bar on stderr with rate and remaining time."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, key: bar.update(task, completed=done, total=total, description=key)


def _summary(as_json: bool, data: dict[str, Any], text: str) -> None:
    typer.echo(json.dumps(data) if as_json else text)
