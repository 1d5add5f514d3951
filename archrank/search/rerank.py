"""Iterative re-ranking: rounds of training what a predictor ranks high (BRP-NAS, Dudziak et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from archrank.ground_truth import Metric
from archrank.search.guided import GuidedSearch, learnable
from archrank.search.surrogate import Factory, Surrogate
from archrank.spaces import Codes, MacroSpace

if TYPE_CHECKING:
    from archrank.encodings.proxy import NetworkColumns
    from archrank.encodings.signature import SignatureTables


class IterativeReranking(GuidedSearch):
    """Rounds of equal size: random networks first, then what the predictor of all told so far ranks high.

    Round ``i`` (the first after the random one is 1) takes the best ``alpha * per_round`` networks of the ranking
    and, at random, ``(1 - alpha) * per_round`` of its first ``M / 2**i``, where M is the number of candidates. After
    `rounds` rounds come the best of the ranking alone.

    Parameters
    ----------
    space, signatures, measured, candidates, metric, pool, seed
        See `GuidedSearch`.
    predictor
        See `GuidedSearch`; "gcn" as published.
    per_round
        Networks of a round. A ranking is made when a round was asked for whole, from what has been told by then.
    rounds
        Rounds, the random one included.
    alpha
        Share of a round that is taken from the top.

    Examples
    --------
    >>> from archrank.spaces import blox
    >>> space = blox(stages=2)
    >>> search = IterativeReranking(space, predictor="gp", per_round=10, rounds=2)
    >>> for _ in range(3):
    ...     codes = search.ask(10)
    ...     search.tell(codes, space.params(codes))
    >>> bool(search.best()[1] == space.params(space.all_codes()).max())
    True
    """

    def __init__(
        self,
        space: MacroSpace,
        *,
        predictor: str | Factory = "gcn",
        signatures: SignatureTables | None = None,
        measured: NetworkColumns | None = None,
        per_round: int = 20,
        rounds: int = 5,
        alpha: float = 0.5,
        candidates: int = 100_000,
        metric: Metric | None = None,
        pool: ArrayLike | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            space,
            predictor=predictor,
            signatures=signatures,
            measured=measured,
            candidates=candidates,
            metric=metric,
            pool=pool,
            seed=seed,
        )
        if per_round < 1 or rounds < 1:
            raise ValueError(f"per_round and rounds must be 1 or more, got {per_round!r} and {rounds!r}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie between 0 and 1, got {alpha!r}")
        self.per_round = per_round
        self.rounds = rounds
        self.alpha = alpha
        self._surrogate = Surrogate.of(predictor, self.context)
        self._round = 0
        self._plan: Codes = np.empty((0, space.stages), dtype=np.int64)  # what is left of the round

    def _propose(self, n: int) -> Codes:
        proposed = self._plan[:0]
        while len(proposed) < n:
            if not len(self._plan):
                self._plan = self._next_round(proposed)
                if not len(self._plan):
                    break
            taken, self._plan = np.split(self._plan, [n - len(proposed)])
            proposed = np.concatenate([proposed, taken[self.is_new(taken)]])
        return proposed

    def _next_round(self, proposed: Codes) -> Codes:
        """The networks of a round; `proposed` were taken already, in the same call."""
        number, self._round = self._round, self._round + 1
        listing, rows = self._candidates()
        rows = rows[~np.isin(self.space.index(listing.codes[rows]), self.space.index(proposed))]
        codes, values = self.told
        if not number or not len(rows) or not learnable(values):
            return listing.codes[rows[: self.per_round]]
        regressor = self._surrogate.fitted(codes, values, self._fit_seed(len(codes)))
        predicted = self.metric.sign * np.asarray(regressor.predict(listing.features(self._surrogate)[rows]))
        ranked = rows[np.argsort(-predicted, kind="stable")]
        alpha = self.alpha if number < self.rounds else 1.0
        top = round(alpha * self.per_round)
        # Late rounds of a small space would halve the ranking to less than they are to take from it.
        high = ranked[top : max(len(ranked) // 2**number, self.per_round)]
        chosen = np.concatenate([ranked[:top], self.rng.permutation(high)[: self.per_round - top]])
        following: Codes = listing.codes[chosen]
        return following

    def state_dict(self) -> dict[str, Any]:
        """See `Search.state_dict`."""
        return super().state_dict() | {"round": self._round, "plan": self._plan.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Search.load_state_dict`."""
        super().load_state_dict(state)
        self._round = state["round"]
        self._plan = np.array(state["plan"], dtype=np.int64).reshape(-1, self.space.stages)
