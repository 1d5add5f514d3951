"""What a campaign is made of: one job per network, one per group of distilled blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archrank._torch import resolve_device
from archrank.train_ground_truth.attempt import out_of_memory
from archrank.train_ground_truth.batches import DeviceData
from archrank.train_ground_truth.contract import Records, Setup, missing
from archrank.train_ground_truth.distillation import block_key, block_record, distill
from archrank.train_ground_truth.finetune import finetune_one, probe_one
from archrank.train_ground_truth.runtime import Stream, generator, host_facts, reproducible
from archrank.train_ground_truth.signatures import SIGNATURES, re_estimate_norms
from archrank.train_ground_truth.store import record_key
from archrank.train_ground_truth.train import (
    Record,
    Teacher,
    initialised_network,
    network_record,
    no_metrics,
    train_one,
)

_TOGETHER = 10  # blocks that one pass of the teacher serves at most


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

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        """Folder and key of the weights that it reads."""
        return ((self.store, self.key),) if self.store else ()

    def load(self, setup: Setup, data: DeviceData, store: Records) -> Teacher:
        """The network with its weights, on the device of `data`."""
        device = data.mean.device
        network = initialised_network(self.code, setup.recipe, self.seed, device)
        if self.store is None:
            with reproducible(device):
                re_estimate_norms(network, setup.recipe, generator(device, self.seed, Stream.UNTRAINED_TEACHER), data)
        else:
            network.load_state_dict(store.weights(self.key, self.store))
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
    compiled: bool = False

    @property
    def key(self) -> str:
        """Key of the record."""
        if self.teacher is None:
            return record_key(self.code, self.seed)
        return record_key(self.code, self.seed, f"{self.variant}-{self.teacher.name}")

    @property
    def variant(self) -> str:
        """Way of training."""
        return "normal" if self.teacher is None else "distilled-topk" if self.top_k else "distilled"

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        """The teacher's weights."""
        return () if self.teacher is None else self.teacher.needs

    def failure(self, setup: Setup, images: str, status: str) -> dict[str, Record]:
        """The record of a network that could not be trained."""
        return {self.key: _failed(self, setup, images, status)}

    def run(self, setup: Setup, data: DeviceData, store: Records) -> None:
        """Train and write the record."""
        record = train_one(
            self.code,
            setup.recipe,
            self.seed,
            data.mean.device,
            data=data,
            teacher=None if self.teacher is None else self.teacher.load(setup, data, store),
            top_k=self.top_k,
            keep_weights=self.keep_weights,
            checkpoint=store.checkpoint(self.key),
            fast=self.fast,
            compiled=self.compiled,
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
        """Key of the last block's record."""
        return self.keys[-1]

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all blocks' records."""
        return tuple(self._key(b) for b in self.blocks)

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        """The teacher's weights."""
        return self.teacher.needs

    def failure(self, setup: Setup, images: str, status: str) -> dict[str, Record]:
        """Records of blocks that could not be distilled."""
        nan = dict.fromkeys(self.columns, math.nan)
        about = (self.seed, setup.recipe, images, status, {"train_nsr": [math.nan]} | nan, _nowhere(setup))
        return {self._key(b): block_record(self.stage, b, self.teacher.name, *about) for b in self.blocks}

    def _key(self, block: int) -> str:
        return block_key(self.teacher.name, self.stage, block, self.seed)

    def run(self, setup: Setup, data: DeviceData, store: Records) -> None:
        """Distil the blocks that have no record yet, or not all columns or weights, and write theirs.

        What older records of theirs had, the new ones have too. Where blocks do not fit into memory together, half
        of them at a time.
        """
        teacher = self.teacher.load(setup, data, store)
        todo = missing(self, store)
        older = {c for key in todo if (r := store.read(key)) is not None for c in r["metrics"]}
        columns = dict.fromkeys((*self.columns, *(c for c in SIGNATURES if c in older)))
        keep_weights = self.keep_weights or any(store.has_weights(key) for key in todo)
        groups = [[b for b in self.blocks if self._key(b) in todo]]
        too_large: Exception | None = None
        while groups:
            group = groups.pop()
            try:
                records = distill(
                    teacher,
                    self.stage,
                    group,
                    setup.recipe,
                    self.seed,
                    data=data,
                    columns=tuple(columns),
                    keep_weights=keep_weights,
                    fast=self.fast,
                )
            except Exception as error:
                if not out_of_memory(error):
                    raise
                middle = len(group) // 2
                if middle:
                    groups += [group[:middle], group[middle:]]
                else:
                    too_large = error.with_traceback(None)  # which would keep the blocks in memory
                continue
            for block, record in zip(group, records, strict=True):
                store.write(self._key(block), record)
        if too_large is not None:
            raise too_large


def distill_jobs(
    blocks: Mapping[int, Sequence[int]], teacher: TeacherRef, seed: int, *, parts: int = 1, **options: Any
) -> list[DistillJob]:
    """Jobs that distil the blocks of each stage, in `parts` as equal as can be.

    Parameters
    ----------
    blocks
        Block ids by stage.
    parts
        One for each worker; more where a part would have more than ten blocks, for blocks are recorded when all of
        their part are done, and a pass of the teacher costs little beside those of ten blocks.
    options
        Further fields of `DistillJob`.
    """
    return [
        DistillJob(stage, part, teacher, seed, **options)
        for stage, ids in blocks.items()
        for n in (max(parts, math.ceil(len(ids) / _TOGETHER)),)
        for i in range(n)
        if (part := tuple(ids[i::n]))
    ]


@dataclass(frozen=True)
class FinetuneJob:
    """Assemble one network from distilled blocks and train on.

    Parameters
    ----------
    code, seed
        The network, and the seed of what happens after distillation.
    teacher
        The blocks' teacher, which gives stem and classifier.
    blocks_from
        Folder of the store with the blocks' weights.
    block_seed
        Seed that the blocks were distilled with. Where it is not 0, key and record say so.
    epochs
        None probes the network instead; a probe has no weights to keep.

    Raises
    ------
    ValueError
        If weights of a probe are to be kept.
    """

    code: tuple[int, ...]
    seed: int
    teacher: TeacherRef
    blocks_from: str
    block_seed: int = 0
    epochs: int | None = 1
    keep_weights: bool = False
    fast: bool = False

    def __post_init__(self) -> None:
        if self.epochs is None and self.keep_weights:
            raise ValueError(
                "keep_weights=True with epochs=None: a probe has no weights to keep; give keep_weights=False"
            )

    @property
    def key(self) -> str:
        """Key of the record."""
        blocks = f"-b{self.block_seed}" if self.block_seed else ""
        return record_key(self.code, self.seed, f"{self.variant}-{self.teacher.name}{blocks}")

    @property
    def variant(self) -> str:
        """Way of training."""
        return "probe" if self.epochs is None else f"finetuned-{self.epochs}"

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        """The weights of the teacher and of the blocks."""
        return (*self.teacher.needs, *((self.blocks_from, key) for key in self._block_keys))

    @property
    def _block_keys(self) -> list[str]:
        return [block_key(self.teacher.name, s, b, self.block_seed) for s, b in enumerate(self.code)]

    def failure(self, setup: Setup, images: str, status: str) -> dict[str, Record]:
        """The record of a network that could not be trained."""
        return {self.key: _failed(self, setup, images, status) | self._whose_blocks}

    @property
    def _whose_blocks(self) -> Record:
        return {"block_seed": self.block_seed} if self.block_seed else {}

    def run(self, setup: Setup, data: DeviceData, store: Records) -> None:
        """Assemble, train or probe, and write the record."""
        blocks = [store.weights(key, self.blocks_from) for key in self._block_keys]
        teacher = self.teacher.load(setup, data, store)
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
                checkpoint=store.checkpoint(self.key),
                fast=self.fast,
            )
        store.write(self.key, record | self._whose_blocks)


def _failed(job: TrainJob | FinetuneJob, setup: Setup, images: str, status: str) -> Record:
    where = (setup.recipe, job.seed, job.variant, images, status, no_metrics(), _nowhere(setup))
    record = network_record(job.code, *where)
    return record if job.teacher is None else record | {"teacher": job.teacher.name}


def _nowhere(setup: Setup) -> dict[str, Any]:
    return host_facts(resolve_device(setup.device), 0.0, 0.0)
