"""Search methods: no network twice, resumable, robust to failures."""

import json

import numpy as np
import pytest

from archrank.search import RandomSearch
from archrank.spaces import blox, nas_bench_macro


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


def test_clear_errors():
    search = RandomSearch(blox(stages=1))
    with pytest.raises(ValueError, match="no network has a value yet"):
        search.best()
    with pytest.raises(ValueError, match="one value for each of 2"):
        search.tell([[0], [1]], [1.0])
    with pytest.raises(ValueError, match="has 45 distinct ones"):
        search.ask(46)
