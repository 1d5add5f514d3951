"""What jobs, workers and launchers know of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from archrank.train_ground_truth.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from archrank.train_ground_truth.data import Images

Progress = Callable[[int, int, str], None]  # (jobs done, jobs in all, key of the last or what is waited for)
OUT_OF_MEMORY = "out-of-memory"  # status of a record that stands for a job that ran out of memory


@dataclass(frozen=True)
class Setup:
    """What every worker loads once before its first job."""

    recipe: Recipe
    data_path: str
    device: str = "auto"

    def images(self) -> Images:
        """The decoded images, on the CPU."""
        from archrank.train_ground_truth.data import load_images

        return load_images(self.data_path, self.recipe.space.image_size * self.recipe.data.pool)

    def place(self, images: Images) -> Any:
        """Images on the device, as the recipe says (`archrank.train_ground_truth.batches.DeviceData`)."""
        from archrank.train_ground_truth.batches import prepare_data

        return prepare_data(images, self.recipe, self.device)


class Records(Protocol):
    """What a job sees of its store; on another machine `ray_launcher.RecordSink` takes its place."""

    def read(self, key: str) -> dict[str, Any] | None: ...

    def write(self, key: str, record: dict[str, Any]) -> None: ...

    def has_weights(self, key: str) -> bool: ...

    def weights(self, key: str, folder: str | None = None) -> dict[str, Tensor]: ...

    def checkpoint(self, key: str) -> Path | None: ...


class Job(Protocol):
    """One unit of work, pickled to a worker.

    A job may also have

    ``keys: tuple[str, ...]``
        all records that it makes, if there are others beside `key`;
    ``needs: tuple[tuple[str | None, str], ...]``
        weights that it reads, as (folder of the store, None for its own; key), so that they can travel;
    ``keep_weights: bool``, ``columns: tuple[str, ...]``
        that its records have weights, and these metrics: it is run again where they lack them (see `missing`);
    ``failure(setup: Setup, images: str, status: str) -> dict[str, dict]``
        the records, by key, that stand for a job that ran out of memory (`images` is the sha256 of the
        store's images, `status` is `OUT_OF_MEMORY`). A job without it counts as failed.
    """

    @property
    def key(self) -> str: ...

    def run(self, setup: Setup, data: Any, store: Records) -> None: ...


def keys_of(job: Job) -> tuple[str, ...]:
    """Keys of all records that a job makes."""
    return getattr(job, "keys", None) or (job.key,)


def missing(job: Job, store: Records) -> tuple[str, ...]:
    """Keys of the records that a job has to make: not there, or without weights or columns that it asks for.

    One that says that memory ran out is as complete as it can be.
    """
    keep: bool = getattr(job, "keep_weights", False)
    columns: set[str] = set(getattr(job, "columns", ()))

    def complete(key: str) -> bool:
        record = store.read(key)
        if record is None or record.get("status") == OUT_OF_MEMORY:
            return record is not None
        return columns <= record["metrics"].keys() and (not keep or store.has_weights(key))

    return tuple(key for key in keys_of(job) if not complete(key))


class Outcome(NamedTuple):
    """How an attempt ended.

    ``done``; ``made`` before by somebody else; ``held``: somebody else works on it; ``again``: not begun,
    nobody's fault; ``memory``, ``error``: failed, with `text`; ``fatal``: the whole run fails with `error`.
    """

    kind: Literal["done", "made", "held", "again", "memory", "error", "fatal"]
    text: str = ""
    error: Exception | None = None


class Crew(Protocol):
    """Those who work: processes here, tasks elsewhere."""

    @property
    def room(self) -> bool:
        """Whether another job can be started."""

    @property
    def busy(self) -> bool:
        """Whether a started job has not been returned by `wait`."""

    def start(self, job: Job) -> None: ...

    def wait(self, timeout: float | None) -> list[tuple[Job, Outcome]]: ...

    def close(self) -> None: ...
