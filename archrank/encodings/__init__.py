"""Architectures to features: scikit-learn transformers over codes ``(n_archs, n_stages)``.

The names below load on first use, so that importing archrank does not import scikit-learn.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archrank.encodings.base import CodesEncoding
    from archrank.encodings.codes import PlainEncoding
    from archrank.encodings.cost import CostEncoding
    from archrank.encodings.graph import GraphBatch, GraphEncoding
    from archrank.encodings.one_hot import OneHotEncoding
    from archrank.encodings.proxy import NetworkColumns, NotMeasuredError, ProxyEncoding
    from archrank.encodings.registry import list_encodings, make_encoding, register_encoding
    from archrank.encodings.signature import ScaledSignatureEncoding, SignatureEncoding, SignatureTables
    from archrank.encodings.structure import StructureEncoding

__all__ = [
    "CodesEncoding",
    "CostEncoding",
    "GraphBatch",
    "GraphEncoding",
    "NetworkColumns",
    "NotMeasuredError",
    "OneHotEncoding",
    "PlainEncoding",
    "ProxyEncoding",
    "ScaledSignatureEncoding",
    "SignatureEncoding",
    "SignatureTables",
    "StructureEncoding",
    "list_encodings",
    "make_encoding",
    "register_encoding",
]

_HOME = {
    "CodesEncoding": "base",
    "CostEncoding": "cost",
    "GraphBatch": "graph",
    "GraphEncoding": "graph",
    "NetworkColumns": "proxy",
    "NotMeasuredError": "proxy",
    "PlainEncoding": "codes",
    "OneHotEncoding": "one_hot",
    "ProxyEncoding": "proxy",
    "ScaledSignatureEncoding": "signature",
    "SignatureEncoding": "signature",
    "SignatureTables": "signature",
    "StructureEncoding": "structure",
    "list_encodings": "registry",
    "make_encoding": "registry",
    "register_encoding": "registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
