"""Run the jobs of a campaign, each record written as soon as it is done.

A result depends on its job alone, so that launcher, workers and order do not matter. A job is done when
its records are there with the weights and columns that it asks for; else it is run, and its records take
the place of the old ones, each in one step. What can go wrong is settled here, for every launcher in the
same way:

- A killed run is simply started again: finished jobs are found in the store.
- Several runs on one store share the work through its locks. Jobs that another run works on are waited
  for, and taken over when that run dies.
- A job that raises, or whose worker dies on it, is tried again after the others, `retries` times; then it
  is given up. The others go on, and the run ends with one `CampaignError` that names it.
- A job that runs out of memory is tried once more alone, when nothing runs beside it. If that fails too
  it gets a record with status ``out-of-memory`` and NaN metrics, which says something of the network.
- A store that cannot be written, or images that cannot be loaded, end the run at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from archrank.train_ground_truth.contract import Crew, Job, Progress, Records, Setup
from archrank.train_ground_truth.ledger import POLL_SECONDS, CampaignError, Ledger
from archrank.train_ground_truth.store import Store

__all__ = ["CampaignError", "Job", "Progress", "Records", "Setup", "run_jobs"]


def run_jobs(
    jobs: Sequence[Job],
    setup: Setup,
    store: Store,
    *,
    workers: int = 1,
    launcher: Literal["local", "ray"] = "local",
    retries: int = 3,
    progress: Progress | None = None,
) -> int:
    """Run the jobs whose records are not all in the store yet, or lack weights or columns that they ask for.

    Parameters
    ----------
    workers
        ``local``: processes; 1 works in this process. On a machine with G CUDA devices worker i uses
        device i mod G, so that several share one. ``ray``: networks at once per GPU; where the cluster has
        none, there is one task per CPU whatever `workers` says.
    launcher
        ``local``, or ``ray`` for the Ray cluster that runs already (``RAY_ADDRESS`` or this machine's).
    retries
        How often a job that raised or lost its worker is tried again.
    progress
        Called with (jobs done, jobs in all, key of the last one or what is waited for).

    Returns
    -------
    Number of jobs that this call ran.

    Raises
    ------
    CampaignError
        When all other jobs are done, if some were given up; at once, if workers die before they begin.
    StoreError
        If the store cannot be written, or weights are wanted of a store of another recipe or of other images.
    """
    _check_sources(jobs, setup, store)
    ledger = Ledger(jobs, setup, store, retries, progress or (lambda *_: None))
    if ledger.todo:
        store.sweep()
        _drive(ledger, _crew(launcher, setup, store, workers, ledger))
    if ledger.hungry:
        ledger.second_chance()
        # A process of its own, so that the kernel's out-of-memory killer does not end this one.
        _drive(ledger, _crew(launcher, setup, store, 1, ledger, alone=True))
    ledger.raise_failures()
    return ledger.ran


def _check_sources(jobs: Sequence[Job], setup: Setup, store: Store) -> None:
    """Keys of teachers and blocks say nothing of recipe and images, so that others would pass for them."""
    needs = {(folder, key.startswith("block-")) for job in jobs for folder, key in getattr(job, "needs", ()) if folder}
    for folder, blocks in sorted(needs):
        Store(folder).check_source(setup.recipe, store.images, blocks=blocks)


def _crew(launcher: str, setup: Setup, store: Store, workers: int, ledger: Ledger, alone: bool = False) -> Crew:
    if launcher == "ray":
        from archrank.train_ground_truth.ray_launcher import RayTasks

        return RayTasks(setup, store, workers, alone=alone)
    if launcher != "local":
        raise ValueError(f"launcher {launcher!r} is not known; expected local or ray")
    from archrank.train_ground_truth.workers import Processes, ThisProcess

    if workers <= 1 and not alone:
        return ThisProcess(setup, store)
    return Processes(setup, store, min(workers, len(ledger.todo)), ledger.retries)


def _drive(ledger: Ledger, crew: Crew) -> None:
    try:
        while ledger.todo or ledger.waiting or crew.busy:
            while ledger.todo and crew.room:
                crew.start(ledger.todo.popleft())
            if crew.busy:
                for job, outcome in crew.wait(POLL_SECONDS if ledger.waiting else None):
                    ledger.settle(job, outcome)
            else:
                time.sleep(POLL_SECONDS)
            ledger.look_again()
    finally:
        crew.close()
