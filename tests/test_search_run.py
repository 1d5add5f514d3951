"""Running a search on an objective: what is recorded, budgets, failures; methods by name."""

import json

import numpy as np
import pytest

from archrank.ground_truth import Metric, TableError
from archrank.search import History, RandomSearch, list_searches, make_search, register_search, run, table_objective
from archrank.search.registry import _SEARCHES
from archrank.spaces import blox, nas_bench_macro


def test_a_history_holds_what_was_told_and_the_best_so_far():
    space = blox(stages=2)
    search = RandomSearch(space, seed=0)
    steps = []
    history = run(search, space.params, budget=10, batch=4, progress=lambda *step: steps.append(step[:2]))
    assert steps == [(4, 10), (8, 10), (10, 10)]
    np.testing.assert_array_equal(history.values, space.params(history.codes))
    np.testing.assert_array_equal(history.best, np.maximum.accumulate(history.values))
    assert history.to_frame().columns.tolist() == ["trained", "stage_0", "stage_1", "score", "best"]
    assert history.to_frame()["trained"].tolist() == list(range(1, 11))


@pytest.mark.parametrize(("direction", "best"), [("max", [np.nan, 2, 2, 5]), ("min", [np.nan, 2, 2, 2])])
def test_the_best_follows_the_direction_and_passes_over_failures(direction, best):
    history = History(np.zeros((4, 1), int), np.array([np.nan, 2.0, np.nan, 5.0]), Metric("m", direction))
    np.testing.assert_array_equal(history.best, best)


def test_an_objective_that_raises_is_a_recorded_failure():
    def objective(codes):
        if calls.append(len(codes)) or len(calls) == 2:
            raise RuntimeError("out of\nmemory")
        return np.where(codes[:, 0] < 20, np.inf, 1.0)

    calls = []
    with pytest.warns(UserWarning, match="the objective failed with RuntimeError: out of memory; its batch counts"):
        history = run(RandomSearch(blox(stages=2), seed=0), objective, budget=12, batch=4)
    assert calls == [4, 4, 4]
    assert history.errors == {4: "RuntimeError: out of memory"}
    assert np.isnan(history.values[4:8]).all()
    np.testing.assert_array_equal(np.isnan(history.values[8:]), history.codes[8:, 0] < 20)


def test_a_run_ends_with_the_space_and_goes_on_from_a_state():
    space = blox(stages=1)
    assert len(run(RandomSearch(space), space.params, budget=100, batch=10)) == 45
    whole = run(RandomSearch(space, seed=2), space.params, budget=30, batch=5)
    part, rest = RandomSearch(space, seed=2), RandomSearch(space)
    run(part, space.params, budget=10, batch=5)
    rest.load_state_dict(json.loads(json.dumps(part.state_dict())))
    np.testing.assert_array_equal(run(rest, space.params, budget=30, batch=5).codes, whole.codes)


def test_an_objective_of_the_wrong_length_is_a_fault_of_the_caller():
    with pytest.raises(ValueError, match="one value for each of 2"):
        run(RandomSearch(blox(stages=1)), lambda codes: [1.0], budget=4, batch=2)
    with pytest.raises(ValueError, match="budget and a batch of 1 or more, got 0 and 1"):
        run(RandomSearch(blox(stages=1)), len, budget=0)


def test_a_table_answers_by_metric_seed_and_variant(toy):
    codes = toy.codes[[3, 1]]
    np.testing.assert_array_equal(table_objective(toy)(codes), toy.values("acc")[[3, 1]])
    np.testing.assert_array_equal(table_objective(toy, "loss", seed=1)(codes), toy.values("loss", 1)[[3, 1]])
    distilled = table_objective(toy, variant="distilled")(toy.codes)
    assert np.isfinite(distilled).sum() == 10
    with pytest.raises(TableError, match="no metric 'speed'"):
        table_objective(toy, "speed")


def test_make_search_takes_metric_and_pool_of_the_table(toy):
    search = make_search("random", toy, "loss", seed=3)
    assert search.metric.direction == "min"
    assert len(search.pool) == len(toy)
    assert make_search("random", toy, pool=None).pool is None
    assert len(make_search("random", toy, pool=toy.codes[:7]).pool) == 7
    assert make_search("random", toy.space, Metric("ms", "min")).metric.sign == -1
    assert make_search("random", nas_bench_macro()).pool is None


def test_networks_without_a_value_are_not_in_the_tables_pool(toy):
    frame = toy.frame.copy()
    frame.loc[frame["stage_0"] == 0, "acc"] = np.nan
    holed = type(toy).from_frame(toy.space, frame, toy.metrics, name="holed")
    assert len(make_search("random", holed).pool) == 90 - 18
    assert len(make_search("random", holed, "loss").pool) == 90


def test_clear_errors_of_make_search(toy):
    with pytest.raises(ValueError, match=r"unknown search 'randomly'; there are .*random"):
        make_search("randomly", toy)
    with pytest.raises(ValueError, match="search 'random' has no parameter 'population'; there are metric, pool, seed"):
        make_search("random", toy, population=3)
    with pytest.raises(ValueError, match="search 'random' is guided by no predictor"):
        make_search("random", toy, predictor="gp")
    with pytest.raises(ValueError, match="unknown pool 'tabel'"):
        make_search("random", toy, pool="tabel")
    with pytest.raises(ValueError, match="metric 'acc' needs a benchmark"):
        make_search("random", toy.space, "acc")


def test_a_method_of_ones_own_by_name(toy, monkeypatch):
    monkeypatch.setattr(_SEARCHES, "entries", dict(_SEARCHES.entries))

    class Mine(RandomSearch):
        pass

    register_search("mine", Mine)
    assert "mine" in list_searches()
    assert type(make_search("mine", toy)) is Mine
