"""The command ``archrank study``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from archrank._console import emit, progress, show
from archrank.studies.registry import list_studies


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(study)


def study(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(list_studies())}.", metavar="NAME")],
    benchmark: Annotated[
        str, typer.Argument(help="A bundled name, a folder, or PREFIX:PATH such as blox:FOLDER.", metavar="BENCHMARK")
    ] = "blox-mini",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer repetitions: under a minute.")] = False,
    metric: Annotated[str | None, typer.Option(help="Metric in question; default: the benchmark's own.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Repetitions of what is drawn at random.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Whose signatures; default: the best trained teacher.")] = None,
    train: Annotated[
        str | None, typer.Option(help="Train for real by this recipe, where the study can.", metavar="RECIPE")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Images for --train, as for `archrank train`.", metavar="PATH")
    ] = None,
    networks: Annotated[int | None, typer.Option(min=1, help="How many networks --train trains.", metavar="N")] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="What --train or nas-methods finished, where a killed run goes on; default: none.", metavar="DIR"
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Of --train: auto (default), cpu, cuda, cuda:1, ...", metavar="DEVICE")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Of --train: processes, as for `archrank train`; default: 1.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="nas-methods: comma-separated; default: all that the table allows.")
    ] = None,
    predictor: Annotated[str | None, typer.Option(help="nas-methods: that of method `predictor`.")] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="nas-methods: networks to train in a trial.")] = None,
    told: Annotated[
        str | None, typer.Option(help="nas-methods: what methods see of a network, mean or seed0.", metavar="VALUE")
    ] = None,
    until_top: Annotated[
        bool | None,
        typer.Option(
            "--until-top/--to-the-end",
            help="nas-methods: end trials at the true top 0.1 %, from 20 networks on (default), or not.",
        ),
    ] = None,
    n_jobs: Annotated[int | None, typer.Option("--jobs", help="nas-methods: trials at once; -1: all cores.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is left to chance.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for text, tables, pictures and JSON.", metavar="DIR")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of text.")] = False,
) -> None:
    """Answer one question of the field on a table; the first line says on which data.

    Examples:

      archrank study distillation --quick

      archrank study signatures my-table --out signatures

      archrank study finetune blox:release --json

      archrank study iterative --train blox-mini --data cifar10-jpeg.tar.xz --workers 2 --store networks

      archrank study nas-methods --trials 100 --jobs 2 --store trials --out nas-methods
    """
    from archrank.studies.registry import run_study

    given: dict[str, Any] = {"metric": metric, "trials": trials, "teacher": teacher}
    given |= {"train": train, "data": data, "networks": networks, "store": store}
    given |= {"device": device, "workers": workers}
    given |= {"methods": methods and methods.split(","), "predictor": predictor, "budget": budget, "told": told}
    given |= {"until_top": until_top, "n_jobs": n_jobs}
    options = {key: value for key, value in given.items() if value is not None}
    with progress() as advance:
        result = run_study(name, benchmark, quick=quick, seed=seed, progress=advance, **options)
    if out is not None:
        result.save(out)
    if as_json:
        emit(result.to_json())
    else:
        for part in (result.data, "", result.title, result.question, "", result.text):
            show(part)
    if out is not None:
        typer.echo(f"written to {out}", err=True)
