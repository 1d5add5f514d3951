"""Several objectives at once: what is wanted of a network, and the networks that nothing beats in all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.encodings.cost import check_costs
from archrank.ground_truth import Metric
from archrank.spaces import Codes, MacroSpace

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Objective:
    """One thing wanted of a network: a metric, whose direction says what is better, and how to compute it.

    Attributes
    ----------
    metric
        Name, direction and unit.
    values
        From codes ``(n, n_stages)`` to values ``(n,)`` in the metric's unit, all networks at once. For a measured
        latency this is a `archrank.search.block_sums.BlockSum`.
    """

    metric: Metric
    values: Callable[[Codes], ArrayLike]

    @classmethod
    def predicted(cls, metric: Metric, predictor: Any) -> Self:
        """What a fitted predictor (anything with ``predict(codes)``) says of a metric."""
        return cls(metric, predictor.predict)

    @classmethod
    def cost(cls, space: MacroSpace, name: str) -> Self:
        """A cost that the space knows, such as ``params`` or ``flops``; less is better.

        Raises
        ------
        ValueError
            Where the space does not know it, listing the costs that there are.
        """
        check_costs(space, [name])
        return cls(Metric(name, "min"), lambda codes: space.cost(name, codes))

    def __call__(self, codes: Codes) -> NDArray[np.float64]:
        """Values ``(n,)``.

        Raises
        ------
        ValueError
            If there is not one finite number per network.
        """
        values = np.asarray(self.values(codes), dtype=np.float64)
        if values.shape != (len(codes),):
            raise ValueError(
                f"objective {self.metric.name!r}: expected one value for each of {len(codes)} networks, "
                f"got shape {values.shape}"
            )
        if not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            raise ValueError(
                f"objective {self.metric.name!r} is {values[row]} for network {codes[row].tolist()}; "
                "it must be finite for every network of the space"
            )
        return values


@dataclass(frozen=True, eq=False)
class ParetoFront:
    """Networks that no other one of the same set beats in every metric at once.

    Attributes
    ----------
    codes
        int64 ``(n, n_stages)``, the best in the first metric first.
    values
        float64 ``(n, n_metrics)``, each in its metric's unit.
    metrics
        What the columns of `values` are.
    """

    codes: Codes
    values: NDArray[np.float64]
    metrics: tuple[Metric, ...]

    @classmethod
    def of(cls, codes: Codes, values: ArrayLike, metrics: Sequence[Metric]) -> Self:
        """The front of networks ``(n, n_stages)`` with values ``(n, n_metrics)``.

        Of networks with equal values all are kept.
        """
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (len(codes), len(metrics)):
            raise ValueError(f"expected values of shape ({len(codes)}, {len(metrics)}), got {array.shape}")
        keep = np.flatnonzero(non_dominated(array, metrics))
        order = np.lexsort(minimised(array[keep], metrics).T[::-1])  # by the first metric, ties by the next
        return cls(codes[keep[order]], array[keep[order]], tuple(metrics))

    def __len__(self) -> int:
        return len(self.codes)

    def to_frame(self, space: MacroSpace) -> pd.DataFrame:
        """One row per network: its blocks by name, ``stage_0`` ..., and a column per metric."""
        import pandas as pd

        blocks = pd.DataFrame(space.names(self.codes), columns=[f"stage_{s}" for s in range(space.stages)])
        return blocks.assign(**{m.name: self.values[:, i] for i, m in enumerate(self.metrics)})


def minimised(values: ArrayLike, metrics: Sequence[Metric]) -> NDArray[np.float64]:
    """Values ``(n, n_metrics)`` with their signs turned such that less is better in every column."""
    return np.asarray(values, dtype=np.float64) * np.array([-m.sign for m in metrics], dtype=np.float64)


def non_dominated(values: ArrayLike, metrics: Sequence[Metric]) -> NDArray[np.bool_]:
    """Which rows no other row beats, bool ``(n,)``: is as good in all metrics and better in one.

    Raises
    ------
    ImportError
        Without the extra ``archrank[search]``.
    """
    moocore = need("moocore")
    return np.asarray(moocore.is_nondominated(minimised(values, metrics), keep_weakly=True), dtype=np.bool_)


def need(module: str) -> Any:
    """Import a module of the extra ``archrank[search]``.

    Raises
    ------
    ImportError
        Saying how to install it.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f'searching with several objectives needs pymoo: pip install "archrank[search]" ({error})'
        ) from None
