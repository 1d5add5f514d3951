"""The contract of search methods."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archrank.ground_truth import GroundTruth, Metric, Signatures
from archrank.search import Search, SearchExhaustedError, table_objective
from archrank.spaces import Codes, InvalidArchitectureError, MacroSpace, nas_bench_macro
from archrank.testing._rules import check_refusals, raises, twins

Factory = Callable[..., Search]
_BATCH = 5


def check_search(factory: Factory, space: MacroSpace | None = None, *, n: int = 40) -> None:
    """Check a search method: seeds, twins, batches, resuming, failures, directions, pools, and that it does not peek.

    Parameters
    ----------
    factory
        A subclass of `archrank.search.Search` with its parameters, or a function
        ``factory(benchmark, metric, pool=..., seed=...)`` that builds a search, such as
        ``functools.partial(archrank.search.make_search, "evolution")``. It is given a `GroundTruth` of made-up values
        with metrics "acc" (to be maximised) and "loss" (to be minimised) and block signatures.
    space
        Where to search; by default NAS-Bench-Macro, which has isomorphic twins.
    n
        Networks asked for in each run; a run must be longer than a method's initial design.

    Raises
    ------
    AssertionError
        Naming the rule that is broken.

    Examples
    --------
    >>> from archrank.search import RandomSearch
    >>> check_search(RandomSearch)
    """
    space = nas_bench_macro() if space is None else space
    if isinstance(factory, type):
        kind = factory

        def factory(bench: GroundTruth, metric: str, **options: Any) -> Search:
            built: Search = kind(bench.space, metric=bench.metric(metric), **options)
            return built

    rounds = -(-n // _BATCH)
    bench = _world(space)
    _check_asking(factory(bench, "acc", pool=None, seed=0))
    _check_telling(factory, bench)
    first = _check_repeatable(factory, bench, rounds)
    _check_peeking(factory, bench, first)
    _check_failures(factory, bench, rounds)
    _check_directions(factory, bench, first)
    _check_pool(factory, bench)


def _world(space: MacroSpace) -> GroundTruth:
    """Networks whose value is a sum over blocks and a little chance; signatures tell of the blocks."""
    rng = np.random.default_rng(0)
    codes = space.distinct_codes() if space.size <= 10_000 else space.sample(2000, seed=0)
    worth = [rng.normal(size=size) for size in space.n_blocks]
    total = np.sum([w[codes[:, s]] for s, w in enumerate(worth)], axis=0) + rng.normal(scale=0.1, size=len(codes))
    rows = [(s, b, "t", w + rng.normal(scale=0.2)) for s, ws in enumerate(worth) for b, w in enumerate(ws)]
    frame = pd.DataFrame(rows, columns=["stage", "block", "teacher", "quality"])
    acc = 60 + 30 * (total - total.min()) / np.ptp(total)
    return _table(space, codes, acc, Signatures(frame, {"quality": Metric("quality")}))


def _table(space: MacroSpace, codes: Codes, acc: NDArray[np.float64], signatures: Signatures | None) -> GroundTruth:
    frame = pd.DataFrame(codes, columns=[f"stage_{s}" for s in range(space.stages)])
    frame = frame.assign(acc=acc, loss=(100 - acc) / 20)
    metrics = {"acc": Metric("acc", "max", "%", (0.0, 100.0)), "loss": Metric("loss", "min", "", (0.0, None))}
    return GroundTruth.from_frame(space, frame, metrics, name="check", signatures=signatures)


def _play(search: Search, bench: GroundTruth, rounds: int) -> Codes:
    """Networks asked for in so many batches, each told what the table says."""
    objective = table_objective(bench, search.metric.name)
    asked = []
    for _ in range(rounds):
        asked.append(search.ask(_BATCH))
        search.tell(asked[-1], objective(asked[-1]))
    return np.concatenate(asked)


def _check_asking(search: Search) -> None:
    space = search.space
    asked = [search.ask(n) for n in (1, 7, 3)]
    for codes, n in zip(asked, (1, 7, 3), strict=True):
        assert codes.shape == (n, space.stages), "ask(n) gives (n, n_stages)"
        assert codes.dtype == np.int64, "codes are int64"
        assert (space.canonical(codes) == codes).all(), "networks asked for are canonical"
    assert len(set(space.keys(np.concatenate(asked)))) == 11, "no network is asked for twice, told or not"
    raises(ValueError, lambda: search.ask(0), "ask(0) is refused")
    search.tell(np.concatenate(asked), np.linspace(60, 70, 11))
    later = np.concatenate([search.ask(5), search.ask(5)])
    assert len(set(space.keys(np.concatenate([*asked, later])))) == 21, "no network is asked for twice"


def _check_telling(factory: Factory, bench: GroundTruth) -> None:
    search, space = factory(bench, "acc", pool=bench.codes, seed=0), bench.space
    codes = search.ask(2)
    raises(ValueError, lambda: search.tell(codes, [70.0]), "tell refuses fewer values than networks")
    raises(ValueError, lambda: search.tell(codes, [70.0, np.inf]), "tell refuses infinite values", "infinite")
    check_refusals(space, lambda bad: search.tell(bad, np.full(len(bad), 70.0)), "tell")
    assert search.trained == 0, "what tell refuses leaves no trace"
    raw = np.concatenate([form[:5] for form in twins(space)])
    search.tell(raw, np.linspace(60, 70, len(raw)))
    search.tell(codes, [72.0, 71.0])
    assert search.trained == len(raw) + 2, "networks that were never asked for may be told"
    assert search.best()[1] == 72.0, "the best value told is the best"
    asked = np.concatenate([search.ask(_BATCH), search.ask(_BATCH)])
    known = set(space.keys(np.concatenate([raw, codes])))
    assert not known & set(space.keys(asked)), "no network is asked for that was told, nor its twin"


def _check_repeatable(factory: Factory, bench: GroundTruth, rounds: int) -> Codes:
    first = _play(factory(bench, "acc", pool=bench.codes, seed=3), bench, rounds)
    assert len(set(bench.space.keys(first))) == len(first), "no network is asked for twice"
    again = factory(bench, "acc", pool=bench.codes, seed=3)
    half = _play(again, bench, rounds // 2)
    assert (half == first[: len(half)]).all(), "same seed, same answers: same networks"
    waiting = again.ask(_BATCH)
    state = json.loads(json.dumps(again.state_dict(), allow_nan=False))
    assert (waiting == first[len(half) :][:_BATCH]).all(), "same seed, same answers: same networks"
    resumed = factory(bench, "acc", pool=bench.codes, seed=4)
    resumed.load_state_dict(state)
    resumed.tell(waiting, table_objective(bench, "acc")(waiting))
    rest = _play(resumed, bench, rounds - rounds // 2 - 1)
    assert (rest == first[len(half) + _BATCH :]).all(), "a search that is resumed goes on as it would have"
    assert resumed.trained == len(first), "a search that is resumed knows all that was told"
    if again.deterministic:
        other = _play(factory(bench, "acc", pool=bench.codes, seed=4), bench, rounds)
        assert (other == first).all(), "a method that is deterministic asks the same with any seed"
    return first


def _check_peeking(factory: Factory, bench: GroundTruth, asked: Codes) -> None:
    """In another world, networks that were not asked for are better than all that were."""
    acc = np.random.default_rng(1).uniform(95, 99, size=len(bench))
    rows = bench.lookup(asked)
    acc[rows] = bench.values("acc")[rows]
    other = _table(bench.space, bench.codes, acc, bench.signatures)
    there = _play(factory(other, "acc", pool=other.codes, seed=3), other, len(asked) // _BATCH)
    assert (there == asked).all(), "what is asked depends on values that were told alone: it must not peek into a table"


def _check_failures(factory: Factory, bench: GroundTruth, rounds: int) -> None:
    for share in (0.4, 1.0):
        search = factory(bench, "acc", pool=bench.codes, seed=5)
        objective, rng = table_objective(bench, "acc"), np.random.default_rng(0)
        for _ in range(rounds):
            codes = search.ask(_BATCH)
            assert len(codes) == _BATCH, f"it goes on when {share:.0%} of the trainings fail"
            search.tell(codes, np.where(rng.random(_BATCH) < share, np.nan, objective(codes)))
        assert search.trained == rounds * _BATCH, "failed trainings count as trained"
    raises(ValueError, search.best, "there is no best network where all failed")


def _check_directions(factory: Factory, bench: GroundTruth, asked: Codes) -> None:
    """Whatever is learnt must not lead to the wrong end: a margin of three standard errors forgives bad luck."""
    search = factory(bench, "loss", pool=bench.codes, seed=3)
    lower = _play(search, bench, len(asked) // _BATCH)
    assert search.best()[1] == bench.values("loss")[bench.lookup(lower)].min(), "the best loss is the lowest"
    acc = bench.values("acc")
    for codes, metric in ((asked, "acc, which is maximised"), (lower, "loss, which is minimised")):
        late = acc[bench.lookup(codes[len(codes) // 2 :])]
        assert late.mean() > acc.mean() - 3 * acc.std() / np.sqrt(len(late)), f"it follows the direction of {metric}"


def _check_pool(factory: Factory, bench: GroundTruth) -> None:
    space = bench.space
    rng = np.random.default_rng(2)
    raw = np.concatenate([form[:5] for form in twins(space)])
    pool = np.concatenate([bench.codes[rng.permutation(len(bench))[:15]], raw])
    pool = pool[np.isin(space.keys(pool), space.keys(bench.codes))]
    keys = set(space.keys(pool).tolist())
    search, objective = factory(bench, "acc", pool=pool, seed=0), table_objective(bench, "acc")
    asked: list[str] = []
    while len(asked) < len(keys):
        codes = search.ask(_BATCH + 2)
        expected = min(_BATCH + 2, len(keys) - len(asked))
        assert len(codes) == expected, "ask(n) gives n networks, or all that the pool has left"
        asked += space.keys(codes).tolist()
        assert set(asked) <= keys, "only networks of the pool are asked for"
        search.tell(codes, objective(codes))
    assert sorted(asked) == sorted(keys), "every network of the pool is asked for once"
    raises(SearchExhaustedError, search.ask, "when none is left, ask says so")
    outside = np.array(space.n_blocks)[None]
    raises(InvalidArchitectureError, lambda: factory(bench, "acc", pool=outside, seed=0), "a pool is made of codes")
