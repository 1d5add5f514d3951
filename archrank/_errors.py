"""The error of tables and files that cannot be used, and the one line that it takes from others."""

from __future__ import annotations


class TableError(ValueError):
    """A table that cannot be used as it is; the message names the place and the cure."""


def one_line(error: BaseException) -> str:
    """The text of an error without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
