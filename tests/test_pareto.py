"""Several objectives: fronts against brute force, directions, twins, seeds, hypervolume."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from archrank.ground_truth import Metric
from archrank.search import RandomSearch
from archrank.search.block_sums import BlockSum
from archrank.search.hypervolume import draw_fronts, hypervolume, plot_fronts, reference_point
from archrank.search.nsga2 import NSGA2Search, pareto_search
from archrank.search.pareto import Objective, ParetoFront, non_dominated
from archrank.spaces import MacroSpace, blox, nas_bench_macro
from archrank.testing import check_search

pytest.importorskip("pymoo", reason='needs the extra "archrank[search]"')


def brute_force(values):
    """The definition itself, for values of which less is better."""
    as_good = (values[:, None] <= values).all(2)
    better = (values[:, None] < values).any(2)
    return ~(as_good & better).any(0)


def test_non_dominated_networks_are_those_of_the_definition():
    values = np.random.default_rng(0).integers(0, 12, size=(300, 3)).astype(float)
    metrics = [Metric("loss", "min"), Metric("acc"), Metric("ms", "min")]
    assert (non_dominated(values, metrics) == brute_force(values * [1, -1, 1])).all()


def test_equal_networks_all_stay_and_the_best_in_the_first_metric_is_first():
    codes = np.arange(5)[:, None]
    front = ParetoFront.of(codes, [[1, 1], [3, 9], [3, 9], [2, 2], [1, 5]], [Metric("acc"), Metric("ms", "min")])
    assert front.codes[:, 0].tolist() == [1, 2, 3, 0]


@pytest.fixture
def two_wishes():
    """A space of two stages with a score that costs cannot explain."""
    space = blox(stages=2)
    rng = np.random.default_rng(0)
    score = Objective(Metric("score"), BlockSum(rng.normal(size=(2, 45))))
    return space, [score, Objective.cost(space, "params")]


def test_the_front_of_a_small_space_is_that_of_brute_force(two_wishes):
    space, objectives = two_wishes
    codes = space.all_codes()
    values = np.stack([o(codes) for o in objectives], axis=1)
    true = brute_force(values * [-1, 1])
    front = pareto_search(space, objectives, population=60, generations=60, seed=1)
    assert set(space.keys(front.codes)) == set(space.keys(codes[true]))
    assert (front.values == np.stack([o(front.codes) for o in objectives], axis=1)).all()


def test_a_seed_decides_the_search(two_wishes):
    space, objectives = two_wishes
    first, again, other = (
        pareto_search(space, objectives, population=8, generations=2, seed=s).values.tolist() for s in (5, 5, 6)
    )
    assert first == again != other


def test_a_generation_is_computed_at_once_without_twins_and_only_of_what_is_allowed():
    space = nas_bench_macro()
    calls = []

    def score(codes):
        calls.append(codes)
        return codes.sum(axis=1)

    def allowed(codes):
        return codes[:, 0] != 2

    objectives = [Objective(Metric("score"), score), Objective(Metric("first", "min"), lambda c: c[:, 0] - c[:, 1])]
    front = pareto_search(space, objectives, population=20, generations=6, allowed=allowed)
    assert len(calls) <= 6
    assert all(len(set(space.keys(c))) == len(c) and (space.canonical(c) == c).all() for c in calls)
    assert len(set(space.keys(front.codes))) == len(front)
    assert not any((c[:, 0] == 2).any() for c in calls)


def test_minimised_metrics_go_down():
    space = MacroSpace.from_blocks([list("abcd")] * 3, block_costs={"ms": [[1, 2, 3, 4]] * 3})
    loss = Objective(Metric("loss", "min"), BlockSum([[4, 3, 2, 1]] * 3))
    front = pareto_search(space, [loss, Objective.cost(space, "ms")], population=20, generations=20)
    assert (front.values[0] == [3, 12]).all()
    assert (front.values[-1] == [12, 3]).all()


def test_the_front_of_one_objective_is_its_best(two_wishes):
    space, (score, _) = two_wishes
    front = pareto_search(space, [score], population=40, generations=30)
    assert front.values.tolist() == [[score(space.all_codes()).max()]]


def test_a_space_smaller_than_the_population_is_listed():
    space = MacroSpace.from_blocks([["a", "b"]] * 2, block_costs={"ms": [[1, 2], [1, 2]]})
    front = pareto_search(space, [Objective(Metric("sum"), lambda c: c.sum(axis=1)), Objective.cost(space, "ms")])
    assert len(front) == 4


# -- ask and tell ---------------------------------------------------------------------------------


def run(search, score, steps, n=10):
    for _ in range(steps):
        codes = search.ask(n)
        search.tell(codes, score(codes))
    return search


def test_evolution_covers_more_than_chance():
    space = blox(stages=3)
    score = Objective(Metric("score"), BlockSum(np.random.default_rng(0).normal(size=(3, 45))))
    wishes = [score, Objective.cost(space, "params")]
    search = run(NSGA2Search(space, metric=score.metric, seed=0, costs=["params"]), score, steps=20)
    chance = run(RandomSearch(space, metric=score.metric, seed=0), score, steps=20)
    codes, values = chance.told
    fronts = [
        search.front(),
        ParetoFront.of(codes, np.stack([w(codes) for w in wishes], axis=1), [w.metric for w in wishes]),
    ]
    reference = reference_point(fronts)
    evolved, drawn = (hypervolume(f, reference) for f in fronts)
    assert evolved > 1.1 * drawn
    told, values = search.told
    assert len(fronts[0]) == brute_force(np.stack([-values, space.params(told)], axis=1)).sum()


def test_a_loss_is_minimised():
    space = blox(stages=2)
    score = Objective(Metric("loss", "min"), BlockSum(np.random.default_rng(1).normal(size=(2, 45))))
    search = run(NSGA2Search(space, metric=score.metric, costs=[]), score, steps=15)
    assert search.best()[1] < np.quantile(score(space.all_codes()), 0.005)


def test_a_pool_is_searched_to_its_end_and_nothing_else_is_asked():
    space = nas_bench_macro()
    pool = space.sample(90, seed=4)
    search = NSGA2Search(space, pool=pool, population=10, seed=0)
    asked = []
    while len(asked) < 90:
        codes = search.ask(7)
        # Every other training fails.
        search.tell(codes, np.where(np.arange(len(codes)) % 2, np.nan, codes.sum(axis=1)))
        asked += space.keys(codes).tolist()
    assert sorted(asked) == sorted(space.keys(pool))


def test_the_search_goes_on_from_its_state():
    space = blox(stages=2)

    def score(codes):
        return codes.sum(axis=1)

    search = run(NSGA2Search(space, population=6, seed=2), score, steps=2)
    again = NSGA2Search(space, population=6)
    again.load_state_dict(json.loads(json.dumps(search.state_dict())))
    assert (again.ask(5) == search.ask(5)).all()


def test_it_keeps_the_contract_of_searches():
    check_search(NSGA2Search)
    check_search(NSGA2Search, blox(stages=2))


# -- hypervolume and pictures ---------------------------------------------------------------------


@pytest.fixture
def front():
    """In accuracy and milliseconds: three steps of known area."""
    return ParetoFront.of(
        np.arange(4)[:, None], [[90, 3], [80, 2], [60, 1], [50, 2.5]], [Metric("acc", unit="%"), Metric("ms", "min")]
    )


def test_hypervolume_of_a_known_front(front):
    # Against 50 % and 4 ms: columns of 1 ms each, 10, 30 and 40 high.
    assert hypervolume(front, {"ms": 4, "acc": 50}) == pytest.approx(10 + 30 + 40)
    assert hypervolume(front, {"ms": 4, "acc": 50}, best={"acc": 100, "ms": 0}) == pytest.approx(80 / 200)
    # What is no better than the reference counts as nothing.
    assert hypervolume(front, {"ms": 2, "acc": 50}) == pytest.approx(10)


def test_the_reference_point_is_worse_than_all(front):
    other = ParetoFront.of(np.array([[9]]), [[40.0, 5.0]], front.metrics)
    assert reference_point([front, other]) == pytest.approx({"acc": 35.0, "ms": 5.4})
    assert reference_point([other]) == pytest.approx({"acc": 39.9, "ms": 5.1})


def test_steps_pass_through_what_the_front_reaches(front, tmp_path):
    axes = Figure().add_subplot()
    draw_fronts(axes, {"mine": front})
    assert axes.lines[0].get_xydata().tolist() == [[1, 60], [2, 80], [3, 90]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("ms", "acc [%]")
    plot_fronts({"mine": front}, tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 1000


def test_hypervolume_says_what_it_lacks(front):
    with pytest.raises(ValueError, match="no reference value for metric 'ms'; give one for each of acc, ms"):
        hypervolume(front, {"acc": 50})
    with pytest.raises(ValueError, match="best value of 'ms' is 9, no better than the reference 4"):
        hypervolume(front, {"acc": 50, "ms": 4}, best={"acc": 100, "ms": 9})
    other = ParetoFront.of(np.array([[9]]), [[40.0, 5.0]], [Metric("acc"), Metric("ms")])
    with pytest.raises(ValueError, match="different metrics"):
        reference_point([front, other])


# -- errors ---------------------------------------------------------------------------------------


def test_clear_errors(two_wishes):
    space, objectives = two_wishes
    with pytest.raises(ValueError, match="one or more objectives, got none"):
        pareto_search(space, [])
    with pytest.raises(ValueError, match="unknown cost 'latency' of space 'blox-2'; there are flops, params"):
        NSGA2Search(space, costs=["latency"])
    broken = Objective(Metric("acc"), lambda codes: np.where(codes[:, 0] == 7, np.nan, 1.0))
    with pytest.raises(ValueError, match=r"objective 'acc' is nan for network \[7, "):
        pareto_search(space, [broken, objectives[1]])
    short = Objective(Metric("acc"), lambda codes: [1.0])
    with pytest.raises(ValueError, match="one value for each of 100 networks"):
        pareto_search(space, [short, objectives[1]])


def test_without_pymoo_the_extra_is_named(two_wishes, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymoo", None)
    space, objectives = two_wishes
    with pytest.raises(ImportError, match=r'pip install "archrank\[search\]"'):
        pareto_search(space, objectives)
    with pytest.raises(ImportError, match=r'pip install "archrank\[search\]"'):
        NSGA2Search(space)
