"""Studies of search: macro against cell, the iterative search, and NAS methods."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from archrank.ground_truth import GroundTruth, Metric, TableError
from archrank.spaces import MacroSpace
from archrank.studies import macro_vs_cell
from archrank.studies.cells import is_uniform


def table(space: MacroSpace, quality, direction="max", **about) -> GroundTruth:
    """Every network of a space, its value a function of the codes."""
    codes = space.distinct_codes()
    frame = pd.DataFrame(codes, columns=[f"stage_{s}" for s in range(space.stages)]).assign(score=quality(codes))
    metric = Metric("score", direction)
    return GroundTruth.from_frame(space, frame, {"score": metric}, name="made-up", **about)


def square(n: int = 6) -> MacroSpace:
    """Two stages of the same blocks, all of nearly the same cost."""
    names = [str(b) for b in range(n)]
    return MacroSpace.from_blocks([names, names], block_costs={"params": [100 + np.arange(n)] * 2})


def same(codes):
    return (codes == codes[:, :1]).all(axis=1)


# -- macro-vs-cell --------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["max", "min"])
def test_where_uniform_networks_are_better_by_two_the_study_says_so(direction):
    sign = 1 if direction == "max" else -1
    study = macro_vs_cell.run(table(square(), lambda c: sign * (10 + 2.0 * same(c)), direction), quick=True)
    row = study.tables["matched"].iloc[0]
    assert row["uniform_networks"] == 6
    assert (row["difference"], row["difference_low"], row["difference_high"]) == (-2, -2, -2)
    last = study.tables["budgets"].iloc[-1]
    assert (last["best_uniform"], last["best_non_uniform"]) == (sign * 12, sign * 10)
    assert last["difference"] == -2
    assert study.tables["top"]["non_uniform_share"].tolist()[:3] == [0, 0, 0]
    assert "uniform networks are better at equal cost" in study.text


def test_only_networks_of_equal_cost_are_compared():
    space = MacroSpace.from_blocks([["s", "m", "l"]] * 2, block_costs={"params": [[10, 100, 190]] * 2})
    # Of the cost of m-m there are s-l and l-s; s-s and l-l have no equals.
    bench = table(space, lambda c: c.sum(axis=1) + 5.0 * (c[:, 0] < c[:, 1]))
    pairs = macro_vs_cell.run(bench, quick=True).tables["pairs"].set_index("network")
    assert pairs["non_uniform_of_same_cost"].to_dict() == {"0-0": 0, "1-1": 2, "2-2": 0}
    assert pairs.loc["1-1", "difference"] == 2.5
    assert pairs["difference"].isna().sum() == 2


def test_groups_repeat_a_cell_of_which_the_shorter_takes_the_beginning():
    space = MacroSpace.from_blocks([["skip", "a", "b"]] * 5, groups=((0, 2), (2, 5)), skip="skip")
    codes = space.validate([[1, 2, 1, 2, 0], [1, 2, 1, 2, 2], [1, 2, 1, 0, 0], [1, 0, 1, 0, 0], [2, 2, 1, 2, 2]])
    assert is_uniform(space, codes).tolist() == [True, True, False, True, False]


@pytest.mark.parametrize(("n", "k"), [(5, 1), (5, 3), (6, 6)])
def test_expected_best_is_the_mean_over_all_draws(n, k):
    scores = np.random.default_rng(n).normal(size=n)
    draws = [max(draw) for draw in itertools.combinations(scores, k)]
    assert macro_vs_cell.expected_best(scores, k) == pytest.approx(np.mean(draws))


def test_costs_may_stand_in_the_table():
    space = MacroSpace.from_blocks([["a", "b"]] * 2)
    codes = space.all_codes()
    frame = pd.DataFrame(codes, columns=["stage_0", "stage_1"]).assign(score=1.0, flops=codes.sum(axis=1) + 9.0)
    metrics = {"score": Metric("score"), "flops": Metric("flops", "min")}
    study = macro_vs_cell.run(GroundTruth.from_frame(space, frame, metrics, name="t"), quick=True)
    assert study.tables["budgets"]["budget"].unique().tolist() == ["flops"]
    assert study.tables["budgets"]["max_flops"].iloc[-1] == 11


def test_what_macro_vs_cell_cannot_do_is_said():
    with pytest.raises(TableError, match="offer different blocks"):
        macro_vs_cell.run(table(MacroSpace.from_blocks([["a", "b"], ["a", "c"]]), same))
    with pytest.raises(TableError, match="neither params nor flops"):
        macro_vs_cell.run(table(MacroSpace.from_blocks([["a", "b"]] * 2), same))
    with pytest.raises(TableError, match="no non-uniform network"):
        macro_vs_cell.run(table(square(), lambda c: np.where(same(c), 1.0, np.nan)))
