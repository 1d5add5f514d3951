"""Integrity of a table: is everything there, possible, and made once?

Checksums find files that were altered; the other checks find tables that were made wrongly, however well they are
kept. Whether the values can be made again is `archrank.train_ground_truth.retrain`'s affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from archrank._folder import verify_files
from archrank.benchmarks.catalogue import load_benchmark, table_folder
from archrank.benchmarks.facts import coverage, seed_counts, seeds_text
from archrank.benchmarks.noise import MIN_REPEATED
from archrank.benchmarks.records import fingerprints, network_keys, record_names, trained_rows
from archrank.ground_truth import GroundTruth, Metric, TableError


@dataclass(frozen=True)
class Check:
    """One check of a table.

    Parameters
    ----------
    name
        One word.
    passed
        Whether the table passed it.
    figure
        What was counted, or the first fault.
    """

    name: str
    passed: bool
    figure: str


def verify(spec: str | Path) -> tuple[list[Check], GroundTruth | None]:
    """Check a benchmark: checksums, completeness, bounds, seeds, copies, signatures.

    Returns
    -------
    The checks in this order, and the table; None for the table, and no checks after the one that failed, if it cannot
    be read.

    Raises
    ------
    TableError
        If there is no such benchmark.
    """
    folder = table_folder(spec)
    if folder is None:
        table = load_benchmark(spec)
        return [Check("checksums", True, "none recorded: no table folder"), *check_table(table)], table
    checks = [_checksums(folder)]
    try:
        table = GroundTruth.load(folder, verify=False)
    except TableError as error:
        return [*checks, Check("records", False, str(error))], None
    return checks + check_table(table), table


def check_table(table: GroundTruth) -> list[Check]:
    """All checks but that of the files."""
    extent = coverage(table)
    return [
        Check("networks", extent.holds, str(extent)),
        _first(_impossible_values(table), "values", _values_text(table)),
        *_repetitions(table),
        _signatures(table),
    ]


def _first(problems: Iterator[str], name: str, figure: str) -> Check:
    """Failed with the first problem and how many others there are; else passed."""
    found = list(problems)
    if not found:
        return Check(name, True, figure)
    return Check(name, False, found[0] + (f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""))


def _checksums(folder: Path) -> Check:
    try:
        files = verify_files(folder)
    except TableError as error:
        return Check("checksums", False, str(error))
    return Check("checksums", True, f"sha256 of {' and '.join(files)}")


# -- values -----------------------------------------------------------------------------------------


def _values_text(table: GroundTruth) -> str:
    lost = int((~trained_rows(table)).sum())
    text = f"{len(table.metrics)} metrics and {len(table.curve_names)} curves of {len(table.frame):,} records"
    return f"{text} finite and within bounds" + (f"; {lost} records of failed trainings have none" if lost else "")


def _impossible_values(table: GroundTruth) -> Iterator[str]:
    """Values out of bounds, values that are missing, and values that failed trainings cannot have."""
    trained, names = trained_rows(table), record_names(table)
    may_lack = _may_lack(table)
    for metric in table.metrics.values():
        values = table.frame[metric.name].to_numpy(np.float64, na_value=np.nan)
        yield from _out_of_bounds(values, metric, metric.name, names)
        if metric.name not in may_lack:
            for row in np.flatnonzero(trained & np.isnan(values)):
                yield f"{metric.name} of {names[row]} is missing"
    of_training = [m for m in table.metrics if m == table.default_metric or f"{m}_curve" in table.curve_names]
    for name in of_training:
        values = table.frame[name].to_numpy(np.float64, na_value=np.nan)
        for row in np.flatnonzero(~trained & np.isfinite(values)):
            yield f"{name} of {names[row]} is {values[row]:g}, but its status is not ok"
    if "hosts" in table.provenance and "host" in table.frame:
        for row in np.flatnonzero(~table.frame["host"].between(0, len(table.provenance["hosts"]) - 1)):
            yield f"host {table.frame['host'].iloc[row]} of {names[row]} is not in the provenance"
    for name in table.curve_names:
        rows = np.flatnonzero(trained & table.frame[name].notna().to_numpy())
        curves = [_recorded(c, table, name) for c in table.frame[name].iloc[rows]]
        values = np.concatenate([*curves, np.empty(0)])
        owners = names[np.repeat(rows, [len(c) for c in curves])]
        for i in np.flatnonzero(~np.isfinite(values)):
            yield f"{name} of {owners[i]} holds {values[i]}"
        about = table.metrics.get(name.removesuffix("_curve"), Metric(name))
        yield from _out_of_bounds(values, about, name, owners)
    if table.signatures is not None:
        frame = table.signatures.frame
        owners = ("stage " + frame["stage"].astype(str) + ", block " + frame["block"].astype(str)).to_numpy()
        for column, about in table.signatures.metrics.items():
            values = frame[column].to_numpy(np.float64, na_value=np.nan)
            yield from _out_of_bounds(values, about, f"signature {column}", owners)
            for i in np.flatnonzero(np.isinf(values)):
                yield f"signature {column} of {owners[i]} is infinite"


def _recorded(curve: ArrayLike, table: GroundTruth, name: str) -> NDArray[np.float64]:
    """A curve without a first epoch that the table says is masked, and without the padding of shorter curves."""
    values = np.asarray(curve, dtype=np.float64)
    if table.provenance.get("first_epoch_masked") and name.startswith("val_") and np.isnan(values[:1]).any():
        values = values[1:]
    if table.frame[name].dtype == object:  # lists end where they end
        return values
    there = np.flatnonzero(~np.isnan(values))
    return values[: there[-1] + 1] if len(there) else values


def _may_lack(table: GroundTruth) -> set[str]:
    """Metrics that a trained record need not have.

    A merged table lists those that were measured apart from training, often of some networks only. Of other tables
    nothing but the default metric is known to belong to every record.
    """
    apart = table.provenance.get("measured_apart")
    return set(table.metrics) - {table.default_metric} if apart is None else set(apart)


def _out_of_bounds(
    values: NDArray[np.float64], metric: Metric, what: str, owners: NDArray[np.object_]
) -> Iterator[str]:
    low, high = (np.nan if b is None else b for b in metric.bounds)  # no comparison with NaN holds
    for row in np.flatnonzero((values < low) | (values > high)):
        yield f"{what} of {owners[row]} is {values[row]:g}, out of bounds {list(metric.bounds)}"


# -- repetitions ------------------------------------------------------------------------------------


def _repetitions(table: GroundTruth) -> tuple[Check, Check]:
    """Seeds that gave the same numbers, and records that are copies of others.

    Two trainings never agree in every epoch's loss; without curves, two accuracies may well be equal by chance.
    """
    seeds = f"{seeds_text(seed_counts(table))} per network"
    made = fingerprints(table)
    if made.eq("").all():
        if copied := next(_equal_seeds(table), ""):
            return Check("seeds", False, copied), Check("copies", True, "see seeds")
        curves = "no record has a value in each of its curves" if table.curve_names else "it has no curves"
        untold = f"not comparable: {curves}, and equal metrics may be chance"
        return Check("seeds", True, f"{seeds}; {untold}"), Check("copies", True, untold)
    records = pd.DataFrame(
        {
            "made": made,
            "network": network_keys(table),
            "variant": table.frame["variant"].astype(str),
            "name": record_names(table),
        }
    )[made != ""]
    others = f"; {len(made) - len(records):,} not comparable" if len(records) < len(made) else ""
    own = records.groupby(["made", "network", "variant"], sort=False)["name"].agg(list)
    shared = own.groupby("made", sort=False).agg(list)
    within = (f"{' and '.join(n)} have equal metrics and curves" for n in own if len(n) > 1)
    between = (f"{' and '.join(n[0] for n in g)} have equal metrics and curves" for g in shared if len(g) > 1)
    return (
        _first(within, "seeds", f"{seeds}, all different"),
        _first(between, "copies", f"none among {len(records):,} records{others}"),
    )


def _equal_seeds(table: GroundTruth) -> Iterator[str]:
    """Pairs of seeds that agree on every network: on ten or more that is no chance."""
    values = table.seed_values()
    there = np.isfinite(values)
    shared = there.T.astype(np.float64) @ there
    for a, b in np.argwhere(np.triu(shared, 1) >= MIN_REPEATED):
        both = there[:, a] & there[:, b]
        if np.array_equal(values[both, a], values[both, b]):
            yield (
                f"seeds {table.seeds[a]} and {table.seeds[b]} have equal {table.default_metric} on all {both.sum():,} "
                "networks that have both: copies, no second trainings"
            )


# -- signatures -------------------------------------------------------------------------------------


def _signatures(table: GroundTruth) -> Check:
    if table.signatures is None:
        return Check("signatures", True, "the table has none")
    teachers, columns = table.signatures.teachers, table.signatures.columns
    blocks = sum(table.space.n_blocks)
    return _first(
        _incomplete_signatures(table),
        "signatures",
        f"{', '.join(columns)} of all {blocks} blocks; {len(teachers)} teacher(s): {', '.join(teachers)}",
    )


def _incomplete_signatures(table: GroundTruth) -> Iterator[str]:
    """Teachers without a column that others have count as incomplete as well."""
    assert table.signatures is not None
    for teacher in table.signatures.teachers:
        for column in table.signatures.columns:
            values = np.concatenate(table.signatures.table(column, teacher))
            lacking = int(np.isnan(values).sum())
            if lacking:
                yield f"teacher {teacher} lacks {column} of {lacking} of {len(values)} blocks"
