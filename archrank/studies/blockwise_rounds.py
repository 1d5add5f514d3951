"""Blockwise search in rounds: signatures of a teacher rank networks, the best one found teaches next.

The first networks are those of the best signature sum (HANT, Molchanov et al., ECCV 2022). Once as many are trained as
one batch holds, ridge regression on the signatures (DONNA, Moons et al., ICCV 2021) is fitted to all of them before
each batch, with the signatures of the teacher of the round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from archrank.ground_truth import Metric
from archrank.search.run import History
from archrank.spaces import Codes, MacroSpace

Floats = NDArray[np.float64]

BATCH = 5


class Workshop(Protocol):
    """Where networks are trained and blocks distilled: for real, or looked up in a table."""

    @property
    def metric(self) -> Metric:
        """What networks are judged by."""

    @property
    def candidates(self) -> Codes:
        """Networks to choose from, ``(n, n_stages)``, canonical and distinct."""

    def train(self, codes: Codes) -> Floats:
        """What networks reach, ``(n,)`` in the metric's unit; NaN for one whose training failed."""

    def predictor(self, name: str, teacher: str) -> Any:
        """``hant`` or ``donna`` on the signatures of a teacher, whose blocks are distilled if need be."""

    def next_teacher(self, winner: Codes, value: float, now: str) -> str:
        """Name of the teacher that the winner ``(n_stages,)`` of a round becomes; `now` to keep it."""


@dataclass(frozen=True, eq=False)
class Trace(History):
    """What a search trained, in order, and the teacher of each network: "" without one."""

    teachers: tuple[str, ...] = ()

    @property
    def passes(self) -> int:
        """Block distillations that were paid for: one for each teacher, none for a search without."""
        return len(set(self.teachers) - {""})

    def winner(self) -> tuple[Codes, float]:
        """The best network and its value.

        Raises
        ------
        ValueError
            Where every training failed.
        """
        if not np.isfinite(self.values).any():
            raise ValueError(f"all {len(self)} trainings of the search failed, expected some to succeed")
        at = int(np.nanargmax(self.metric.sign * self.values))
        return self.codes[at], float(self.values[at])


def blockwise_search(workshop: Workshop, teacher: str, rounds: int, per_round: int) -> Trace:
    """Train `per_round` networks in each round; ``rounds=1`` is one-shot search.

    Ends early where the candidates do.
    """
    metric, candidates = workshop.metric, workshop.candidates
    new = np.ones(len(candidates), dtype=bool)
    trace = Trace(candidates[:0], np.empty(0), metric)
    for number in range(rounds):
        if number:
            teacher = workshop.next_teacher(*trace.winner(), teacher)
        goal = min(len(trace) + per_round, len(candidates))
        while len(trace) < goal:
            there = np.isfinite(trace.values)
            name = "donna" if there.sum() >= BATCH else "hant"
            model = workshop.predictor(name, teacher)
            if name == "donna":
                model.fit(trace.codes[there], trace.values[there])
            score = np.where(new, metric.sign * model.predict(candidates), -np.inf)
            chosen = np.argsort(-score, kind="stable")[: min(BATCH, goal - len(trace))]
            new[chosen] = False
            trace = _longer(trace, candidates[chosen], workshop.train(candidates[chosen]), teacher)
    return trace


def random_search(workshop: Workshop, n: int, seed: int) -> Trace:
    """Train `n` random candidates."""
    chosen = workshop.candidates[np.random.default_rng(seed).permutation(len(workshop.candidates))[:n]]
    return Trace(chosen, workshop.train(chosen), workshop.metric, teachers=("",) * len(chosen))


def pass_in_networks(space: MacroSpace, recipe: Any) -> float:
    """What one distillation of all blocks costs, in trainings of a network.

    A block is about one stage of a network, so that all blocks are ``sum(n_blocks) / n_stages`` networks, trained for
    the distillation's epochs instead of the training's. The teacher's own passes are left out, and so are
    BatchNorm statistics and testing. Without a recipe (a mapping) the epochs count as equal.
    """
    networks = sum(space.n_blocks) / space.stages
    try:
        return networks * float(recipe["distill"]["epochs"]) / float(recipe["training"]["epochs"])
    except (KeyError, TypeError):
        return networks


def _longer(trace: Trace, codes: Codes, values: Floats, teacher: str) -> Trace:
    return Trace(
        np.concatenate([trace.codes, codes]),
        np.concatenate([trace.values, values]),
        trace.metric,
        teachers=trace.teachers + (teacher,) * len(codes),
    )
