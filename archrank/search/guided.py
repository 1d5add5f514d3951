"""What searches with a predictor share: candidates, encoded once, and the predictor's context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.ground_truth import Metric
from archrank.predictors.context import Context
from archrank.predictors.registry import build
from archrank.search.base import Search
from archrank.search.surrogate import Factory, Surrogate, sees_signatures
from archrank.spaces import Codes, MacroSpace

if TYPE_CHECKING:
    from archrank.encodings.proxy import NetworkColumns
    from archrank.encodings.signature import SignatureTables

_PARENTS = 10  # best networks told whose neighbours are candidates where not all networks are


class Listing:
    """Networks ``(n, n_stages)`` and what predictors see of them, made on first use."""

    def __init__(self, codes: Codes) -> None:
        self.codes = codes
        self._features: dict[str, Any] = {}

    def features(self, surrogate: Surrogate) -> Any:
        """Features of all networks, sliceable by rows."""
        if surrogate.name not in self._features:
            self._features[surrogate.name] = surrogate.features(self.codes)
        return self._features[surrogate.name]


class GuidedSearch(Search):
    """Base of searches that fit a predictor to what they were told. Nothing else of a table reaches it.

    Parameters
    ----------
    space, metric, pool, seed
        See `Search`. The bound of the metric gives the scale on which predictors learn.
    predictor
        A name of `archrank.make_predictor`, such as ``"gp"`` or ``"donna:signature+cost"``, or a function
        ``factory(seed)`` that returns an object with `fit` and `predict` of codes.
    signatures, measured
        Block signatures and zero-cost proxies, which encodings may use: what is known without training networks.
    candidates
        All networks not yet asked for are ranked where the pool is given or the space has at most so many; else
        so many random ones, and the neighbours of the best ten.
    """

    def __init__(
        self,
        space: MacroSpace,
        *,
        predictor: str | Factory,
        signatures: SignatureTables | None = None,
        measured: NetworkColumns | None = None,
        candidates: int = 100_000,
        metric: Metric | None = None,
        pool: ArrayLike | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(space, metric=metric, pool=pool, seed=seed)
        if candidates < 1:
            raise ValueError(f"candidates must be 1 or more, got {candidates!r}")
        self.predictor = predictor
        self.candidates = candidates
        self.context = Context(space, self.metric, signatures, measured)
        # Features of what is listed do not change, and making them takes as long as a small fit.
        self._listing = None
        if self._listed is not None and (pool is not None or len(self._listed) <= candidates):
            self._listing = Listing(self._listed)

    @property
    def uses_signatures(self) -> bool:
        """See `Search.uses_signatures`; not told of a predictor that is a function."""
        return isinstance(self.predictor, str) and sees_signatures(build(self.predictor, self.context))

    def _candidates(self) -> tuple[Listing, NDArray[np.int64]]:
        """Networks, and the rows of those that may be asked for in random order: chance decides between equals."""
        if self._listing is not None:
            return self._listing, self.rng.permutation(np.flatnonzero(self._left))
        codes = self.random(self.candidates)
        known, values = self.told
        if len(known):
            best = known[np.argsort(-self.metric.sign * values, kind="stable")[:_PARENTS]]
            near = self.space.neighbours(best).reshape(-1, self.space.stages)
            codes = np.concatenate([codes, self.new_of(near, codes)])
        return Listing(codes), self.rng.permutation(len(codes))

    def _fit_seed(self, size: int) -> int:
        """Seed of a fit to `size` networks: a search that is resumed fits the same predictor again."""
        return int(np.random.SeedSequence([self.seed, size]).generate_state(1)[0] >> 1)


def learnable(values: NDArray[np.float64]) -> bool:
    """Whether values tell networks apart; a predictor of anything else is constant."""
    return len(values) > 1 and bool(np.ptp(values) > 0)
