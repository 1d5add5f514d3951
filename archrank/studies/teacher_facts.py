"""Which teachers measured the signatures of a table, and which columns they have of every block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from archrank.ground_truth import GroundTruth, TableError
from archrank.studies.needs import need_signatures


def complete_columns(bench: GroundTruth, study: str, teachers: int = 1) -> dict[str, list[str]]:
    """For each teacher the columns that it measured of every block; teachers without such a column are left out.

    Costs, which some tables also hold for each block, are no signatures: no teacher is needed for them.

    Raises
    ------
    TableError
        Where there are no signatures, or fewer than `teachers` have all blocks.
    """
    signatures = need_signatures(bench, study)
    columns = [c for c in signatures.columns if c not in bench.space.block_costs]
    complete = {
        teacher: [c for c in columns if all(np.isfinite(t).all() for t in signatures.table(c, teacher))]
        for teacher in signatures.teachers
    }
    whole = {teacher: found for teacher, found in complete.items() if found}
    if len(whole) < teachers:
        raise TableError(
            f"study {study!r} needs signatures of every block from {teachers} or more teachers, and of those of table "
            f"{bench.name!r} ({', '.join(signatures.teachers)}) {len(whole)} have them; distil what is missing with "
            "`archrank distill RECIPE --data IMAGES --teacher ARCH --out store` (untrained:ARCH for an untrained one), "
            "then `archrank merge store --out TABLE`"
        )
    return whole


def describe_teachers(bench: GroundTruth, names: Sequence[str], metric: str, mean: bool = False) -> pd.DataFrame:
    """What is known of teachers, the best trained one first.

    Columns ``teacher``, ``training`` ("trained", "untrained", or "unknown" where the name is no network of the table),
    ``own`` (what its network reached, trained normally), ``rank`` (1 is best) and ``of``. These are of the seed that
    taught, among networks of the same seed; of means over seeds where the table lacks it, or for `mean`.
    """
    means, sign = bench.values(metric), bench.metric(metric).sign
    keys = {key: row for row, key in enumerate("-".join(map(str, code)) for code in bench.codes.tolist())}
    rows = []
    for teacher in names:
        # `archrank distill` calls a teacher BLOCK-...-BLOCK-sSEED, with "untrained-" before it where it is.
        code, _, seed = teacher.removeprefix("untrained-").rpartition("-s")
        row, values = keys.get(code), means
        if row is not None and not mean and seed in map(str, bench.seeds):
            values = bench.values(metric, int(seed))
            values = values if np.isfinite(values[row]) else means
        own = float("nan") if row is None else float(values[row])
        known = np.isfinite(own)
        training = "untrained" if teacher.startswith("untrained-") else "trained" if known else "unknown"
        rank = 1 + int((sign * values > sign * own).sum()) if known else None
        of = int(np.isfinite(values).sum())
        rows.append({"teacher": teacher, "training": training, "own": own, "rank": rank, "of": of})
    table = pd.DataFrame(rows)
    table["rank"] = table["rank"].astype("Int64")
    order = table.assign(untrained=table["training"] == "untrained", place=table["rank"] / table["of"])
    order = order.sort_values(["untrained", "place"], kind="stable")
    return table.loc[order.index].reset_index(drop=True)
