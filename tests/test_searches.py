"""Every registered search method keeps the contract, and the contract catches those that do not."""

import re
from functools import partial

import numpy as np
import pytest
from pages import DOCS

from archrank.search import LocalSearch, RandomSearch, Search, list_searches, make_search, run, table_objective
from archrank.search.registry import _SEARCHES
from archrank.spaces import MacroSpace, blox, nas_bench_macro
from archrank.testing import check_search

NEEDS_PYMOO = {"nsga2", "donna"}
# Twins, and a cost for those that search for trade-offs.
SMALL = MacroSpace.from_blocks(
    [["a", "b", "skip"]] * 6,
    name="small",
    groups=((0, 3), (3, 6)),
    skip="skip",
    block_costs={"params": [[1.0, 2.0, 0.0]] * 6},
)
# Methods that fit predictors again and again get quick ones, and runs that are hardly longer than their initial design.
GUIDED = {
    "predictor": {"predictor": "donna:one_hot", "acquisition": "mean"},
    "rerank": {"predictor": "donna:one_hot", "per_round": 5},
}


@pytest.mark.parametrize("name", list_searches())
def test_registered_searches_keep_the_contract(name):
    if name in NEEDS_PYMOO:
        pytest.importorskip("pymoo", reason='needs the extra "archrank[search]"')
    check_search(partial(make_search, name, **GUIDED.get(name, {})), SMALL, n=15 if name in GUIDED else 40)


@pytest.mark.parametrize("name", ["evolution", "local", "random", "reinforce"])
@pytest.mark.parametrize(
    "space",
    [
        nas_bench_macro(),
        blox(stages=2),
        MacroSpace.from_blocks([list("ab"), list("cdefg"), ["h"], list("ijklmno")]),
        MacroSpace.from_blocks([list("abcde")] * 20, name="large"),
    ],
    ids=lambda space: space.name,
)
def test_in_spaces_of_any_shape(name, space):
    check_search(partial(make_search, name), space)


def test_options_keep_the_contract():
    check_search(partial(make_search, "evolution", crossover=0.5, population=8, tournament=8))
    check_search(partial(make_search, "reinforce", entropy=0.0, decay=0.0))
    check_search(partial(make_search, "local", n_init=1))


# -- methods that break it -----------------------------------------------------------------------------------


class Cheat(RandomSearch):
    """Knows the table and asks for its best first."""

    def __init__(self, bench, metric, **options):
        super().__init__(bench.space, metric=bench.metric(metric), **options)
        self.known = bench

    def _propose(self, n):
        left = self.remaining()
        values = self.metric.sign * self.known.values(self.metric.name)[self.known.lookup(left)]
        return left[np.argsort(-values)[:n]]


class SlyCheat(Cheat):
    """Asks at random, and for one network that the table praises after twenty others."""

    def _propose(self, n):
        left = self.random(n)
        return np.concatenate([super()._propose(1), left])[:n] if self.trained >= 20 else left


class Twice(RandomSearch):
    """Keeps no record of what it asked for."""

    def _propose(self, n):
        return self.remaining()[:n]

    def _note(self, codes):
        pass


class Upwards(LocalSearch):
    """Takes every metric for one to be maximised."""

    def _neighbourhood(self):
        codes, values = self.told
        best = codes[values.argsort()[-1:]]
        return self.new_of(self.space.neighbours(best).reshape(-1, self.space.stages), codes[:0])


class Forgetful(LocalSearch):
    """Leaves a part of its state out."""

    def load_state_dict(self, state):
        super().load_state_dict({**state, "start": 0, "rng": self.rng.bit_generator.state})


class Unseeded(RandomSearch):
    def __init__(self, space, *, seed, **options):
        super().__init__(space, seed=np.random.SeedSequence().entropy, **options)


class Fragile(LocalSearch):
    """Cannot learn from failures."""

    def _learn(self, codes, values):
        if np.isnan(values).all():
            raise RuntimeError("nothing to learn")


class Stray(RandomSearch):
    """Forgets its pool."""

    def __init__(self, space, *, pool, **options):
        super().__init__(space, **options)


class Lazy(RandomSearch):
    """Gives fewer networks than there are."""

    def _propose(self, n):
        return self.random(min(n, 6))


@pytest.mark.parametrize(
    ("method", "rule"),
    [
        (Cheat, "must not peek"),
        (SlyCheat, "must not peek"),
        (Twice, "no network is asked for twice"),
        (Upwards, "follows the direction of loss"),
        (Forgetful, "goes on as it would have"),
        (Unseeded, "same seed"),
        (Stray, "n networks, or all that the pool has left|only networks of the pool"),
        (Lazy, "gives \\(n, n_stages\\)"),
    ],
)
def test_the_check_catches(method, rule):
    factory = (lambda *args, **options: method(*args, **options)) if issubclass(method, Cheat) else method
    with pytest.raises(AssertionError, match=rule):
        check_search(factory)


def test_an_error_within_a_method_is_passed_on():
    with pytest.raises(RuntimeError, match="nothing to learn"):
        check_search(Fragile)


def test_a_base_class_is_no_method():
    with pytest.raises(TypeError, match="abstract"):
        check_search(Search)


def test_the_page_on_search_does_what_it_says(monkeypatch):
    text = (DOCS / "search.md").read_text(encoding="utf-8").partition("\n## Predictor-guided")[0]
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    monkeypatch.setattr(_SEARCHES, "entries", dict(_SEARCHES.entries))
    names = {}
    exec("\n".join(blocks), names)
    assert len(names["history"]) == 50
    assert names["search"].trained == 80
    # The method is worth its lines: what it asks for is far better than chance.
    bench = names["bench"]
    found = run(make_search("best-blocks", bench, seed=0), table_objective(bench), 60).values[10:]
    assert found.mean() > bench.values().mean() + bench.values().std() / 2
    assert {*list_searches()} - {"best-blocks"} == set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


def test_reinforce_takes_draws_of_its_policy_in_their_order_in_spaces_too_large_to_list(monkeypatch):
    """The order tells how likely networks are: distinct draws in any other order would flatten the policy."""
    search = make_search("reinforce", MacroSpace.from_blocks([[f"b{i}" for i in range(40)]] * 5), seed=0)
    drawn = search._draw(500)
    monkeypatch.setattr(search, "_draw", lambda n: drawn)
    np.testing.assert_array_equal(search.ask(20), drawn[:20])
