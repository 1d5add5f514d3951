"""Options that the commands share, and what their texts mean."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from archrank.spaces import BloxSpace, Codes

SEEDS = 2**53  # seeds are below it: up to here tables hold whole numbers exactly


class Launcher(StrEnum):
    """Where jobs run."""

    local = "local"
    ray = "ray"


RecipeArg = Annotated[
    str,
    typer.Argument(
        help="A TOML file, or a packaged recipe: blox-mini, blox-mini-3, blox-mini-fast, blox-cifar10, blox-cifar100, "
        "blox-cifar100-fast."
    ),
]
DataOpt = Annotated[
    Path,
    typer.Option(
        "--data", help="Folder or tar of train/CLASS/* and test/CLASS/*; a CIFAR binary archive; or cifar10, cifar100."
    ),
]
OutOpt = Annotated[Path, typer.Option("--out", help="Store: a folder with one record per network; made if need be.")]
DeviceOpt = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")]
ArchsOpt = Annotated[
    str, typer.Option("--archs", help="all, a number N (N random networks of seed 0), or a file of architectures.")
]
SeedsOpt = Annotated[str, typer.Option("--seeds", help="Comma-separated training seeds.")]
FastOpt = Annotated[
    bool, typer.Option("--fast", help="Allow algorithms that do not repeat to the bit; the records say so.")
]
WorkersOpt = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        help="Processes: one per core on a CPU; several share a GPU. With Ray: networks at once per GPU.",
    ),
]
LauncherOpt = Annotated[
    Launcher, typer.Option("--launcher", help="local, or ray: the Ray cluster that runs already (RAY_ADDRESS).")
]
KeepOpt = Annotated[bool, typer.Option("--keep-weights", help="Keep the weights, so that a network can be a teacher.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print a machine-readable summary on stdout.")]


def select_architectures(text: str, space: BloxSpace) -> Codes:
    """``all``, a number of random networks of seed 0, or a file of architectures."""
    from archrank.ground_truth import read_codes

    if text == "all":
        return space.all_codes()
    if text.isascii() and text.isdigit() and int(text):
        return space.sample(int(text), seed=0)
    if not Path(text).exists():
        raise typer.BadParameter(
            f"--archs {text!r}: expected all, a whole number from 1, or a file of architectures (CSV, parquet or JSON)"
        )
    return read_codes(Path(text), space)


def epochs_or_probe(text: str, default: int) -> list[int | None]:
    """The value of ``--epochs`` of fine-tuning: numbers, None for a probe; `default` where it is empty."""
    if not text:
        return [default]
    parts = text.split(",")
    if wrong := [e for e in parts if e != "probe" and not (e.isascii() and e.isdigit())]:
        raise typer.BadParameter(f"--epochs {text!r}: {wrong[0]!r} is neither a whole number from 0 nor probe")
    return [None if e == "probe" else int(e) for e in parts]


def whole_numbers(option: str, text: str, below: int | None = None) -> list[int]:
    """Comma-separated whole numbers from 0, each once."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{option} {text!r}: expected comma-separated whole numbers") from None
    wrong = [n for n in numbers if n < 0 or (below is not None and n >= below)]
    if wrong:
        limit = "0 or more" if below is None else f"0 to {below - 1}"
        raise typer.BadParameter(f"{option} {text!r}: {wrong[0]} is out of range, expected {limit}")
    return list(dict.fromkeys(numbers))
