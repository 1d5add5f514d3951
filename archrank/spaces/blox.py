"""The BLOX search space (Chau et al., NeurIPS 2022, arXiv 2210.07271).

One cell per stage. A cell has two operation slots and three switches: ``op1`` reads the cell input
``x`` and gives ``a``; ``op2`` reads ``a`` if *prev* plus ``x`` if *inp*; the cell output is that of
``op2``, plus ``a`` if *sc*. Operations without input or whose output is unused are dropped, which
leaves 45 distinct blocks of 72 settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import md5
from itertools import chain, product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank.spaces.macro import BlockGraph, Codes, InvalidArchitectureError, MacroSpace

OPS = ("conv", "mbconv", "bconv")
_SHAPE = (3, 3, 2, 2, 2)  # op1, op2, prev, inp, sc


@dataclass(frozen=True)
class Block:
    """One distinct block: its first-seen digits and its operations after dropping unused ones.

    ``first`` is the operation in slot 1 or None where it is dropped, ``second`` that of slot 2;
    ``wiring`` is one of single, chain, chain+input, chain+skip, parallel, full.
    """

    digits: tuple[int, int, int, int, int]
    first: int | None
    second: int
    wiring: str

    @property
    def name(self) -> str:
        """For example ``bconv``, ``conv>mbconv+skip``, ``bconv|conv``."""
        second = OPS[self.second]
        if self.first is None:
            return second
        first = OPS[self.first]
        return {
            "chain": f"{first}>{second}",
            "chain+input": f"{first}>{second}+input",
            "chain+skip": f"{first}>{second}+skip",
            "parallel": f"{first}|{second}",
            "full": f"{first}>{second}+input+skip",
        }[self.wiring]

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Edges over the vertices 0 input, 1 first operation, 2 second operation, 3 reduction."""
        return {
            "single": ((0, 2), (2, 3)),
            "chain": ((0, 1), (1, 2), (2, 3)),
            "chain+input": ((0, 1), (0, 2), (1, 2), (2, 3)),
            "chain+skip": ((0, 1), (1, 2), (1, 3), (2, 3)),
            "parallel": ((0, 1), (0, 2), (1, 3), (2, 3)),
            "full": ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3)),
        }[self.wiring]


def _block_key(op1: int, op2: int, prev: int, inp: int, sc: int) -> tuple[int | None, int, str] | None:
    """What a setting of the five digits builds, None where it is invalid."""
    if not prev and not inp:
        return (None, op1, "single") if sc else None
    if not prev and not sc:
        return (None, op2, "single")
    if not prev:
        return (max(op1, op2), min(op1, op2), "parallel")
    wiring = {(0, 0): "chain", (1, 0): "chain+input", (0, 1): "chain+skip", (1, 1): "full"}[inp, sc]
    return (op1, op2, wiring)


@cache
def _tables() -> tuple[tuple[Block, ...], NDArray[np.int64]]:
    """The 45 blocks in first-seen order, and the block id of each of the 72 settings (-1 invalid)."""
    blocks: list[Block] = []
    ids: dict[tuple[int | None, int, str], int] = {}
    lookup = np.full(_SHAPE, -1, dtype=np.int64)
    for sc, inp, prev, op2, op1 in product(*(range(n) for n in reversed(_SHAPE))):  # op1 fastest
        key = _block_key(op1, op2, prev, inp, sc)
        if key is None:
            continue
        if key not in ids:
            ids[key] = len(blocks)
            blocks.append(Block((op1, op2, prev, inp, sc), *key))
        lookup[op1, op2, prev, inp, sc] = ids[key]
    return tuple(blocks), lookup


def blocks() -> tuple[Block, ...]:
    """The 45 distinct blocks; a block's id is its position."""
    return _tables()[0]


# -- costs ------------------------------------------------------------------------------------


Cost = NDArray[np.int64]  # (params, FLOPs)


def _cbr(c_in: int, c_out: int, kernel: int, pixels: int, groups: int = 1) -> Cost:
    """Convolution with bias + BatchNorm + ReLU over `pixels` output positions."""
    weights = c_in * c_out * kernel * kernel // groups
    return np.array([weights + 3 * c_out, pixels * (weights + 4 * c_out)])


def _operation_cost(op: int, c: int, pixels: int) -> Cost:
    """One operation on `c` channels: the published counting rule."""
    total: Cost
    if OPS[op] == "conv":
        total = 4 * _cbr(c, c, 3, pixels)
        return total
    if OPS[op] == "mbconv":
        d = 2 * c
        squeeze_excite = np.array([2 * (d * d + d), pixels * d + 2 * (d * d + d) + d])
        total = 2 * (_cbr(c, d, 3, pixels) + squeeze_excite + _cbr(d, c, 1, pixels))
        return total
    units = [
        _cbr(c, w, 1, pixels) + _cbr(w, w, 5, pixels, groups=w) + _cbr(w, c, 1, pixels) for w in (c // 2, c, 2 * c)
    ]
    total = 2 * np.sum(units, axis=0)
    return total


def _fixed_cost(stages: int, width: int, size: int, classes: int) -> Cost:
    """Stem, reductions, pool and classifier."""
    classifier = width << stages
    total: Cost = _cbr(3, width, 3, size * size) + (classifier * classes + classes)
    c, s = width, size
    for _ in range(stages):
        main, side = (s + 1) // 2, s // 2
        total = total + _cbr(c, 2 * c, 3, main**2) + _cbr(2 * c, 2 * c, 3, main**2) + _cbr(c, 2 * c, 2, side**2)
        c, s = 2 * c, side
    total[1] += c * s * s  # the pool reads the last map
    return total


# -- the space ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BloxSpace(MacroSpace):
    """BLOX with any number of stages; `width`, `image_size` and `classes` set the costs."""

    width: int = 32
    image_size: int = 32
    classes: int = 100

    def arch_vectors(self, codes: ArrayLike) -> list[list[list[list[int]]]]:
        """Published architecture vectors, per cell ``[[op1], [op2, prev, inp, sc]]``, first-seen form."""
        digits = [b.digits for b in blocks()]
        return [[[[digits[b][0]], list(digits[b][1:])] for b in row] for row in self.validate(codes).tolist()]

    def from_arch_vectors(self, vectors: Sequence[Any] | NDArray[np.int64]) -> Codes:
        """Codes of architecture vectors, whatever isomorphic form they are in.

        Parameters
        ----------
        vectors
            Nested lists ``[[[op1], [op2, prev, inp, sc]], ...]`` per architecture, or an int array
            ``(n_archs, n_stages, 5)`` of the same digits.

        Raises
        ------
        InvalidArchitectureError
            For a wrong nesting, digits out of range, or a cell whose output is connected to nothing.
        """
        digits = vectors if isinstance(vectors, np.ndarray) else self._flatten(vectors)
        if digits.dtype.kind not in "iu" or digits.ndim != 3 or digits.shape[1:] != (self.stages, 5):
            raise InvalidArchitectureError(
                f"expected whole digits of shape (n_archs, {self.stages}, 5), got {digits.dtype} {digits.shape}"
            )
        bad = (digits < 0) | (digits >= np.array(_SHAPE))
        if bad.any():
            row, stage, place = np.argwhere(bad)[0]
            raise InvalidArchitectureError(
                f"row {row}, stage {stage}: digit {digits[row, stage, place]} at place {place} of "
                f"(op1, op2, prev, inp, sc) is out of range 0 to {_SHAPE[place] - 1}"
            )
        codes = _tables()[1][tuple(np.moveaxis(digits, -1, 0))]
        if (codes < 0).any():
            row, stage = np.argwhere(codes < 0)[0]
            raise InvalidArchitectureError(
                f"row {row}, stage {stage}: the cell output is connected to nothing (prev, inp and sc are all 0); "
                "set at least one of them to 1"
            )
        return np.asarray(codes, dtype=np.int64)

    def _flatten(self, vectors: Sequence[Any]) -> NDArray[np.int64]:
        flat = []
        for row, arch in enumerate(vectors):
            try:
                cells = [(*op1, *rest) for op1, rest in arch]
                ok = len(cells) == self.stages and all(
                    len(c) == 5 and all(isinstance(d, (int, np.integer)) for d in c) for c in cells
                )
            except (TypeError, ValueError):
                ok = False
            if not ok:
                raise InvalidArchitectureError(
                    f"row {row}: expected {self.stages} cells [[op1], [op2, prev, inp, sc]] of "
                    f"whole numbers, got {arch!r}"
                )
            flat.append(cells)
        return np.array(flat, dtype=np.int64).reshape(len(flat), self.stages, 5)

    def block_graph(self, stage: int, block: int) -> BlockGraph:
        """Two operation slots; a dropped first operation leaves its slot empty (published layout)."""
        b = blocks()[block]
        return BlockGraph((None if b.first is None else OPS[b.first], OPS[b.second]), b.edges)

    @property
    def stage_end(self) -> str:
        """Every stage is closed by a reduction."""
        return "reduction"

    def op_features(self, stage: int) -> tuple[list[str], dict[str, NDArray[np.float32]]]:
        """One-hot labels in the published order mbconv, bconv, conv, reduction."""
        labels = ["mbconv", "bconv", "conv", "reduction"]
        return labels, dict(zip(labels, np.eye(4, dtype=np.float32), strict=True))

    def hashes(self, codes: ArrayLike) -> NDArray[np.str_]:
        """Model hashes, the keys of the released BLOX tables, str ``(n_archs,)`` of 32 hex digits.

        Rounds of md5 over sorted neighbour hashes on the minimal graph (Weisfeiler-Lehman style);
        as many rounds as vertices.
        """
        codes = self.validate(codes)
        unique, inverse = np.unique(codes, axis=0, return_inverse=True)
        graphs = [[blocks()[b] for b in row] for row in unique.tolist()]
        return np.array([_model_hash(g) for g in graphs], dtype="U32").reshape(-1)[inverse.reshape(-1)]

    def describe(self) -> dict[str, Any]:
        """JSON-ready description from which `archrank.spaces.space_from_dict` rebuilds the space."""
        return {
            "kind": "blox",
            "stages": self.stages,
            "width": self.width,
            "image_size": self.image_size,
            "classes": self.classes,
        }


@cache
def _start_hash(out_degree: int, in_degree: int, label: int) -> bytes:
    return md5(str((float(out_degree), float(in_degree), label)).encode()).hexdigest().encode()


@cache
def _wiring_of(kinds: tuple[tuple[bool, str], ...]) -> tuple[list[list[int]], list[list[int]]]:
    """In- and out-neighbours of each vertex of the minimal graph, by (has first operation, wiring)."""
    edges: list[tuple[int, int]] = []
    source, n = 0, 1
    for has_first, wiring in kinds:
        place = {0: source}
        for slot in (1, 2, 3) if has_first else (2, 3):
            place[slot] = n
            n += 1
        edges += [(place[i], place[j]) for i, j in Block((0,) * 5, 0, 0, wiring).edges]
        source = place[3]
    edges.append((source, n))
    ins: list[list[int]] = [[] for _ in range(n + 1)]
    outs: list[list[int]] = [[] for _ in range(n + 1)]
    for i, j in edges:
        outs[i].append(j)
        ins[j].append(i)
    return ins, outs


def _model_hash(cells: Sequence[Block]) -> str:
    labels = [-1]
    for s, block in enumerate(cells):
        ops = [block.second] if block.first is None else [block.first, block.second]
        labels += [op + 4 * s for op in ops] + [3 + 4 * s]
    labels.append(-2)
    ins, outs = _wiring_of(tuple((b.first is not None, b.wiring) for b in cells))
    now = [_start_hash(len(o), len(i), label) for i, o, label in zip(ins, outs, labels, strict=True)]
    for _ in labels:
        now = [
            md5(b"%b|%b|%b" % (_join(now, i), _join(now, o), own)).hexdigest().encode()
            for i, o, own in zip(ins, outs, now, strict=True)
        ]
    return md5(str(sorted(h.decode() for h in now)).encode()).hexdigest()


def _join(hashes: list[bytes], of: list[int]) -> bytes:
    return hashes[of[0]] if len(of) == 1 else b"".join(sorted(hashes[k] for k in of))


def blox(stages: int = 3, width: int = 32, image_size: int = 32, classes: int = 100) -> BloxSpace:
    """The BLOX space; the defaults are the published CIFAR-100 network size.

    Parameters
    ----------
    stages
        Number of stages; 3 as published (91,125 networks), 2 gives 2,025.
    width, image_size, classes
        Channels of the first stage (even), input pixels, and outputs; they set the costs.

    Examples
    --------
    >>> space = blox()
    >>> space.size, space.blocks[0][:5]
    (91125, ('conv>conv', 'mbconv>conv', 'bconv>conv', 'conv>mbconv', 'mbconv>mbconv'))
    >>> space.params([[0, 0, 0]])
    array([2917604])
    """
    if stages < 1 or width < 2 or width % 2 or classes < 1:
        raise ValueError(
            f"BLOX needs stages >= 1, an even width >= 2 and classes >= 1, "
            f"got stages={stages}, width={width}, classes={classes}"
        )
    if image_size >> stages < 1:
        raise ValueError(
            f"{stages} reductions leave nothing of {image_size} pixels; give image_size >= {2**stages} or fewer stages"
        )
    table = _attributes()
    costs = []
    for stage in range(stages):
        c, pixels = width << stage, (image_size >> stage) ** 2
        op = np.stack([_operation_cost(o, c, pixels) for o in range(3)])
        costs.append(
            np.array([op[b.second] + (0 if b.first is None else op[b.first]) for b in blocks()], dtype=np.float64)
        )
    fixed = _fixed_cost(stages, width, image_size, classes)
    return BloxSpace(
        name=f"blox-{stages}",
        blocks=(tuple(b.name for b in blocks()),) * stages,
        attributes=(table,) * stages,
        block_costs={"params": tuple(c[:, 0] for c in costs), "flops": tuple(c[:, 1] for c in costs)},
        fixed_costs={"params": float(fixed[0]), "flops": float(fixed[1])},
        width=width,
        image_size=image_size,
        classes=classes,
    )


@cache
def _attributes() -> dict[str, NDArray[Any]]:
    ops = [[b.second] if b.first is None else [b.first, b.second] for b in blocks()]
    table: dict[str, NDArray[Any]] = {name: np.array([o.count(i) for o in ops]) for i, name in enumerate(OPS)}
    table["depth"] = np.array([1 if b.wiring in ("single", "parallel") else 2 for b in blocks()])
    table["first"] = np.array([OPS[o[0]] for o in ops])
    table["last"] = np.array([OPS[o[-1]] for o in ops])
    table["wiring"] = np.array([b.wiring for b in blocks()])
    return table


def all_vectors(stages: int = 3) -> NDArray[np.int64]:
    """All ``72**stages`` settings of the digits, valid or not, int64 ``(72**stages, stages, 5)``."""
    cells = np.array(list(product(*(range(n) for n in reversed(_SHAPE)))), dtype=np.int64)[:, ::-1]
    grid = np.array(list(chain(product(range(len(cells)), repeat=stages))), dtype=np.int64)[:, ::-1]
    return cells[grid]
