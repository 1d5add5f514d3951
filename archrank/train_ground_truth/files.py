"""Files that are written whole or not at all, and what killed processes leave of them."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

from archrank._swap import new_file, this_machine

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_A_DAY = 86_400.0


class StoreError(ValueError):
    """A store that cannot be used as asked; the message names the folder and the cure."""


def unwritable(path: Path, error: OSError) -> StoreError:
    """One line for a file or folder that could not be written: what, why and the cure."""
    if error.errno in DISK_FULL:
        cure = "free some space"
    elif error.errno in _FORBIDDEN:
        cure = "make it writable or give another --out"
    else:
        cure = "mend this"
    return StoreError(
        f"cannot write {path}: {error.strerror or error}; {cure} and run the same command again, "
        "every finished record is kept"
    )


def write_atomically(file: Path, content: bytes) -> None:
    """`archrank._swap.new_file`, with an error that names the cure.

    Raises
    ------
    StoreError
        If the disk is full or the folder cannot be written; the temporary file is gone again.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with new_file(file) as part:
            part.write_bytes(content)
    except OSError as error:
        raise unwritable(file, error) from None


def remove_stale(folder: Path) -> None:
    """Remove temporary files in `folder` and below whose process is dead.

    Of processes on other machines only the age is known: their files go after a day.
    """
    for part in folder.rglob(".part.*"):
        machine, pid, *_ = part.name.removeprefix(".part.").split(".")
        with contextlib.suppress(OSError):
            if machine == this_machine() and pid.isdigit():
                stale = not _alive(int(pid))
            else:
                stale = time.time() - part.stat().st_mtime > _A_DAY
            if stale:
                part.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, of another user
        return True
    return True
