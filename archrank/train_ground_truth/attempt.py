"""One attempt at a job, inside whatever process works on it."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archrank.train_ground_truth.contract import Job, Outcome, Records, Setup, keys_of, missing
from archrank.train_ground_truth.files import DISK_FULL, StoreError, unwritable
from archrank.train_ground_truth.store import Store

if TYPE_CHECKING:
    from archrank.train_ground_truth.data import Images

# Plain RuntimeErrors: torch's allocator for the CPU; CUDA and Triton outside torch's allocator; cuBLAS and cuDNN;
# and cuDNN where no plan for a convolution finds the memory that it works in.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED", "unable to find an engine")


def load_images(setup: Setup, store: Store) -> Images:
    """The images of `setup`, if they are those of the store.

    Raises
    ------
    StoreError
        If they have changed since the store was opened.
    """
    images = setup.images()
    if images.sha256 != store.images:
        raise StoreError(
            f"{setup.data_path} has changed: {store.folder} holds results on images {store.images[:12]}, "
            f"now they are {images.sha256[:12]}; restore them or give another --out"
        )
    return images


def attempt(job: Job, setup: Setup, data: Any, store: Records) -> Outcome:
    """Run a job and say how it ended; what it held of a GPU is given back to its neighbours."""
    outcome = _attempt(job, setup, data, store)
    empty_cache()  # now that no traceback holds the tensors
    return outcome


def empty_cache() -> None:
    """Give the GPU what torch keeps of it for later."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def _attempt(job: Job, setup: Setup, data: Any, store: Records) -> Outcome:
    try:
        job.run(setup, data, store)
    except StoreError as error:
        return Outcome("fatal", error=error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return Outcome("fatal", error=unwritable(Path(error.filename or setup.data_path), error))
        return Outcome("memory" if out_of_memory(error) else "error", traceback.format_exc())
    return Outcome("done")


def attempt_claimed(job: Job, setup: Setup, data: Any, store: Store) -> Outcome:
    """`attempt`, unless somebody else works on the job or has done it."""
    try:
        with store.claim(*keys_of(job), enough=lambda: not missing(job, store)) as mine:
            if mine:
                return attempt(job, setup, data, store)
    except StoreError as error:
        return Outcome("fatal", error=error)
    return Outcome("held" if missing(job, store) else "made")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the CPU or on a GPU."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def portable(error: Exception) -> Exception:
    """The error, or one that says the same if it cannot travel between processes."""
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    except Exception:
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")
