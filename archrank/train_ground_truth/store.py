"""A store of training results: one file per finished network or block, written whole or not at all.

::

    STORE/store.json                 format version, recipe, images: a store holds one of each
    STORE/store.lock                 held while store.json is written
    STORE/records/KEY.json           one record; its sha256 is inside
    STORE/records/KEY.json.damaged   what was found damaged, before it was made anew
    STORE/weights/KEY.safetensors    the weights, where they were asked for
    STORE/checkpoints/KEY.pt         an unfinished training after its last kept epoch
    STORE/errors/KEY.txt             traceback of a job that failed and has no record since
    STORE/locks/KEY.lock             held while somebody works on KEY; dies with its process

Any number of processes, of one run or several, may work on one store.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from archrank.train_ground_truth.files import StoreError, remove_stale, unwritable, write_atomically
from archrank.train_ground_truth.recipe import Recipe, RecipeError, recipe_from_dict

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1
_RECORDS = "[!.]*.json"  # hidden files are being written

# Settings that are in neither hash of a recipe, and how the keys of the records begin that they alter.
APART = {
    "kd.alpha": "distilled-",
    "kd.temperature": "distilled-",
    "kd.top_k": "distilled-topk-",
    "finetune.lr": "finetuned-",
    "finetune.epochs": None,  # the number of epochs is in the key
}

__all__ = ["FORMAT_VERSION", "Store", "StoreError", "record_key", "write_atomically"]


class Store:
    """Records of one recipe on one set of images.

    Parameters
    ----------
    folder
        Created by `Store.create`, opened by ``Store(folder)``.

    Raises
    ------
    StoreError
        If `folder` is no store, its store.json is damaged or was written by a newer archrank.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        file = self.folder / "store.json"
        try:
            head = json.loads(file.read_bytes())
            version, recipe, self.images = int(head["format_version"]), head["recipe"], str(head["images"])
            if version > FORMAT_VERSION:
                raise StoreError(
                    f"{self.folder} has format version {version}, this archrank reads up to {FORMAT_VERSION}; "
                    "install a newer archrank"
                )
            self.recipe: Recipe = recipe_from_dict(recipe)
        except FileNotFoundError:
            raise StoreError(f"{self.folder} is not a store (no store.json); `archrank train` makes one") from None
        except (StoreError, RecipeError):
            raise
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
            raise StoreError(
                f"{file} is damaged ({type(error).__name__}: {error}); delete it and run the same `archrank train` or "
                "`archrank distill` command again, which writes it anew; the records beside it are whole"
            ) from None

    @classmethod
    def create(cls, folder: str | Path, recipe: Recipe, images: str) -> Store:
        """Open `folder` for `recipe` and the images of that sha256, making it if need be.

        Settings of ``[kd]`` and ``[finetune]`` may be others than before as long as no record was made with them.

        Raises
        ------
        StoreError
            If the folder holds records of another recipe or of other images, or cannot be written.
        """
        path = Path(folder)
        if not (path / "store.json").exists():
            for file in sorted((path / "records").glob(_RECORDS)):
                _check(path, _read(file) or {}, recipe, images)  # all of them: some kinds name no recipe or no images
            try:
                path.mkdir(parents=True, exist_ok=True)
                with FileLock(path / "store.lock"):
                    if not (path / "store.json").exists():
                        _write_head(path, recipe, images)
            except OSError as error:
                raise unwritable(path, error) from None
        store = cls(path)
        mine = store.recipe
        found = {"recipe": mine.name, "recipe_hash": mine.hash, "distill_hash": mine.distill_hash}
        _check(path, {**found, "images": store.images}, recipe, images)
        if (mine.kd, mine.finetune) == (recipe.kd, recipe.finetune):
            return store
        try:
            with FileLock(path / "store.lock"):
                return cls(path)._adopt(recipe)
        except OSError as error:
            raise unwritable(path, error) from None

    def _adopt(self, recipe: Recipe) -> Store:
        """Take over the settings that no hash covers, unless there are records that were made with others."""
        for setting, prefix in APART.items():
            part, name = setting.split(".")
            mine, asked = (getattr(getattr(r, part), name) for r in (self.recipe, recipe))
            if mine != asked and prefix is not None and self._begun(prefix):
                raise StoreError(
                    f"{self.folder} holds {prefix.rstrip('-')} networks of {setting} = {mine}, recipe {recipe.name!r} "
                    f"says {asked}; give another --out, a store never mixes recipes (teachers and blocks may be taken "
                    "from this one)"
                )
        self.recipe = replace(self.recipe, kd=recipe.kd, finetune=recipe.finetune)
        _write_head(self.folder, self.recipe, self.images)
        return self

    def _begun(self, prefix: str) -> bool:
        """Whether there are records whose keys begin so, or somebody works on one."""
        if any(key.startswith(prefix) for key in self.keys()):
            return True
        keys = [file.stem for file in (self.folder / "locks").glob(f"{prefix}*.lock")]
        with ExitStack() as locks:
            return not all(self._lock(key, locks) for key in keys)

    def check_source(self, recipe: Recipe, images: str, *, blocks: bool = False) -> None:
        """See that weights of this store are those that `recipe` would make: their keys do not say whose they are.

        Parameters
        ----------
        recipe, images
            The recipe, and the sha256 of the images, of those who ask for the weights.
        blocks
            They ask for distilled blocks, instead of networks trained from scratch.

        Raises
        ------
        StoreError
            If the recipe or the images of this store are others.
        """
        what = "distilled blocks" if blocks else "networks"
        mine, asked = (r.distill_hash if blocks else r.hash for r in (self.recipe, recipe))
        if mine != asked:
            raise StoreError(
                f"{self.folder} holds {what} of recipe {self.recipe.name!r} ({mine}), they cannot be taken for those "
                f"of {recipe.name!r} ({asked}); give a store of the same recipe"
            )
        if self.images != images:
            raise StoreError(
                f"{self.folder} holds {what} of images {self.images[:12]}, they cannot be taken for those of images "
                f"{images[:12]}; give a store of the same images"
            )

    # -- records ------------------------------------------------------------------------------

    def keys(self) -> list[str]:
        """Keys of all records, sorted; damaged ones included."""
        return sorted(f.stem for f in (self.folder / "records").glob(_RECORDS))

    def read(self, key: str) -> dict[str, Any] | None:
        """One record, or None if there is none or it is damaged (`claim` then lets it be made anew)."""
        return _read(self._record(key))

    def read_all(self) -> dict[str, dict[str, Any]]:
        """All whole records by key; damaged ones are left out with a warning."""
        found = {key: self.read(key) for key in self.keys()}
        damaged = [key for key, record in found.items() if record is None]
        if damaged:
            warnings.warn(
                f"{self.folder}: {len(damaged)} damaged records are left out, the first is {damaged[0]}; "
                "run the command that made them again",
                stacklevel=2,
            )
        return {key: record for key, record in found.items() if record is not None}

    def write(self, key: str, record: dict[str, Any]) -> None:
        """Write one record, its ``weights`` (if any) first, each whole or not at all.

        Raises
        ------
        StoreError
            If the disk is full or the folder cannot be written; nothing half-written stays.
        """
        weights = record.get("weights")
        if weights is not None:
            from safetensors.torch import save

            write_atomically(self.folder / "weights" / f"{key}.safetensors", save(weights))
        plain = _without_nan({k: v for k, v in record.items() if k != "weights"})
        content = {"sha256": _digest(plain), "record": plain}
        write_atomically(self._record(key), json.dumps(content).encode())

    def has_weights(self, key: str) -> bool:
        """Whether weights were kept with a record."""
        return (self.folder / "weights" / f"{key}.safetensors").exists()

    def weights(self, key: str, folder: str | None = None) -> dict[str, Tensor]:
        """The weights that were kept with a record of this store, or of the store in `folder`.

        Raises
        ------
        StoreError
            If there are none or the file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        home = self.folder if folder is None else Path(folder)
        file = home / "weights" / f"{key}.safetensors"
        if not file.exists():
            raise StoreError(
                f"{home} has no weights of {key}; run the command that made it, or makes it, with --keep-weights"
            )
        try:
            return dict(load_file(file))
        except SafetensorError as error:
            raise StoreError(f"{file} is damaged ({error}); delete it and its record, and train it again") from None

    def checkpoint(self, key: str) -> Path | None:
        """Where an unfinished training may keep its state between epochs."""
        return self.folder / "checkpoints" / f"{key}.pt"

    # -- work in progress -----------------------------------------------------------------------

    @contextmanager
    def claim(self, *keys: str, enough: Callable[[], bool] = lambda: True) -> Iterator[bool]:
        """Hold the right to make these records; False if somebody else holds one or all are made.

        Whoever holds it finds damaged records out of the way: each was moved to ``KEY.json.damaged``.

        Parameters
        ----------
        enough
            Asked where all are made, once they are held: False to make them again, for example with weights.
        """
        with ExitStack() as locks:
            try:
                held = all(self._lock(key, locks) for key in keys)
                sound = held and all([self._sound(key) for key in keys])  # noqa: C419 (each is set aside)
                mine = held and not (sound and enough())
            except OSError as error:
                raise unwritable(self.folder, error) from None
            if not held:
                locks.close()
            yield mine

    def _lock(self, key: str, locks: ExitStack) -> bool:
        folder = self.folder / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            locks.enter_context(FileLock(folder / f"{key}.lock").acquire(timeout=0))
        except Timeout:
            return False
        return True

    def _sound(self, key: str) -> bool:
        """Whether a record is there and whole. Only who holds its lock may move a damaged one: nobody
        else can then have written a good one in its place meanwhile."""
        if self.read(key) is not None:
            return True
        file = self._record(key)
        if file.exists():
            os.replace(file, file.with_suffix(".json.damaged"))
        return False

    def write_error(self, key: str, text: str) -> Path:
        """Keep the traceback of a job that failed; the file it is in."""
        file = self.folder / "errors" / f"{key}.txt"
        write_atomically(file, text.encode())
        return file

    def clear_error(self, key: str) -> None:
        """Remove the traceback of a job that failed earlier and now has its record."""
        (self.folder / "errors" / f"{key}.txt").unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove temporary files that killed processes left behind."""
        remove_stale(self.folder)

    def _record(self, key: str) -> Path:
        return self.folder / "records" / f"{key}.json"


def record_key(code: list[int] | tuple[int, ...], seed: int, variant: str = "normal") -> str:
    """Key of a network's record, for example ``normal-3-14-s0``."""
    return f"{variant}-{'-'.join(str(int(b)) for b in code)}-s{int(seed)}"


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_bytes())
        record: dict[str, Any] = content["record"]
        return _with_nan(record) if content["sha256"] == _digest(record) else None
    except (FileNotFoundError, IsADirectoryError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _write_head(folder: Path, recipe: Recipe, images: str) -> None:
    head = {"format_version": FORMAT_VERSION, "recipe": recipe.to_dict(), "images": images}
    write_atomically(folder / "store.json", json.dumps(head, indent=2).encode())


def _check(folder: Path, found: dict[str, Any], recipe: Recipe, images: str) -> None:
    """What a store's head or a record says must agree with `recipe` and `images`."""
    for kind, asked in (("recipe_hash", recipe.hash), ("distill_hash", recipe.distill_hash)):
        if found.get(kind, asked) != asked:
            raise StoreError(
                f"{folder} holds results of recipe {found['recipe']!r} ({found[kind]}), asked for "
                f"{recipe.name!r} ({asked}); give another --out, a store never mixes recipes"
            )
    if found.get("images", images) != images:
        raise StoreError(
            f"{folder} holds results on images {found['images'][:12]}, the data given is {images[:12]}; "
            "give another --out, a store never mixes data"
        )


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
