"""A store of training results: one file per finished network or block, written whole or not at all.

::

    STORE/store.json                 format version, recipe, images: a store holds one of each
    STORE/records/KEY.json           one record; its sha256 is inside
    STORE/weights/KEY.safetensors    the weights, where they were asked for
    STORE/locks/KEY.lock             held while somebody works on KEY; dies with its process

Any number of processes, of one run or several, may work on one store.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from archrank.train_ground_truth.recipe import Recipe, recipe_from_dict

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1


class StoreError(ValueError):
    """A store that cannot be used as asked; the message names the folder and the cure."""


class Store:
    """Records of one recipe on one set of images.

    Parameters
    ----------
    folder
        Created by `Store.create`, opened by ``Store(folder)``.

    Raises
    ------
    StoreError
        If `folder` is no store or was written by a newer archrank.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        file = self.folder / "store.json"
        try:
            head = json.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            raise StoreError(f"{self.folder} is not a store (no store.json); `archrank train` makes one") from None
        except json.JSONDecodeError as error:
            raise StoreError(
                f"{file} is damaged ({error}); restore it, the records beside it are still whole"
            ) from None
        if head["format_version"] > FORMAT_VERSION:
            raise StoreError(
                f"{self.folder} has format version {head['format_version']}, this archrank reads up to "
                f"{FORMAT_VERSION}; install a newer archrank"
            )
        self.recipe: Recipe = recipe_from_dict(head["recipe"])
        self.images: str = head["images"]

    @classmethod
    def create(cls, folder: str | Path, recipe: Recipe, images: str) -> Store:
        """Open `folder` for `recipe` and the images of that sha256, making it if need be.

        Raises
        ------
        StoreError
            If the folder holds records of another recipe or of other images.
        """
        path = Path(folder)
        if not (path / "store.json").exists():
            path.mkdir(parents=True, exist_ok=True)
            head = {"format_version": FORMAT_VERSION, "recipe": recipe.to_dict(), "images": images}
            write_atomically(path / "store.json", json.dumps(head, indent=2).encode())
        store = cls(path)
        for kind in ("hash", "distill_hash"):
            if getattr(store.recipe, kind) != getattr(recipe, kind):
                raise StoreError(
                    f"{path} holds results of recipe {store.recipe.name!r} ({getattr(store.recipe, kind)}), asked for "
                    f"{recipe.name!r} ({getattr(recipe, kind)}); give another --out, a store never mixes recipes"
                )
        if store.images != images:
            raise StoreError(
                f"{path} holds results on images {store.images[:12]}, the data given is {images[:12]}; "
                "give another --out, a store never mixes data"
            )
        return store

    # -- records ------------------------------------------------------------------------------

    def keys(self) -> list[str]:
        """Keys of all records, sorted; damaged ones included until they are read."""
        return sorted(f.stem for f in (self.folder / "records").glob("*.json"))

    def read(self, key: str) -> dict[str, Any] | None:
        """One record, or None if there is none.

        A damaged record is moved aside (``KEY.json.damaged``), so that it is made anew.
        """
        file = self.folder / "records" / f"{key}.json"
        try:
            content = json.loads(file.read_bytes())
            record: dict[str, Any] = content["record"]
            if content["sha256"] == _digest(record):
                return _with_nan(record)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            pass
        os.replace(file, file.with_suffix(".json.damaged"))
        return None

    def read_all(self) -> dict[str, dict[str, Any]]:
        """All whole records by key."""
        found = ((key, self.read(key)) for key in self.keys())
        return {key: record for key, record in found if record is not None}

    def write(self, key: str, record: dict[str, Any]) -> None:
        """Write one record, its ``weights`` (if any) first, each whole or not at all."""
        weights = record.get("weights")
        if weights is not None:
            self._write_weights(key, weights)
        plain = _without_nan({k: v for k, v in record.items() if k != "weights"})
        content = {"sha256": _digest(plain), "record": plain}
        write_atomically(self.folder / "records" / f"{key}.json", json.dumps(content).encode())

    def forget(self, key: str) -> None:
        """Remove one record, so that it is made anew."""
        (self.folder / "records" / f"{key}.json").unlink(missing_ok=True)

    def weights(self, key: str) -> dict[str, Tensor]:
        """The weights that were kept with a record."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        file = self.folder / "weights" / f"{key}.safetensors"
        if not file.exists():
            raise StoreError(f"{self.folder} has no weights of {key}; train it with --keep-weights")
        try:
            return dict(load_file(file))
        except SafetensorError as error:
            raise StoreError(f"{file} is damaged ({error}); delete it and its record, and train it again") from None

    def _write_weights(self, key: str, weights: dict[str, Tensor]) -> None:
        from safetensors.torch import save

        write_atomically(self.folder / "weights" / f"{key}.safetensors", save(weights))

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Hold the right to make a record; False if somebody else holds it or it is already made."""
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{key}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield self.read(key) is None
        finally:
            lock.release()


def record_key(code: list[int] | tuple[int, ...], seed: int, variant: str = "normal") -> str:
    """Key of a network's record, for example ``normal-3-14-s0``."""
    return f"{variant}-{'-'.join(str(int(b)) for b in code)}-s{int(seed)}"


def write_atomically(file: Path, content: bytes) -> None:
    """Write and flush a temporary file beside `file`, then rename it: all or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _without_nan(value: Any) -> Any:
    """JSON has no NaN or infinity: both become null, numbers that are missing."""
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_nan(record: dict[str, Any]) -> dict[str, Any]:
    metrics = {
        k: [math.nan if x is None else x for x in v] if isinstance(v, list) else math.nan if v is None else v
        for k, v in record.get("metrics", {}).items()
    }
    return {**record, "metrics": metrics}
