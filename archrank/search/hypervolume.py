"""How much a front of networks covers, as one number, and fronts as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archrank._swap import new_file
from archrank.search.pareto import ParetoFront, minimised, need

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def reference_point(fronts: Sequence[ParetoFront], margin: float = 0.1) -> dict[str, float]:
    """A point that all networks of some fronts beat in every metric, ``{metric: value}``.

    The worst value of each metric, moved further by `margin` times the range (Ishibuchi et al., Evol. Comp.
    2018: on the worst value itself the ends of a front would not count). Fronts are compared with
    one and the same reference point.

    Raises
    ------
    ValueError
        For no fronts, or fronts of different metrics.
    """
    if not fronts or not all(len(f) for f in fronts):
        raise ValueError("expected one or more fronts, each with one or more networks")
    metrics = fronts[0].metrics
    if any(f.metrics != metrics for f in fronts):
        raise ValueError("the fronts have different metrics; compare those of the same objectives")
    low = minimised(np.concatenate([f.values for f in fronts]), metrics)
    worst, spread = low.max(axis=0), np.ptp(low, axis=0)
    worst = worst + margin * np.where(spread > 0, spread, 1.0)
    return {m.name: float(-m.sign * w) for m, w in zip(metrics, worst, strict=True)}


def hypervolume(front: ParetoFront, reference: Mapping[str, float], best: Mapping[str, float] | None = None) -> float:
    """Volume of all that a front beats, as far as a reference point, the more the better.

    Parameters
    ----------
    front
        Networks and their values in two or more metrics.
    reference
        A poor value of each metric, in its unit, see `reference_point`. What is worse counts as nothing.
    best
        A best value of each metric. With it the volume is a share of the box between `reference` and
        `best`, from 0 to 1; without it its unit is the product of those of the metrics.

    Raises
    ------
    ValueError
        If a metric has no reference or best value, or `best` is not better than `reference`.
    ImportError
        Without the extra ``archrank[search]``.
    """
    corner = minimised(_point(front, reference, "reference"), front.metrics)
    low = minimised(front.values, front.metrics)
    indicators = need("pymoo.indicators.hv")
    if best is None:
        return float(indicators.HV(ref_point=corner).do(low))
    ideal = minimised(_point(front, best, "best"), front.metrics)
    if (ideal >= corner).any():
        name = front.metrics[int(np.argmax(ideal >= corner))].name
        raise ValueError(f"best value of {name!r} is {best[name]}, no better than the reference {reference[name]}")
    share = (np.maximum(low, ideal) - ideal) / (corner - ideal)
    return float(indicators.HV(ref_point=np.ones(len(corner))).do(share))


def _point(front: ParetoFront, point: Mapping[str, float], what: str) -> list[float]:
    names = [m.name for m in front.metrics]
    if missing := [name for name in names if name not in point]:
        raise ValueError(f"no {what} value for metric {missing[0]!r}; give one for each of {', '.join(names)}")
    return [point[name] for name in names]


def draw_fronts(axes: Axes, fronts: Mapping[str, ParetoFront]) -> None:
    """The first metric of fronts against their second one, as the steps that bound what each front beats.

    Parameters
    ----------
    axes
        Where to draw.
    fronts
        By label; all of the same metrics.
    """
    for label, front in fronts.items():
        rise, cost = front.values[:, 0], front.values[:, 1]
        order = np.argsort(minimised(front.values, front.metrics)[:, 1], kind="stable")
        axes.step(cost[order], rise[order], where="post", marker="o", markersize=3, linewidth=1, label=label)
    first, second = (f"{m.name} [{m.unit}]" if m.unit else m.name for m in next(iter(fronts.values())).metrics[:2])
    axes.set(xlabel=second, ylabel=first)
    axes.legend(fontsize="small")


def plot_fronts(fronts: Mapping[str, ParetoFront], path: str | Path, title: str = "") -> None:
    """Write the picture of `draw_fronts` to a file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    draw_fronts(axes, fronts)
    axes.set_title(title)
    with new_file(Path(path)) as part:
        figure.savefig(part)
