"""What to train before anything is known."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from archrank.spaces import Codes, MacroSpace


def spread_over_costs(space: MacroSpace, codes: Codes, n: int, rng: np.random.Generator) -> Codes:
    """`n` of the networks `codes`, one from each of `n` equal classes of size, in random order.

    Stratified sampling (McKay et al., Technometrics 1979). Size is the mean rank in all costs that the space knows;
    of a space without costs the networks are random. Costs are known before any training, and accuracies
    mostly grow with them.
    """
    n = min(n, len(codes))
    if n == 0:
        return codes[:0]
    order = rng.permutation(len(codes))
    if space.block_costs:
        size = np.mean([rankdata(space.cost(name, codes)) for name in space.block_costs], axis=0)
        order = order[np.argsort(size[order], kind="stable")]
    classes = np.array_split(order, n)
    chosen = np.array([rng.choice(members) for members in classes], dtype=np.int64)
    spread: Codes = codes[rng.permutation(chosen)]
    return spread
