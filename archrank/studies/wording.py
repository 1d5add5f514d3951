"""How figures of a study are written in its text."""

from __future__ import annotations

from archrank.ground_truth import Metric
from archrank.studies.statistics import Estimate


def target_spec(target: Metric) -> str:
    """Format of a difference in a metric: hundredths of a point for per cent, else three digits."""
    return "+.2f" if target.unit == "%" else "+.3g"


def value_spec(target: Metric) -> str:
    """Format of a value of a metric: hundredths of a point for per cent, else five digits."""
    return ".2f" if target.unit == "%" else ".5g"


def unit_text(target: Metric) -> str:
    """What stands behind a difference: `` points`` for per cent, else the unit, if there is one."""
    return " points" if target.unit == "%" else f" {target.unit}".rstrip()


def compared_with(difference: Estimate, sign: int = 1) -> str:
    """What stands between two things of which the first is higher by `difference`, as far as its interval decides.

    `sign` is -1 where lower is better.
    """
    return {1: "better than", -1: "worse than", 0: "not shown to differ from"}[sign * difference.decided]


def listed(names: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``.

    Examples
    --------
    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
