"""The predictor inside a search: built once, fitted again and again, asked about candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from archrank.predictors.base import ONE_SIGMA, has_interval, predict_interval
from archrank.predictors.context import Context
from archrank.predictors.registry import build
from archrank.predictors.target import Target
from archrank.spaces import Codes

Factory = Callable[[int], Any]


@dataclass(frozen=True)
class Surrogate:
    """How to make a predictor and what it sees of a network.

    Attributes
    ----------
    name
        What errors call it.
    make
        An unfitted regressor of features for a seed.
    encoding
        Codes -> features, stateless, so that those of candidates are computed once; None where the regressor
        takes codes.
    """

    name: str
    make: Factory
    encoding: Any = None

    @classmethod
    def of(cls, predictor: str | Factory, context: Context) -> Self:
        """A registered predictor, or whatever ``factory(seed)`` returns: `fit` and `predict` of codes."""
        if not isinstance(predictor, str):
            return cls(getattr(predictor, "__name__", type(predictor).__name__), predictor)
        pipeline: Pipeline = build(predictor, context)
        regressor = pipeline["regressor"]
        seeded = "random_state" in regressor.get_params(deep=False)

        def make(seed: int) -> Any:
            fresh = clone(regressor)
            return fresh.set_params(random_state=seed) if seeded else fresh

        return cls(predictor, make, pipeline["encoding"])

    def features(self, codes: Codes) -> Any:
        """What the regressor sees of networks, sliceable by rows."""
        return codes if self.encoding is None else self.encoding.transform(codes)

    def fitted(self, codes: Codes, values: NDArray[np.float64], seed: int) -> Any:
        """A regressor fitted to networks ``(n, n_stages)`` and their values ``(n,)``."""
        regressor = self.make(seed)
        regressor.fit(self.features(codes), values)
        return regressor

    @property
    def knows_uncertainty(self) -> bool:
        """Whether its predictions come with intervals or standard deviations."""
        return has_interval(self.make(0))


def sees_signatures(model: Pipeline) -> bool:
    """Whether a predictor of `archrank.make_predictor`, or one that it holds, takes block signatures."""
    params = model.get_params()
    taken = any(key.endswith("__signatures") and value is not None for key, value in params.items())
    return taken or any(sees_signatures(member) for _, member in params.get("regressor__members", ()))


def normal_law(regressor: Any, features: Any, best: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Means and deviations ``(n,)`` of a fitted regressor, and `best` on the same scale.

    The scale is the one that it learns on, where its law is nearest to normal; of one that does not tell its
    scale (``target_``), the metric's unit. An increasing map lies between the two.
    """
    lo, hi = predict_interval(regressor, features, ONE_SIGMA)
    target = getattr(regressor[-1] if isinstance(regressor, Pipeline) else regressor, "target_", None)
    if isinstance(target, Target):
        lo, hi, best = target.place(lo), target.place(hi), float(target.place(np.array([best]))[0])
    return (lo + hi) / 2, (hi - lo) / 2, best
