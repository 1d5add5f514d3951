"""What every command prints: tables on stdout, JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

_LINE_SECONDS = 60.0


def show(what: Any) -> None:
    """To stdout; in a pipe wide enough that no table is folded."""
    from rich.console import Console

    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(width=160)
    console.print(what, highlight=False, markup=False)


def emit(result: Any) -> None:
    """One JSON object on stdout."""
    typer.echo(json.dumps(result, indent=1, allow_nan=False))


@contextmanager
def progress() -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on stderr; where that is no terminal, a line each minute."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _a_line_each_minute()
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting")
        yield lambda done, total, label: bar.update(task, completed=done, total=total, description=label)


def _a_line_each_minute() -> Callable[[int, int, str], None]:
    last = time.monotonic()

    def advance(done: int, total: int, label: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_SECONDS:
            last = time.monotonic()
            typer.echo(f"{done} of {total}: {label}", err=True)

    return advance
