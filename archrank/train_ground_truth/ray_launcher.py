"""Jobs as tasks on a Ray cluster that runs already.

Nodes need archrank and its dependencies, but neither the images nor the store: the driver reads the
images and whatever weights a job `needs`, they travel through Ray's object store, and records travel
back to the driver, which writes them. On a CPU a worker process places the images once for all its tasks;
on a GPU Ray ends the process with each task, which frees the GPU, and the next one places them again.

The driver holds the store's lock of every job in flight, so that Ray runs and local runs share a store.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archrank.train_ground_truth.attempt import attempt, load_images, out_of_memory, portable
from archrank.train_ground_truth.contract import Job, Outcome, Setup, keys_of, missing
from archrank.train_ground_truth.ledger import CampaignError
from archrank.train_ground_truth.store import Store, StoreError

if TYPE_CHECKING:
    from torch import Tensor

Need = tuple[str | None, str]  # (folder of a store, None for the job's own; key)
_QUEUED_PER_SLOT = 2  # a node that is done finds its next task waiting


@dataclass
class RecordSink:
    """Stands for the store where there is none; see `contract.Records`.

    Parameters
    ----------
    known
        Records of the job that the store has already.
    kept
        Keys of those whose weights it has too.
    carried
        Weights that came with the task.
    """

    known: dict[str, dict[str, Any]]
    kept: frozenset[str]
    carried: dict[Need, dict[str, Tensor]]
    written: dict[str, dict[str, Any]] = field(default_factory=dict)

    def read(self, key: str) -> dict[str, Any] | None:
        """A record of this job, None if it is still to be made."""
        return self.written.get(key, self.known.get(key))

    def write(self, key: str, record: dict[str, Any]) -> None:
        """Keep a record for the way back."""
        self.written[key] = record

    def has_weights(self, key: str) -> bool:
        """Whether the store has weights with a record of this job, or will have."""
        return key in self.kept or "weights" in self.written.get(key, {})

    def weights(self, key: str, folder: str | None = None) -> dict[str, Tensor]:
        """Weights that the job said it needs.

        Raises
        ------
        StoreError
            If it did not say so.
        """
        if (folder, key) not in self.carried:
            raise StoreError(f"the weights of {key} (store {folder or 'of the run'}) are not among the job's needs")
        return self.carried[folder, key]

    def checkpoint(self, key: str) -> Path | None:
        """None: another node could not go on from a file of this one."""
        return None


class RayTasks:
    """A crew of Ray tasks, one per job.

    Parameters
    ----------
    per_gpu
        Networks at once on one GPU: each task asks for 1 / `per_gpu` of it.
    alone
        One task at a time, with a GPU to itself.

    Raises
    ------
    CampaignError
        If ray is not installed, there is no cluster, or it has no free resources of the kind.
    """

    def __init__(self, setup: Setup, store: Store, per_gpu: int, alone: bool = False) -> None:
        self._ray = _connect()
        has_gpus = self._ray.cluster_resources().get("GPU", 0) > 0
        on_gpu = setup.device.startswith("cuda") or (setup.device == "auto" and has_gpus)
        self._unit, self._share = ("GPU", 1 / max(1, per_gpu)) if on_gpu else ("CPU", 1.0)
        if self._ray.cluster_resources().get(self._unit, 0) < self._share:
            raise CampaignError(f"the Ray cluster has no {self._unit}; add a node that has", {})
        self._alone = alone
        self._setup = replace(setup, device="cuda" if on_gpu else "cpu")
        self._store = store
        # A reference inside a list is not fetched until the worker asks, which it does once per process.
        self._images = [self._ray.put(load_images(setup, store))]
        self._carried: dict[Need, Any] = {}
        self._claims: dict[str, ExitStack] = {}
        self._running: dict[Any, Job] = {}
        self._settled: list[tuple[Job, Outcome]] = []
        # Ray's own retries are off: the ledger counts and repeats, with every launcher in the same way.
        self._task = self._ray.remote(num_cpus=1, num_gpus=self._share if on_gpu else 0, max_retries=0)(_work)

    @property
    def room(self) -> bool:
        slots = int(self._ray.cluster_resources().get(self._unit, 0) / self._share)
        return len(self._running) < (1 if self._alone else max(1, slots * _QUEUED_PER_SLOT))

    @property
    def busy(self) -> bool:
        return bool(self._running or self._settled)

    def start(self, job: Job) -> None:
        keys = keys_of(job)
        claim = ExitStack()
        if not claim.enter_context(self._store.claim(*keys, enough=lambda: not missing(job, self._store))):
            claim.close()
            self._settled.append((job, Outcome("held" if missing(job, self._store) else "made")))
            return
        self._claims[job.key] = claim
        known = {key: record for key in keys if (record := self._store.read(key)) is not None}
        kept = frozenset(key for key in keys if self._store.has_weights(key))
        needs: tuple[Need, ...] = getattr(job, "needs", ())
        carried = {need: self._carry(need) for need in needs}
        self._running[self._task.remote(job, self._setup, self._images, known, kept, carried)] = job

    def _carry(self, need: Need) -> Any:
        if need not in self._carried:
            folder, key = need
            self._carried[need] = self._ray.put(self._store.weights(key, folder))
        return self._carried[need]

    def wait(self, timeout: float | None) -> list[tuple[Job, Outcome]]:
        settled, self._settled = self._settled, []
        if settled:
            return settled
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        for reference in ready:
            job = self._running.pop(reference)
            with self._claims.pop(job.key):
                settled.append((job, self._bring_in(reference, job)))
        return settled

    def _bring_in(self, reference: Any, job: Job) -> Outcome:
        """Write what a task made."""
        try:
            outcome, records = self._ray.get(reference)
        except self._ray.exceptions.OutOfMemoryError as error:
            return Outcome("memory", str(error))
        except self._ray.exceptions.RayError as error:
            return Outcome("error", f"its task came to nothing: {type(error).__name__}: {error}")
        for key, record in records.items():
            self._store.write(key, record)
        done: Outcome = outcome
        if done.kind != "again":
            return done
        if self._alone:
            self._store.clear_error(job.key)  # it is not to blame
            text = f"the images find no memory, with no other job of this run beside them: {done.text}"
            return Outcome("fatal", error=CampaignError(text, {}))
        return done._replace(kind="memory")  # a second chance with nothing beside it

    def close(self) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        for claim in self._claims.values():
            claim.close()


def _connect() -> Any:
    try:
        import ray
    except ImportError:
        raise CampaignError("--launcher ray needs Ray; install it with: pip install 'archrank[ray]'", {}) from None
    if not ray.is_initialized():
        try:
            ray.init(address="auto", log_to_driver=False)
        except ConnectionError as error:
            raise CampaignError(f"no Ray cluster found ({error}); start one with: ray start --head", {}) from None
    return ray


# -- inside a task ----------------------------------------------------------------------------------

_placed: dict[Setup, Any] = {}


def _work(
    job: Job,
    setup: Setup,
    images: list[Any],
    known: dict[str, dict[str, Any]],
    kept: frozenset[str],
    carried: dict[Need, Any],
) -> tuple[Outcome, dict[str, dict[str, Any]]]:
    import ray
    import torch

    torch.set_num_threads(1)
    if setup not in _placed:
        try:
            _placed[setup] = setup.place(ray.get(images[0]))
        except Exception as error:
            if out_of_memory(error):  # says nothing of the job, and neighbours may need less in a moment
                return Outcome("again", str(error)), {}
            return Outcome("fatal", error=portable(error)), {}
    sink = RecordSink(known, kept, {need: ray.get(reference) for need, reference in carried.items()})
    outcome = attempt(job, setup, _placed[setup], sink)
    return outcome, sink.written
