"""Things by name: those of archrank, those registered by hand, and those of installed extensions.

An extension is a distribution with an entry point of the group ``archrank.extensions``. It names a module, and
importing that registers whatever it has::

    [project.entry-points."archrank.extensions"]
    mine = "my_package.for_archrank"

Extensions are imported when a name is unknown or names are listed, and so cost nothing otherwise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, Literal, TypeVar

from archrank._errors import there_are

Kind = Literal["tabular", "graph"]
GROUP = "archrank.extensions"


@dataclass(frozen=True)
class Entry:
    """What is registered: a class or function, or ``"module:Class"`` to import on first use, and its kind."""

    factory: str | Callable[..., Any]
    kind: Kind

    def load(self) -> Callable[..., Any]:
        """The factory, imported where it was given by name."""
        if isinstance(self.factory, str):
            module, _, name = self.factory.partition(":")
            factory: Callable[..., Any] = getattr(import_module(module), name)
            return factory
        return self.factory


def _is_own(entry: Entry) -> bool:
    return isinstance(entry.factory, str) and entry.factory.startswith("archrank.")


E = TypeVar("E", bound=Entry)


class Registry(Generic[E]):
    """Entries by name.

    Parameters
    ----------
    what
        What they are, for errors: "predictor".
    reserved
        Characters that names may not contain, because they join names.
    """

    def __init__(self, what: str, reserved: str) -> None:
        self.what = what
        self.reserved = reserved
        self.entries: dict[str, E] = {}

    def add(self, name: str, entry: E) -> None:
        """Make an entry known, in place of one of the same name, unless that is archrank's own."""
        if not name or set(name) & set(self.reserved):
            characters = " or ".join(map(repr, self.reserved))
            raise ValueError(f"{self.what} {name!r}: a name must not be empty or contain {characters}")
        if name in self.entries and _is_own(self.entries[name]) and not _is_own(entry):
            raise ValueError(f"{self.what} {name!r} is archrank's own; register yours by another name")
        self.entries[name] = entry

    def names(self, kind: Kind | None = None) -> list[str]:
        """Sorted names, of one kind or of all."""
        load_extensions()
        return sorted(name for name, entry in self.entries.items() if kind in (None, entry.kind))

    def find(self, name: str, kind: Kind | None = None) -> E:
        """The entry of a name; an error for an unknown one lists those of the kind."""
        if name not in self.entries:
            load_extensions()
        if name not in self.entries:
            raise ValueError(f"unknown {self.what} {name!r}; {there_are(name, self.names(kind))}")
        return self.entries[name]

    def name_of(self, thing: Any) -> str:
        """The name under which the class of a thing is registered."""
        # Comparing names spares the import of the libraries of every entry.
        path = f"{type(thing).__module__}:{type(thing).__qualname__}"
        for name, entry in self.entries.items():
            if entry.factory == path or entry.factory is type(thing):
                return name
        raise ValueError(f"{type(thing).__name__} is not registered; call register_{self.what} first")


@cache
def load_extensions() -> None:
    """Import the modules of installed extensions, once; one that fails is skipped with a warning."""
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            warnings.warn(
                f"extension {point.name!r} ({point.value}) of archrank cannot be imported ({reason}); "
                "mend or uninstall it",
                stacklevel=2,
            )
