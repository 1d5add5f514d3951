"""Searches with a predictor: what they prefer, that they see nothing unasked, batches, failures, resuming."""

import json

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm, rankdata

from archrank.ground_truth import GroundTruth, Metric
from archrank.search import make_search, run, table_objective
from archrank.search.acquisition import acquire, log_expected_improvement
from archrank.search.design import spread_over_costs
from archrank.search.predictor import PredictorSearch
from archrank.search.rerank import IterativeReranking
from archrank.spaces import MacroSpace, blox, nas_bench_macro

LOSS = Metric("loss", "min", bounds=(0.0, None))


class Sums:
    """Predicts the sum of the block ids, whatever it is told; counts its fits, knows a deviation of 1."""

    fits = 0

    def __init__(self, seed):
        self.seed = seed

    def fit(self, codes, values):
        Sums.fits += 1
        return self

    def predict(self, codes, return_std=False):
        mean = np.asarray(codes).sum(axis=1).astype(float)
        return (mean, np.ones(len(mean))) if return_std else mean


def grown(space):
    return np.log(space.params(space.all_codes()).astype(float)), lambda codes: np.log(
        space.params(codes).astype(float)
    )


# -- acquisition ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (1.5, 0.3), (-2.0, 0.7), (-4.0, 2.0)])
def test_expected_improvement_is_the_integral(mean, deviation):
    law = norm(mean, deviation)
    expected, _ = quad(lambda v: (v - 0.2) * law.pdf(v), 0.2, 0.2 + 12 * deviation + abs(mean), epsabs=1e-14)
    got = log_expected_improvement(np.array([mean]), np.array([deviation]), 0.2)
    assert np.exp(got[0]) == pytest.approx(expected, rel=1e-6)


def test_expected_improvement_ranks_where_it_is_zero_to_the_computer():
    mean = -np.logspace(0, 6, 400)
    got = log_expected_improvement(mean, np.ones(400), 0.0)
    assert np.isfinite(got).all()
    assert (np.diff(got) < 0).all()
    # phi(u) / u^2, to leading order
    assert got[-1] == pytest.approx(-(1e12) / 2 - np.log(2 * np.pi) / 2 - 2 * np.log(1e6), rel=1e-12)


def test_acquisitions_of_a_normal_law():
    rng = np.random.default_rng(0)
    mean, deviation = np.array([1.0, 2.0]), np.array([3.0, 0.5])
    assert acquire("mean", mean, deviation, 0.0, 1.0, rng).tolist() == [1.0, 2.0]
    assert acquire("ucb", mean, deviation, 0.0, 2.0, rng).tolist() == [7.0, 3.0]
    draws = np.array([acquire("thompson", mean, deviation, 0.0, 1.0, rng) for _ in range(4000)])
    assert draws.mean(axis=0) == pytest.approx(mean, abs=0.2)
    assert draws.std(axis=0) == pytest.approx(deviation, rel=0.05)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.05


# -- before anything is known ---------------------------------------------------------------------


def test_the_initial_design_holds_one_network_of_each_class_of_size():
    space = blox(stages=2)
    codes = space.distinct_codes()
    chosen = spread_over_costs(space, codes, 9, np.random.default_rng(4))
    ranks = np.mean([rankdata(space.cost(name, codes)) for name in space.block_costs], axis=0)
    place = dict(zip(space.keys(codes).tolist(), ranks.tolist(), strict=True))
    sizes = sorted(place[key] for key in space.keys(chosen).tolist())
    for size, members in zip(sizes, np.array_split(np.sort(ranks), 9), strict=True):
        assert members[0] <= size <= members[-1]


def test_the_initial_design_of_a_space_without_costs_is_random():
    space = MacroSpace.from_blocks([list("abcd")] * 3)
    codes = space.all_codes()
    one, two = (spread_over_costs(space, codes, 6, np.random.default_rng(seed)) for seed in (0, 1))
    assert len(np.unique(one, axis=0)) == 6
    assert (one != two).any()
    assert len(spread_over_costs(space, codes, 999, np.random.default_rng(0))) == 64


def test_networks_told_before_count_for_the_initial_design():
    space = blox(stages=2)
    earlier = space.sample(5, seed=1)
    search = PredictorSearch(space, predictor=Sums, acquisition="mean", n_init=5)
    search.tell(earlier, np.arange(5.0))
    assert search.ask().tolist() == [[44, 44]]


# -- what is found --------------------------------------------------------------------------------


@pytest.mark.parametrize("acquisition", ["mean", "ei", "ucb", "thompson"])
@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_best_network_is_found_in_either_direction(acquisition, direction):
    space = blox(stages=2)
    values, objective = grown(space)
    metric = Metric("size", direction)
    search = PredictorSearch(space, predictor="gp", acquisition=acquisition, metric=metric, seed=0)
    found = run(search, objective, budget=15, batch=5).best[-1]
    better = metric.sign * values > metric.sign * found
    assert better.sum() < 3  # of 2,025


def test_an_accuracy_is_learnt_on_the_scale_of_its_bound(nas_bench_macro_file):
    from archrank import load_benchmark

    bench = load_benchmark(f"nas-bench-macro:{nas_bench_macro_file}")
    values = bench.values("test_acc")
    top = np.sort(values)[-4]  # the best 0.1 %
    search = make_search("predictor", bench, "test_acc", seed=1000)
    assert run(search, table_objective(bench, "test_acc"), budget=30).best[-1] >= top


@pytest.mark.parametrize(
    ("name", "params"), [("predictor", {"predictor": "gp"}), ("rerank", {"predictor": "gp", "per_round": 4})]
)
def test_nothing_is_seen_of_networks_that_were_not_asked_for(toy, name, params):
    """Two tables that differ in every network not asked for make a search ask for the same."""
    search = make_search(name, toy, "acc", seed=2, **params)
    history = run(search, table_objective(toy, "acc"), budget=16)
    frame = toy.frame.copy()
    of_row = toy.space.index(frame[["stage_0", "stage_1", "stage_2"]].to_numpy())
    unasked = ~np.isin(of_row, toy.space.index(history.codes))
    assert unasked.any()
    frame.loc[unasked, "acc"] = 120 - frame.loc[unasked, "acc"]
    frame.loc[unasked, "loss"] = 9.0
    frame["val_acc"] = [[0.0] if new else curve for new, curve in zip(unasked, frame["val_acc"], strict=True)]
    other = GroundTruth.from_frame(toy.space, frame, toy.metrics, name="other", signatures=toy.signatures)
    again = run(make_search(name, other, "acc", seed=2, **params), table_objective(other, "acc"), budget=16)
    assert (again.codes == history.codes).all()


def test_signatures_reach_the_predictor(toy):
    search = make_search("predictor", toy, "acc", predictor="donna", seed=0)
    best = run(search, table_objective(toy, "acc"), budget=15).best[-1]
    assert best >= np.sort(toy.values("acc"))[-5]


def test_twins_count_as_asked():
    space = nas_bench_macro()
    search = PredictorSearch(space, predictor=Sums, acquisition="mean", n_init=2)
    asked = np.concatenate([search.ask(3) for _ in range(30)])
    assert len(set(space.keys(asked))) == 90


# -- batches and failures -------------------------------------------------------------------------


@pytest.mark.parametrize("acquisition", ["ei", "ucb"])
def test_a_batch_is_what_single_asks_without_answers_give(acquisition):
    space = blox(stages=2)
    _, objective = grown(space)
    asked = []
    for sizes in ((4,), (1, 1, 2)):
        search = PredictorSearch(space, predictor="gp", acquisition=acquisition, seed=3)
        start = search.ask(5)
        search.tell(start, objective(start))
        asked.append({tuple(row) for n in sizes for row in search.ask(n).tolist()})
    assert asked[0] == asked[1]
    assert len(asked[0]) == 4


def test_waiting_networks_drive_the_next_ones_away():
    """Independent deviations shrink at a believed network, so that its like is less promising."""
    space = MacroSpace.from_blocks([list("abcdefgh")] * 2, attributes=[{"size": list(range(8))}] * 2)
    told = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 1]])
    search = PredictorSearch(space, predictor="gp", acquisition="ucb", kappa=5.0, seed=0)
    search.tell(told, [1.0, 1.2, 0.9, 1.1, 1.0])
    first, second = search.ask(2)
    again = PredictorSearch(space, predictor="gp", acquisition="ucb", kappa=5.0, refit_every=100, seed=0)
    again.tell(told, [1.0, 1.2, 0.9, 1.1, 1.0])
    greedy_first, greedy_second = again.ask(2)
    assert (first == greedy_first).all()
    assert np.abs(second - first).sum() > np.abs(greedy_second - greedy_first).sum()


def test_failed_networks_teach_nothing():
    space = blox(stages=2)
    _, objective = grown(space)
    search = PredictorSearch(space, predictor="gp", seed=0)
    for _ in range(14):
        codes = search.ask()
        search.tell(codes, np.where(search.trained % 3 == 1, np.nan, objective(codes)))
    assert search.trained == 14
    assert search.told[1].size < 14
    assert len(np.unique(search.history[0], axis=0)) == 14


def test_a_search_whose_networks_all_fail_or_are_equal_goes_on():
    space = blox(stages=1)
    for value in (np.nan, 1.0):
        search = PredictorSearch(space, predictor="gp")
        assert len(run(search, lambda codes, v=value: np.full(len(codes), v), budget=50)) == 45


def test_a_predictor_is_fitted_again_only_when_it_is_time():
    space = blox(stages=2)
    Sums.fits = 0
    search = PredictorSearch(space, predictor=Sums, acquisition="mean", n_init=4, refit_every=5)
    run(search, lambda codes: codes.sum(axis=1).astype(float), budget=20)
    assert Sums.fits == 4  # with 4, 9, 14 and 19 networks


def test_auto_is_its_gp_until_weights_can_be_told():
    search = PredictorSearch(blox(stages=2))
    assert [search._schedule(n)[0].name for n in (5, 49, 50, 200)] == ["gp", "gp", "auto", "auto"]
    assert [search._schedule(n)[1] for n in (5, 17, 49, 54, 55, 59, 200)] == [5, 17, 49, 50, 55, 55, 196]


# -- large spaces ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [PredictorSearch, IterativeReranking])
def test_a_space_too_large_to_list_is_sampled_and_climbed(method):
    space = MacroSpace.from_blocks([[f"b{i}" for i in range(32)]] * 20)
    assert space.size > 10**30
    search = method(space, predictor=Sums, candidates=50, **({"per_round": 5} if method is IterativeReranking else {}))
    best = run(search, lambda codes: codes.sum(axis=1).astype(float), budget=30).best
    # The largest of 30 random sums is 310 + 2.2 * 41; neighbours of the best go further.
    assert best[-1] > 420


# -- re-ranking -----------------------------------------------------------------------------------


def test_a_round_is_half_from_the_top_and_half_from_the_upper_part_of_the_ranking():
    space = blox(stages=2)
    search = IterativeReranking(space, predictor=Sums, per_round=10, rounds=3, alpha=0.5)
    objective = lambda codes: codes.sum(axis=1).astype(float)  # noqa: E731
    rounds = []
    for _ in range(5):
        codes = search.ask(10)
        left = np.sort(objective(np.concatenate([search.remaining(), codes])))[::-1]
        rounds.append((np.sort(objective(codes))[::-1], left))
        search.tell(codes, objective(codes))
    for number, (sums, left) in enumerate(rounds[1:3], start=1):
        assert (sums[:5] == left[:5]).all()
        assert sums.min() >= left[len(left) // 2**number]
        assert sums.min() < left[9]
    for sums, left in rounds[3:]:  # after the rounds, the best of the ranking
        assert (sums == left[:10]).all()


def test_rounds_do_not_depend_on_how_many_are_asked_for_at_once():
    space = blox(stages=2)
    _, objective = grown(space)
    histories = [
        run(IterativeReranking(space, predictor="gp", per_round=6, rounds=2, seed=1), objective, 20, batch).codes
        for batch in (1, 3)
    ]
    assert (histories[0] == histories[1]).all()


# -- resuming -------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 2, 6])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        (PredictorSearch, {"acquisition": "ei"}),
        (PredictorSearch, {"acquisition": "thompson", "refit_every": 4}),
        (PredictorSearch, {"predictor": "donna:cost", "acquisition": "ucb"}),
        (IterativeReranking, {"predictor": "donna:cost", "per_round": 5, "rounds": 2}),
    ],
)
def test_it_goes_on_exactly_as_it_would_have(method, params, after):
    space = blox(stages=2)
    _, objective = grown(space)

    def step(search, n):
        codes = search.ask(n)
        search.tell(codes[:1], objective(codes[:1]))  # the others wait
        return codes.tolist()

    search = method(space, metric=LOSS, seed=5, **params)
    for _ in range(after):
        step(search, 2)
    again = method(space, metric=LOSS, **params)
    again.load_state_dict(json.loads(json.dumps(search.state_dict())))
    assert [step(search, 2) for _ in range(2)] == [step(again, 2) for _ in range(2)]


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"predictor": "gcn", "acquisition": "ei"}, "'ei' needs a predictor that knows its uncertainty, and 'gcn'"),
        ({"acquisition": "pi"}, "unknown acquisition 'pi'; there are mean, ei, ucb, thompson"),
        ({"n_init": 1}, "n_init must be 2 or more, got 1"),
        ({"refit_every": 0}, "refit_every must be 1 or more, got 0"),
        ({"candidates": 0}, "candidates must be 1 or more, got 0"),
        ({"predictor": "donna"}, "signature"),
        ({"predictor": "nonsense"}, "nonsense"),
    ],
)
def test_clear_errors(params, message):
    with pytest.raises(ValueError, match=message):
        PredictorSearch(blox(stages=2), **params)


def test_values_per_epoch_of_a_table_do_not_reach_a_predictor(toy):
    with pytest.raises(ValueError, match="predictor 'baseline:early'"):
        make_search("predictor", toy, "acc", predictor="baseline:early")


def test_clear_errors_of_reranking():
    with pytest.raises(ValueError, match="per_round and rounds must be 1 or more, got 0 and 5"):
        IterativeReranking(blox(stages=2), per_round=0)
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1, got 2"):
        IterativeReranking(blox(stages=2), alpha=2)


def test_a_predictor_without_uncertainty_is_taken_at_its_word():
    assert PredictorSearch(blox(stages=1), predictor="gcn").acquisition == "mean"
