"""Other published macro spaces, and rebuilding a space from its description."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from archrank.spaces.blox import blox
from archrank.spaces.macro import MacroSpace


def nas_bench_macro() -> MacroSpace:
    """NAS-Bench-Macro (Su et al., CVPR 2021): 8 layers, each Identity, MB3_K3 or MB6_K5.

    6,561 strings; identities but in the first layer of a stage (layers 1-2, 3-5, 6-8) do nothing, so
    they are 3,969 networks.
    """
    table = {
        "expansion": np.array([0, 3, 6]),
        "kernel": np.array([0, 3, 5]),
        "layers": np.array([0, 1, 1]),
        "operation": np.array(["Identity", "MB3_K3", "MB6_K5"]),
    }
    return MacroSpace(
        name="nas-bench-macro",
        blocks=(("Identity", "MB3_K3", "MB6_K5"),) * 8,
        attributes=(table,) * 8,
        groups=((0, 2), (2, 5), (5, 8)),
        skip="Identity",
    )


def bossnas_nats() -> MacroSpace:
    """NATS-Bench size space as BossNAS (ICCV 2021) splits it: layers 1-2, 3-4 and 5, widths 8 to 64."""
    widths = [str(w) for w in range(8, 65, 8)]
    pairs = [f"{a}:{b}" for a, b in product(widths, widths)]
    blocks = (tuple(pairs), tuple(pairs), tuple(widths))
    tables = []
    for names in blocks:
        split = np.array([[int(w) for w in name.split(":")] for name in names])
        tables.append({f"width{i + 1}": split[:, i] for i in range(split.shape[1])})
    return MacroSpace(name="bossnas-nats", blocks=blocks, attributes=tuple(tables))


def space_from_dict(data: Mapping[str, Any]) -> MacroSpace:
    """Inverse of `MacroSpace.describe`."""
    if data.get("kind") == "blox":
        return blox(**{k: int(data[k]) for k in ("stages", "width", "image_size", "classes")})
    if data.get("kind") == "macro":
        return MacroSpace(
            name=str(data["name"]),
            blocks=tuple(tuple(names) for names in data["blocks"]),
            attributes=tuple({k: np.asarray(v) for k, v in table.items()} for table in data["attributes"]),
            block_costs={k: tuple(np.asarray(c, float) for c in v) for k, v in data["block_costs"].items()},
            fixed_costs=dict(data["fixed_costs"]),
            groups=tuple((int(a), int(b)) for a, b in data["groups"]),
            skip=data["skip"],
        )
    raise ValueError(f"unknown kind of space {data.get('kind')!r}; expected 'blox' or 'macro'")
