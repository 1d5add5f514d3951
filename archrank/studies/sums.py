"""What signatures alone say of networks: their signed sum, and which teachers measured them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from archrank.ground_truth import GroundTruth, Signatures
from archrank.studies.statistics import Floats


def signature_sum(bench: GroundTruth, signatures: Signatures, columns: Sequence[str], teacher: str) -> Floats:
    """Sum of block signatures, float64 ``(n,)``, higher for better; NaN where a block is not measured.

    It is the score of an unfitted `archrank.predictors.hant` (Molchanov et al., ECCV 2022), which wants all blocks
    measured; several columns are divided by their spread over blocks.
    """
    score = np.zeros(len(bench))
    for column in columns:
        tables = signatures.table(column, teacher)
        spread = float(np.nanstd(np.concatenate(tables))) if len(columns) > 1 else 1.0
        total = np.sum([table[codes] for table, codes in zip(tables, bench.codes.T, strict=True)], axis=0)
        score += signatures.metrics[column].sign * total / (spread or 1.0)
    return score


def measured_columns(bench: GroundTruth, signatures: Signatures) -> list[str]:
    """Columns that a teacher is needed for; costs, which some tables also hold for each block, are left out."""
    return [c for c in signatures.columns if c not in bench.space.block_costs]


def teachers(bench: GroundTruth, signatures: Signatures, metric: str) -> pd.DataFrame:
    """What is known of each teacher, the best trained one first.

    Columns ``teacher``, ``training`` ("trained", "untrained", or "unknown" where the name is no network of the table),
    ``own`` (what its network reached, trained normally: mean over seeds), ``rank`` (1 is best) and ``of``.
    """
    values, sign = bench.values(metric), bench.metric(metric).sign
    keys = {key: row for row, key in enumerate("-".join(map(str, code)) for code in bench.codes.tolist())}
    rows = []
    for teacher in signatures.teachers:
        # `archrank distill` calls a teacher BLOCK-...-BLOCK-sSEED, with "untrained-" before it where it is.
        code = teacher.removeprefix("untrained-").rpartition("-s")[0]
        own = float(values[keys[code]]) if code in keys else float("nan")
        known = np.isfinite(own)
        training = "untrained" if teacher.startswith("untrained-") else "trained" if known else "unknown"
        rank = 1 + int((sign * values > sign * own).sum()) if known else None
        rows.append({"teacher": teacher, "training": training, "own": own, "rank": rank})
    table = pd.DataFrame(rows).assign(of=int(np.isfinite(values).sum()))
    table["rank"] = table["rank"].astype("Int64")
    order = table.assign(untrained=table["training"] == "untrained").sort_values(["untrained", "rank"], kind="stable")
    return table.loc[order.index].reset_index(drop=True)
