"""How long exact search takes, in CPU seconds of one thread: 91,125 networks, 20 stages of 50 blocks, pairs of blocks.

Run by ``OMP_NUM_THREADS=1 pytest benchmarks_speed/test_exact_search.py -s``. Scores are random, and costs rise with
them, so that budgets hurt.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from archrank.search.block_sums import BlockSum, PairSum
from archrank.search.exact import exact_search
from archrank.search.front import exact_front
from archrank.search.pairwise import pairwise_search
from archrank.spaces import MacroSpace, blox
from archrank.spaces.others import accel_nasbench

VAST = MacroSpace.from_blocks([[f"b{i}" for i in range(50)]] * 20, name="20 stages of 50 blocks")


def draw(space: MacroSpace, seed: int) -> tuple[BlockSum, dict[str, BlockSum]]:
    """A score and three costs, all above 0."""
    rng = np.random.default_rng(seed)
    score = BlockSum([rng.normal(size=n) for n in space.n_blocks])
    costs = {
        name: BlockSum([rng.random(len(t)) + 0.5 * t + 2 for t in map(np.asarray, score.tables)]) for name in "abc"
    }
    return score, costs


def seconds(benchmark: Any, what: str, solves: list[Callable[[], Any]]) -> float:
    """Runs each once and prints; the longest."""
    taken = []

    def all_of_them() -> None:
        for solve in solves:
            start = time.process_time()
            solve()
            taken.append(time.process_time() - start)

    benchmark.pedantic(all_of_them, rounds=1)
    benchmark.extra_info.update(mean=float(np.mean(taken)), longest=max(taken))
    print(f"\n{what}: mean {np.mean(taken):.3f} s, longest {max(taken):.3f} s of {len(taken)}")
    return max(taken)


@pytest.mark.parametrize("method", ["program", "enumeration"])
@pytest.mark.parametrize("top", [1, 10])
def test_three_budgets_over_91125_networks(benchmark: Any, method: str, top: int) -> None:
    space, solves = blox(), []
    codes = space.sample(2000)
    for seed in range(40):
        score, costs = draw(space, seed)
        shares = np.random.default_rng(seed).uniform(0.1, 0.5, 3)
        known = {"params": space.params, "flops": space.flops, "a": costs["a"]}
        limits = {n: float(np.quantile(f(codes), q)) for (n, f), q in zip(known.items(), shares, strict=True)}
        solves.append(
            lambda s=score, b=limits, c=costs: exact_search(space, s, b, costs=c, top=top, method=method)  # type: ignore[misc]
        )
    assert seconds(benchmark, f"91,125 networks, {method}, top {top}", solves) < 0.5 * top


@pytest.mark.parametrize(("method", "top"), [("program", 1), ("enumeration", 1), ("enumeration", 100)])
def test_three_budgets_over_20_stages_of_50_blocks(benchmark: Any, method: str, top: int) -> None:
    solves = []
    for seed in range(8):
        score, costs = draw(VAST, seed)
        limits = {n: sum(0.9 * float(np.mean(t)) for t in c.tables) for n, c in costs.items()}
        solves.append(
            lambda s=score, b=limits, c=costs: exact_search(VAST, s, b, costs=c, top=top, method=method)  # type: ignore[misc]
        )
    assert seconds(benchmark, f"10^34 networks, {method}, top {top}", solves) < 10


def test_the_front_of_20_stages_of_50_blocks(benchmark: Any) -> None:
    drawn = [draw(VAST, seed) for seed in range(3)]
    solves = [lambda s=score, c=costs: exact_front(VAST, s, "a", costs=c) for score, costs in drawn]
    assert seconds(benchmark, "10^34 networks, front of one cost", solves) < 10


@pytest.mark.parametrize("size", [0.1, 0.3])
def test_pairs_of_blocks_over_1e11_networks(benchmark: Any, size: float) -> None:
    """Products of one number per block, as DONNA has them, beside single blocks of spread 1."""
    space, rng = accel_nasbench(), np.random.default_rng(0)
    first, _ = draw(space, 0)
    x = [rng.normal(size=n) for n in space.n_blocks]
    pairs = {(s, t): size * np.outer(x[s], x[t]) for s in range(space.stages) for t in range(s + 1, space.stages)}
    limit = {"flops": float(np.median(space.flops(space.sample(1000))))}
    found = []

    def solve() -> None:
        found.append(pairwise_search(space, PairSum(first, pairs), limit, time_limit=60))

    seconds(benchmark, f"10^11 networks, pairs of size {size}", [solve])
    print(f"{found[0].status}, score {found[0].scores[0]:.4f}, gap {found[0].gaps[0]:.4f}")
    assert found[0].gaps[0] <= 0.2 * abs(found[0].scores[0])
