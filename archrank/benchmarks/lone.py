"""How well single quantities rank networks: the least that a predictor must beat."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank.benchmarks.metrics import kendall
from archrank.ground_truth import GroundTruth


def lone_taus(table: GroundTruth) -> pd.DataFrame:
    """Kendall's tau of single quantities with the default metric (mean over seeds).

    Returns
    -------
    Columns ``what``, ``teacher``, ``tau``. Costs count as more being better; signature columns are summed over the
    chosen blocks and signed by their direction. What is the same for every teacher, such as latency, is given once.
    """
    truth = table.metric().sign * table.values()
    known = np.isfinite(truth)
    rows = []

    def add(what: str, teacher: str, values: NDArray[np.float64]) -> None:
        both = known & np.isfinite(values)
        rows.append((what, teacher, kendall(values[both], truth[both])))

    costs = [c for c in ("params", "flops") if c in table.space.block_costs]
    for cost in costs:
        add(cost, "", table.space.cost(cost, table.codes))
    if table.signatures is not None:
        shared = table.signatures.shared_columns
        for place, teacher in enumerate(table.signatures.teachers):
            for column in table.signatures.columns:
                if column in costs or (column in shared and place):
                    continue
                whose = "" if column in shared else teacher
                add(f"{column}, summed over stages", whose, table.signatures.scores(table.codes, [column], teacher))
    return pd.DataFrame(rows, columns=["what", "teacher", "tau"]).dropna(subset="tau")
