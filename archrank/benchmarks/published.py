"""Readers of published tables, by the word that stands before the colon in ``NAME:PATH``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from archrank._registry import Entry, Kind, Registry, load_extensions
from archrank.ground_truth import GroundTruth, TableError

_READERS = "archrank.benchmarks.formats"


@dataclass(frozen=True)
class Format(Entry):
    """How a published table is read.

    Parameters
    ----------
    factory
        From a path to a `GroundTruth`, or ``"module:function"``.
    kind
        Of no meaning here.
    argument
        What stands after the colon: FILE or FOLDER.
    holds
        What a reader finds there, in a few words.
    """

    kind: Kind = "tabular"
    argument: str = "FILE"
    holds: str = ""


_FORMATS: Registry[Format] = Registry("published table", reserved=":/\\.")


def register_benchmark(
    name: str, reader: str | Callable[[str], GroundTruth], *, argument: str = "FILE", holds: str = ""
) -> None:
    """Make a published table known to `archrank.load_benchmark` and the command line as ``NAME:PATH``.

    Parameters
    ----------
    name
        The word before the colon.
    reader
        Function of the path that returns a `GroundTruth`, or its place as ``"module:function"``, imported on
        first use. It passes `archrank.testing.check_benchmark`.
    argument
        What the path is: FILE or FOLDER.
    holds
        What the table holds and its licence, in a few words for ``archrank benchmarks``.

    Raises
    ------
    ValueError
        For an empty name, one that contains a colon, slash or dot, or that of one of archrank's own readers.
    """
    _FORMATS.add(name, Format(reader, argument=argument, holds=holds))


def published(search: bool = True) -> dict[str, Format]:
    """Formats by name; without `search` those of extensions only if these have been imported already."""
    if search:
        load_extensions()
    return _FORMATS.entries


def read_published(name: str, path: str) -> GroundTruth:
    """Read the table of a format at a path.

    Raises
    ------
    TableError
        If it cannot be read, or the reader of an extension returns something else.
    """
    table = _FORMATS.find(name).load()(path)
    if not isinstance(table, GroundTruth):
        raise TableError(
            f"the reader of {name!r} returned {type(table).__name__}, expected GroundTruth; mend the extension"
        )
    return table


def specifications() -> str:
    """All ways to name a published table, for errors: ``blox:FOLDER or ...``."""
    return " or ".join(f"{name}:{form.argument}" for name, form in published().items())


for _name, _argument, _holds in (
    ("blox", "FOLDER", "91,125 CNNs of the BLOX release: base, ext, env, info, bench; no licence stated"),
    ("nas-bench-macro", "FILE", "3,969 macro CNNs, CIFAR-10 accuracy of three seeds, Apache-2.0"),
    ("bossnas-nats", "FOLDER", "32,768 networks of the NATS size space with block scores, no licence stated"),
    ("accel-nasbench", "FILE", "5,125 MnasNet-like networks, ImageNet accuracy and six devices, Apache-2.0"),
):
    register_benchmark(_name, f"{_READERS}.{_name.replace('-', '_')}:read", argument=_argument, holds=_holds)
