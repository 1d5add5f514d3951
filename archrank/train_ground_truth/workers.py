"""Local workers: this process, or processes of their own, each on its device."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from archrank._errors import one_line
from archrank.train_ground_truth.attempt import attempt_claimed, empty_cache, load_images, out_of_memory, portable
from archrank.train_ground_truth.contract import Job, Outcome, Setup
from archrank.train_ground_truth.ledger import CampaignError
from archrank.train_ground_truth.store import Store

_START_METHOD = "spawn"  # CUDA and OpenMP do not survive a fork
_WORKING = "working"  # what a worker says when it has a job in hand


def worker_device(device: str, index: int, cuda_devices: int) -> str:
    """Device of worker `index` on a machine with so many CUDA devices.

    ``auto`` and ``cuda`` go round the CUDA devices; without any, ``auto`` is the CPU. Every other name
    is that of one device, which all workers share.

    Examples
    --------
    >>> [worker_device("auto", i, 2) for i in range(3)]
    ['cuda:0', 'cuda:1', 'cuda:0']
    >>> worker_device("auto", 0, 0)
    'cpu'
    """
    if device in ("auto", "cuda") and cuda_devices:
        return f"cuda:{index % cuda_devices}"
    if device == "cuda":
        raise ValueError("device 'cuda' was asked for, but torch sees no CUDA device; use auto or cpu")
    return "cpu" if device == "auto" else device


def _cuda_devices() -> int:
    import torch

    return torch.cuda.device_count()


class ThisProcess:
    """Works in this process, one job at a time."""

    def __init__(self, setup: Setup, store: Store) -> None:
        self._setup = replace(setup, device=worker_device(setup.device, 0, _cuda_devices()))
        self._store = store
        self._data: Any = None
        self._job: Job | None = None

    @property
    def room(self) -> bool:
        return self._job is None

    @property
    def busy(self) -> bool:
        return self._job is not None

    def start(self, job: Job) -> None:
        self._job = job

    def wait(self, timeout: float | None) -> list[tuple[Job, Outcome]]:
        assert self._job is not None
        job, self._job = self._job, None
        if self._data is None:
            try:
                self._data = self._setup.place(load_images(self._setup, self._store))
            except Exception as error:
                if not out_of_memory(error):
                    raise
                text = f"the images find no memory on {self._setup.device} ({one_line(error)}); free some, or give "
                return [(job, Outcome("fatal", error=CampaignError(f"{text}another --device", {})))]
        return [(job, attempt_claimed(job, self._setup, self._data, self._store))]

    def close(self) -> None:
        """Give back the images' memory: a second chance, in a process of its own, needs what there is."""
        self._data = None
        empty_cache()


class Processes:
    """Worker processes; one that dies is replaced, and only the job that it had in hand is blamed.

    Parameters
    ----------
    workers
        How many.
    patience
        How many in a row may die before they begin a job (short of memory for the images, perhaps).
    """

    def __init__(self, setup: Setup, store: Store, workers: int, patience: int) -> None:
        devices = _cuda_devices()
        self._places = [(replace(setup, device=worker_device(setup.device, i, devices)), store) for i in range(workers)]
        self._workers = [_Worker(*place) for place in self._places]
        self._patience, self._early_deaths = patience, 0

    @property
    def room(self) -> bool:
        return any(w.job is None for w in self._workers)

    @property
    def busy(self) -> bool:
        return any(w.job is not None for w in self._workers)

    def start(self, job: Job) -> None:
        next(w for w in self._workers if w.job is None).give(job)

    def wait(self, timeout: float | None) -> list[tuple[Job, Outcome]]:
        pipes = {w.pipe: i for i, w in enumerate(self._workers) if w.job is not None}
        settled = []
        for pipe in wait(list(pipes), timeout):
            index = pipes[pipe]  # type: ignore[index]
            worker = self._workers[index]
            job = worker.job
            assert job is not None
            outcome = worker.listen()
            if outcome is None:
                self._early_deaths = 0
                continue
            settled.append((job, self._count(outcome)))
            if not worker.usable:
                worker.end()
                self._workers[index] = _Worker(*self._places[index])
        return settled

    def _count(self, outcome: Outcome) -> Outcome:
        self._early_deaths += outcome.kind == "again"
        if self._early_deaths <= self._patience:
            return outcome
        text = (
            f"{self._early_deaths} workers in a row died before they began a job ({outcome.text}); "
            "lower --workers if memory is short. Finished records are kept"
        )
        return Outcome("fatal", error=CampaignError(text, {}))

    def close(self) -> None:
        for worker in self._workers:
            worker.end()


class _Worker:
    """One worker process, seen from its parent."""

    def __init__(self, setup: Setup, store: Store) -> None:
        context = multiprocessing.get_context(_START_METHOD)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, setup, store.folder), daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()  # so that the pipe ends with the process
        self.job: Job | None = None
        self.usable = True
        self._cuda = setup.device.startswith("cuda")
        self._in_hand = False
        self._kills = 0

    def give(self, job: Job) -> None:
        self.job, self._in_hand, self._kills = job, False, _kernel_kills()
        with suppress(OSError):  # it is dead: `listen` finds out
            self.pipe.send(job)

    def listen(self) -> Outcome | None:
        """How the job ended, None for the news that it has begun."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            message = self._death()
        if message == _WORKING:
            self._in_hand = True
            return None
        self.job = None
        # After an error on a GPU its context may be broken, or its cache full.
        self.usable = self.usable and not (self._cuda and message.kind in ("error", "memory"))
        outcome: Outcome = message
        return outcome

    def _death(self) -> Outcome:
        self.usable = False
        self.process.join()
        code = self.process.exitcode or 0
        how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if not self._in_hand:
            return Outcome("again", f"its worker was {how}")
        if code == -signal.SIGKILL and _kernel_kills() > self._kills:
            return Outcome("memory", "the kernel killed its worker, because the machine ran out of memory")
        return Outcome("error", f"its worker died while working on it: {how}")

    def end(self) -> None:
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _kernel_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not say.

    This tells its SIGKILL from anybody else's, which says nothing of the job.
    """
    with suppress(OSError), open("/proc/vmstat") as lines:
        for line in lines:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


# -- inside a worker --------------------------------------------------------------------------------


def _serve(pipe: Connection, setup: Setup, folder: Path) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    # The cores belong to the workers; libraries that start threads of their own would only fight.
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        import torch

        torch.set_num_threads(1)
        store = Store(folder)
        data = setup.place(load_images(setup, store))
        while True:
            job = pipe.recv()
            pipe.send(_WORKING)
            pipe.send(attempt_claimed(job, setup, data, store))
    except EOFError:
        return
    except Exception as error:
        if out_of_memory(error):  # before a job was begun: neighbours may need less in a moment
            raise SystemExit(1) from None
        pipe.send(Outcome("fatal", error=portable(error)))


def _end_with_parent() -> None:
    """A worker whose parent is gone must not work on behind the back of the next run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
