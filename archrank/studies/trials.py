"""Repetitions of a search on a table, each kept in a file as soon as it is done."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import archrank
from archrank._swap import new_file
from archrank.encodings.proxy import NetworkColumns
from archrank.ground_truth import GroundTruth, Metric
from archrank.search.registry import make_search
from archrank.search.run import run, table_objective

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Arena:
    """A table on which searches compete.

    Parameters
    ----------
    bench
        The table.
    metric
        What is searched for.
    told
        What a search is told of a network: the "mean" over its seeds, or the value of one seed. It is judged by the
        mean in any case.
    """

    bench: GroundTruth
    metric: Metric
    told: Literal["mean"] | int = "mean"

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the table that can be told and judged."""
        return np.flatnonzero(np.isfinite(self._told_values) & np.isfinite(self.bench.values(self.metric.name)))

    @cached_property
    def _told_values(self) -> Floats:
        return self.bench.values(self.metric.name, self.told)

    @cached_property
    def scores(self) -> Floats:
        """Values of those rows with the sign that makes more better, ``(n,)``."""
        return self.metric.sign * self.bench.values(self.metric.name)[self.rows]

    @cached_property
    def told_scores(self) -> Floats:
        """The same of what a search is told."""
        return self.metric.sign * self._told_values[self.rows]

    def top(self, share: float) -> float:
        """Score of the worst of the best `share` of the networks, of the best alone where that is less than one."""
        return float(np.sort(self.scores)[-int(np.ceil(share * len(self.scores)))])

    @cached_property
    def digest(self) -> str:
        """Names all that a method sees: the space, networks and what is told of them, signatures and proxies."""
        space, signatures = self.bench.space, self.bench.signatures
        measured = NetworkColumns.of_benchmark(self.bench)
        about = {
            "space": space.describe(),
            "costs": [
                {k: [np.asarray(c).tolist() for c in v] for k, v in space.block_costs.items()},
                {k: float(v) for k, v in space.fixed_costs.items()},
            ],
            "metric": _aim(self.metric),
            "networks": space.index(self.bench.codes[self.rows]).tolist(),
            "told": self.told_scores.tolist(),
            # Order counts: the first teacher and the first column are those that methods take by default.
            "signatures": signatures
            and [signatures.frame.to_csv(index=False), [_aim(metric) for metric in signatures.metrics.values()]],
            "measured": measured
            and [
                space.index(measured.codes).tolist(),
                {name: column.tolist() for name, column in measured.columns.items()},
                dict(measured.directions),
            ],
        }
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()


@dataclass(frozen=True)
class Trial:
    """One repetition: networks trained, as positions in the arena's rows, and its CPU seconds."""

    method: str
    seed: int
    trained: tuple[int, ...]
    seconds: float

    def best(self, arena: Arena) -> Floats:
        """Score of the network that looks best by what was told so far, ``(n,)``."""
        chosen = np.array(self.trained)
        told, scores = arena.told_scores[chosen], arena.scores[chosen]
        before = np.maximum.accumulate(np.concatenate([[-np.inf], told[:-1]]))
        at = np.maximum.accumulate(np.where(told > before, np.arange(len(told)), 0))
        return np.asarray(scores[at])

    def until(self, arena: Arena, score: float) -> float:
        """Networks trained until one of at least this score was; infinite where none was."""
        hits = np.flatnonzero(arena.scores[np.array(self.trained)] >= score)
        return float(hits[0] + 1) if len(hits) else np.inf


def run_trial(
    arena: Arena,
    method: str,
    params: Mapping[str, Any],
    seed: int,
    budget: int,
    until: float = np.inf,
    at_least: int = 1,
    store: Path | None = None,
) -> Trial:
    """Search once, or read the trial from `store`.

    Parameters
    ----------
    arena
        The table.
    method, params, seed
        As in `archrank.search.make_search`.
    budget
        Networks to train.
    until
        A trial ends when it has trained a network of this score.
    at_least
        Networks that it trains before it ends so.
    store
        Folder of finished trials, for any budget: a longer one is cut, a shorter one made anew. It knows the version
        of archrank, what methods see of the table, and the parameters; empty it after changing the code of a method.
    """
    file = None if store is None else store / _key(arena, method, params) / f"{seed:04d}.json"
    found = None if file is None else _read(file)
    if found is None or not _enough(found, arena, budget, until, at_least):
        found = _search(arena, method, params, seed, budget, until, at_least)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            with new_file(file) as part:
                part.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return _cut(Trial(method, seed, tuple(found["trained"]), found["seconds"]), arena, budget, until, at_least)


def _search(
    arena: Arena, method: str, params: Mapping[str, Any], seed: int, budget: int, until: float, at_least: int
) -> dict[str, Any]:
    bench, started = arena.bench, time.process_time()
    pool = bench.codes[arena.rows]
    search = make_search(method, bench, arena.metric.name, pool=pool, seed=seed, **params)
    objective = table_objective(bench, arena.metric.name, arena.told)
    position = np.full(len(bench), -1)
    position[arena.rows] = np.arange(len(arena.rows))
    trained: list[int] = []
    while len(trained) < budget:
        history = run(search, objective, search.trained + 1)
        if len(history) == len(trained):
            break  # every network was asked for
        trained.append(int(position[bench.lookup(history.codes[-1:])[0]]))
        if len(trained) >= at_least and arena.scores[trained].max() >= until:
            break
    ended = len(trained) == len(arena.rows)
    return {"trained": trained, "exhausted": ended, "seconds": time.process_time() - started}


def _enough(found: dict[str, Any], arena: Arena, budget: int, until: float, at_least: int) -> bool:
    trained = found["trained"]
    ended = len(trained) >= at_least and arena.scores[trained].max() >= until
    return bool(len(trained) >= budget or found["exhausted"] or ended)


def _cut(trial: Trial, arena: Arena, budget: int, until: float, at_least: int) -> Trial:
    end = int(min(budget, max(at_least, trial.until(arena, until)), len(trial.trained)))
    return Trial(trial.method, trial.seed, trial.trained[:end], trial.seconds)


def _read(file: Path) -> dict[str, Any] | None:
    """A kept trial, None where there is none or it cannot be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if {"trained", "exhausted", "seconds"} <= found.keys() and found["trained"] else None
    except (FileNotFoundError, ValueError, AttributeError):
        return None


def _aim(metric: Metric) -> list[Any]:
    return [metric.name, metric.direction, metric.bounds]


def _key(arena: Arena, method: str, params: Mapping[str, Any]) -> str:
    """Folder of the trials of one method with these parameters on this table."""
    about = json.dumps([archrank.__version__, arena.digest, dict(params)], sort_keys=True)
    return f"{method}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
