"""Does a macro space hold better networks than its cell-based part, at equal cost?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import hypergeom

from archrank.ground_truth import GroundTruth, Metric, TableError
from archrank.spaces import Codes, MacroSpace
from archrank.studies.base import Progress, Study, data_line
from archrank.studies.cells import is_uniform
from archrank.studies.statistics import Estimate, Floats, mean_of
from archrank.studies.wording import target_spec, unit_text, value_spec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COSTS = ("params", "flops")
_BUDGETS = (0.1, 0.25, 0.5, 0.75, 1.0)
_TOPS = (0.01, 0.05, 0.1, 0.25)
_QUESTION = (
    "A cell-based search repeats one block at every stage; a macro search may mix them. "
    "At equal cost, are mixed (non-uniform) networks better than uniform ones?"
)


def run(
    bench: GroundTruth,
    *,
    quick: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    metric: str | None = None,
    tolerance: float = 0.1,
) -> Study:
    """Compare uniform with non-uniform networks of a table.

    Parameters
    ----------
    bench
        A table over a space that offers the same blocks at every stage (in every group of stages, where it has
        groups), with parameters or FLOPs.
    quick, seed
        As all studies take them; this one takes seconds and leaves nothing to chance.
    metric
        By default the table's own.
    tolerance
        Networks cost the same where each cost is within this share of that of the uniform one.

    Returns
    -------
    Study
        Tables ``budgets`` (the best of both kinds within budgets at quantiles of the costs), ``top`` (share of
        non-uniform networks among the best), ``matched`` (mean difference at equal cost with its 95 % interval
        over uniform networks)
        and ``pairs`` (that difference for each uniform network). Each ``difference`` is the gain of non-uniform over
        uniform networks in the metric's unit: positive where non-uniform is better, also where less is better.

    Raises
    ------
    TableError
        If stages offer different blocks, no cost is known, or either kind of network is missing.
    """
    target = bench.metric(metric)
    values = bench.values(target.name)
    there = np.isfinite(values)
    codes, score = bench.codes[there], target.sign * values[there]
    uniform = is_uniform(bench.space, codes)
    costs = _costs(bench, there)
    for kind, found in (("uniform", uniform), ("non-uniform", ~uniform)):
        if not found.any():
            raise TableError(
                f"table {bench.name!r} holds no {kind} network with a {target.name}, expected some of both kinds; "
                "train some with: archrank train RECIPE --archs FILE"
            )
    pairs = _pairs(bench.space, codes, score, uniform, costs, tolerance)
    matched = mean_of(pairs["difference"].dropna().to_numpy())
    row = {"tolerance": tolerance, "uniform_networks": matched.n, **matched.columns("difference")}
    tables = {
        "budgets": _budgets(score, uniform, costs, target.sign),
        "top": _top(score, uniform),
        "matched": pd.DataFrame([row]),
        "pairs": pairs,
    }
    return Study(
        name="macro-vs-cell",
        title="Uniform against non-uniform networks at equal cost",
        question=_QUESTION,
        data=data_line(bench, target.name, f"{int(uniform.sum())} of them uniform"),
        tables=tables,
        text=_text(tables, matched, tolerance, target),
        figures={"fronts": lambda figure: _draw(figure, target.sign * score, target.sign, uniform, costs, target.name)},
    )


def _costs(bench: GroundTruth, there: NDArray[np.bool_]) -> dict[str, Floats]:
    """Costs of the networks that have a value: the space's own, else those in the table."""
    found = {}
    for name in COSTS:
        if name in bench.space.block_costs:
            found[name] = bench.space.cost(name, bench.codes[there])
        elif name in bench.metrics:
            found[name] = bench.values(name)[there]
    if not found:
        raise TableError(
            f"table {bench.name!r} has neither {' nor '.join(COSTS)}, which equal cost is measured by; "
            "give the space block costs or the table such a column"
        )
    return found


def expected_best(scores: Floats, k: int) -> float:
    """Mean of the best of `k` of these scores, drawn without replacement.

    The i-th smallest of n is the best where all others come from the i - 1 below it: with probability
    ``C(i - 1, k - 1) / C(n, k)``, the step at i of ``P(all k within the i smallest)``.
    """
    n = len(scores)
    below = hypergeom.pmf(k, n, np.arange(n + 1), k)
    return float(np.sort(scores) @ np.diff(below))


def _budgets(score: Floats, uniform: NDArray[np.bool_], costs: dict[str, Floats], sign: int) -> pd.DataFrame:
    """The best of both kinds within budgets of each cost, and of all costs at once."""
    rows = []
    kinds = [*((name,) for name in costs), *([tuple(costs)] if len(costs) > 1 else [])]
    for names in kinds:
        for quantile in _BUDGETS:
            limits = {name: float(np.quantile(costs[name], quantile)) for name in names}
            within = np.all([costs[name] <= limit for name, limit in limits.items()], axis=0)
            ours, others = score[within & uniform], score[within & ~uniform]
            k = min(len(ours), len(others))
            best = ours.max() if len(ours) else np.nan
            mixed = others.max() if len(others) else np.nan
            fair = expected_best(others, k) if k else np.nan
            rows.append(
                {
                    "budget": " and ".join(names),
                    "quantile": quantile,
                    **{f"max_{name}": limits.get(name, np.nan) for name in costs},
                    "n_uniform": len(ours),
                    "n_non_uniform": len(others),
                    "best_uniform": sign * best,
                    "best_non_uniform": sign * mixed,
                    "best_of_as_many_non_uniform": sign * fair,
                    "difference": mixed - best,
                    "difference_as_many": fair - best,
                }
            )
    return pd.DataFrame(rows)


def _top(score: Floats, uniform: NDArray[np.bool_]) -> pd.DataFrame:
    order = np.argsort(-score, kind="stable")
    sizes = [max(1, round(share * len(score))) for share in _TOPS]
    return pd.DataFrame(
        {
            "top": [*_TOPS, 1.0],
            "networks": [*sizes, len(score)],
            "non_uniform_share": [float((~uniform[order[:n]]).mean()) for n in [*sizes, len(score)]],
        }
    )


def _pairs(
    space: MacroSpace,
    codes: Codes,
    score: Floats,
    uniform: NDArray[np.bool_],
    costs: dict[str, Floats],
    tolerance: float,
) -> pd.DataFrame:
    """Each uniform network against the mean of the non-uniform ones of the same cost."""
    at = np.flatnonzero(uniform)
    alike = np.tile(~uniform, (len(at), 1))  # (uniform networks, all networks)
    for cost in costs.values():
        alike &= np.abs(cost[None, :] - cost[at, None]) <= tolerance * cost[at, None]
    count = alike.sum(axis=1)
    mean = np.divide(alike @ score, count, out=np.full(len(at), np.nan), where=count > 0)
    return pd.DataFrame(
        {
            "network": space.keys(codes[at]),
            **{name: cost[at] for name, cost in costs.items()},
            "non_uniform_of_same_cost": count,
            "difference": mean - score[at],
        }
    )


_VERDICTS = {
    1: "non-uniform networks are better at equal cost",
    0: "on average the two are not shown to differ at equal cost",
    -1: "uniform networks are better at equal cost",
}


def _text(tables: dict[str, pd.DataFrame], matched: Estimate, tolerance: float, target: Metric) -> str:
    top, budgets = tables["top"], tables["budgets"]
    widest = budgets.iloc[-1]
    both = budgets[budgets["budget"] == widest["budget"]].dropna(subset="difference")
    spec, value, unit = target_spec(target), value_spec(target), unit_text(target)
    wins, fair = int((both["difference"] > 0).sum()), int((both["difference_as_many"] > 0).sum())
    return (
        f"At equal cost (within {tolerance:.0%}), {matched.n} uniform networks were each compared with the mean of "
        f"the non-uniform ones: the gain of non-uniform over uniform in {target.name} (positive where non-uniform is "
        f"better) is {matched:{spec}}{unit}: {_VERDICTS[matched.decided]}.\n\n"
        f"What a search wants is the best network, and there are more non-uniform ones to choose from. Of {len(both)} "
        f"budgets on {widest['budget']}, the best network is non-uniform in {wins}; among as many non-uniform "
        f"networks as there are uniform ones (mean over all draws) it would be in {fair}. Without a limit the best "
        f"uniform network has {widest['best_uniform']:{value}}, the best non-uniform one "
        f"{widest['best_non_uniform']:{value}}, the best of as many "
        f"{widest['best_of_as_many_non_uniform']:{value}}.\n\n"
        f"Of the best {top['networks'][2]} networks (top {top['top'][2]:.0%}), a share of "
        f"{top['non_uniform_share'][2]:.3f} is non-uniform; of all, {top['non_uniform_share'].iloc[-1]:.3f}. Bests are "
        f"taken of measured values, so that chance between training seeds favours the larger kind; the comparison with "
        f"as many networks is free of that."
    )


def _draw(
    figure: Figure, values: Floats, sign: int, uniform: NDArray[np.bool_], costs: dict[str, Floats], name: str
) -> None:
    """One panel per cost: all networks, and the Pareto front of each kind."""
    figure.set_size_inches(4.6 * len(costs), 4.2)
    for panel, (cost_name, cost) in zip(np.ravel(figure.subplots(1, len(costs))), costs.items(), strict=True):
        for label, kind, colour, size in (("non-uniform", ~uniform, "C0", 5), ("uniform", uniform, "C1", 18)):
            panel.scatter(cost[kind], values[kind], s=size, color=colour, alpha=0.5, linewidths=0)
            order = np.argsort(cost[kind], kind="stable")
            best = sign * np.maximum.accumulate(sign * values[kind][order])
            panel.step(cost[kind][order], best, where="post", color=colour, label=f"best {label}")
        panel.set(xlabel=cost_name, ylabel=name)
        if sign > 0:  # the worst twentieth is left out of view, which would squeeze the fronts
            panel.set_ylim(bottom=float(np.quantile(values, 0.05)))
        else:
            panel.set_ylim(top=float(np.quantile(values, 0.95)))
        panel.legend(fontsize="small")
