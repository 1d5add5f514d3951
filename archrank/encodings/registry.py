"""Encodings by name, alone or joined as in ``signature+cost``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from sklearn.pipeline import FeatureUnion

from archrank._registry import Entry, Kind, Registry
from archrank.encodings.codes import PlainEncoding
from archrank.encodings.cost import CostEncoding
from archrank.encodings.graph import GraphEncoding
from archrank.encodings.one_hot import OneHotEncoding
from archrank.encodings.proxy import NetworkColumns, ProxyEncoding
from archrank.encodings.signature import ScaledSignatureEncoding, SignatureEncoding, SignatureTables
from archrank.encodings.structure import StructureEncoding
from archrank.spaces import MacroSpace

_ENCODINGS: Registry[Entry] = Registry("encoding", reserved="+:")


def register_encoding(name: str, factory: str | Callable[..., Any], kind: Kind = "tabular") -> None:
    """Make an encoding known by name.

    Parameters
    ----------
    name
        A name without ``+`` and ``:``.
    factory
        A transformer class, or ``"module:Class"``, imported on first use. It is called with the space and, by
        name, with those of ``signatures``, ``columns``, ``teacher``, ``costs``, ``measured``, ``proxies`` and
        ``curve`` that it has parameters for.
    kind
        "tabular" for a 2-D float array (these may be joined), "graph" for a `GraphBatch`.

    Raises
    ------
    ValueError
        For a name that is empty, contains ``+`` or ``:``, or is that of one of archrank's own encodings.
    """
    _ENCODINGS.add(name, Entry(factory, kind))


def list_encodings(kind: Kind | None = None) -> list[str]:
    """Names of the registered encodings, of one kind or of all, those of installed extensions among them."""
    return _ENCODINGS.names(kind)


def make_encoding(
    name: str,
    space: MacroSpace,
    *,
    signatures: SignatureTables | None = None,
    columns: Sequence[str] | None = None,
    teacher: str | None = None,
    costs: Sequence[str] | None = None,
    measured: NetworkColumns | None = None,
    proxies: Sequence[str] | None = None,
    curve: NetworkColumns | None = None,
    kind: Kind | None = None,
) -> Any:
    """Build an encoding from its name.

    Parameters
    ----------
    name
        A registered name, or several tabular ones joined by ``+``.
    space
        The search space.
    signatures, columns, teacher
        Block signatures, which columns of them (default: their default column) and of which teacher.
    costs
        Names of the costs to use; default: all that the space knows.
    measured, proxies
        Zero-cost proxies of networks, and which of them to use; default: all.
    curve
        Values per epoch of networks.
    kind
        What is wanted; another kind is refused.

    Returns
    -------
    A transformer; for joined names scikit-learn's `FeatureUnion`.

    Raises
    ------
    ValueError
        For an unknown name, the wrong kind, or an encoding that lacks its signatures or costs.

    Examples
    --------
    >>> from archrank.spaces import blox
    >>> make_encoding("structure+cost", blox(stages=2)).transform([[0, 44]]).shape
    (1, 54)
    """
    names = name.split("+")
    for part in names:
        found = _ENCODINGS.find(part, kind).kind
        if kind not in (None, found):
            raise ValueError(f"encoding {part!r} does not suit here; {', '.join(list_encodings(kind))} do")
        if len(names) > 1 and found != "tabular":
            raise ValueError(f"encoding {part!r} cannot be joined; {', '.join(list_encodings('tabular'))} can")
    if len(set(names)) != len(names):
        raise ValueError(f"encoding {name!r} names a part twice")
    offer = {
        "signatures": signatures,
        "columns": columns,
        "teacher": teacher,
        "costs": tuple(space.block_costs) if costs is None else tuple(costs),
        "measured": measured,
        "proxies": proxies,
        "curve": curve,
    }
    parts = [(part, _build(part, space, offer)) for part in names]
    return parts[0][1] if len(parts) == 1 else FeatureUnion(parts)


def encoding_name(encoding: Any) -> str:
    """The name under which the class of an encoding is registered.

    Raises
    ------
    ValueError
        Where it is not registered.
    """
    return _ENCODINGS.name_of(encoding)


def encoding_class(name: str) -> Callable[..., Any]:
    """The encoding class (or factory) of a registered name."""
    return _ENCODINGS.find(name).load()


def _build(name: str, space: MacroSpace, offer: dict[str, Any]) -> Any:
    factory = encoding_class(name)
    wanted = {key: value for key, value in offer.items() if key in inspect.signature(factory).parameters}
    if "signatures" in wanted and wanted["signatures"] is None:
        raise ValueError(f"encoding {name!r} needs block signatures and there are none; pass signatures=")
    if "measured" in wanted and wanted["measured"] is None:
        raise ValueError(f"encoding {name!r} needs zero-cost proxies; compute them with `archrank proxies`")
    if "curve" in wanted and wanted["curve"] is None:
        raise ValueError(f"encoding {name!r} needs values per epoch of this metric, and the table has none")
    encoding = factory(space, **wanted)
    encoding.get_feature_names_out()  # tells now, rather than in fit, that a column or a cost is missing
    return encoding


register_encoding("codes", PlainEncoding)
register_encoding("one_hot", OneHotEncoding)
register_encoding("structure", StructureEncoding)
register_encoding("graph", GraphEncoding, kind="graph")
register_encoding("signature", SignatureEncoding)
register_encoding("scaled_signature", ScaledSignatureEncoding)
register_encoding("cost", CostEncoding)
register_encoding("proxy", ProxyEncoding)
for _name, _class in (
    ("params", "ParamsEncoding"),
    ("flops", "FlopsEncoding"),
    ("depth", "DepthEncoding"),
    ("early", "EarlyEncoding"),
    ("log_synflow", "SynflowEncoding"),
    ("jacob_cov", "JacobCovEncoding"),
    ("nwot", "NwotEncoding"),
    ("grad_norm", "GradNormEncoding"),
):
    register_encoding(_name, f"archrank.encodings.single:{_class}")
