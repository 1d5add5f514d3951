"""Predictors by name: ``make_predictor("gbdt:structure+cost", benchmark)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from archrank._errors import there_are
from archrank._registry import Kind, Registry
from archrank.predictors.context import Context, PredictorEntry
from archrank.predictors.own import OWN

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from archrank.encodings.proxy import NetworkColumns
    from archrank.encodings.signature import SignatureTables


_PREDICTORS: Registry[PredictorEntry] = Registry("predictor", reserved=":")
for _name, _entry in OWN.items():
    _PREDICTORS.add(_name, _entry)


def register_predictor(
    name: str,
    factory: str | Callable[..., Any],
    *,
    encoding: str | Callable[[Context], str],
    kind: Kind = "tabular",
    only: Sequence[str] | None = None,
    configure: Callable[[Context, Any], Mapping[str, Any]] | None = None,
) -> None:
    """Make a predictor known by name.

    Parameters
    ----------
    name
        A name without ``:``.
    factory
        A scikit-learn regressor class, or ``"module:Class"``, imported on first use. Its ``best_value`` (the
        bound of the metric) and ``random_state`` are filled in if it has such parameters.
    encoding
        Default encoding, or a function of the `Context` that chooses it.
    kind
        What the regressor takes: "tabular" features or a "graph" batch.
    only
        The encodings that suit, if not all of the kind.
    configure
        Gives further parameters from the `Context` and the built encoding.

    Raises
    ------
    ValueError
        For a name that is empty, contains ``:`` or is that of one of archrank's own predictors.
    """
    _PREDICTORS.add(name, PredictorEntry(factory, kind, encoding, None if only is None else tuple(only), configure))


def list_predictors() -> list[str]:
    """Names of the registered predictors, those of installed extensions among them."""
    return _PREDICTORS.names()


def default_encoding(name: str, context: Context) -> str:
    """The encoding that a predictor uses where its name says none."""
    chosen = _PREDICTORS.find(name).encoding
    return chosen if isinstance(chosen, str) else chosen(context)


def make_predictor(
    name: str,
    benchmark: Any,
    metric: str | None = None,
    *,
    signatures: SignatureTables | None = None,
    columns: Sequence[str] | None = None,
    teacher: str | None = None,
    costs: Sequence[str] | None = None,
    measured: NetworkColumns | None = None,
    proxies: Sequence[str] | None = None,
    curve: NetworkColumns | None = None,
    random_state: int | None = None,
    **params: Any,
) -> Pipeline:
    """Build a predictor: a scikit-learn pipeline from codes to the metric's unit.

    Parameters
    ----------
    name
        ``predictor`` or ``predictor:encoding``, where encodings may be joined: ``donna:signature+cost``.
        Default encodings: donna and hant "signature", gcn "graph", gbdt "structure+cost" where the space
        knows costs, else "structure", gp the same with "signature" where there are signatures of all blocks,
        baseline "params" where the space knows them, else "depth". auto and ensemble take "codes" alone: their
        members encode by themselves, with all that the benchmark offers.
    benchmark
        A `GroundTruth`, or a `MacroSpace`.
    metric
        Metric of the benchmark; its default metric if None. It gives direction and bound. For a space alone
        nothing is known of the metric: it counts as one to be maximised, without a bound.
    signatures
        Block signatures; by default those of the benchmark.
    columns, teacher
        Which signature columns (default: their default column), and of which teacher.
    costs
        Names of the costs to use; default: all that the space knows. With none, default encodings leave cost out.
    measured, proxies
        Zero-cost proxies of networks (by default those of the benchmark), and names of those to use.
    curve
        Values per epoch of networks; by default those of the benchmark that tell of the metric.
    random_state
        Seed of the regressor, if it draws random numbers.
    **params
        Parameters of the regressor.

    Returns
    -------
    Pipeline
        Steps "encoding" and "regressor".

    Raises
    ------
    ValueError
        For an unknown predictor, encoding, metric or parameter; the message lists what there is.

    Examples
    --------
    >>> from archrank.spaces import blox
    >>> space = blox(stages=2)
    >>> model = make_predictor("gbdt", space, random_state=0, n_estimators=20)
    >>> codes = space.sample(30, seed=0)
    >>> model.fit(codes, space.flops(codes)).predict(codes[:2]).shape
    (2,)
    """
    context = Context.of(benchmark, metric, signatures, measured, curve)
    choices = {"columns": columns, "teacher": teacher, "costs": costs, "proxies": proxies}
    return build(name, replace(context, choices=choices), random_state, **params)


def build(name: str, context: Context, random_state: int | None = None, **params: Any) -> Pipeline:
    """`make_predictor` where the context is known already: how a predictor makes those that it holds."""
    from sklearn.pipeline import Pipeline

    from archrank.encodings.registry import make_encoding

    base, colon, encoding_name = name.partition(":")
    entry = _PREDICTORS.find(base)
    encoding_name = encoding_name if colon else default_encoding(base, context)
    try:
        if entry.only is not None and encoding_name not in entry.only:
            raise ValueError(f"encoding {encoding_name!r} does not suit here; {', '.join(entry.only)} do")
        encoding = make_encoding(
            encoding_name,
            context.space,
            signatures=context.signatures,
            measured=context.measured,
            curve=context.curve,
            kind=entry.kind,
            **context.choices,
        )
    except ValueError as error:
        raise ValueError(f"predictor {name!r}: {error}") from None
    factory = entry.load()
    known = list(inspect.signature(factory).parameters)
    if unknown := sorted(set(params) - set(known)):
        raise ValueError(f"predictor {base!r} has no parameter {unknown[0]!r}; {there_are(unknown[0], known)}")
    given: dict[str, Any] = {"random_state": random_state, "best_value": context.best_value}
    if entry.configure is not None:
        given |= entry.configure(context, encoding)
    given = {key: value for key, value in given.items() if key in known} | params
    return Pipeline([("encoding", encoding), ("regressor", factory(**given))])


def predictor_name(regressor: Any) -> str:
    """The name under which the class of a regressor is registered.

    Raises
    ------
    ValueError
        Where it is not registered.
    """
    return _PREDICTORS.name_of(regressor)


def regressor_class(name: str) -> Callable[..., Any]:
    """The regressor class (or factory) of a registered name."""
    return _PREDICTORS.find(name).load()
