"""Train some records of a table again and compare: can its values be made at all?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from archrank.ground_truth import GroundTruth, TableError
from archrank.train_ground_truth.batches import DeviceData, prepare_data
from archrank.train_ground_truth.contract import Progress
from archrank.train_ground_truth.data import Images, cached_images, load_images
from archrank.train_ground_truth.recipe import Recipe, list_recipes, load_recipe
from archrank.train_ground_truth.store import record_key
from archrank.train_ground_truth.table import CURVES, NETWORK_METRICS, host_facts, network_frame
from archrank.train_ground_truth.train import train_one

TOLERANCE = 4.0  # standard deviations between seeds that a training on another machine may be off

# Facts of the host that must agree before equal bits can be expected.
_SAME = ("device", "device_name", "processor", "threads", "torch")
_COMPARED = [m.name for m in NETWORK_METRICS if m.name != "train_seconds"]


@dataclass(frozen=True)
class Retrained:
    """One record that was trained again.

    Parameters
    ----------
    key
        Such as ``normal-3-14-s0``.
    rule
        ``bits``: every metric and curve must be equal to the bit; ``spread``: the default metric must be within
        `TOLERANCE` pooled standard deviations between seeds.
    passed
        Whether it is.
    difference
        New value minus recorded value of the default metric, in its unit.
    figure
        What was compared, and why by this rule.
    """

    key: str
    rule: Literal["bits", "spread"]
    passed: bool
    difference: float
    figure: str


def packaged_recipe(table: GroundTruth) -> Recipe:
    """The packaged recipe of the name that the table gives; whether its hash is the table's is for the caller to check.

    Raises
    ------
    TableError
        If the table names no recipe or none of the packaged ones.
    """
    name = table.provenance.get("recipe", {}).get("name")
    if name not in list_recipes():
        raise TableError(
            f"table {table.name!r} was trained by {f'recipe {name!r}' if name else 'no recorded recipe'}; only tables "
            f"of packaged recipes can be trained again: {', '.join(list_recipes())}"
        )
    return load_recipe(name)


def recorded_images(table: GroundTruth, recipe: Recipe, data: str | Path | None = None) -> Images:
    """The images that a table was trained on, from `data` or from the cache of decoded images.

    Raises
    ------
    TableError
        If `data` holds other images, or the cache does not hold them.
    """
    size, sha256 = recipe.space.image_size * recipe.data.pool, str(table.provenance.get("images_sha256"))
    images = cached_images(sha256, size) if data is None else load_images(data, size)
    if images is None:
        raise TableError(
            f"the images of table {table.name!r} (sha256 {sha256[:12]}, {size} pixels) have not been decoded here yet; "
            f"give them with --data, as to `archrank train` ({table.source or 'their source is not stated'})"
        )
    if images.sha256 != sha256:
        raise TableError(
            f"{data} holds images of sha256 {images.sha256[:12]}, table {table.name!r} was trained on {sha256[:12]}; "
            "give the same copy of the same images"
        )
    return images


def retrain(
    table: GroundTruth,
    recipe: Recipe,
    n: int,
    data: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Retrained]:
    """Train randomly chosen records again, as recorded, and compare.

    Parameters
    ----------
    recipe
        That of `packaged_recipe`.
    n
        How many of the table's records of normal training that did not diverge; all if there are fewer.
    data
        Images as for `archrank.train_ground_truth.load_images`; by default those in the cache.
    seed
        Draws the records.
    progress
        Called with (records done, records in all, key of the last).

    Raises
    ------
    TableError
        If the table does not say how and where it was made, the images are others, or a record of another machine
        cannot be judged because no network has two seeds.
    """
    hosts = table.provenance.get("hosts")
    if hosts is None or "host" not in table.frame.columns:
        raise TableError(
            f"table {table.name!r} does not say on which machine each record was made; merge its store again"
        )
    wrong = ~table.frame["host"].isin(range(len(hosts)))
    if wrong.any():
        raise TableError(
            f"table {table.name!r}: host {table.frame['host'][wrong].iloc[0]} of a record is none of the {len(hosts)} "
            "of its provenance; merge its store again"
        )
    images = recorded_images(table, recipe, data)
    normal = table.frame[(table.frame["variant"] == "normal") & (table.frame["status"] == "ok")]
    chosen = np.sort(np.random.default_rng(seed).permutation(len(normal))[:n])
    places: dict[str, DeviceData] = {}
    results = []
    for done, (_, row) in enumerate(normal.iloc[chosen].iterrows()):
        device = _device(hosts[row["host"]])
        if device not in places:
            places[device] = prepare_data(images, recipe, device)
        results.append(_again(row, table, recipe, hosts[row["host"]], places[device]))
        if progress is not None:
            progress(done + 1, len(chosen), results[-1].key)
    return results


def _device(host: Mapping[str, Any]) -> str:
    """The record's kind of device where there is one, else the CPU."""
    return "cuda" if host["device"] == "cuda" and torch.cuda.is_available() else "cpu"


def _again(
    row: pd.Series[Any], table: GroundTruth, recipe: Recipe, host: Mapping[str, Any], data: DeviceData
) -> Retrained:
    space = recipe.build_space()
    code = [int(row[f"stage_{s}"]) for s in range(space.stages)]
    record = train_one(code, recipe, int(row["seed"]), data.mean.device, data=data)
    here = host_facts(record)
    new = network_frame([record], recipe, space, [here]).iloc[0]
    gaps = {name: _gap(row[name], new[name]) for name in (*_COMPARED, *(f"{c}_curve" for c in CURVES))}
    key, metric = record_key(code, int(row["seed"])), table.metric()
    difference = float(new[metric.name] - row[metric.name])
    equal = not any(gaps.values())
    why = _why_not_bits(host, here)
    if not why:
        worst = max(gaps, key=lambda name: gaps[name])
        text = "equal to the bit" if equal else f"not equal to the bit: {worst} is off by {gaps[worst]:.3g}"
        return Retrained(key, "bits", equal, difference, f"{text} (same processor, torch and threads)")
    spread = table.seed_spread()
    if spread is None:
        raise TableError(
            f"{key} was made elsewhere ({why}), and table {table.name!r} has no network with two seeds, from which to "
            "know how far trainings may be apart"
        )
    limit = TOLERANCE * spread
    change = "equal to the bit" if equal else f"{metric.name} is off by {difference:+.3g}"
    allowed = f"{limit:.3g} allowed, {TOLERANCE:g} standard deviations between seeds"
    return Retrained(key, "spread", bool(abs(difference) <= limit), difference, f"{change}; {allowed} ({why})")


def _gap(recorded: Any, new: Any) -> float:
    """Largest absolute difference of two numbers or curves; infinite where one is missing or longer."""
    a, b = (np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (recorded, new))
    if a.shape != b.shape:
        return float("inf")
    return float(np.nan_to_num(np.abs(a - b), nan=np.inf).max(initial=0.0))


def _why_not_bits(host: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Why equal bits cannot be expected, empty where they can."""
    if not host["deterministic"] or host["compiled"]:
        return "made with --fast or --compile"
    if host["device"] == "cpu" and not host["processor"]:
        return f"its record names no processor but {host['device_name']!r}, which many share"
    other = [f"{k} {host[k]}, here {here[k]}" for k in _SAME if host[k] != here[k]]
    return "; ".join(other)
