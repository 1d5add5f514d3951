"""The predictors of archrank: where they are, their default encodings, and what they are told of a benchmark."""

from __future__ import annotations

from typing import Any

import numpy as np

from archrank.predictors.context import Context, PredictorEntry
from archrank.predictors.moments import space_moments
from archrank.predictors.parts import feature_parts


def _signed_weights(context: Context, encoding: Any) -> dict[str, Any]:
    """+1 for every stage of a signature that improves in the metric's direction, -1 otherwise.

    Several columns have different units, so each is divided by its spread over all blocks.
    """
    names = encoding.column_names()
    towards = getattr(context.metric, "direction", "max")
    weights: list[float] = []
    for column in names:
        sign = 1.0 if encoding.signatures.metrics[column].direction == towards else -1.0
        spread = float(np.std(np.concatenate(encoding.tables(column)))) if len(names) > 1 else 1.0
        weights += [sign / (spread or 1.0)] * context.space.stages
    return {"weights": tuple(weights)}


def _one_column(context: Context, encoding: Any) -> dict[str, Any]:
    """+1 where the only column improves in the metric's direction, -1 otherwise."""
    names = encoding.get_feature_names_out()
    if len(names) != 1:
        some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        raise ValueError(
            f"predictor 'baseline' ranks by one column and this encoding has {len(names)} ({some}); "
            "name one of one column, as in baseline:params, baseline:depth or baseline:nwot"
        )
    towards = getattr(context.metric, "direction", "max")
    return {"weights": (1.0 if getattr(encoding, "direction", "max") == towards else -1.0,)}


def _params_or_depth(context: Context) -> str:
    return "params" if "params" in context.space.block_costs else "depth"


def _structure_and_cost(context: Context) -> str:
    chosen = context.choices.get("costs")
    return "structure+cost" if len(context.space.block_costs if chosen is None else chosen) else "structure"


def _all_there_is(context: Context) -> str:
    return _structure_and_cost(context) + ("+signature" if _has_signatures(context) else "")


def _has_signatures(context: Context) -> bool:
    """Whether every block has the signatures in use; those of a store half distilled serve no predictor."""
    if context.signatures is None:
        return False
    teacher, columns = context.choices.get("teacher"), context.choices.get("columns")
    for column in columns or (context.signatures.default_column,):
        if column not in context.signatures.columns:
            return True  # the encoding tells what there is
        if not all(np.isfinite(table).all() for table in context.signatures.table(column, teacher)):
            return False
    return True


def _members(context: Context, encoding: Any) -> dict[str, Any]:
    """Predictors of which each is the best at some number of networks, with all that a benchmark offers."""
    from archrank.predictors.registry import build

    features = _all_there_is(context)
    return {
        "members": (
            ("gp", build(f"gp:{features}", context)),
            ("gcn", build("gcn", context)),
            # Its own deviations cost a cross-validation, and the ensemble makes one.
            ("gbdt", build(f"gbdt:{features}", context, std_folds=0)),
            ("donna", build(f"donna:{features}", context)),
        )
    }


def _members_of_auto(context: Context, encoding: Any) -> dict[str, Any]:
    """The same, and where there are signatures two that see nothing else.

    From 20 networks nobody learns that good signatures leave little to say for the many other features; with poor
    signatures the two get little weight, which a plain mean could not give them.
    """
    from archrank.predictors.registry import build

    names = ("gp:signature", "donna:signature") if _has_signatures(context) else ()
    more = tuple((name, build(name, context)) for name in names)
    return {"members": _members(context, encoding)["members"] + more}


OWN = {
    "auto": PredictorEntry(
        "archrank.predictors.ensemble:AutoRegressor", "tabular", "codes", ("codes",), _members_of_auto
    ),
    "baseline": PredictorEntry(
        "archrank.predictors.baseline:BaselineRegressor", "tabular", _params_or_depth, None, _one_column
    ),
    "donna": PredictorEntry("archrank.predictors.donna:DonnaRegressor", "tabular", "signature", None, space_moments),
    "ensemble": PredictorEntry(
        "archrank.predictors.ensemble:EnsembleRegressor", "tabular", "codes", ("codes",), _members
    ),
    "gbdt": PredictorEntry("archrank.predictors.gbdt:GBDTRegressor", "tabular", _structure_and_cost, None, None),
    "gcn": PredictorEntry("archrank.predictors.gcn:GCNRegressor", "graph", "graph", None, None),
    "gp": PredictorEntry("archrank.predictors.gp:GPRegressor", "tabular", _all_there_is, None, feature_parts),
    "hant": PredictorEntry(
        "archrank.predictors.hant:HantRegressor",
        "tabular",
        "signature",
        ("signature", "scaled_signature"),
        _signed_weights,
    ),
}
