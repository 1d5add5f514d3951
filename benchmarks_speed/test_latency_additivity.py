"""Is the latency of a network the sum of its blocks? Measured on this machine, 40 networks of two sizes.

Run on a machine that nothing else uses: ``pytest benchmarks_speed/test_latency_additivity.py -s -m ""``.
"""

import pytest

from archrank.train_ground_truth.latency import Protocol, measure_together
from archrank.train_ground_truth.latency_tables import additivity
from archrank.train_ground_truth.recipe import Recipe, load_recipe


@pytest.mark.slow
@pytest.mark.parametrize("size", ["blox-mini", "published"])
def test_sum_of_blocks_against_whole_networks(benchmark, size):
    recipe = load_recipe(size) if size == "blox-mini" else Recipe(name=size)  # the defaults are the published size
    space = recipe.build_space()
    codes = space.sample(40, seed=0)
    blocks = sorted({(stage, int(block)) for code in codes for stage, block in enumerate(code)})
    protocol = Protocol(device="cpu", batch_size=1, threads=1, repeats=20)
    records = benchmark.pedantic(measure_together, (recipe, blocks, codes, protocol), rounds=1)
    for value in ("latency_ms", "cpu_ms"):
        found = additivity(records, space.n_blocks, value)
        benchmark.extra_info[value] = found
        print(f"\n{size}, {value}: {found}")
    assert benchmark.extra_info["cpu_ms"]["kendall_tau"] > 0.6
