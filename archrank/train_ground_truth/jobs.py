"""What a campaign is made of: one job per network, one per group of distilled blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import ArrayLike

from archrank.train_ground_truth.batches import DeviceData
from archrank.train_ground_truth.data import load_images
from archrank.train_ground_truth.distillation import block_key, distill
from archrank.train_ground_truth.finetune import finetune_one, probe_one
from archrank.train_ground_truth.launch import Progress, Setup, run_jobs
from archrank.train_ground_truth.recipe import Recipe
from archrank.train_ground_truth.runtime import generator
from archrank.train_ground_truth.signatures import SIGNATURES, re_estimate_norms
from archrank.train_ground_truth.store import Store, record_key
from archrank.train_ground_truth.train import Record, Teacher, initialised_network, train_one


@dataclass(frozen=True)
class TeacherRef:
    """Where a teacher comes from.

    Parameters
    ----------
    code, seed
        The network.
    store
        Folder with its weights; None for the untrained network, whose BatchNorm statistics are estimated.
    """

    code: tuple[int, ...]
    seed: int
    store: str | None

    @property
    def key(self) -> str:
        """Key of its record."""
        return record_key(self.code, self.seed)

    @property
    def name(self) -> str:
        """For example ``3-14-s0``, or ``untrained-3-14-s0``."""
        name = self.key.removeprefix("normal-")
        return name if self.store else f"untrained-{name}"

    def load(self, setup: Setup, data: DeviceData) -> Teacher:
        """The network with its weights, on the device of `data`."""
        device = data.mean.device
        network = initialised_network(self.code, setup.recipe, self.seed, device)
        if self.store is None:
            re_estimate_norms(network, setup.recipe, generator(device, self.seed, 5), data)
        else:
            network.load_state_dict(Store(self.store).weights(self.key))
        return Teacher(self.name, network)


@dataclass(frozen=True)
class TrainJob:
    """Train one network with one seed, with a teacher by knowledge distillation."""

    code: tuple[int, ...]
    seed: int
    teacher: TeacherRef | None = None
    top_k: bool = False
    keep_weights: bool = False
    fast: bool = False

    @property
    def key(self) -> str:
        """Key of the record."""
        if self.teacher is None:
            return record_key(self.code, self.seed)
        variant = "distilled-topk" if self.top_k else "distilled"
        return record_key(self.code, self.seed, f"{variant}-{self.teacher.name}")

    def run(self, setup: Setup, data: DeviceData, store: Store) -> None:
        """Train and write the record."""
        record = train_one(
            self.code,
            setup.recipe,
            self.seed,
            data.mean.device,
            data=data,
            teacher=None if self.teacher is None else self.teacher.load(setup, data),
            keep_weights=self.keep_weights,
            checkpoint=store.folder / "checkpoints" / f"{self.key}.pt",
            fast=self.fast,
        )
        store.write(self.key, record)


@dataclass(frozen=True)
class DistillJob:
    """Distil some blocks of one stage from a teacher and measure their signatures."""

    stage: int
    blocks: tuple[int, ...]
    teacher: TeacherRef
    seed: int = 0
    columns: tuple[str, ...] = SIGNATURES
    keep_weights: bool = False
    fast: bool = False

    @property
    def key(self) -> str:
        """Key of the last block's record, which is written last: with it the job is done."""
        return self._key(self.blocks[-1])

    def _key(self, block: int) -> str:
        return block_key(self.teacher.name, self.stage, block, self.seed)

    def run(self, setup: Setup, data: DeviceData, store: Store) -> None:
        """Distil the blocks that have no record yet and write theirs."""
        missing = [b for b in self.blocks if store.read(self._key(b)) is None]
        records = distill(
            self.teacher.load(setup, data),
            self.stage,
            missing,
            setup.recipe,
            self.seed,
            data=data,
            columns=self.columns,
            keep_weights=self.keep_weights,
            fast=self.fast,
        )
        for block, record in zip(missing, records, strict=True):
            store.write(self._key(block), record)


@dataclass(frozen=True)
class FinetuneJob:
    """Assemble one network from distilled blocks and train on; ``epochs`` None probes it instead."""

    code: tuple[int, ...]
    seed: int
    teacher: TeacherRef
    blocks_from: str
    block_seed: int = 0
    epochs: int | None = 1
    keep_weights: bool = False
    fast: bool = False

    @property
    def key(self) -> str:
        """Key of the record."""
        variant = "probe" if self.epochs is None else f"finetuned-{self.epochs}"
        return record_key(self.code, self.seed, f"{variant}-{self.teacher.name}")

    def run(self, setup: Setup, data: DeviceData, store: Store) -> None:
        """Assemble, train or probe, and write the record."""
        source = Store(self.blocks_from)
        blocks = [
            source.weights(block_key(self.teacher.name, stage, block, self.block_seed))
            for stage, block in enumerate(self.code)
        ]
        teacher = self.teacher.load(setup, data)
        if self.epochs is None:
            record = probe_one(self.code, blocks, setup.recipe, self.seed, data=data, teacher=teacher, fast=self.fast)
        else:
            record = finetune_one(
                self.code,
                blocks,
                setup.recipe,
                self.seed,
                data=data,
                teacher=teacher,
                epochs=self.epochs,
                keep_weights=self.keep_weights,
                fast=self.fast,
            )
        store.write(self.key, record)


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
    fast: bool = False,
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
    jobs = [TrainJob(tuple(row), seed, keep_weights=keep_weights, fast=fast) for seed in seeds for row in rows]
    run_jobs(jobs, Setup(recipe, str(data), device), home, workers=workers, progress=progress)
    return [record for job in jobs if (record := home.read(job.key)) is not None]
