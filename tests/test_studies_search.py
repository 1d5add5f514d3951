"""Studies of search: macro against cell, the iterative search, and NAS methods."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from studies_contract import check_study
from tiny import TINY

from archrank.ground_truth import GroundTruth, Metric, Signatures, TableError
from archrank.search.registry import make_search
from archrank.spaces import MacroSpace
from archrank.studies import iterative, list_studies, macro_vs_cell, nas_methods, trials
from archrank.studies.blockwise_rounds import blockwise_search, pass_in_networks
from archrank.studies.cells import is_uniform
from archrank.studies.table_workshop import TableWorkshop, teachers_of
from archrank.studies.trials import Arena, Trial
from archrank.train_ground_truth.jobs import DistillJob, TrainJob


def table(space: MacroSpace, quality, direction="max", **about) -> GroundTruth:
    """Every network of a space, its value a function of the codes."""
    codes = space.distinct_codes()
    frame = pd.DataFrame(codes, columns=[f"stage_{s}" for s in range(space.stages)]).assign(score=quality(codes))
    metric = Metric("score", direction)
    return GroundTruth.from_frame(space, frame, {"score": metric}, name="made-up", **about)


def shortest_toml() -> str:
    """The tiny recipe of the other tests as a file: one stage, and a distillation that is worth 1.5 networks."""
    lines = []
    short = {
        "space": {"stages": 1, "width": 4, "image_size": 8, "classes": 3},
        "data": {"train": 16, "val": 12},
        "training": {"epochs": 30, "batch_size": 16, "weights": "last"},
        "distill": {"epochs": 1, "batch_size": 16, "norm_batches": 1},
    }
    for key, value in (TINY | short).items():
        section = {key: value} if isinstance(value, str) else value
        lines += [] if isinstance(value, str) else [f"[{key}]"]
        lines += [f"{k} = {v!r}" for k, v in section.items()]
    return "\n".join(lines)


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


def test_the_text_tells_small_gains_in_a_minimised_metric():
    study = macro_vs_cell.run(table(square(), lambda c: 0.7 + 0.000484 * same(c), "min"), quick=True)
    assert study.tables["matched"]["difference"][0] == pytest.approx(0.000484)
    assert "gain of non-uniform over uniform in score (positive where non-uniform is better) is +0.000484" in study.text
    assert "best uniform network has 0.70048, the best non-uniform one 0.7," in study.text
    assert "non-uniform networks are better at equal cost" in study.text


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
    with pytest.raises(TableError, match=r"stage 1 and stage 0 of space .* offer different blocks"):
        macro_vs_cell.run(table(MacroSpace.from_blocks([["a", "b"], ["a", "c"]]), same))
    with pytest.raises(TableError, match="neither params nor flops"):
        macro_vs_cell.run(table(MacroSpace.from_blocks([["a", "b"]] * 2), same))
    with pytest.raises(TableError, match="no non-uniform network"):
        macro_vs_cell.run(table(square(), lambda c: np.where(same(c), 1.0, np.nan)))


# -- iterative ------------------------------------------------------------------------------------


def taught(quality: dict[str, float], noise: dict[str, float]) -> GroundTruth:
    """100 networks whose value is the sum of what their blocks are worth; a teacher's signatures add noise to it.

    Teachers are names with the value that their own network gets.
    """
    names = [str(b) for b in range(10)]
    space = MacroSpace.from_blocks([names, names])
    worth = np.random.default_rng(3).normal(size=(2, 10))
    chance = np.random.default_rng(9).normal(size=(2, 10))
    rows = [
        (stage, block, teacher, scale * chance[stage, block] - worth[stage, block])
        for teacher, scale in noise.items()
        for stage in range(2)
        for block in range(10)
    ]
    frame = pd.DataFrame(rows, columns=["stage", "block", "teacher", "nsr"])

    def value(codes):
        out = worth[0, codes[:, 0]] + worth[1, codes[:, 1]]
        for name, reached in quality.items():
            out[space.keys(codes) == name] = reached
        return out

    return table(space, value, signatures=Signatures(frame, {"nsr": Metric("nsr", "min")}))


@pytest.fixture(scope="module")
def teachers() -> GroundTruth:
    noise = {"untrained-0-0-s0": 0.0, "1-1-s0": 9.0, "2-2-s0": 0.1, "3-3-s0": 0.0}
    return taught({"1-1": -9.0, "2-2": -1.0, "3-3": -2.0}, noise)


def test_the_teacher_of_a_table_is_the_nearest_that_is_not_better(teachers):
    untrained, trained = teachers_of(teachers, "score")
    assert (untrained, trained) == ("untrained-0-0-s0", {"1-1-s0": -9.0, "2-2-s0": -1.0, "3-3-s0": -2.0})
    workshop = TableWorkshop(teachers, "score", np.arange(100), trained)
    code = teachers.codes[0]
    assert workshop.next_teacher(code, -0.5, untrained) == "2-2-s0"
    assert workshop.next_teacher(code, -1.0, untrained) == "2-2-s0"
    assert workshop.next_teacher(code, -1.5, untrained) == "3-3-s0"
    assert workshop.next_teacher(code, -10.0, untrained) == untrained


def test_perfect_signatures_find_the_best_network_first(teachers):
    study = iterative.run(teachers, trials=4)
    searches = study.tables["searches"].set_index("search")
    assert searches.loc["one-shot", "trained_until_best_median"] == 1
    assert searches.loc["one-shot", ["trained", "passes", "regret_mean", "found_best"]].tolist() == [20, 1, 0, 1]
    # Without a recipe a pass is ten networks: two stages of ten blocks, the epochs as many.
    assert searches.loc["iterative", ["trained", "passes", "cost_in_networks"]].tolist() == [20, 2, 40]
    assert searches.loc["one-shot, same cost", "trained"] == 30
    assert searches.loc["random, same cost", ["trained", "passes"]].tolist() == [40, 0]
    assert "found in 100% of trials (median after 1 networks)" in study.text
    assert "a simulation" in study.data


def test_iterative_search_gains_where_only_trained_teachers_tell_something():
    bench = taught({"1-1": -9.0, "2-2": -8.0}, {"untrained-0-0-s0": 9.0, "1-1-s0": 0.0, "2-2-s0": 0.0})
    study = iterative.run(bench, trials=25, rounds=2, per_round=3)
    rows = study.tables["differences"].set_index("against")
    assert rows.loc["one-shot", "gain_low"] > 0
    assert rows.loc["one-shot, best teacher", "gain_high"] <= 0
    better = study.text.partition("At the end it is shown to be better than ")[2].partition(".")[0]
    assert "'one-shot'" in better
    assert "'one-shot, best teacher'" not in better
    taught_by = study.tables["rounds"]
    assert taught_by.loc[taught_by["round"] == 1, ["teacher", "share"]].values.tolist() == [["untrained-0-0-s0", 1.0]]


def test_the_head_start_of_the_untrained_teacher_is_told(teachers):
    study = iterative.run(teachers, trials=1, rounds=1)
    found = study.tables["teachers"].set_index("teacher")
    values = teachers.values("score")
    start = values[teachers.lookup([[0, 0]])[0]]
    assert found.loc["untrained-0-0-s0", ["trained", "value"]].tolist() == [False, start]
    assert found.loc["untrained-0-0-s0", "better_than"] == pytest.approx((values < start).mean())
    assert f"is better than {(values < start).mean():.0%} of the table" in study.text
    assert "With 1 trials nothing is shown" in study.text


def test_rounds_of_a_search_train_no_network_twice(teachers):
    untrained, trained = teachers_of(teachers, "score")
    trace = blockwise_search(TableWorkshop(teachers, "score", np.arange(17), trained), untrained, 3, 7)
    assert len(trace.codes) == len(np.unique(trace.codes, axis=0)) == 17


def test_failed_trainings_are_counted_and_not_learnt_from(teachers):
    class Failing(TableWorkshop):
        def train(self, codes):
            return np.where(codes[:, 0] == 3, np.nan, super().train(codes))

    untrained, trained = teachers_of(teachers, "score")
    trace = blockwise_search(Failing(teachers, "score", np.arange(100), trained), untrained, 2, 50)
    assert np.isnan(trace.values).sum() == 10
    assert np.isfinite(trace.winner()[1])
    assert np.isfinite(trace.best[-1])


@pytest.mark.parametrize(
    ("names", "missing"), [(("0-0-s0",), "untrained:ARCH"), (("untrained-0-0-s0", "someone"), "--teacher ARCH ")]
)
def test_a_table_without_the_teachers_says_how_to_make_them(names, missing):
    with pytest.raises(TableError, match=missing):
        iterative.run(taught({}, dict.fromkeys(names, 0.0)))


def test_a_pass_costs_what_its_blocks_and_epochs_do():
    space = square(6)
    assert pass_in_networks(space, {"distill": {"epochs": 2}, "training": {"epochs": 4}}) == 3
    assert pass_in_networks(space, None) == 6


def test_iterative_search_trains_for_real_and_goes_on_where_it_was(pictures, tmp_path, monkeypatch):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(shortest_toml())
    options = {
        "train": recipe,
        "data": pictures,
        "store": tmp_path / "store",
        "rounds": 2,
        "per_round": 2,
        "workers": 2,
    }
    study = iterative.run(None, **options)
    winners = study.tables["winners"]
    assert winners["search"].tolist() == ["iterative", "one-shot", "one-shot, same cost"]
    assert winners[["val_acc", "test_acc"]].notna().all(axis=None)
    rounds = study.tables["rounds"]["teacher"].tolist()
    assert rounds[0].startswith("untrained-")
    assert not rounds[1].startswith("untrained-")
    assert study.data.startswith("Run on networks trained for this study by recipe tiny")
    # A second run trains nothing.
    options["workers"] = 2  # other groups of blocks, the same records
    for job in (TrainJob, DistillJob):
        monkeypatch.setattr(job, "run", lambda *_: pytest.fail("made again"))
    assert iterative.run(None, **options).to_json()["tables"] == study.to_json()["tables"]


def test_training_for_real_asks_for_images_and_a_store(pictures):
    with pytest.raises(ValueError, match="--data PATH"):
        iterative.run(None, train="blox-mini")
    with pytest.raises(ValueError, match="--store here means something with --train RECIPE alone"):
        iterative.run(None, store="here")
    with pytest.raises(ValueError, match="--workers 2 means something with --train RECIPE alone"):
        iterative.run(None, workers=2)
    with pytest.raises(ValueError, match="--store DIR"):
        iterative.run(None, train="blox-mini", data=pictures)


# -- nas-methods ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grid() -> GroundTruth:
    """400 networks in two seeds: the mean is the sum of the codes, seed 0 turns the order around."""
    names = [str(b) for b in range(20)]
    space = MacroSpace.from_blocks([names, names])
    codes = space.all_codes()
    frames = [
        pd.DataFrame(codes, columns=["stage_0", "stage_1"]).assign(seed=seed, score=weight * codes.sum(axis=1))
        for seed, weight in ((0, -1.0), (1, 3.0))
    ]
    return GroundTruth.from_frame(space, pd.concat(frames), {"score": Metric("score")}, name="grid")


def test_an_arena_judges_by_the_mean_and_tells_what_is_asked(grid):
    arena = Arena(grid, grid.metric(), told=0)
    assert arena.top(0.001) == 38  # at least the best network
    assert arena.top(0.01) == 36  # the best 4: 38, 37 twice, 36 three times
    order = [0, 21, 42, 399]  # sums 0, 2, 4, 38: told less and less
    trial = Trial("x", 0, tuple(order), 0.0)
    assert trial.best(arena).tolist() == [0, 0, 0, 0]
    assert trial.best(Arena(grid, grid.metric())).tolist() == [0, 2, 4, 38]
    assert (trial.until(arena, 3), trial.until(arena, 100)) == (3, np.inf)


def test_random_search_needs_half_of_the_table():
    bench = table(square(10), lambda c: c.sum(axis=1))
    study = nas_methods.run(bench, methods=["random"], trials=60, budget=100)
    row = study.tables["methods"].iloc[0]
    # The place of one network in a random order is uniform; of 60 draws the median is within 3 deviations.
    assert abs(row["top01_median"] - 50) < 3 * 100 / (2 * np.sqrt(60))
    assert row["top01_reached"] == 1
    assert study.tables["trials"]["top01"].between(1, 100).all()


def test_what_is_beyond_the_budget_is_said_so(grid):
    study = nas_methods.run(grid, methods=["random"], trials=9, budget=5)
    row = study.tables["methods"].iloc[0]
    assert np.isnan(row["top01_median"])
    assert "random >5 (" in study.text
    assert study.to_json()["rows"][0]["top01_median"] is None
    assert study.tables["curves"]["trained"].tolist() == [1, 2, 3, 4, 5]
    assert study.tables["curves"]["best_median"].is_monotonic_increasing


def test_trials_end_at_the_top_if_asked_to():
    bench = table(square(7), lambda c: c @ [7, 1])
    options = {"methods": ["random"], "trials": 8, "budget": 999}
    whole = nas_methods.run(bench, **options, until_top=False).tables
    short = nas_methods.run(bench, **options).tables
    top = whole["trials"]["top01"]
    assert top.min() < 20 < top.max()  # some trials are at the top before they may end
    assert whole["trials"]["trained"].eq(49).all()
    assert short["trials"]["trained"].tolist() == np.maximum(top, 20).tolist()
    pd.testing.assert_frame_equal(short["reached"], whole["reached"])
    assert short["reached"]["top01"].tolist() == [(top <= n).mean() for n in range(1, 50)]
    # Nothing is told of the time after a trial's end, and before it what whole trials tell.
    assert len(short["curves"]) == 20
    pd.testing.assert_frame_equal(short["curves"], whole["curves"][:20])
    assert whole["methods"]["regret_mean"][0] == 0 < short["methods"]["regret_mean"][0]
    for tables, after in ((short, 20), (whole, 49)):
        row = tables["methods"].iloc[0]
        assert (row["budget"], row["regret_after"]) == (49, after)
        assert row["regret_mean"] == pytest.approx(whole["curves"]["regret_mean"][after - 1])
        assert tables["trials"]["best"].median() == whole["curves"]["best_median"][after - 1]
        assert tables["trials"]["best_after"].eq(after).all()


def test_a_kept_trial_that_ended_sooner_goes_on_to_the_least_trainings(grid, tmp_path):
    arena = Arena(grid, grid.metric())
    options = {"budget": 50, "until": arena.scores.min(), "store": tmp_path}
    lengths = [len(trials.run_trial(arena, "random", {}, 0, at_least=n, **options).trained) for n in (1, 7, 3, 60)]
    assert lengths == [1, 7, 3, 50]


def test_a_killed_run_goes_on_and_gives_the_same(grid, tmp_path, monkeypatch):
    options = {"methods": ["random"], "budget": 30, "until_top": False}
    whole = nas_methods.run(grid, trials=6, **options).tables
    nas_methods.run(grid, trials=4, store=tmp_path, **options)
    files = sorted(tmp_path.glob("*/*.json"))
    assert [file.stem for file in files] == ["0000", "0001", "0002", "0003"]
    files[0].unlink()
    files[1].write_text('{"trained": [1,')
    made = []
    monkeypatch.setattr(
        trials, "make_search", lambda *a, seed, **k: made.append(seed) or make_search(*a, seed=seed, **k)
    )
    again = nas_methods.run(grid, trials=6, store=tmp_path, **options).tables
    assert made == [0, 1, 4, 5]
    for name in ("methods", "curves", "trials"):
        pd.testing.assert_frame_equal(*(t[name].drop(columns=seconds(t[name])) for t in (again, whole)))
    # A shorter budget needs no search, a longer one does.
    nas_methods.run(grid, trials=6, store=tmp_path, **{**options, "budget": 20})
    assert made == [0, 1, 4, 5]
    nas_methods.run(grid, trials=1, store=tmp_path, **{**options, "budget": 31})
    assert made == [0, 1, 4, 5, 0]
    # What is told is another search.
    nas_methods.run(grid, trials=1, store=tmp_path, told="seed0", **options)
    assert made == [0, 1, 4, 5, 0, 0]


def test_kept_trials_are_those_of_all_that_a_method_sees():
    """Each change gives another digest; the same content built anew gives the same."""
    blocks = [["a", "b", "c"]] * 2
    codes = MacroSpace.from_blocks(blocks).all_codes()
    values = codes.sum(axis=1) + 1.0
    both = pd.DataFrame([(s, b, t, b + 0.5) for t in ("t", "u") for s in range(2) for b in range(3)])
    both.columns = ["stage", "block", "teacher", "nsr"]

    def digest(*, signatures=both, aim="min", cost=1.0, fixed=0.0, nwot=values, proxy="max", told="mean", **metric):
        costs = {"params": [[cost, 2.0, 3.0]] * 2}
        space = MacroSpace("s", tuple(map(tuple, blocks)), (), {k: tuple(map(np.array, v)) for k, v in costs.items()})
        space = dataclasses.replace(space, fixed_costs={"params": fixed})
        frame = pd.DataFrame(codes, columns=["stage_0", "stage_1"]).assign(seed=0, score=values, nwot=nwot)
        metrics = {"score": Metric("score", **metric), "nwot": Metric("nwot", proxy)}
        known = None if signatures is None else Signatures(signatures, {"nsr": Metric("nsr", aim)})
        bench = GroundTruth.from_frame(space, frame, metrics, name="t", signatures=known)
        return Arena(bench, bench.metric("score"), told).digest

    assert digest() == digest(signatures=both.copy(), told=0)  # of one seed, the mean tells the same
    changes = [
        {"signatures": None},
        {"signatures": both.iloc[::-1]},  # the other teacher comes first
        {"signatures": both.assign(nsr=both["nsr"] + (both.index == 3))},
        {"aim": "max"},
        {"cost": 1.5},
        {"fixed": 9.0},
        {"nwot": values + 1e-12},
        {"proxy": "min"},
        {"direction": "min"},
        {"bounds": (0.0, 100.0)},
    ]
    assert len({digest(), *(digest(**change) for change in changes)}) == 1 + len(changes)


def seconds(table: pd.DataFrame) -> list[str]:
    return [column for column in table if "seconds" in column]


def test_processes_make_the_same_trials(grid):
    alone, together = (nas_methods.run(grid, methods=["random"], trials=4, budget=10, n_jobs=n) for n in (1, 2))
    pd.testing.assert_frame_equal(alone.tables["curves"], together.tables["curves"])


def test_methods_that_need_signatures_are_left_out_with_the_reason(grid):
    study = nas_methods.run(grid, trials=1, budget=8)
    left_out = study.tables["left_out"].set_index("method")["reason"]
    assert {"donna", "hant"} <= set(left_out.index)
    assert "signature" in left_out["hant"]
    assert "random" in set(study.tables["methods"]["method"])
    with pytest.raises(ValueError, match="signature"):
        nas_methods.run(grid, methods=["hant"])


def test_signatures_are_priced_and_what_leaves_nothing_to_chance_runs_once(teachers):
    methods = ["random", "hant", "predictor", "rerank"]
    study = nas_methods.run(teachers, methods=methods, trials=2, budget=8, predictor="gp")
    table = study.tables["methods"].set_index("method")
    # Without a recipe a pass is ten networks: two stages of ten blocks, the epochs as many.
    assert table["pass_in_networks"].to_dict() == {"random": 0, "hant": 10, "predictor": 10, "rerank": 0}
    assert table["trials"].to_dict() == {"random": 2, "hant": 1, "predictor": 2, "rerank": 2}
    assert "hant 1 (deterministic, one trial)" in study.text
    assert "there for free, to hant and predictor: to distil all blocks once costs as much as 10.0 " in study.text
    without = nas_methods.run(teachers, methods=["random", "predictor"], trials=1, budget=4, predictor="gbdt")
    assert without.tables["methods"]["pass_in_networks"].tolist() == [0, 0]
    assert "for free" not in without.text


def test_a_predictor_that_there_is_not_is_no_method_left_out(grid):
    with pytest.raises(ValueError, match="unknown predictor 'x'"):
        nas_methods.run(grid, predictor="x", trials=1, budget=2)


@pytest.mark.parametrize(
    ("option", "message"), [({"told": "best"}, "seed0"), ({"methods": ["x"]}, "unknown search 'x'")]
)
def test_wrong_options_of_nas_methods_are_explained(grid, option, message):
    with pytest.raises(ValueError, match=message):
        nas_methods.run(grid, **option)


# -- what all studies share -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (macro_vs_cell, {}),
        (iterative, {"trials": 2, "rounds": 2}),
        (nas_methods, {"trials": 2, "budget": 12, "methods": ["random", "hant"]}),
    ],
)
def test_a_study_is_written_whole_and_its_text_repeats(teachers, module, options, tmp_path):
    costs = {"params": tuple(np.arange(100.0, 110.0) for _ in range(2))}
    space = MacroSpace("blocks", teachers.space.blocks, block_costs=costs)
    bench = GroundTruth.from_frame(
        space, teachers.frame, teachers.metrics, name="made-up", signatures=teachers.signatures
    )
    study = module.run(bench, quick=True, **options)
    check_study(study, tmp_path)
    assert study.name in list_studies()
    assert "100 networks" in study.data
    assert module.run(bench, quick=True, **options).text == study.text
