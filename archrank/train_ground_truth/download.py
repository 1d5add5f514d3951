"""Data sets that are downloaded by name: the binary archives of CIFAR-10 and CIFAR-100.

Source: https://www.cs.toronto.edu/~kriz/cifar.html (Krizhevsky, 2009).
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from archrank.train_ground_truth.decode import DataError

URL = "https://www.cs.toronto.edu/~kriz"
# Name: file, MD5 as published on the authors' page.
ARCHIVES = {
    "cifar10": ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
    "cifar100": ("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
}
_CHUNK = 1 << 16


def download(name: str, folder: Path) -> Path:
    """Fetch the archive `name` into `folder`, unless it is there already and whole.

    Parameters
    ----------
    name
        A key of `ARCHIVES`. The environment variable ``ARCHRANK_CIFAR_URL`` names a mirror to ask instead of `URL`.

    Returns
    -------
    Path of the archive, whose MD5 is the published one.

    Raises
    ------
    DataError
        If the server cannot be reached, or what it sent is not the archive; nothing is left behind.
    """
    import pooch

    file, md5 = ARCHIVES[name]
    url = f"{os.environ.get('ARCHRANK_CIFAR_URL', URL).rstrip('/')}/{file}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _Bar(file) as bar, ExitStack() as stack:

            def close_at_the_end(response: Any, **_: Any) -> None:
                """pooch leaves the connection of a failed download open."""
                stack.callback(response.close)

            hooks = {"response": close_at_the_end}
            fetch = pooch.HTTPDownloader(progressbar=bar, chunk_size=_CHUNK, timeout=30, hooks=hooks)
            return Path(pooch.retrieve(url, f"md5:{md5}", file, folder, downloader=fetch))
    # pooch raises ValueError for a wrong checksum; the errors of requests are OSErrors.
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"cannot download {url} ({reason}); try again, set ARCHRANK_CIFAR_URL to a mirror, or give --data the "
            f"path of a {file} that you have"
        ) from None


class _Bar:
    """A progress bar on stderr with the methods that pooch calls."""

    def __init__(self, title: str):
        columns = (TextColumn(f"downloading {title}"), BarColumn(), DownloadColumn())
        self._bar = Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True))
        self._task = self._bar.add_task("", total=None, visible=False)
        self.total = 0

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, n: int) -> None:
        """`n` more bytes have arrived."""
        self._bar.update(self._task, total=self.total or None, advance=n, visible=True)

    def reset(self) -> None:
        """Start again from zero: pooch then adds the whole size."""
        self._bar.reset(self._task)

    def close(self) -> None:
        """Nothing to do: the bar stops with the context."""
