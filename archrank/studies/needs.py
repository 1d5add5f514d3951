"""What a study needs of a table, or one line that says what is missing and which command makes it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from archrank.ground_truth import GroundTruth, Signatures, TableError

_MERGE = "then `archrank merge store --out TABLE`"


def ways(bench: GroundTruth, pattern: str) -> list[str]:
    """Variants whose name, without the teacher behind a colon, matches a whole pattern."""
    return [v for v in bench.variants if re.fullmatch(pattern, v.partition(":")[0])]


def need_variants(bench: GroundTruth, study: str, pattern: str, what: str, command: str) -> list[str]:
    """The variants of `ways`, at least one, beside networks trained normally.

    Raises
    ------
    TableError
        Where the table has none, or no network trained normally.
    """
    there = ", ".join(bench.variants)
    if "normal" not in bench.variants:
        raise TableError(
            f"study {study!r} compares with variant 'normal', and table {bench.name!r} has only {there}; "
            f"train the same networks with `archrank train RECIPE --data IMAGES --archs FILE --out store`, {_MERGE}"
        )
    if not (found := ways(bench, pattern)):
        raise TableError(
            f"study {study!r} needs {what}, and table {bench.name!r} has only variants {there}; "
            f"make them with `{command}`, {_MERGE}"
        )
    return found


def need_signatures(bench: GroundTruth, study: str, and_from: str = "") -> Signatures:
    """The table's block signatures; `and_from` is the second teacher, for a study that wants two.

    Raises
    ------
    TableError
        Where there are none.
    """
    if bench.signatures is None:
        again = f", again with `--teacher {and_from}`" if and_from else ""
        raise TableError(
            f"study {study!r} needs block signatures, and table {bench.name!r} has none; make them with "
            f"`archrank distill RECIPE --data IMAGES --teacher ARCH --out store`{again}, {_MERGE}"
        )
    return bench.signatures


def only_when_training(**given: object) -> None:
    """Refuse options that mean nothing without ``--train``.

    Raises
    ------
    ValueError
        For the first that is not None.
    """
    for option, value in given.items():
        if value is not None:
            raise ValueError(f"--{option} {value} means something with --train RECIPE alone; add it, or leave it out")


def sizes_that_fit(bench: GroundTruth, study: str, wanted: Sequence[int], n_networks: int) -> list[int]:
    """Those numbers of training networks that leave the test set alone.

    Raises
    ------
    TableError
        Where none does.
    """
    from archrank.benchmarks.splits import n_test

    room = n_networks - n_test(n_networks)
    if not (sizes := [n for n in wanted if n <= room]):
        raise TableError(
            f"study {study!r} trains predictors on {min(wanted)} networks or more, and table {bench.name!r} has "
            f"{n_networks}, of which {room} can train; train more with "
            f"`archrank train RECIPE --data IMAGES --archs N --out store`, {_MERGE}"
        )
    return sizes
