"""What every command prints: tables on stdout, JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
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
def progress(title: str = "") -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on stderr, which stays when all is done if it has a title; without a terminal a line a minute."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _a_line_each_minute(title)
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console, transient=not title) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, total, label: bar.update(task, completed=done, total=total, description=label)


def _a_line_each_minute(title: str) -> Callable[[int, int, str], None]:
    began = last = time.monotonic()
    first: int | None = None  # what was done before, by another run

    def advance(done: int, total: int, label: str) -> None:
        nonlocal last, first
        now = time.monotonic()
        if first is None:
            first = done
        if now - last < _LINE_SECONDS:
            return
        last = now
        line = f"{title} {done} of {total}: {label}".lstrip()
        if done > first:
            left = timedelta(seconds=round((now - began) / (done - first) * (total - done)))
            line += f", about {left} left"
        typer.echo(line, err=True)

    return advance
