"""Exact search against brute force: budgets, twins, lists, distances, fronts, pairs, and predictors as sums."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import archrank
from archrank.ground_truth import Metric
from archrank.search import ranked
from archrank.search.block_sums import BlockSum, PairSum, make_budgets
from archrank.search.exact import exact_search
from archrank.search.front import exact_front
from archrank.search.model_scores import additive_scores, pairwise_scores
from archrank.search.pairwise import pairwise_search
from archrank.search.program import Answer, InfeasibleBudgetsError, Program
from archrank.spaces import MacroSpace, blox, nas_bench_macro

BLOX = blox(stages=3)
TWINS = nas_bench_macro()
COSTS = ("params", "flops", "latency")


def draw(space: MacroSpace, rng: np.random.Generator) -> BlockSum:
    return BlockSum([rng.normal(size=n) for n in space.n_blocks], rng.normal())


def positive(space: MacroSpace, rng: np.random.Generator) -> BlockSum:
    return BlockSum([rng.random(n) for n in space.n_blocks], rng.random())


@pytest.fixture(scope="module")
def all_blox():
    """All 91,125 networks with their params and FLOPs."""
    codes = BLOX.all_codes()
    return codes, np.stack([BLOX.cost("params", codes), BLOX.cost("flops", codes)], axis=1)


# -- the best networks under budgets -------------------------------------------------------------------


def agree_with_brute_force(all_blox, seeds):
    codes, known = all_blox
    infeasible = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        score, latency = draw(BLOX, rng), positive(BLOX, rng)
        costs = np.column_stack([known, latency(codes)])
        limits = [float(np.quantile(c, q)) for c, q in zip(costs.T, rng.uniform(0, 0.5, 3), strict=True)]
        options = {"budgets": dict(zip(COSTS, limits, strict=True)), "costs": {"latency": latency}}
        allowed = np.sort(score(codes)[(costs <= limits).all(axis=1)])[::-1]
        if not len(allowed):
            infeasible += 1
            for method in ("program", "enumeration"):
                with pytest.raises(InfeasibleBudgetsError):
                    exact_search(BLOX, score, method=method, **options)
            continue
        best = exact_search(BLOX, score, method="program", **options)
        assert (best.scores[0], best.status, best.gaps[0]) == (allowed[0], "optimal", 0)
        several = exact_search(BLOX, score, top=20, **options)
        assert several.scores.tolist() == allowed[:20].tolist()
        assert all((several.costs[name] <= limit).all() for name, limit in options["budgets"].items())
    return infeasible


def test_the_best_networks_are_those_of_brute_force(all_blox):
    assert agree_with_brute_force(all_blox, range(20)) < 20


@pytest.mark.slow
def test_the_best_networks_are_those_of_brute_force_for_200_budgets(all_blox):
    assert agree_with_brute_force(all_blox, range(100, 300)) < 100


@pytest.mark.parametrize("method", ["program", "enumeration"])
def test_no_two_networks_are_twins_where_a_twin_would_score_more(method):
    rng = np.random.default_rng(1)
    score = draw(TWINS, rng)
    # Skips early in a group score most, which is where no canonical network has them alone.
    score = BlockSum([t + np.array([3.0 * (s in (3, 6)), 0, 0]) for s, t in enumerate(score.tables)])
    cost = positive(TWINS, rng)
    codes = TWINS.distinct_codes()
    limit = float(np.quantile(cost(codes), 0.3))
    true = np.sort(score(codes)[cost(codes) <= limit])[::-1]
    unruly = TWINS.all_codes()
    assert score(unruly[cost(unruly) <= limit]).max() > true[0]
    found = exact_search(TWINS, score, {"ms": limit}, costs={"ms": cost}, top=12, method=method)
    assert np.allclose(found.scores, true[:12], rtol=1e-12, atol=0)
    assert (TWINS.canonical(found.codes) == found.codes).all()
    assert len(set(TWINS.keys(found.codes))) == 12


def test_lower_limits_and_less_is_better(all_blox):
    codes, known = all_blox
    score = draw(BLOX, np.random.default_rng(2))
    low, high = np.quantile(known[:, 0], [0.4, 0.6])
    allowed = np.sort(score(codes)[(known[:, 0] >= low) & (known[:, 0] <= high)])
    for method in ("program", "enumeration"):
        found = exact_search(BLOX, score, {"params": (low, high)}, direction="min", top=3, method=method)
        assert found.scores.tolist() == allowed[:3].tolist()


def test_a_limit_is_kept_to_the_last_parameter(all_blox):
    _, known = all_blox
    score = BlockSum(BLOX.block_costs["params"], BLOX.fixed_costs["params"])
    for at in (1000, 50_000):
        limit = np.sort(known[:, 0])[at]
        below = known[known[:, 0] < limit, 0].max()
        for budget, best in ((limit, limit), (limit - 1e-3, below)):
            assert exact_search(BLOX, score, {"params": budget}, method="program").scores[0] == best
            assert exact_search(BLOX, score, {"params": budget}).scores[0] == best


def test_diverse_networks_are_taken_greedily(all_blox):
    codes, known = all_blox
    score = draw(BLOX, np.random.default_rng(3))
    limit = np.median(known[:, 0])
    left = codes[known[:, 0] <= limit]
    left = left[np.argsort(-score(left))]
    expected = []
    while len(expected) < 4:
        expected.append(left[0].tolist())
        left = left[(left != left[0]).sum(axis=1) >= 2]
    found = exact_search(BLOX, score, {"params": limit}, top=4, min_distance=2)
    assert found.codes.tolist() == expected


def test_a_small_space_is_exhausted():
    space = MacroSpace.from_blocks([["a", "b"], ["x", "y"]], block_costs={"params": [[1, 2], [3, 4]]})
    score = [[0.0, 1.0], [0.0, 10.0]]
    for method in ("program", "enumeration"):
        found = exact_search(space, score, top=9, method=method)
        assert (found.status, found.scores.tolist()) == ("exhausted", [11, 10, 1, 0])
    apart = exact_search(space, score, top=9, min_distance=2)
    assert (apart.status, apart.codes.tolist()) == ("exhausted", [[1, 1], [0, 0]])
    frame = exact_search(space, score, {"params": 5}).to_frame(space)
    assert frame.to_dict("records") == [{"stage_0": "a", "stage_1": "y", "score": 10, "params": 5, "gap": 0}]


@pytest.fixture(scope="module")
def vast():
    """20 stages of 50 blocks, 10^34 networks, and two costs that a good score pays for."""
    space = MacroSpace.from_blocks([[f"b{i}" for i in range(50)]] * 20, name="vast")
    rng = np.random.default_rng(0)
    score = draw(space, rng)
    costs = {n: BlockSum([rng.random(50) + 0.5 * t for t in score.tables], 20.0) for n in ("a", "b")}
    limits = {name: 20 + 0.8 * sum(float(np.mean(t)) for t in c.tables) for name, c in costs.items()}
    return space, score, {"budgets": limits, "costs": costs}


def test_both_methods_agree_on_a_vast_space(vast):
    space, score, options = vast
    by_program = exact_search(space, score, method="program", **options)
    several = exact_search(space, score, top=50, **options)
    assert by_program.status == several.status == "optimal"
    assert by_program.scores[0] == pytest.approx(several.scores[0], rel=1e-9)
    assert (np.diff(several.scores) <= 0).all()
    assert len(set(space.keys(several.codes))) == 50


def test_where_the_enumeration_gives_up_the_program_takes_over(all_blox, monkeypatch):
    _, known = all_blox
    score = draw(BLOX, np.random.default_rng(9))
    limits = dict(zip(COSTS[:2], np.quantile(known, 0.3, axis=0).tolist(), strict=True))
    true = exact_search(BLOX, score, limits, top=5)
    monkeypatch.setattr(ranked, "_WIDTHS", (3,))
    assert ranked.best_within(BLOX, score.negative(), make_budgets(BLOX, limits, None), 5) is None
    assert exact_search(BLOX, score, limits, top=5).scores.tolist() == true.scores.tolist()


def test_out_of_time_the_gap_holds(vast):
    space, score, options = vast
    best = exact_search(space, score, **options).scores[0]
    # On a busy machine there may be no network after that time, which is said.
    with contextlib.suppress(TimeoutError):
        found = exact_search(space, score, top=50, method="program", time_limit=1.0, **options)
        assert found.status == "time limit"
        assert found.scores[0] <= best + 1e-9 <= found.scores[0] + found.gaps[0] + 2e-9


def test_no_network_within_the_time_is_said(monkeypatch):
    monkeypatch.setattr(Program, "minimise", lambda *_: Answer(None, -np.inf, False))
    with pytest.raises(TimeoutError, match=r"within 3 s, nor is it proven that there is none; raise time_limit"):
        exact_search(BLOX, BLOX.block_costs["flops"], method="program", time_limit=3)


# -- what is refused -------------------------------------------------------------------------------------


def test_budgets_out_of_reach_are_explained(all_blox):
    _, known = all_blox
    least = f"{known[:, 0].min():,.0f}"
    score = BLOX.block_costs["flops"]
    with pytest.raises(InfeasibleBudgetsError, match=f"params <= 10: the least params of any is {least}; raise"):
        exact_search(BLOX, score, {"flops": 1e12, "params": 10})
    with pytest.raises(InfeasibleBudgetsError, match=r"the most flops of any is .*; lower the limit"):
        exact_search(BLOX, score, {"flops": (1e15, 1e16)})
    size = BlockSum(BLOX.block_costs["params"], BLOX.fixed_costs["params"])
    limits = {"params": known[:, 0].min() * 1.2, "size": (known[:, 0].max(), 1e12)}
    with pytest.raises(
        InfeasibleBudgetsError, match=rf"each limit alone can be kept; .* the least params is {known[:, 0].max():,.0f}"
    ):
        exact_search(BLOX, score, limits, costs={"size": size})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": [[0.0] * 45] * 2}, "tables of shapes"),
        ({"score": [[0.0] * 44 + [np.nan]] + [[0.0] * 45] * 2}, "the score of stage 0, block .* is nan"),
        ({"budgets": {"params": -3}}, "budget 'params' is -3, expected an upper limit >= 0"),
        ({"budgets": {"params": float("nan")}}, "budget 'params' is nan"),
        ({"budgets": {"params": (5, 4)}}, "in that order"),
        ({"budgets": {"joules": 4}}, "unknown cost 'joules'"),
        ({"budgets": {"ms": 4}, "costs": {"ms": [[1.0] * 45] * 2 + [[np.inf] * 45]}}, "cost 'ms' of stage 2"),
        ({"direction": "up"}, "direction must be"),
        ({"method": "enumerate"}, "method must be"),
        ({"top": 0}, "1 or more networks"),
        ({"min_distance": 4}, "from 1 to the 3 stages"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        exact_search(BLOX, **({"score": [[0.0] * 45] * 3} | change))


# -- fronts ------------------------------------------------------------------------------------------------


def brute_front(values):
    """Distinct rows that no other beats, where less is better."""
    rows, kept = np.unique(values, axis=0), []
    while len(rows):  # in lexicographic order, so that nothing beats the first of those that are left
        kept.append(rows[0])
        rows = rows[(rows < rows[0]).any(axis=1)]
    return np.array(kept)


@pytest.mark.parametrize("space", [BLOX, TWINS], ids=["blox", "twins"])
@pytest.mark.parametrize("against", [["a"], ["b"], ["a", "b"]])
@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_front_is_that_of_brute_force(space, against, direction):
    if len(against) > 1:
        pytest.importorskip("moocore", reason='needs the extra "archrank[search]"')
    rng = np.random.default_rng(4)
    score = draw(space, rng)
    costs = {"a": positive(space, rng), "b": BlockSum([rng.integers(0, 9, n) for n in space.n_blocks])}
    front = exact_front(space, score, against, costs=costs, metric=Metric("score", direction))
    sign = -1 if direction == "max" else 1
    codes = space.distinct_codes()
    values = np.stack([sign * score(codes), *(costs[name](codes) for name in against)], axis=1)
    found = front.values * np.array([sign, *[1] * len(against)])
    assert found.tolist() == brute_front(values).tolist()
    assert (np.stack([score(front.codes), *(costs[n](front.codes) for n in against)], axis=1) == front.values).all()
    assert (space.canonical(front.codes) == front.codes).all()


def test_limits_on_other_costs_hold_on_the_front(all_blox):
    pytest.importorskip("moocore", reason='needs the extra "archrank[search]"')
    codes, known = all_blox
    score = draw(BLOX, np.random.default_rng(5))
    limits = {"flops": float(np.quantile(known[:, 1], 0.2)), "params": float(np.quantile(known[:, 0], 0.5))}
    front = exact_front(BLOX, score, "params", limits)
    allowed = (known[:, 0] <= limits["params"]) & (known[:, 1] <= limits["flops"])
    true = brute_front(np.stack([-score(codes), known[:, 0]], axis=1)[allowed])
    assert (front.values * [-1, 1]).tolist() == true.tolist()
    assert [m.name for m in front.metrics] == ["score", "params"]


def test_the_front_of_a_vast_space_holds_the_best_under_any_limit(vast):
    space, score, options = vast
    costs = options["costs"]
    front = exact_front(space, score, "a", costs=costs)
    assert len(front) > 100
    limit = options["budgets"]["a"]
    on_front = front.values[front.values[:, 1] <= limit, 0].max()
    assert on_front == pytest.approx(exact_search(space, score, {"a": limit}, costs=costs).scores[0], rel=1e-9)


def test_what_a_front_refuses():
    with pytest.raises(ValueError, match="upper limits only"):
        exact_front(BLOX, BLOX.block_costs["flops"], "params", {"params": (1, 2)})
    with pytest.raises(ValueError, match="one or more costs"):
        exact_front(BLOX, BLOX.block_costs["flops"], [])
    with pytest.raises(InfeasibleBudgetsError, match="the least params of any"):
        exact_front(BLOX, BLOX.block_costs["flops"], "params", {"params": 10})


# -- pairs of blocks ---------------------------------------------------------------------------------------


def draw_pairs(space: MacroSpace, rng: np.random.Generator, size: float) -> PairSum:
    pairs = [(s, t) for s in range(space.stages) for t in range(s + 1, space.stages)]
    return PairSum(draw(space, rng), {p: size * rng.normal(size=[space.n_blocks[s] for s in p]) for p in pairs})


@pytest.mark.parametrize("listable", [10**6, 0])
@pytest.mark.parametrize("min_distance", [1, 2])
def test_pairwise_search_is_that_of_brute_force(listable, min_distance):
    rng = np.random.default_rng(6)
    score, cost = draw_pairs(TWINS, rng, 0.3), positive(TWINS, rng)
    codes = TWINS.distinct_codes()
    limit = float(np.quantile(cost(codes), 0.4))
    left = codes[cost(codes) <= limit]
    left = left[np.argsort(score(left))]
    expected = []
    while len(expected) < 3:
        expected.append(left[0])
        left = left[(left != left[0]).sum(axis=1) >= min_distance]
    options = {"direction": "min", "top": 3, "min_distance": min_distance, "time_limit": None, "listable": listable}
    found = pairwise_search(TWINS, score, {"ms": limit}, costs={"ms": cost}, **options)
    assert found.codes.tolist() == np.array(expected).tolist()
    assert (found.gaps == 0).all()


def test_out_of_time_the_gap_holds_and_local_search_betters_the_rest():
    space = MacroSpace.from_blocks([[f"b{i}" for i in range(12)]] * 5)
    score = draw_pairs(space, np.random.default_rng(7), 1.0)
    best = pairwise_search(space, score).scores[0]
    found = pairwise_search(space, score, listable=0, time_limit=0.02)
    assert found.status == "time limit"
    assert found.scores[0] <= best <= found.scores[0] + found.gaps[0]
    steps = space.neighbours(found.codes)[0]
    assert score(steps).max() <= found.scores[0]


def test_what_pairs_are_refused():
    first = BlockSum([[0.0] * 45] * 3)
    for second, message in (
        ({(1, 0): np.zeros((45, 45))}, "expected s < t"),
        ({(0, 1): np.zeros((45, 44))}, "has shape"),
        ({(0, 1): np.full((45, 45), np.nan)}, "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            pairwise_search(BLOX, PairSum(first, second))
    with pytest.raises(InfeasibleBudgetsError, match="the least params of any"):
        pairwise_search(BLOX, PairSum(first), {"params": 10})


# -- predictors as sums --------------------------------------------------------------------------------------


def same_order(scores, predictions):
    by_score = predictions[np.argsort(scores, kind="stable")]
    return bool((np.diff(by_score) >= -1e-9 * np.ptp(predictions)).all()) and np.ptp(predictions) > 0


@pytest.mark.parametrize("metric", ["acc", "loss"])
@pytest.mark.parametrize(("name", "params"), [("hant", {}), ("donna", {"order": 1}), ("donna:one_hot", {"order": 1})])
def test_additive_predictors_rank_as_their_sums(toy, name, params, metric):
    codes = toy.space.all_codes()
    model = archrank.make_predictor(name, toy, metric, **params).fit(toy.codes[:40], toy.values(metric)[:40])
    score = additive_scores(model, toy.space)
    predicted = model.predict(codes)
    assert same_order(score(codes), predicted)
    sign = toy.metric(metric).sign
    best = exact_search(toy.space, score, direction=toy.metric(metric).direction)
    assert model.predict(best.codes)[0] == pytest.approx(sign * (sign * predicted).max())


def test_second_order_predictors_rank_as_sums_over_pairs(toy):
    codes = toy.space.all_codes()
    model = archrank.make_predictor("donna", toy, "acc", alpha=0.01)
    model.fit(codes, codes[:, 0] * codes[:, 1] + codes[:, 2] * 0.5 + 40.0)
    score = pairwise_scores(model, toy.space)
    assert set(score.second) == {(0, 1), (0, 2), (1, 2)}
    assert same_order(score(codes), model.predict(codes))
    with pytest.raises(ValueError, match="is not a sum over blocks; use pairwise_scores"):
        additive_scores(model, toy.space)


def test_what_is_no_sum_over_pairs_is_refused(toy):
    codes = toy.space.all_codes()
    model = archrank.make_predictor("gbdt:one_hot", toy, "acc", random_state=0, n_estimators=30)
    model.fit(codes, np.prod(codes, axis=1).astype(float))
    with pytest.raises(ValueError, match="is not a sum over pairs of blocks"):
        pairwise_scores(model, toy.space)


def test_skips_count_where_canonical_networks_have_them():
    codes = TWINS.sample(300, seed=0)
    truth = draw(TWINS, np.random.default_rng(8))
    model = archrank.make_predictor("donna:one_hot", TWINS, order=1, alpha=1e-6).fit(codes, truth(codes))
    score = additive_scores(model, TWINS)
    every = TWINS.distinct_codes()
    assert same_order(score(every), model.predict(every))
    best = exact_search(TWINS, score)
    assert model.predict(best.codes)[0] == pytest.approx(model.predict(every).max())
