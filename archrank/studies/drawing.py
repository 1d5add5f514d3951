"""Pictures that several studies draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def draw_intervals(
    figure: Figure,
    table: pd.DataFrame,
    label: str,
    value: str,
    *,
    group: str | None = None,
    lines: Mapping[str, float | None] | None = None,
    xlabel: str = "Kendall tau",
    title: str = "",
) -> None:
    """One line per label with the value and its 95 % interval, from the top; a colour for each group.

    Parameters
    ----------
    table
        Columns `label`, `value`, ``VALUE_low``, ``VALUE_high`` and `group`.
    lines
        Values to mark by a vertical line, by name; None is left out.
    """
    labels = list(dict.fromkeys(table[label]))
    groups = [("", table)] if group is None else [(str(name), part) for name, part in table.groupby(group, sort=False)]
    beside = 0.7 if table[label].duplicated().any() else 0.0  # groups on the same line go beside each other
    figure.set_size_inches(7.0, max(2.4, 1.4 + 0.17 * len(labels) * (1 + (len(groups) if beside else 1))))
    axes = figure.add_subplot()
    for i, (name, part) in enumerate(groups):
        at = np.array([labels.index(x) for x in part[label]]) + beside * ((i + 0.5) / len(groups) - 0.5)
        ends = [part[value] - part[f"{value}_low"], part[f"{value}_high"] - part[value]]
        # A percentile interval of few networks may leave its estimate outside; matplotlib refuses negative lengths.
        lengths = np.nan_to_num(np.clip(np.array(ends, dtype=np.float64), 0.0, None))
        axes.errorbar(part[value], at, xerr=lengths, fmt="o", markersize=4, capsize=2, label=name or None)
    for (name, x), style in zip((lines or {}).items(), ("--", ":", "-."), strict=False):
        if x is not None:
            axes.axvline(x, color="grey", linewidth=1, linestyle=style, label=name)
    axes.set_yticks(np.arange(len(labels)), [str(x) for x in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)  # from the top
    axes.grid(axis="x", alpha=0.3)
    axes.set(xlabel=xlabel, title=title)
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside lower center", ncols=3, fontsize="small")
