"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def temporary(target: Path) -> Path:
    """Hidden name beside `target`, with its suffix, that says which process of which machine writes there."""
    return target.with_name(f".part.{this_machine()}.{os.getpid()}.{target.name}")


def this_machine() -> str:
    """Name of this machine, without dots."""
    return socket.gethostname().replace(".", "-")


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A hidden file beside `target` to write; flushed, it takes its place when the body ends without an error."""
    part = temporary(target)
    try:
        yield part
        _flush(part)
        os.replace(part, target)
    finally:
        with suppress(OSError):  # of a disk that can no longer be written, which the body's error tells
            part.unlink()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill; it takes the place of `target` when the body ends without an error.

    A folder that is not empty cannot be replaced in one step, so the old one is moved aside first and comes
    back if the second step fails. A process that is killed between the two leaves it in a hidden folder
    beside `target`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    new, old = scratch / "new", scratch / "old"
    try:
        new.mkdir()  # unlike `scratch`, with the permissions that the user's umask gives
        yield new
        for file in filter(Path.is_file, new.rglob("*")):
            _flush(file)
        if target.exists():
            os.replace(target, old)
        os.replace(new, target)
    finally:
        if old.exists() and not target.exists():
            os.replace(old, target)  # where even this fails, `scratch` stays with the old folder in it
        shutil.rmtree(scratch)


def _flush(file: Path) -> None:
    """Have a file reach the disk before it gets its name."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
