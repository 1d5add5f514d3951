"""A search and an objective, one after the other, until a budget of trained networks is spent."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank._errors import one_line
from archrank.ground_truth import GroundTruth, Metric
from archrank.search.base import Search, SearchExhaustedError
from archrank.spaces import Codes

if TYPE_CHECKING:
    import pandas as pd

Objective = Callable[[Codes], ArrayLike]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class History:
    """What a search was told, in order.

    Attributes
    ----------
    codes
        Networks, int64 ``(t, n_stages)``.
    values
        Their values in the metric's unit, float64 ``(t,)``; NaN for a failure.
    metric
        What the values are.
    errors
        What an objective raised, by the position of the first network of its batch.
    """

    codes: Codes
    values: NDArray[np.float64]
    metric: Metric
    errors: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def best(self) -> NDArray[np.float64]:
        """The best value so far, ``(t,)``; NaN before any success."""
        # fmax and fmin pass over NaN.
        so_far = np.fmax if self.metric.direction == "max" else np.fmin
        return np.asarray(so_far.accumulate(self.values), dtype=np.float64)

    def to_frame(self) -> pd.DataFrame:
        """One row per network: ``trained`` (counted from 1), ``stage_0`` ..., the metric, ``best``."""
        import pandas as pd

        frame = pd.DataFrame(self.codes, columns=[f"stage_{s}" for s in range(self.codes.shape[1])])
        frame.insert(0, "trained", np.arange(1, len(self) + 1))
        return frame.assign(**{self.metric.name: self.values, "best": self.best})


def run(search: Search, objective: Objective, budget: int, batch: int = 1, progress: Progress | None = None) -> History:
    """Ask, evaluate and tell until `budget` networks were told, or none is left.

    Parameters
    ----------
    search
        A new one, or one that goes on; networks told before count towards the budget.
    objective
        From codes ``(n, n_stages)`` to values ``(n,)`` in the metric's unit; NaN, or an infinite value, for
        a network whose training failed. An exception is taken for the failure of its batch: it is recorded
        in `History.errors`, the first one also as a warning, and the search goes on.
    budget
        Number of networks, failed ones included.
    batch
        Networks asked for at once.
    progress
        Called with (networks told, budget, best value) after every batch.

    Returns
    -------
    History
        Of all that the search was told.

    Raises
    ------
    ValueError
        For a budget or batch below 1, or an objective that gives another number of values than networks.

    Examples
    --------
    >>> from archrank.search import RandomSearch
    >>> from archrank.spaces import blox
    >>> space = blox(stages=2)
    >>> history = run(RandomSearch(space, seed=0), space.params, budget=20, batch=4)
    >>> history.codes.shape, len(history.best)
    ((20, 2), 20)
    """
    if budget < 1 or batch < 1:
        raise ValueError(f"expected a budget and a batch of 1 or more, got {budget} and {batch}")
    errors: dict[int, str] = {}
    while search.trained < budget:
        try:
            codes = search.ask(min(batch, budget - search.trained))
        except SearchExhaustedError:
            break
        try:
            values = np.array(objective(codes), dtype=np.float64)
        except Exception as error:
            if not errors:
                warnings.warn(
                    f"the objective failed with {type(error).__name__}: {one_line(error)}; its batch counts as failed "
                    "trainings and the search goes on, see History.errors",
                    stacklevel=2,
                )
            errors[search.trained] = f"{type(error).__name__}: {one_line(error)}"
            values = np.full(len(codes), np.nan)
        search.tell(codes, np.where(np.isinf(values), np.nan, values))
        if progress is not None:
            progress(search.trained, budget, _label(search))
    return History(*search.history, search.metric, errors)


def _label(search: Search) -> str:
    _, values = search.told
    return f"best {search.metric.name} {search.best()[1]:.5g}" if len(values) else "no success yet"


def table_objective(
    bench: GroundTruth, metric: str | None = None, seed: Literal["mean"] | int = "mean", variant: str = "normal"
) -> Objective:
    """An objective that looks networks up, see `GroundTruth.values`; it raises `TableError` for absent ones."""
    values = bench.values(metric, seed, variant)
    return lambda codes: values[bench.lookup(codes)]
