"""How promising a network is, from what a predictor thinks of it and how sure it is. Larger is better throughout."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

from archrank._errors import there_are

Acquisition = Literal["mean", "ei", "ucb", "thompson"]

# Below so many deviations 1 + u * Mills' ratio is lost to rounding, and equals 1 / u^2 to eight digits.
_FAR = -1e4


def check_acquisition(name: str) -> None:
    """Refuse an unknown acquisition.

    Raises
    ------
    ValueError
        Listing those there are.
    """
    if name not in get_args(Acquisition):
        raise ValueError(f"unknown acquisition {name!r}; {there_are(name, get_args(Acquisition))}")


def acquire(
    name: Acquisition,
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    best: float,
    kappa: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Scores of networks ``(n,)``; the largest is the one to train next.

    Parameters
    ----------
    name
        "mean": the prediction. "ei": `log_expected_improvement`. "ucb": ``mean + kappa * deviation`` (Srinivas et
        al., ICML 2010). "thompson": one draw for each network, independent of the others (White et al., BANANAS,
        AAAI 2021).
    mean, deviation
        Of the normal law of each network, ``(n,)``; of "mean" the deviation is not looked at.
    best
        The value to improve on.
    kappa
        Of "ucb".
    rng
        Of "thompson".
    """
    if name == "mean":
        return mean
    if name == "ei":
        return log_expected_improvement(mean, deviation, best)
    if name == "ucb":
        return mean + kappa * deviation
    return mean + deviation * rng.standard_normal(len(mean))


def log_expected_improvement(
    mean: NDArray[np.float64], deviation: NDArray[np.float64], best: float
) -> NDArray[np.float64]:
    """Logarithm of ``E[max(Y - best, 0)]``, ``(n,)``, for normal Y of positive deviation.

    ``deviation * (phi(u) + u * Phi(u))`` with ``u = (mean - best) / deviation`` (Jones et al., J. Global Optim. 1998).
    The expectation itself is 0 to the computer some 40 deviations below the best; its logarithm goes on
    ranking there (Ament et al., NeurIPS 2023).
    """
    u = (mean - best) / deviation
    density = -(u**2) / 2 - np.log(2 * np.pi) / 2
    above, below, far = np.maximum(u, -1.0), np.clip(u, _FAR, -1.0), np.minimum(u, _FAR)
    near = np.log(np.exp(-(above**2) / 2) / np.sqrt(2 * np.pi) + above * ndtr(above))
    middle = density + np.log1p(below * np.sqrt(np.pi / 2) * erfcx(-below / np.sqrt(2)))
    tail = density - 2 * np.log(-far)
    return np.asarray(np.log(deviation) + np.where(u > -1, near, np.where(u > _FAR, middle, tail)))
