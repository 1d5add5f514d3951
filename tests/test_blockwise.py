"""Blockwise search: the order of signature sums, budgets, fronts of a predictor over signatures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from archrank.ground_truth import Metric, Signatures
from archrank.search import SearchExhaustedError, make_search
from archrank.search.block_sums import BlockSum
from archrank.search.blockwise import DonnaSearch, HantSearch
from archrank.search.pareto import Objective, non_dominated
from archrank.spaces import MacroSpace, blox
from archrank.testing import check_search

pytest.importorskip("pymoo", reason='needs the extra "archrank[search]"')


@pytest.fixture
def space(toy):
    """The space of the toy table with a cost that rises as the signature falls, unevenly."""
    costs = {"ms": tuple(np.arange(n) ** 2 + 1.0 for n in toy.space.n_blocks)}
    return replace(toy.space, block_costs=costs)


@pytest.fixture
def signatures(toy):
    return toy.signatures


@pytest.fixture
def large():
    """A space of 10^20 networks, its signatures, and their sum."""
    space = MacroSpace.from_blocks([[f"b{i}" for i in range(10)]] * 20, block_costs={"ms": [np.arange(10)] * 20})
    rng = np.random.default_rng(0)
    rows = [(s, b, "t", v) for s in range(20) for b, v in enumerate(rng.random(10))]
    frame = pd.DataFrame(rows, columns=["stage", "block", "teacher", "nsr"])
    return space, Signatures(frame, {"nsr": Metric("nsr", "min")}), BlockSum(frame["nsr"].to_numpy().reshape(20, 10))


def hant_sum(codes):
    """The toy signature is minus the block id, to be minimised: the more, the better."""
    return codes.sum(axis=1)


def test_hant_proposes_in_the_order_of_the_sum(toy, signatures):
    search = HantSearch(toy.space, signatures, metric=toy.metric("acc"))
    order = np.concatenate([search.ask(n) for n in (1, 7, 82)])
    assert (np.diff(hant_sum(order)) <= 0).all()
    assert order[0].tolist() == [4, 5, 2]
    with pytest.raises(SearchExhaustedError):
        search.ask()


def test_hant_ranks_a_loss_by_its_direction(toy, signatures):
    # Signature and loss both improve downwards, so the network of the best signatures comes first all the same.
    search = HantSearch(toy.space, signatures, metric=toy.metric("loss"))
    assert search.ask(1).tolist() == [[4, 5, 2]]


def test_hant_keeps_to_budgets_and_pool(space, signatures):
    codes = space.all_codes()
    within = codes[space.cost("ms", codes) <= 20]
    assert hant_sum(HantSearch(space, signatures, budgets={"ms": 20}).ask(1))[0] == hant_sum(within).max()
    pool = codes[::7]
    asked = HantSearch(space, signatures, pool=pool, budgets={"ms": 20}).ask(90)
    expected = pool[space.cost("ms", pool) <= 20]
    assert sorted(asked.tolist()) == sorted(expected.tolist())


def test_donna_asks_for_the_front_of_its_predictions(space, signatures, toy):
    metric = toy.metric("acc")
    search = DonnaSearch(space, signatures, metric=metric, initial=12, seed=1)
    first = search.ask(12)
    search.tell(first, toy.values("acc")[toy.lookup(first)])
    left = search.remaining()
    asked = search.ask(20)
    wishes = [Objective.predicted(metric, search.predictor), Objective.cost(space, "ms")]
    values = np.stack([w(left) for w in wishes], axis=1)
    expected = []
    while len(expected) < 20:
        front = non_dominated(values, [w.metric for w in wishes])
        expected += left[front][np.argsort(-values[front, 0])].tolist()
        left, values = left[~front], values[~front]
    assert asked.tolist() == expected[:20]


def test_donna_evolves_fronts_in_spaces_too_large_to_list(large):
    space, signatures, nsr = large
    search = DonnaSearch(space, signatures, initial=30, population=20, generations=10, seed=0)
    asked = [search.ask(30)]
    for n in (10, 10, 25):
        search.tell(asked[-1], -nsr(asked[-1]))
        asked.append(search.ask(n))
    assert len(asked[-1]) == 25
    assert len(set(space.keys(np.concatenate(asked)))) == 75
    # The best proposal has fewer bad blocks than any random network, and the front leads to low costs.
    assert nsr(asked[1]).min() < nsr(asked[0]).min()
    assert space.cost("ms", asked[-1]).min() < space.cost("ms", asked[0]).min()


def test_hant_searches_spaces_too_large_to_list(large):
    space, signatures, nsr = large
    search = HantSearch(space, signatures, budgets={"ms": 70})
    asked = np.concatenate([search.ask(5), search.ask(1), search.ask(3)])
    assert (np.diff(nsr(asked)) >= 0).all()
    assert (space.cost("ms", asked) <= 70).all()
    # None of the exchanges of one block that the budget allows betters the first.
    near = space.neighbours(asked[:1])[0]
    assert (nsr(near)[space.cost("ms", near) <= 70] >= nsr(asked)[0]).all()


def test_several_columns_count_alike(toy):
    frame = toy.signatures.frame.assign(kd=lambda f: 100.0 * f["block"])
    both = Signatures(frame, toy.signatures.metrics | {"kd": Metric("kd", "max")})
    search = HantSearch(toy.space, both, columns=["nsr", "kd"])
    codes = toy.space.all_codes()
    predicted = np.asarray(search.predictor.predict(codes))
    assert search.score(codes) == pytest.approx(predicted, rel=1e-5)
    assert search.ask(1).tolist() == codes[[predicted.argmax()]].tolist()


def test_donna_finds_the_best_sooner_than_chance_and_takes_more_than_a_front(space, signatures, toy):
    values = toy.values("acc")
    search = DonnaSearch(space, signatures, metric=toy.metric("acc"), initial=8, pool=toy.codes, seed=3)
    for n in (8, 1, 1, 1, 1):
        codes = search.ask(n)
        search.tell(codes, values[toy.lookup(codes)])
    assert search.best()[1] >= np.sort(values)[-3]
    assert len(search.ask(60)) == 60  # more than any front of the 78 that are left
    assert len(search.ask(60)) == 18


def test_without_costs_donna_asks_for_the_best_predictions(signatures, toy):
    search = DonnaSearch(toy.space, signatures, metric=toy.metric("acc"), initial=8, pool=toy.codes)
    first = search.ask(8)
    search.tell(first, toy.values("acc")[toy.lookup(first)])
    left = search.remaining()
    asked = search.ask(5)
    best = left[np.argsort(-np.asarray(search.predictor.predict(left)))[:5]]
    assert asked.tolist() == best.tolist()


@pytest.mark.parametrize("method", [DonnaSearch, HantSearch])
def test_methods_keep_the_contract(method):
    def build(bench, metric, **options):
        return method(bench.space, bench.signatures, metric=bench.metric(metric), **options)

    check_search(build)
    check_search(build, blox(stages=2))


def test_donna_goes_on_from_its_state(space, signatures, toy):
    def begin(seed):
        return DonnaSearch(
            space, signatures, metric=toy.metric("acc"), initial=5, population=20, generations=3, seed=seed
        )

    search, again = begin(4), begin(0)
    codes = search.ask(6)
    search.tell(codes, np.where(np.arange(6) == 2, np.nan, toy.values("acc")[toy.lookup(codes)]))
    again.load_state_dict(json.loads(json.dumps(search.state_dict())))
    assert (again.ask(5) == search.ask(5)).all()


def test_clear_errors(space, signatures, toy):
    with pytest.raises(ValueError, match="HantSearch needs block signatures and there are none"):
        HantSearch(space, None)
    with pytest.raises(ValueError, match="DonnaSearch needs block signatures and there are none"):
        make_search("donna", space)
    with pytest.raises(ValueError, match="ms"):
        HantSearch(space, signatures, budgets={"ms": 2})
    with pytest.raises(ValueError, match="unknown cost 'flops'"):
        HantSearch(space, signatures, budgets={"flops": 2})
    with pytest.raises(ValueError, match="'toy-space' knows no costs"):
        DonnaSearch(toy.space, signatures, costs=["ms"])
    with pytest.raises(ValueError, match="unknown signature column 'kd'"):
        DonnaSearch(space, signatures, columns=["kd"])
    larger = MacroSpace.from_blocks([list("abcde"), list("uvwxyz"), list("klmn")])
    with pytest.raises(ValueError, match="blocks per stage"):
        HantSearch(larger, signatures, metric=Metric("acc"))
