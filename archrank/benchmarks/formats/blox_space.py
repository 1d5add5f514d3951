"""From model hashes and released costs to networks of a BLOX space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from archrank._errors import TableError
from archrank.benchmarks.formats.blox_columns import Content, hex_digest
from archrank.benchmarks.formats.blox_header import HASH
from archrank.spaces import BloxSpace, Codes, InvalidArchitectureError, blox
from archrank.spaces.blox_hashes import STORED, compute_digests, stored_digests

_CLASSES = {"cifar10": 10, "cifar100": 100}
_WIDTHS, _SIZES = range(2, 130, 2), range(8, 65)


def network_digests(space: BloxSpace) -> NDArray[np.bytes_]:
    """Model hashes of all networks of a space in order of their index, 16 bytes each."""
    raw = stored_digests(space.stages) if space.stages in STORED else compute_digests(space.all_codes())
    return np.ascontiguousarray(raw).view("S16").reshape(-1)


def positions(wanted: NDArray[np.bytes_], known: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Place of each wanted hash among the known ones, -1 where it is none of them."""
    if len(wanted) == len(known) and (wanted == known).all():
        return np.arange(len(known))
    order = np.argsort(known)
    at = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)]
    return np.where(known[at] == wanted, at, -1)


def info_codes(info: Content, space: BloxSpace, known: NDArray[np.bytes_]) -> Codes:
    """Codes of the architecture vectors of an info file, whatever isomorphic form they are in.

    Raises
    ------
    TableError
        If a vector is invalid or its hash is another one's.
    """
    try:
        codes = space.from_arch_vectors(info.columns["arch_vec"])
    except InvalidArchitectureError as error:
        raise TableError(f"{info.path}, arch_vec: {error}") from error
    right = known[space.index(codes)]
    wrong = right != info.columns[HASH]
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TableError(
            f"{info.path}, row {row + 1}: hash {hex_digest(info.columns[HASH][row])} is not that of its architecture "
            f"vector, {hex_digest(right[row])}; the file is damaged, fetch it again"
        )
    return codes


def sized_space(
    stages: int,
    dataset: str | None,
    codes: Codes,
    params: NDArray[np.float64] | None,
    flops: NDArray[np.float64] | None,
) -> BloxSpace:
    """The space of the width, image size and classes that give these costs; of the published ones without costs.

    Where no size gives them, the space knows no costs: predictors must not use wrong ones.
    """
    published = blox(stages, classes=_CLASSES.get(dataset or "", 100))
    if params is None or flops is None:
        return published
    known = np.isfinite(params) & np.isfinite(flops)  # an info file may lack networks that were trained
    codes, params, flops = codes[known], params[known], flops[known]
    if _costs(published, codes, params, flops):
        return published
    first = codes[:1]
    for classes in _CLASSES.values():
        for width in _WIDTHS:
            if blox(stages, width, classes=classes).params(first)[0] == params[0]:
                for size in _SIZES:
                    space = blox(stages, width, size, classes)
                    if _costs(space, first, params[:1], flops[:1]) and _costs(space, codes, params, flops):
                        return space
    return replace(published, block_costs={}, fixed_costs={})


def _costs(space: BloxSpace, codes: Codes, params: NDArray[np.float64], flops: NDArray[np.float64]) -> bool:
    return bool((space.params(codes) == params).all() and (space.flops(codes) == flops).all())
