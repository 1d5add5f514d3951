"""How a command runs its jobs: on which images, in which store, under a progress bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from archrank._console import emit, progress

if TYPE_CHECKING:
    from archrank.train_ground_truth.launch import Job
    from archrank.train_ground_truth.recipe import Recipe
    from archrank.train_ground_truth.store import Store


def open_store(folder: Path, recipe: Recipe, data: Path) -> Store:
    """The store of `recipe` on these images, made if need be."""
    from archrank.train_ground_truth.data import load_images
    from archrank.train_ground_truth.store import Store

    images = load_images(data, recipe.space.image_size * recipe.data.pool)
    return Store.create(folder, recipe, images.sha256)


@dataclass(frozen=True)
class Place:
    """Where jobs run, and on which images."""

    data: str
    device: str
    workers: int
    launcher: Literal["local", "ray"] = "local"


def run(jobs: Sequence[Job], recipe: Recipe, store: Store, place: Place, title: str) -> None:
    """Run jobs under a progress bar."""
    from archrank.train_ground_truth.launch import Setup, run_jobs

    setup = Setup(recipe, place.data, place.device)
    with progress(title) as report:
        run_jobs(jobs, setup, store, workers=place.workers, launcher=place.launcher, progress=report)


def summary(as_json: bool, data: dict[str, Any], text: str) -> None:
    """One line for people, or one JSON object."""
    if as_json:
        emit(data)
    else:
        typer.echo(text)
