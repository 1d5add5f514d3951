"""Search methods by name: ``make_search("evolution", benchmark)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from archrank._errors import there_are
from archrank._registry import Entry, Registry
from archrank.ground_truth import GroundTruth, Metric
from archrank.spaces import MacroSpace

if TYPE_CHECKING:
    from archrank.search.base import Search

_SEARCHES: Registry[Entry] = Registry("search", reserved=":")


def register_search(name: str, factory: str | Callable[..., Any]) -> None:
    """Make a method known by name.

    Parameters
    ----------
    name
        A name without ``:``.
    factory
        A subclass of `Search`, or ``"module:Class"``, imported on first use. Its parameters ``signatures`` and
        ``measured`` are filled in from the benchmark if it has such.

    Raises
    ------
    ValueError
        For a name that is empty, contains ``:`` or is that of one of archrank's own methods.
    """
    _SEARCHES.add(name, Entry(factory, "tabular"))


for _name, _class in {
    "donna": "blockwise:DonnaSearch",
    "evolution": "evolution:EvolutionSearch",
    "hant": "blockwise:HantSearch",
    "local": "local:LocalSearch",
    "nsga2": "nsga2:NSGA2Search",
    "predictor": "predictor:PredictorSearch",
    "random": "random:RandomSearch",
    "reinforce": "reinforce:ReinforceSearch",
    "rerank": "rerank:IterativeReranking",
}.items():
    register_search(_name, f"archrank.search.{_class}")


def list_searches() -> tuple[str, ...]:
    """Names that `make_search` and ``archrank search`` take, those of installed extensions among them."""
    return tuple(_SEARCHES.names())


def make_search(
    name: str,
    benchmark: GroundTruth | MacroSpace,
    metric: str | Metric | None = None,
    *,
    pool: ArrayLike | None = "table",
    seed: int = 0,
    predictor: str | None = None,
    **params: Any,
) -> Search:
    """Build a search.

    Parameters
    ----------
    name
        One of `list_searches`.
    benchmark
        A `GroundTruth`, of which the search sees the space, the metric's direction, and what is known of networks
        before they are trained (signatures, zero-cost proxies), or a `MacroSpace`.
    metric
        Metric of the benchmark; its default metric if None. A `Metric` for a space alone.
    pool
        The only networks that may be asked for, ``(n, n_stages)``. By default ``"table"``: those that have a value
        of the metric in the benchmark, or all of a space alone. None: all of the space.
    seed
        Decides all that is left to chance.
    predictor
        Name as `archrank.make_predictor` takes it, for methods that are guided by one.
    **params
        Parameters of the method.

    Raises
    ------
    ValueError
        For an unknown name, metric or parameter; the message lists what there is.

    Examples
    --------
    >>> from archrank.spaces import blox
    >>> make_search("random", blox(stages=2), seed=1).ask(3).shape
    (3, 2)
    """
    factory = _SEARCHES.find(name).load()
    known = _parameters(factory)
    if predictor is not None:
        if "predictor" not in known:
            guided = [other for other in list_searches() if "predictor" in _parameters(_SEARCHES.find(other).load())]
            raise ValueError(f"search {name!r} is guided by no predictor; those that are: {', '.join(guided)}")
        params["predictor"] = predictor
    if unknown := sorted(set(params) - set(known)):
        raise ValueError(f"search {name!r} has no parameter {unknown[0]!r}; {there_are(unknown[0], known)}")
    given: dict[str, Any] = {"metric": _metric(benchmark, metric), "seed": seed}
    if isinstance(benchmark, GroundTruth):
        space = benchmark.space
        if "signatures" in known:
            given["signatures"] = benchmark.signatures
        if "measured" in known:
            from archrank.encodings.proxy import NetworkColumns

            given["measured"] = NetworkColumns.of_benchmark(benchmark)
        if _is_word(pool):
            pool = benchmark.codes[np.isfinite(benchmark.values(given["metric"].name))]
    else:
        space = benchmark
        pool = None if _is_word(pool) else pool
    search: Search = factory(space, pool=pool, **{**given, **params})
    return search


def _parameters(factory: Callable[..., Search]) -> list[str]:
    return [p for p in inspect.signature(factory).parameters if p != "space"]


def _metric(benchmark: GroundTruth | MacroSpace, metric: str | Metric | None) -> Metric | None:
    if isinstance(benchmark, GroundTruth):
        return benchmark.metric(metric.name if isinstance(metric, Metric) else metric)
    if isinstance(metric, str):
        raise ValueError(f"metric {metric!r} needs a benchmark that holds it; give a Metric for a space alone")
    return metric


def _is_word(pool: ArrayLike | None) -> bool:
    if isinstance(pool, str) and pool != "table":
        raise ValueError(f"unknown pool {pool!r}; expected 'table', codes or None")
    return isinstance(pool, str)
