"""Blockwise search for real: networks are trained and blocks distilled into a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from archrank.ground_truth import Metric, Signatures
from archrank.spaces import Codes
from archrank.studies.base import Progress
from archrank.studies.blockwise_rounds import Floats

if TYPE_CHECKING:
    from archrank.train_ground_truth import Recipe, Store
    from archrank.train_ground_truth.jobs import TeacherRef
    from archrank.train_ground_truth.launch import Job

_SIGNATURE = Metric("nsr", "min")
_CANDIDATES = 100_000


class TrainedWorkshop:
    """A workshop that trains; what its store holds is not made again. Make one with `TrainedWorkshop.open`.

    Networks are judged by validation accuracy, so that the test images see the winners alone.
    """

    metric = Metric("val_acc", "max", "%", (0.0, 100.0), "top-1 accuracy on the validation images")

    def __init__(
        self,
        recipe: Recipe,
        data: str,
        store: Store,
        seed: int,
        progress: Progress | None,
        device: str = "auto",
        workers: int = 1,
    ) -> None:
        self.recipe, self.data, self.store, self.seed, self.progress = recipe, data, store, seed, progress
        self.device, self.workers = device, workers
        self.space = recipe.build_space()
        few = self.space.size <= _CANDIDATES
        self.candidates: Codes = self.space.all_codes() if few else self.space.sample(_CANDIDATES, seed)
        self._teachers: dict[str, TeacherRef] = {}
        self._trained: dict[str, None] = {}
        self.untrained = self._teacher(self.space.sample(1, seed)[0], None)

    @classmethod
    def open(
        cls,
        recipe: str | Path,
        data: str | Path | None,
        store: str | Path | None,
        *,
        seed: int = 0,
        progress: Progress | None = None,
        device: str = "auto",
        workers: int = 1,
    ) -> Self:
        """Open or make the store.

        Parameters
        ----------
        recipe
            A packaged recipe or a TOML file.
        data
            Images, as for ``archrank train``.
        store
            Folder of the records and weights.
        seed
            Of the trainings; it also draws the untrained teacher.
        device, workers
            See `archrank.train_ground_truth.launch.run_jobs`.

        Raises
        ------
        ValueError
            Without images or store, or where recipe and store do not fit.
        """
        from archrank.train_ground_truth import Store, load_images, load_recipe

        if data is None or store is None:
            missing = "images; give --data PATH" if data is None else "a folder for its networks; give --store DIR"
            raise ValueError(f"--train needs {missing}")
        plan = load_recipe(recipe)
        images = load_images(data, plan.space.image_size * plan.data.pool)
        return cls(plan, str(data), Store.create(store, plan, images.sha256), seed, progress, device, workers)

    def train(self, codes: Codes) -> Floats:
        """Train what the store does not hold; validation accuracy ``(n,)``, NaN where training diverged."""
        from archrank.train_ground_truth.jobs import TrainJob

        # Any of them may become the teacher, so that all keep their weights.
        jobs = [TrainJob(tuple(row), self.seed, keep_weights=True) for row in codes.tolist()]
        self._run(jobs)
        self._trained |= dict.fromkeys(job.key for job in jobs)
        return self._values("val_acc", codes)

    def predictor(self, name: str, teacher: str) -> Any:
        """A predictor on the teacher's signatures; its blocks are distilled first, unless the store holds them."""
        from archrank.predictors import make_predictor
        from archrank.train_ground_truth.jobs import distill_jobs

        source = self._teachers[teacher]
        blocks = {stage: range(n) for stage, n in enumerate(self.space.n_blocks)}
        jobs = distill_jobs(blocks, source, self.seed, parts=self.workers, columns=(_SIGNATURE.name,))
        self._run(jobs)
        records = [self._record(key) for job in jobs for key in job.keys]
        rows = [{k: r[k] for k in ("stage", "block", "teacher")} | {"nsr": r["metrics"]["nsr"]} for r in records]
        signatures = Signatures(pd.DataFrame(rows), {"nsr": _SIGNATURE}, self.space.n_blocks)
        return make_predictor(name, self.space, signatures=signatures)

    def next_teacher(self, winner: Codes, value: float, now: str) -> str:
        """The winner itself."""
        return self._teacher(winner, str(self.store.folder))

    def winners(self, codes: Mapping[str, Codes]) -> pd.DataFrame:
        """The best network of each search with its validation and test accuracy."""
        rows = np.stack(list(codes.values()))
        columns = {name: self._values(name, rows) for name in ("val_acc", "test_acc")}
        return pd.DataFrame({"search": list(codes), "network": self.space.keys(rows), **columns})

    def data_line(self) -> str:
        """What was trained, in one line."""
        return (
            f"Run on networks trained for this study by recipe {self.recipe.name} on {self.data} ({self.space.name}, "
            f"{self.space.size:,} networks): {self.metric.name} [%] of {len(self._trained)} networks, one seed "
            f"({self.seed}), and blocks of {len(self._teachers)} teachers, the first untrained."
        )

    def _teacher(self, code: Codes, store: str | None) -> str:
        from archrank.train_ground_truth.jobs import TeacherRef

        teacher = TeacherRef(tuple(code.tolist()), self.seed, store)
        self._teachers[teacher.name] = teacher
        return teacher.name

    def _run(self, jobs: Sequence[Job]) -> None:
        from archrank.train_ground_truth import run_jobs
        from archrank.train_ground_truth.launch import Setup

        setup = Setup(self.recipe, self.data, self.device)
        run_jobs(jobs, setup, self.store, workers=self.workers, progress=self.progress)

    def _values(self, metric: str, codes: Codes) -> Floats:
        """One number for each network, of the epoch that was tested."""
        from archrank.train_ground_truth import merge

        table = merge(self.store, "store")
        return table.values(metric, self.seed)[table.lookup(codes)]

    def _record(self, key: str) -> dict[str, Any]:
        record = self.store.read(key)
        if record is None:
            raise ValueError(f"{self.store.folder} lost its record {key}; run the same command again")
        return record
