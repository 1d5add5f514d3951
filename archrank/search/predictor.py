"""Search guided by a predictor and by how sure it is: Bayesian optimisation over architectures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.ground_truth import Metric
from archrank.search.acquisition import Acquisition, acquire, check_acquisition
from archrank.search.design import spread_over_costs
from archrank.search.guided import GuidedSearch, learnable
from archrank.search.surrogate import Factory, Surrogate, normal_law
from archrank.spaces import Codes, MacroSpace

if TYPE_CHECKING:
    from archrank.encodings.proxy import NetworkColumns
    from archrank.encodings.signature import SignatureTables


class PredictorSearch(GuidedSearch):
    """Trains what a predictor, fitted to all networks told so far, finds most promising.

    Parameters
    ----------
    space, predictor, signatures, measured, candidates, metric, pool, seed
        See `GuidedSearch`. ``"auto"`` is its member ``gp`` alone before `stack_from` networks: weights of
        several predictors cannot be told from so few, and fits take a small part of the time.
    acquisition
        "mean", "ei", "ucb" or "thompson", see `archrank.search.acquisition.acquire`; all but the first need a
        predictor that knows its uncertainty. By default "ucb" where it does, "mean" where not.
    kappa
        Of "ucb": deviations added to the mean, on the scale that the predictor learns on.
    n_init
        Networks to train before the predictor is asked, spread over costs (`spread_over_costs`). Networks told
        before the first `ask` count.
    refit_every
        Networks, told or waiting, between fits.
    stack_from
        Number of networks from which on "auto" is fitted with all its members; fits then are a tenth of the
        networks apart, or `refit_every` where that is more.

    Notes
    -----
    Networks that were asked for and not yet told, in the same batch or before, count for "ei" and "ucb" as if
    they had reached their prediction (kriging believer, Ginsbourger et al., 2010), which drives the next
    ones away from them; each network of a batch then takes a fit. "thompson" draws anew for each.
    Failed networks teach nothing, and are not asked for again.

    Examples
    --------
    >>> from archrank.spaces import blox
    >>> space = blox(stages=2)
    >>> search = PredictorSearch(space, predictor="gp", seed=0)
    >>> for _ in range(8):
    ...     codes = search.ask()
    ...     search.tell(codes, space.params(codes))
    >>> bool(search.best()[1] == space.params(space.all_codes()).max())
    True
    """

    def __init__(
        self,
        space: MacroSpace,
        *,
        predictor: str | Factory = "auto",
        signatures: SignatureTables | None = None,
        measured: NetworkColumns | None = None,
        acquisition: Acquisition | None = None,
        kappa: float = 0.5,
        n_init: int = 3,
        refit_every: int = 1,
        stack_from: int = 50,
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
        for name, number, least in (("n_init", n_init, 2), ("refit_every", refit_every, 1)):
            if number < least:
                raise ValueError(f"{name} must be {least} or more, got {number!r}")
        self._surrogate = Surrogate.of(predictor, self.context)
        self._early = Surrogate.of("gp", self.context) if predictor == "auto" else self._surrogate
        sure = self._surrogate.knows_uncertainty
        self.acquisition: Acquisition = acquisition or ("ucb" if sure else "mean")
        check_acquisition(self.acquisition)
        if self.acquisition != "mean" and not sure:
            raise ValueError(
                f"acquisition {self.acquisition!r} needs a predictor that knows its uncertainty, and "
                f"{self._surrogate.name!r} does not; take acquisition='mean', or predictor='gp'"
            )
        self.kappa = kappa
        self.n_init = n_init
        self.refit_every = refit_every
        self.stack_from = stack_from
        self._plan: Codes | None = None  # what is left of the initial design
        self._waiting: Codes = np.empty((0, space.stages), dtype=np.int64)  # asked for, not told yet
        self._fits: dict[str, tuple[Any, Any]] = {}  # the last fit of either kind, and what it was fitted to

    # -- ask and tell -------------------------------------------------------------------------

    def _propose(self, n: int) -> Codes:
        planned = self._planned(n)
        self._waiting = np.concatenate([self._waiting, planned])
        chosen = [planned]
        listing, rows = self._candidates()
        rows = rows[self._others(listing.codes[rows], planned)]
        while sum(map(len, chosen)) < n and len(rows):
            at = int(np.argmax(self._scores(listing.features, rows)))
            chosen.append(listing.codes[rows[at : at + 1]])
            self._waiting = np.concatenate([self._waiting, chosen[-1]])
            rows = np.delete(rows, at)
        return np.concatenate(chosen)

    def _planned(self, n: int) -> Codes:
        """Up to `n` networks of the initial design; it is made at the first call."""
        if self._plan is None:
            listing, rows = self._candidates()
            missing = self.n_init - self.trained
            size = max(n, missing) if missing > 0 else 0
            self._plan = spread_over_costs(self.space, listing.codes[rows], size, self.rng)
        left = self._plan[self.is_new(self._plan)]
        self._plan = left[n:]
        return left[:n]

    def _others(self, codes: Codes, than: Codes) -> NDArray[np.bool_]:
        return ~np.isin(self.space.index(codes), self.space.index(than))

    def _learn(self, codes: Codes, values: NDArray[np.float64]) -> None:
        self._waiting = self._waiting[self._others(self._waiting, codes)]

    # -- the predictor ------------------------------------------------------------------------

    def _scores(self, features: Any, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """How promising candidates are, ``(n,)``; all alike as long as nothing can be learnt."""
        sign = self.metric.sign
        believes = self.acquisition in ("ei", "ucb")
        surrogate, size = self._schedule(self.trained + (len(self._waiting) if believes else 0))
        codes, values = self.history[0][:size], self.history[1][:size]
        codes, values = codes[np.isfinite(values)], values[np.isfinite(values)]
        if not learnable(values):
            codes, values = self.told
        if not learnable(values):
            return np.zeros(len(rows))
        believed = self._waiting[: max(0, size - self.trained)]
        regressor, values = self._fit(surrogate, codes, values, believed)
        seen = features(surrogate)[rows]
        if self.acquisition == "mean":
            return sign * np.asarray(regressor.predict(seen))
        mean, deviation, best = normal_law(regressor, seen, float(sign * np.max(sign * values)))
        return acquire(self.acquisition, sign * mean, deviation, sign * best, self.kappa, self.rng)

    def _schedule(self, networks: int) -> tuple[Surrogate, int]:
        """Which predictor to fit to the first how many networks, where there are so many."""
        size, step = min(self.n_init, networks), self.refit_every
        while True:
            stacked = self.predictor == "auto" and size >= self.stack_from
            step = max(self.refit_every, size // 10) if stacked else self.refit_every
            if size + step > networks:
                return (self._surrogate if stacked else self._early), size
            size += step

    def _fit(
        self, surrogate: Surrogate, codes: Codes, values: NDArray[np.float64], believed: Codes
    ) -> tuple[Any, NDArray[np.float64]]:
        """The predictor of told and believed networks, and the values that it learnt."""
        regressor = self._fit_once("told", surrogate, codes, values)
        if len(believed):
            values = np.concatenate([values, regressor.predict(surrogate.features(believed))])
            codes = np.concatenate([codes, believed])
            regressor = self._fit_once("believed", surrogate, codes, values)
        return regressor, values

    def _fit_once(self, what: str, surrogate: Surrogate, codes: Codes, values: NDArray[np.float64]) -> Any:
        key = (surrogate.name, codes.tobytes(), values.tobytes())
        if what not in self._fits or self._fits[what][0] != key:
            self._fits[what] = key, surrogate.fitted(codes, values, self._fit_seed(len(codes)))
        return self._fits[what][1]

    # -- resuming -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """See `Search.state_dict`. Predictors are fitted again from what was told, with the same seeds."""
        plan = None if self._plan is None else self._plan.tolist()
        return super().state_dict() | {"plan": plan, "waiting": self._waiting.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Search.load_state_dict`."""
        super().load_state_dict(state)
        self._plan = None if state["plan"] is None else self._rows(state["plan"])
        self._waiting = self._rows(state["waiting"])
        self._fits = {}

    def _rows(self, codes: list[list[int]]) -> Codes:
        return np.array(codes, dtype=np.int64).reshape(-1, self.space.stages)
