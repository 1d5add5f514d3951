"""Which part of an architecture each feature describes, so that a kernel can treat parts by their kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from archrank.predictors.moments import sample_moments, space_sample

_STAGE = re.compile(r"stage(\d+)[.=](.*)")  # the second as one_hot names its features
_PART = re.compile(r"|stage\d+(\.cost)?|total|number|signature\..+")
_ALIKE = 0.999  # correlation from which on two sums count as one
_MOST_NUMBERS = 10  # that have a length scale each; of more, the training networks cannot tell which ones matter


def check_parts(parts: Sequence[str], n_features: int) -> None:
    """Refuse what are no parts of `n_features` features, see `feature_parts`.

    Raises
    ------
    ValueError
        For another number of parts, or a part that there is not.
    """
    if len(parts) != n_features:
        raise ValueError(f"parts must name the part of each of {n_features} features, got {len(parts)}")
    for part in parts:
        if not _PART.fullmatch(part):
            raise ValueError(
                f"unknown part {part!r}; there are stage0, stage0.cost, ..., total, number, signature.COLUMN, "
                "and an empty one for a feature to leave out"
            )


def feature_parts(context: Any, encoding: Any) -> dict[str, Any]:
    """The parameters ``parts`` and ``moments`` of a regressor.

    A part is ``stageN`` (what the block of stage N is made of), ``stageN.cost`` (what it costs), ``total``
    (sums over stages), ``number`` (a number of the whole network, such as its cost), ``signature.COLUMN``, or
    empty for a feature to leave out: one that repeats another over the whole space. More than ten numbers, as an
    encoding of one's own may have, are a ``total`` of one length scale.
    """
    from sklearn.pipeline import FeatureUnion

    from archrank.encodings.registry import encoding_name

    encodings = (
        encoding.transformer_list if isinstance(encoding, FeatureUnion) else [(encoding_name(encoding), encoding)]
    )
    parts = [_part(name, str(feature)) for name, each in encodings for feature in each.get_feature_names_out()]
    if parts.count("number") > _MOST_NUMBERS:
        parts = ["total" if part == "number" else part for part in parts]
    X = space_sample(context, encoding)
    if X is not None:
        parts = _without_repetitions(parts, X)
    return {"parts": tuple(parts)} | sample_moments(X)


def _part(encoding: str, feature: str) -> str:
    found = _STAGE.fullmatch(feature)
    if encoding in ("signature", "scaled_signature") and found:
        return f"signature.{found[2]}"
    if found:
        return f"stage{found[1]}.cost" if encoding == "cost" else f"stage{found[1]}"
    return "total" if encoding == "structure" else "number"


def _without_repetitions(parts: list[str], X: Any) -> list[str]:
    """`parts` with all but the first of totals that are proportional to one another left out."""
    totals = [i for i, part in enumerate(parts) if part == "total" and X[:, i].std() > 0]
    if len(totals) < 2:
        return parts
    alike = np.abs(np.corrcoef(X[:, totals].T)) > _ALIKE
    kept: list[int] = []
    for k in range(len(totals)):
        if not alike[k, kept].any():
            kept.append(k)
    gone = set(totals) - {totals[k] for k in kept}
    return ["" if i in gone else part for i, part in enumerate(parts)]
