"""Search methods: no network twice, resumable, robust to failures."""

import json

import numpy as np
import pytest

from archrank.search import RandomSearch, SearchExhaustedError
from archrank.spaces import InvalidArchitectureError, MacroSpace, blox, nas_bench_macro


def test_no_network_is_asked_for_twice_twins_included():
    space = nas_bench_macro()
    search = RandomSearch(space, seed=3)
    asked = np.concatenate([search.ask(n) for n in (1, 200, 99)])
    assert len(set(space.keys(asked))) == 300


def test_it_goes_on_from_its_state():
    space = blox(stages=2)
    search = RandomSearch(space, seed=1)
    codes = search.ask(5)
    search.tell(codes, [1.0, np.nan, 3.0, 2.0, 0.0])
    again = RandomSearch(space)
    again.load_state_dict(json.loads(json.dumps(search.state_dict())))
    assert again.best()[1] == 3.0
    assert (again.best()[0] == codes[2]).all()
    assert (again.ask(4) == search.ask(4)).all()


def test_the_end_of_a_space_is_told_apart_from_an_empty_one():
    search = RandomSearch(blox(stages=1))
    assert len(search.ask(44)) == 44
    assert len(search.ask(2)) == 1
    with pytest.raises(SearchExhaustedError, match="45 were asked for"):
        search.ask()


def test_what_is_left_is_what_was_neither_asked_nor_told():
    space = nas_bench_macro()
    search = RandomSearch(space, seed=0)
    asked = search.ask(100)
    told = space.sample(50, seed=1)
    search.tell(told, np.zeros(50))
    left = search.remaining()
    used = set(space.keys(np.concatenate([asked, told])))
    assert set(space.keys(left)) == set(space.keys(space.distinct_codes())) - used
    assert (search.is_new(space.all_codes()) == [key not in used for key in space.keys(space.all_codes())]).all()


def test_a_pool_in_any_form_is_kept_to():
    space = nas_bench_macro()
    pool = np.random.default_rng(0).integers(0, 3, size=(60, 8))  # twins among them, not canonical
    search = RandomSearch(space, pool=pool)
    search.tell(space.sample(30, seed=0), np.zeros(30))  # in the pool or not
    search.ask(10)
    asked = np.concatenate([search.ask(10), search.ask(100)])
    assert set(space.keys(asked)) <= set(space.keys(pool))
    assert not search.is_new(pool).any()


@pytest.mark.parametrize("blocks", [50, 4])
def test_spaces_too_large_to_list(blocks):
    space = MacroSpace.from_blocks([[f"b{i}" for i in range(blocks)]] * 20)  # 10^34, and 10^12
    search = RandomSearch(space, seed=0)
    codes = search.ask(30)
    search.tell(codes, codes.sum(axis=1))
    again = RandomSearch(space)
    again.load_state_dict(json.loads(json.dumps(search.state_dict())))
    assert not again.is_new(codes).any()
    assert (again.ask(5) == search.ask(5)).all()
    with pytest.raises(ValueError, match="too large to list"):
        search.remaining()
    assert len(RandomSearch(space, pool=codes).ask(40)) == 30


def test_state_of_another_search_is_refused():
    state = RandomSearch(blox(stages=2)).state_dict()
    with pytest.raises(ValueError, match="state of Other, expected RandomSearch"):
        RandomSearch(blox(stages=2)).load_state_dict({**state, "method": "Other"})
    with pytest.raises(InvalidArchitectureError, match="out of range"):
        RandomSearch(blox(stages=2)).load_state_dict({**state, "codes": [[0, 45]], "values": [1.0]})


def test_clear_errors():
    search = RandomSearch(blox(stages=1))
    with pytest.raises(ValueError, match="no network has a value yet"):
        search.best()
    with pytest.raises(ValueError, match="one value for each of 2"):
        search.tell([[0], [1]], [1.0])
    with pytest.raises(ValueError, match="value 1 is infinite; tell NaN"):
        search.tell([[0], [1]], [1.0, np.inf])
    with pytest.raises(ValueError, match="ask for 1 or more networks, got 0"):
        search.ask(0)
    with pytest.raises(ValueError, match="the pool holds no network"):
        RandomSearch(blox(stages=1), pool=np.empty((0, 1), dtype=int))
