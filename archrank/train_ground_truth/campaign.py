"""Train many networks from Python, as ``archrank train`` does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from numpy.typing import ArrayLike

from archrank.train_ground_truth.contract import Progress, Setup
from archrank.train_ground_truth.data import load_images
from archrank.train_ground_truth.jobs import TrainJob
from archrank.train_ground_truth.launch import run_jobs
from archrank.train_ground_truth.options import SEEDS
from archrank.train_ground_truth.recipe import Recipe
from archrank.train_ground_truth.store import Store
from archrank.train_ground_truth.train import Record


def run_many(
    codes: ArrayLike,
    recipe: Recipe,
    seeds: Iterable[int],
    store: str | Path,
    *,
    data: str | Path,
    device: str = "auto",
    workers: int = 1,
    launcher: Literal["local", "ray"] = "local",
    keep_weights: bool = False,
    fast: bool = False,
    progress: Progress | None = None,
) -> list[Record]:
    """Train networks that have no record in the store yet, or no weights there where these are to be kept.

    Parameters
    ----------
    codes
        ``(n_archs, n_stages)``.
    store
        Folder of records, made if need be; a killed run goes on where it was.
    data
        Images, see `archrank.train_ground_truth.data.load_images`.
    workers, launcher
        See `archrank.train_ground_truth.launch.run_jobs`.

    Raises
    ------
    ValueError
        For a seed below 0, or of 2^53 and above, which no table holds exactly.

    Returns
    -------
    Their records, all codes of the first seed first.
    """
    seeds = list(seeds)
    if wrong := [seed for seed in seeds if not 0 <= seed < SEEDS]:
        raise ValueError(f"seed {wrong[0]} is out of range, expected 0 to {SEEDS - 1}")
    rows = recipe.build_space().validate(codes).tolist()
    images = load_images(data, recipe.space.image_size * recipe.data.pool)
    home = Store.create(store, recipe, images.sha256)
    jobs = [TrainJob(tuple(row), seed, keep_weights=keep_weights, fast=fast) for seed in seeds for row in rows]
    run_jobs(jobs, Setup(recipe, str(data), device), home, workers=workers, launcher=launcher, progress=progress)
    return [record for job in jobs if (record := home.read(job.key)) is not None]
