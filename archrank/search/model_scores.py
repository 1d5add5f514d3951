"""From fitted predictors to sums over blocks, for searches that are exact.

A predictor may learn its metric on another scale, such as the logarithm of the error, and only there be a sum. The
order of networks is the same on both scales, so a search needs the inner one. Its terms are differences of the inner
score between networks that differ in one block or two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from archrank.predictors.base import NormalOnTarget
from archrank.search.block_sums import BlockSum, PairSum
from archrank.spaces import Codes, MacroSpace

# Random networks on which a sum is compared with its predictor, and the largest difference in parts of the spread
# that is put down to rounding: features are float32.
_CHECKED, _ROUNDING = 500, 1e-6
# Networks predicted together, for the sake of memory.
_PORTION = 100_000

Score = Callable[[Codes], NDArray[np.float64]]


def additive_scores(model: Any, space: MacroSpace) -> BlockSum:
    """The sum over blocks that ranks networks exactly as a fitted predictor does.

    Parameters
    ----------
    model
        A predictor that is additive on its inner scale, such as ``hant``, or ``donna`` of order 1.
    space
        The space of its codes.

    Returns
    -------
    BlockSum
        Higher where the predicted metric is higher, on the predictor's inner scale. For a metric of which less is
        better search with ``direction="min"``.

    Raises
    ------
    ValueError
        If the predictor is not such a sum, which is tried on random networks.

    Examples
    --------
    >>> import archrank
    >>> from archrank.spaces import blox
    >>> space = blox(stages=2)
    >>> codes = space.sample(60, seed=0)
    >>> model = archrank.make_predictor("donna:one_hot", space, order=1).fit(codes, np.sqrt(space.flops(codes)))
    >>> score = additive_scores(model, space)
    >>> bool((np.argsort(score(codes)) == np.argsort(model.predict(codes))).all())
    True
    """
    inner = _inner(model, space)
    base, single = _singles(inner, space)
    score = BlockSum(single, base)
    _check(score, _predict(model), space, "a sum over blocks; use pairwise_scores, or a model of order 1 on signatures")
    return score


def pairwise_scores(model: Any, space: MacroSpace) -> PairSum:
    """The sum over blocks and pairs of blocks that ranks networks exactly as a fitted predictor does.

    Parameters
    ----------
    model
        A predictor with at most second-order terms on its inner scale, such as ``donna``.
    space
        The space of its codes.

    Returns
    -------
    PairSum
        As `additive_scores`; pairs of stages that do not act on each other are left out.

    Raises
    ------
    ValueError
        If the predictor is not such a sum, which is tried on random networks.
    """
    inner = _inner(model, space)
    base, single = _singles(inner, space)
    second = {}
    for s, t in combinations(range(space.stages), 2):
        n, m = space.n_blocks[s], space.n_blocks[t]
        codes = np.zeros((n * m, space.stages), dtype=np.int64)
        codes[:, s], codes[:, t] = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
        matrix = inner(codes).reshape(n, m) - base - single[s][:, None] - single[t]
        if np.abs(matrix).max() > _ROUNDING * 1e-3 * (np.ptp(single[s]) + np.ptp(single[t])):
            second[s, t] = matrix
    score = PairSum(BlockSum(single, base), second)
    _check(
        score,
        _predict(model),
        space,
        "a sum over pairs of blocks; search with archrank.search.nsga2, or rank a listing",
    )
    return score


def _singles(inner: Score, space: MacroSpace) -> tuple[float, list[NDArray[np.float64]]]:
    """The score of the network of first blocks, and per stage what other blocks change in it."""
    stage = np.repeat(np.arange(space.stages), space.n_blocks)
    codes = np.zeros((len(stage), space.stages), dtype=np.int64)
    codes[np.arange(len(stage)), stage] = np.concatenate([np.arange(n) for n in space.n_blocks])
    values = inner(codes)
    base = float(values[0])
    return base, np.split(values - base, np.cumsum(space.n_blocks)[:-1])


def _inner(model: Any, space: MacroSpace) -> Score:
    """Scores on the scale that a predictor learns, with each code taken as it is.

    Encodings move skip blocks before they look up anything, which would hide what a skip is worth elsewhere; so they
    get a space without groups. Searches look at canonical codes only, on which nothing differs.
    """
    if isinstance(model, Pipeline) and space.groups:
        steps = [
            (name, type(step)(**step.get_params(deep=False) | {"space": replace(step.space, groups=())}))
            if hasattr(step, "space")
            else (name, step)
            for name, step in model.steps
        ]
        return _predict(Pipeline(steps))
    return _predict(model)


def _predict(model: Any) -> Score:
    last = model[-1] if isinstance(model, Pipeline) else model

    def score(codes: Codes) -> NDArray[np.float64]:
        out = []
        for start in range(0, len(codes), _PORTION):
            features: Any = codes[start : start + _PORTION]
            for _, step in model.steps[:-1] if isinstance(model, Pipeline) else ():
                features = step.transform(features)
            learnt = isinstance(last, NormalOnTarget)
            out.append(last._mean_and_spread(features, False)[0] if learnt else last.predict(features))
        return np.concatenate(out).astype(np.float64)

    return score


def _check(total: BlockSum | PairSum, score: Score, space: MacroSpace, what: str) -> None:
    draws = np.random.default_rng(0).integers(0, space.n_blocks, size=(_CHECKED, space.stages))
    codes = space.canonical(draws)
    truth = score(codes)
    error = float(np.abs(total(codes) - truth).max())
    if not error <= _ROUNDING * max(float(np.ptp(truth)), 1e-9 * float(np.abs(truth).max())):
        raise ValueError(
            f"on random networks the predictor's score is up to {error:.3g} from a sum, where scores spread over "
            f"{np.ptp(truth):.3g}: it is not {what}"
        )
