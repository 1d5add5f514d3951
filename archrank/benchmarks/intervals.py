"""How sure a mean is."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import sem, t

MIN_VALUES = 3  # two have a spread, but their interval is so wide that it tells nothing


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """Student's 95 % interval of the mean of independent values.

    Parameters
    ----------
    values
        ``(n,)``, finite. For the mean difference of two things on the same splits or networks: their differences
        (the paired t interval; Student, Biometrika 1908).

    Returns
    -------
    low, high
        NaN for fewer than three values. Exact for normal values of any number. The percentile bootstrap is too narrow
        for few: of 3, 5 and 10 normal values with mean zero it excludes zero in 24, 16 and 10 % of the cases.

    Examples
    --------
    >>> low, high = mean_interval([1.0, 2.0, 3.0])
    >>> round(low, 2), round(high, 2)
    (-0.48, 4.48)
    """
    found = np.asarray(values, dtype=np.float64)
    if len(found) < MIN_VALUES:
        return float("nan"), float("nan")
    half = float(t.ppf(0.975, len(found) - 1) * sem(found))
    return float(found.mean()) - half, float(found.mean()) + half
