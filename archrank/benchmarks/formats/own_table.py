"""A user's own table: CSV or parquet, one row per trained network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank._errors import TableError
from archrank._tables import UserTable
from archrank.ground_truth import GroundTruth, Metric
from archrank.spaces import MacroSpace

# Nobody should have to say that a loss is minimised; whoever means otherwise passes `metrics`.
_ERROR = re.compile(r"err|(?<![a-z])(wer|cer|fid)(?![a-z])", re.IGNORECASE)
_MINIMISED = re.compile(
    r"loss|latency|time|second|params|flops|macs|memory|energy|perplexity|ppl|rmse|mse|mae|cost|size", re.IGNORECASE
)
# Networks times seeds that fit into memory as one array.
_MOST_VALUES = 50_000_000
_ACCURACY = re.compile(r"acc|top_?-?1", re.IGNORECASE)


def direction_of(column: str) -> Literal["max", "min"]:
    """The direction that a column's name suggests.

    Examples
    --------
    >>> direction_of("val_loss"), direction_of("test_acc"), direction_of("top1_err")
    ('min', 'max', 'min')
    """
    if _ERROR.search(column):
        return "min"
    return "min" if _MINIMISED.search(column) and not _ACCURACY.search(column) else "max"


def guess_metric(column: str, values: NDArray[np.float64]) -> Metric:
    """What a column measures, going by its name and, for accuracies and their errors, by its range."""
    least, most = np.nanmin(values), np.nanmax(values)
    if not _ACCURACY.search(column) or least < 0 or most > 100:
        return Metric(column, direction_of(column))
    if most <= 1:
        return Metric(column, direction_of(column), "", (0.0, 1.0))
    return Metric(column, direction_of(column), "%", (0.0, 100.0))


def read_table(
    path: str | Path,
    *,
    space: MacroSpace | None = None,
    stage_columns: Sequence[str] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    name: str | None = None,
) -> GroundTruth:
    """Read a user's table.

    Parameters
    ----------
    path
        CSV or parquet with one column per stage (block names or ids) and one per metric. Cells of other metrics than
        the default one, which is the first accuracy or the first of all, may be empty: not measured. Optional
        columns: ``seed`` and ``variant``; without ``seed`` repeated rows of one network, or of
        isomorphic twins, are its seeds.
    space
        The space of the blocks. By default a published space whose block names the table uses, else
        one made of the names in the table.
    stage_columns
        Names of the stage columns, if they are not ``stage_0``, ``block0`` or ``layer0`` and so on.
    metrics
        Which columns are metrics, and their directions. By default all other columns, minimised if
        their name says loss, error, latency, params and the like; accuracies are bounded by 1 or by 100 %.
    name
        What reports call the table; by default the file's name.

    Raises
    ------
    TableError
        One line that names file, row, column and the cure.
    """
    table = UserTable(path)
    stages = table.stage_columns(stage_columns)
    for column in metrics or ():
        if column not in table.frame.columns:
            raise TableError(f"{path}: column {column!r} is missing; the table has {', '.join(table.frame.columns)}")
    others = [c for c in table.frame.columns if c not in {*stages, "seed", "variant"}]
    if not others:
        raise TableError(f"{path}: no metric column beside {', '.join(stages)}; add one, for example test_acc")
    names = list(metrics or others)
    default = next((c for c in names if _ACCURACY.search(c)), names[0])
    values = {c: table.numbers(c, empty=c != default) for c in names}
    for column in names:
        if np.isnan(values[column]).all():
            table.fail(0, column, "is empty, as is every other row; expected numbers, or no such column")
    metrics = dict(metrics) if metrics else {c: guess_metric(c, v) for c, v in values.items()}
    found, codes = table.codes(stages, space)
    networks = found.index(found.canonical(codes))
    if len(np.unique(networks)) < 2:
        raise TableError(
            f"{path}: the table holds one network in {len(codes)} row(s), isomorphic twins counted as one; "
            "ranking needs at least two, and fitting about ten: add a row per trained network"
        )
    frame = pd.DataFrame({f"stage_{s}": codes[:, s] for s in range(found.stages)})
    frame["variant"] = table.texts("variant") if "variant" in table.frame else "normal"
    if "seed" in table.frame:
        frame["seed"] = table.whole_numbers("seed")
        _check_seeds(path, frame["seed"].nunique(), len(np.unique(networks)))
        twice = frame.assign(network=networks)[["network", "seed", "variant"]].duplicated().to_numpy()
        if twice.any():
            table.fail(
                int(np.argmax(twice)),
                "seed",
                "an earlier row holds the same network (or a twin of it) with this seed; number the seeds, "
                "or remove the column so that repeated rows count as seeds",
            )
    else:
        frame["seed"] = frame.assign(network=networks).groupby(["network", "variant"]).cumcount()
    return GroundTruth.from_frame(
        found,
        pd.concat([frame, pd.DataFrame(values)], axis=1),
        metrics,
        name=name or Path(path).stem,
        default_metric=default,
        source=Path(path).name,
    )


def _check_seeds(path: str | Path, seeds: int, networks: int) -> None:
    """Networks share their seeds; a number of its own for every run would make a table of mostly nothing."""
    if seeds * networks > _MOST_VALUES:
        raise TableError(
            f"{path}: column 'seed' holds {seeds:,} different seeds of {networks:,} networks; "
            "expected few that networks share; remove the column, so that repeated rows count as seeds"
        )
