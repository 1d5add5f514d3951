"""REINFORCE: a distribution over the blocks of each stage moves towards networks that did better than usual."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.ground_truth import Metric
from archrank.search.base import Search
from archrank.spaces import Codes, MacroSpace

Floats = NDArray[np.float64]

_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam


class ReinforceSearch(Search):
    """Policy gradient (Williams, 1992) as in NAS-Bench-101: one independent categorical per stage.

    A network's advantage is its value less a moving average of those before, over a moving standard deviation, so
    that the unit of the metric does not matter. Each `tell` is one step of Adam (Kingma and Ba, ICLR 2015) along
    the mean of advantage times gradient of the log probability, plus an entropy bonus. Networks asked for before are
    drawn again, as often as it takes; failed networks move nothing.

    Parameters
    ----------
    space, metric, pool, seed
        See `Search`.
    learning_rate
        Step in the logits.
    entropy
        Weight of the entropy of the policy, in nats per stage.
    decay
        Of the moving averages: the weight of the past at each network told.

    Examples
    --------
    >>> from archrank.search import run
    >>> from archrank.spaces import blox
    >>> space = blox(stages=2)
    >>> search = ReinforceSearch(space, seed=0)
    >>> history = run(search, space.params, budget=200, batch=4)
    >>> bool(history.values[-50:].mean() > history.values[:50].mean())
    True
    """

    def __init__(
        self,
        space: MacroSpace,
        *,
        metric: Metric | None = None,
        pool: ArrayLike | None = None,
        seed: int = 0,
        learning_rate: float = 0.2,
        entropy: float = 0.02,
        decay: float = 0.9,
    ) -> None:
        super().__init__(space, metric=metric, pool=pool, seed=seed)
        if learning_rate <= 0 or entropy < 0 or not 0 <= decay < 1:
            raise ValueError(
                "expected learning_rate > 0, entropy >= 0 and 0 <= decay < 1, "
                f"got {learning_rate}, {entropy} and {decay}"
            )
        self.learning_rate, self.entropy, self.decay = learning_rate, entropy, decay
        # Stages with fewer blocks than others are padded with blocks of no probability.
        there = np.arange(max(space.n_blocks)) < np.array(space.n_blocks)[:, None]
        self._logits: Floats = np.where(there, 0.0, -np.inf)
        self._moments: Floats = np.zeros((2, *there.shape))
        self._steps = 0
        self._baseline: list[float] = []  # moving average and variance, once there is a value

    @property
    def probabilities(self) -> Floats:
        """The policy: probability of each block, ``(n_stages, most blocks of a stage)``; 0 beyond the last block."""
        return np.exp(self._log_probabilities())

    def _log_probabilities(self) -> Floats:
        return self._logits - np.logaddexp.reduce(self._logits, axis=1, keepdims=True)

    def _propose(self, n: int) -> Codes:
        if not self.listable:
            drawn = self._draw(max(1000, 10 * n))
            new = self.new_of(drawn, besides=drawn[:0])[:n]  # in the order drawn: without replacement
            return new if len(new) == n else np.concatenate([new, self.random(n)])
        # Drawing without replacement from what is left, at once: the n largest of log probability plus Gumbel noise.
        left = self.remaining()
        log_p = self._log_probabilities()[np.arange(self.space.stages), left].sum(axis=1)
        return left[np.argsort(-(log_p + self.rng.gumbel(size=len(left))))[:n]]

    def _draw(self, n: int) -> Codes:
        noise = self.rng.gumbel(size=(n, *self._logits.shape))
        return np.asarray((self._logits + noise).argmax(axis=2), dtype=np.int64)

    def _learn(self, codes: Codes, values: Floats) -> None:
        there = np.isfinite(values)
        if not there.any():
            return
        advantages = np.array([self._advantage(float(r)) for r in self.metric.sign * values[there]])
        log_p = self._log_probabilities()
        p = np.exp(log_p)
        chosen = codes[there, :, None] == np.arange(p.shape[1])
        gradient = (advantages[:, None, None] * (chosen - p)).mean(axis=0)
        log_p = np.where(p > 0, log_p, 0.0)
        gradient -= self.entropy * p * (log_p - (p * log_p).sum(axis=1, keepdims=True))
        self._steps += 1
        for moment, beta, power in zip(self._moments, _BETAS, (1, 2), strict=True):
            moment += (1 - beta) * (gradient**power - moment)
        mean, square = (m / (1 - b**self._steps) for m, b in zip(self._moments, _BETAS, strict=True))
        self._logits += self.learning_rate * mean / (np.sqrt(square) + _EPSILON)

    def _advantage(self, reward: float) -> float:
        """How many deviations a reward lies above the moving average, which then moves."""
        if not self._baseline:
            self._baseline = [reward, 0.0]
            return 0.0
        average, variance = self._baseline
        above = reward - average
        self._baseline = [
            average + (1 - self.decay) * above,
            self.decay * (variance + (1 - self.decay) * above**2),
        ]
        return float(above / np.sqrt(self._baseline[1])) if self._baseline[1] > 0 else 0.0

    def state_dict(self) -> dict[str, Any]:
        """See `Search.state_dict`."""
        policy = {
            "logits": np.where(np.isfinite(self._logits), self._logits, 0.0).tolist(),
            "moments": self._moments.tolist(),
            "steps": self._steps,
            "baseline": self._baseline,
        }
        return super().state_dict() | policy

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Search.load_state_dict`."""
        super().load_state_dict(state)
        self._logits = np.where(np.isfinite(self._logits), np.array(state["logits"]), -np.inf)
        self._moments = np.array(state["moments"])
        self._steps = state["steps"]
        self._baseline = list(state["baseline"])
