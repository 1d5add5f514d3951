"""What is known when a predictor is built, and what is known of each predictor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from archrank._errors import there_are
from archrank._registry import Entry
from archrank.spaces import MacroSpace

if TYPE_CHECKING:
    from archrank.encodings.proxy import NetworkColumns
    from archrank.encodings.signature import SignatureTables


@dataclass(frozen=True)
class Context:
    """What is known when a predictor is built.

    Attributes
    ----------
    space
        The search space.
    metric
        Metric to predict (``direction`` "max" or "min", ``bounds`` (lo, hi)), or None.
    signatures
        Block signatures, or None.
    measured
        Zero-cost proxies of networks, or None.
    curve
        Values per epoch that tell of the metric, or None.
    choices
        Which columns, teacher, costs and proxies encodings shall use, as `make_predictor` was asked.
    """

    space: MacroSpace
    metric: Any
    signatures: SignatureTables | None
    measured: NetworkColumns | None = None
    curve: NetworkColumns | None = None
    choices: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        benchmark: Any,
        metric: str | None,
        signatures: SignatureTables | None,
        measured: NetworkColumns | None,
        curve: NetworkColumns | None,
    ) -> Self:
        """Of a `GroundTruth` or a `MacroSpace`; what is None is taken from the benchmark.

        Raises
        ------
        ValueError
            For a metric that there is not.
        """
        if isinstance(benchmark, MacroSpace):
            if metric is not None:
                raise ValueError(f"metric {metric!r} needs a benchmark that holds it; a space alone has no metrics")
            return cls(benchmark, None, signatures, measured, curve)
        from archrank.encodings.proxy import NetworkColumns

        metrics = benchmark.metrics
        chosen = benchmark.default_metric if metric is None else metric
        if chosen not in metrics:
            raise ValueError(f"unknown metric {chosen!r}; {there_are(chosen, metrics)}")
        signatures = benchmark.signatures if signatures is None else signatures
        measured = NetworkColumns.of_benchmark(benchmark) if measured is None else measured
        curve = NetworkColumns.of_curve(benchmark, metrics[chosen]) if curve is None else curve
        return cls(benchmark.space, metrics[chosen], signatures, measured, curve)

    @property
    def best_value(self) -> float | None:
        """The finite bound in the metric's direction, if there is one."""
        bounds = getattr(self.metric, "bounds", None)
        if bounds is None:
            return None
        value = bounds[0 if self.metric.direction == "min" else 1]
        return float(value) if value is not None and np.isfinite(value) else None


@dataclass(frozen=True)
class PredictorEntry(Entry):
    """What `archrank.predictors.register_predictor` was told."""

    encoding: str | Callable[[Context], str]
    only: tuple[str, ...] | None
    configure: Callable[[Context, Any], Mapping[str, Any]] | None
