"""What a campaign is made of: one job per network, one per group of distilled blocks."""

from __future__ import annotations

from dataclasses import dataclass

from archrank.train_ground_truth.launch import Setup
from archrank.train_ground_truth.store import Store, record_key
from archrank.train_ground_truth.train import DeviceData, initialised_network, train_one


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
        from archrank.train_ground_truth.distill import block_key

        return block_key(self.teacher_name, self.stage, block, self.seed)

    def run(self, setup: Setup, data: DeviceData, store: Store) -> None:
        """Distil the blocks that have no record yet and write theirs."""
        from archrank.train_ground_truth.distill import distill

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
