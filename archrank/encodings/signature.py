"""Signatures of the chosen blocks: numbers measured for each block alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archrank._errors import there_are
from archrank.encodings.base import CodesEncoding, lookup, names_array
from archrank.spaces import MacroSpace


class SignatureTables(Protocol):
    """What is needed of `archrank.ground_truth.Signatures`."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of the measured quantities."""

    @property
    def default_column(self) -> str:
        """The column to use where nobody asks for another."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """A metric with a ``direction``, "max" or "min", for each column."""

    def table(self, column: str, teacher: str | None = None) -> Sequence[NDArray[np.float64]]:
        """One array per stage, one value per block."""


class SignatureEncoding(CodesEncoding):
    """One feature per stage and signature column, in the unit of the column.

    Parameters
    ----------
    space
        The search space that the codes belong to.
    signatures
        Tables of block signatures, one value per stage and block.
    columns
        Which columns; by default the tables' default column.
    teacher
        Which teacher's signatures; by default the tables' first.

    Raises
    ------
    ValueError
        In every method, for an unknown column or a block without signature.
    """

    def __init__(
        self,
        space: MacroSpace,
        signatures: SignatureTables,
        columns: Sequence[str] | None = None,
        teacher: str | None = None,
    ) -> None:
        super().__init__(space)
        self.signatures = signatures
        self.columns = columns
        self.teacher = teacher

    def column_names(self) -> tuple[str, ...]:
        """The columns in use."""
        columns = (self.signatures.default_column,) if self.columns is None else tuple(self.columns)
        unknown = [c for c in columns if c not in self.signatures.columns]
        if unknown or not columns:
            what = unknown[0] if unknown else "none"
            raise ValueError(f"unknown signature column {what!r}; {there_are(what, self.signatures.columns)}")
        return columns

    def tables(self, column: str) -> list[NDArray[np.float64]]:
        """The values of one column, float64 ``(n_blocks,)`` per stage."""
        tables = [np.asarray(t, dtype=np.float64) for t in self.signatures.table(column, self.teacher)]
        if tuple(len(t) for t in tables) != self.space.n_blocks:
            raise ValueError(
                f"signatures {column!r} describe {[len(t) for t in tables]} blocks per stage, "
                f"but space {self.space.name!r} has {list(self.space.n_blocks)}"
            )
        for stage, table in enumerate(tables):
            if not np.isfinite(table).all():
                block = self.space.blocks[stage][int(np.argmin(np.isfinite(table)))]
                raise ValueError(
                    f"signature {column!r} of stage {stage}, block {block!r} is missing or not finite; "
                    "measure it, or choose an encoding without signatures"
                )
        return tables

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """float32 ``(n_archs, n_columns * n_stages)``."""
        codes = self.canonical(X)
        parts = [
            lookup([t.astype(np.float32)[:, None] for t in self.tables(column)], codes)
            for column in self.column_names()
        ]
        return np.concatenate(parts, axis=1)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``stage0.COLUMN``, ``stage1.COLUMN``, ..."""
        return names_array([f"stage{s}.{column}" for column in self.column_names() for s in range(self.space.stages)])


class ScaledSignatureEncoding(SignatureEncoding):
    """Signatures times what MathNAS makes of the network's FLOPs, whose plain sum then is its prediction.

    Wang et al. (MathNAS, NeurIPS 2023, Eq. 5) find that exchanging a block changes the accuracy of a network in
    inverse proportion to the network's FLOPs, and predict

        ``Acc(N) = Acc(N0) - sum_i b[i, j_i] * mean F(networks with block j_i in stage i) / F(N)``

    where ``b[i, j]`` is the mean change that block j brings to stage i of a base network N0, and F the FLOPs. A
    signature measured in a teacher is such a change where the teacher is the base, so it is taken as it is: zero
    means that nothing changes.

    Parameters
    ----------
    space
        The search space that the codes belong to; it has to know the cost.
    signatures, columns, teacher
        As in `SignatureEncoding`.
    cost
        The cost F, additive over blocks.

    Raises
    ------
    ValueError
        In every method, for an unknown column, a block without signature, or a cost that the space does not know.
    """

    def __init__(
        self,
        space: MacroSpace,
        signatures: SignatureTables,
        columns: Sequence[str] | None = None,
        teacher: str | None = None,
        cost: str = "flops",
    ) -> None:
        super().__init__(space, signatures, columns, teacher)
        self.cost = cost

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """float32 ``(n_archs, n_columns * n_stages)``."""
        codes = self.canonical(X)
        names = self.get_feature_names_out()
        blocks = self.space.block_costs[self.cost]
        average = self.space.fixed_costs.get(self.cost, 0.0) + sum(float(c.mean()) for c in blocks)
        with_block = lookup([(average - c.mean() + c)[:, None] for c in blocks], codes)  # (n_archs, n_stages)
        ratio = with_block / self.space.cost(self.cost, codes)[:, None]
        return super().transform(codes) * np.tile(ratio, len(names) // self.space.stages).astype(np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``stage0.COLUMN/flops``, ``stage1.COLUMN/flops``, ..."""
        if self.cost not in self.space.block_costs:
            known = ", ".join(sorted(self.space.block_costs)) or "none"
            raise ValueError(f"space {self.space.name!r} does not know the cost {self.cost!r} (it knows {known})")
        return names_array([f"{name}/{self.cost}" for name in super().get_feature_names_out()])
