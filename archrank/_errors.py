"""The error of tables and files that cannot be used, and the one line that it takes from others."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 1000  # characters of a message


class TableError(ValueError):
    """A table that cannot be used as it is; the message names the place and the cure.

    Messages quote what a file holds, of whatever length: the middle of a long one is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_shortened(message))


def one_line(error: BaseException) -> str:
    """The text of an error without its line breaks, or its kind if it has none; the middle of a long one left out."""
    return _shortened(" ".join(str(error).split())) or type(error).__name__


def there_are(name: str, known: Iterable[str]) -> str:
    """What there is in place of an unknown name, and which of that may have been meant."""
    names = list(known)
    close = get_close_matches(name, names, n=1)
    return f"there are {', '.join(names)}" + (f"; did you mean {close[0]!r}?" if close else "")


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
