"""What a campaign is made of: one job per network, one per group of distilled blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import ArrayLike

from archrank.train_ground_truth.batches import DeviceData
from archrank.train_ground_truth.data import load_images
from archrank.train_ground_truth.launch import Progress, Setup, run_jobs
from archrank.train_ground_truth.recipe import Recipe
from archrank.train_ground_truth.store import Store, record_key
from archrank.train_ground_truth.train import Record, initialised_network, train_one


@dataclass(frozen=True)
class TrainJob:
    """Train one network with one seed."""

    code: tuple[int, ...]
    seed: int
    keep_weights: bool = False

    @property
    def key(self) -> str:
        """Key of the record."""
        return record_key(self.code, self.seed)

    def run(self, setup: Setup, data: DeviceData, store: Store) -> None:
        """Train and write the record."""
        record = train_one(self.code, setup.recipe, self.seed, setup.device, data=data, keep_weights=self.keep_weights)
        store.write(self.key, record)


@dataclass(frozen=True)
class DistillJob:
    """Distil some blocks of one stage from the teacher whose weights are in a store.

    Parameters
    ----------
    teacher_name
        Name that the signatures carry, for example ``3-14-s0``.
    teacher_store, teacher_key
        Where its weights are; None for the untrained network of `teacher_code` and `seed`.
    """

    stage: int
    blocks: tuple[int, ...]
    teacher_name: str
    teacher_code: tuple[int, ...]
    teacher_store: str | None
    teacher_key: str
    seed: int = 0
    keep_weights: bool = False

    @property
    def key(self) -> str:
        """Key of the last block's record, which is written last: with it the job is done."""
        return self._key(self.blocks[-1])

    def _key(self, block: int) -> str:
        from archrank.train_ground_truth.distillation import block_key

        return block_key(self.teacher_name, self.stage, block, self.seed)

    def run(self, setup: Setup, data: DeviceData, store: Store) -> None:
        """Distil the blocks that have no record yet and write theirs."""
        from archrank.train_ground_truth.distillation import distill

        missing = [b for b in self.blocks if store.read(self._key(b)) is None]
        teacher = initialised_network(self.teacher_code, setup.recipe, self.seed, data.mean.device)
        if self.teacher_store is not None:
            teacher.load_state_dict(Store(self.teacher_store).weights(self.teacher_key))
        records = distill(
            teacher,
            self.stage,
            missing,
            setup.recipe,
            self.seed,
            data=data,
            teacher_name=self.teacher_name,
            keep_weights=self.keep_weights,
        )
        for block, record in zip(missing, records, strict=True):
            store.write(self._key(block), record)


def run_many(
    codes: ArrayLike,
    recipe: Recipe,
    seeds: Iterable[int],
    store: str | Path,
    *,
    data: str | Path,
    device: str = "auto",
    workers: int = 1,
    keep_weights: bool = False,
    progress: Progress | None = None,
) -> list[Record]:
    """Train networks that have no record in the store yet.

    Parameters
    ----------
    codes
        ``(n_archs, n_stages)``.
    store
        Folder of records, made if need be; a killed run goes on where it was.
    data
        Images, see `archrank.train_ground_truth.data.load_images`.
    workers
        Processes on this machine.

    Returns
    -------
    Their records, all codes of the first seed first.
    """
    rows = recipe.build_space().validate(codes).tolist()
    images = load_images(data, recipe.space.image_size * recipe.data.pool)
    home = Store.create(store, recipe, images.sha256)
    jobs = [TrainJob(tuple(row), seed, keep_weights) for seed in seeds for row in rows]
    run_jobs(jobs, Setup(recipe, str(data), device), home, workers=workers, progress=progress)
    return [record for job in jobs if (record := home.read(job.key)) is not None]
