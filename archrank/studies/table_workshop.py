"""Blockwise search played on a table that holds signatures from several teachers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank.ground_truth import GroundTruth, TableError
from archrank.spaces import Codes
from archrank.studies.blockwise_rounds import Floats
from archrank.studies.needs import need_signatures
from archrank.studies.teacher_facts import describe_teachers


class TableWorkshop:
    """A workshop in which networks are looked up, and only the table's teachers can teach.

    Instead of the winner of a round, the next teacher is that of the table's which is nearest to it in value and not
    better: the table has no signatures of blocks distilled from any other network.

    Parameters
    ----------
    bench, metric
        The table, and what a network is judged by.
    candidates
        Rows of `bench` that may be trained, ``(n,)``.
    teachers
        See `teachers_of`.
    """

    def __init__(
        self, bench: GroundTruth, metric: str, candidates: NDArray[np.int64], teachers: dict[str, float]
    ) -> None:
        self.bench, self.space, self.metric = bench, bench.space, bench.metric(metric)
        self.candidates = bench.codes[candidates]
        self.teachers = teachers
        self._values = bench.values(metric)

    def train(self, codes: Codes) -> Floats:
        """Values of the table."""
        return self._values[self.bench.lookup(codes)]

    def predictor(self, name: str, teacher: str) -> Any:
        """Signatures of the table."""
        from archrank.predictors import make_predictor

        return make_predictor(name, self.bench, self.metric.name, teacher=teacher)

    def next_teacher(self, winner: Codes, value: float, now: str) -> str:
        """The table's teacher nearest to the winner and not better than it; `now` where each is better."""
        sign = self.metric.sign
        reached = {name: sign * own for name, own in self.teachers.items() if sign * own <= sign * value}
        return max(reached, key=lambda name: reached[name], default=now)


def teachers_of(bench: GroundTruth, metric: str) -> tuple[str, dict[str, float]]:
    """The untrained teacher of a table, and the values of the trained ones.

    Raises
    ------
    TableError
        If the table has no signatures of an untrained teacher, or of no trained teacher that it has a value of.
    """
    names = need_signatures(bench, "iterative", and_from="untrained:ARCH").teachers
    known = describe_teachers(bench, names, metric, mean=True).set_index("teacher")  # as the networks it finds
    training, own = known["training"].to_dict(), known["own"].to_dict()
    untrained = [name for name in names if training[name] == "untrained"]
    trained = {name: float(own[name]) for name in names if training[name] == "trained"}
    make = "make them with `archrank distill RECIPE --data IMAGES --teacher {} --out store`, then `archrank merge`"
    for found_any, what, command in (
        (untrained, "an untrained teacher", "untrained:ARCH"),
        (trained, "a trained teacher", "ARCH"),
    ):
        if not found_any:
            raise TableError(
                f"study 'iterative' needs signatures from {what}, and table {bench.name!r} has only those of "
                f"{', '.join(names)}; {make.format(command)}"
            )
    return untrained[0], trained


def teacher_table(untrained: str, trained: dict[str, float], bench: GroundTruth, metric: str) -> pd.DataFrame:
    """Teachers with the value that their architecture reaches when trained, and the share of networks below it."""
    target, values = bench.metric(metric), bench.values(metric)
    values = values[np.isfinite(values)]
    start = float(describe_teachers(bench, [untrained], metric, mean=True)["own"].iloc[0])
    rows = [{"teacher": untrained, "trained": False, "value": start}]
    ordered = sorted(trained.items(), key=lambda item: target.sign * item[1])
    table = pd.DataFrame(rows + [{"teacher": name, "trained": True, "value": value} for name, value in ordered])
    worse = (target.sign * values[None] < target.sign * table["value"].to_numpy()[:, None]).mean(axis=1)
    return table.assign(better_than=np.where(table["value"].notna(), worse, np.nan))
