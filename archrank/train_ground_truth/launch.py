"""Run many jobs on this machine: one process per worker, each record written as soon as it is done.

A result depends on its job alone, so that the number of workers and the order do not matter. A killed
run is simply started again: finished jobs are found in the store, and a worker whose parent has gone
ends itself, so that nothing works on behind the new run's back.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from archrank.train_ground_truth.recipe import Recipe
from archrank.train_ground_truth.store import Store

Progress = Callable[[int, int, str], None]  # (jobs done, jobs in all, key of the last)


@dataclass(frozen=True)
class Setup:
    """What every worker loads once before its first job."""

    recipe: Recipe
    data_path: str
    device: str = "auto"

    def load(self) -> Any:
        """The recipe's data on the device (`archrank.train_ground_truth.batches.DeviceData`)."""
        from archrank.train_ground_truth.batches import prepare_data
        from archrank.train_ground_truth.data import load_images

        size = self.recipe.space.image_size * self.recipe.data.pool
        return prepare_data(load_images(self.data_path, size), self.recipe, self.device)


class Job(Protocol):
    """One unit of work. It is pickled to a worker, claims `key`, and writes its records itself."""

    @property
    def key(self) -> str: ...

    def run(self, setup: Setup, data: Any, store: Store) -> None: ...


class WorkerLostError(RuntimeError):
    """Workers died again and again (out of memory?); finished records are in the store."""


def run_jobs(
    jobs: Sequence[Job],
    setup: Setup,
    store: Store,
    *,
    workers: int = 1,
    retries: int = 3,
    progress: Progress | None = None,
) -> int:
    """Run the jobs whose record is not in the store yet.

    Parameters
    ----------
    workers
        Processes; 1 works in this process.
    retries
        How often in a row, without a job finishing, lost workers are replaced.

    Returns
    -------
    Number of jobs that this call ran.

    Raises
    ------
    WorkerLostError
        When workers keep dying.
    """
    done = set(store.keys())
    todo = [job for job in jobs if job.key not in done or store.read(job.key) is None]
    total, finished = len(jobs), len(jobs) - len(todo)
    report = progress or (lambda *_: None)
    report(finished, total, "")
    if workers <= 1:
        data = setup.load() if todo else None
        for job in todo:
            _run_one(job, setup, data, store)
            finished += 1
            report(finished, total, job.key)
        return len(todo)

    lost = 0
    pending = {job.key: job for job in todo}
    while pending:
        before = len(pending)
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(
            min(workers, len(pending)), context, initializer=_start_worker, initargs=(setup, store.folder)
        )
        try:
            futures = {pool.submit(_work, job): key for key, job in pending.items()}
            for future in as_completed(futures):
                future.result()
                key = futures[future]
                del pending[key]
                finished += 1
                report(finished, total, key)
        except BrokenProcessPool:
            lost = 0 if len(pending) < before else lost + 1
            if lost > retries:
                raise WorkerLostError(
                    f"workers died {lost} times in a row without finishing a job (next: {next(iter(pending))}); "
                    "lower --workers if memory is short. Finished records are kept, start again to go on"
                ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return len(todo)


def _run_one(job: Job, setup: Setup, data: Any, store: Store) -> None:
    with store.claim(job.key) as mine:
        if mine:
            job.run(setup, data, store)


# -- inside a worker --------------------------------------------------------------------------------

_worker: dict[str, Any] = {}


def _start_worker(setup: Setup, store: Path) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The cores belong to the workers; libraries that start threads of their own would only fight.
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    _worker.update(setup=setup, data=setup.load(), store=Store(store))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: Job) -> None:
    _run_one(job, _worker["setup"], _worker["data"], _worker["store"])
