"""Searches played on tables, in Python and by `archrank search`."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from archrank.ground_truth import GroundTruth, Metric
from archrank.search.table_search import search_table, within


@pytest.fixture
def table(toy):
    """The toy table with a cost of its space and latencies of two devices."""
    costs = {"params": tuple(np.arange(n) + 1.0 for n in toy.space.n_blocks)}
    frame = toy.frame.assign(latency_cpu=toy.frame["stage_0"] + 1.0, latency_phone=toy.frame["stage_1"] * 2.0)
    metrics = {
        **toy.metrics,
        "latency_cpu": Metric("latency_cpu", "min"),
        "latency_phone": Metric("latency_phone", "min"),
    }
    space = replace(toy.space, block_costs=costs)
    return GroundTruth.from_frame(space, frame, metrics, name="costly", signatures=toy.signatures)


def test_a_whole_table_ends_at_its_best(toy):
    result = search_table(toy, "random", 90, trials=3)
    last = result.summary().iloc[-1]
    assert last["best_median"] == last["best_p05"] == result.best_of_table == toy.values("acc").max()
    assert last["rank_median"] == 1
    assert result.summary()["trained"].tolist() == [1, 2, 5, 10, 20, 50, 90]


def test_what_leaves_nothing_to_chance_is_tried_once(toy):
    assert len(search_table(toy, "hant", 5, trials=3).histories) == 1


def test_quantiles_and_ranks_are_over_trials(toy):
    result = search_table(toy, "local", 7, metric="loss", trials=5, seed=100)
    first = result.curves()[:, 0]
    values = toy.values("loss")
    row = result.summary().iloc[0]
    assert row["best_median"] == np.median(first)
    assert row["best_p05"] == np.quantile(first, 0.05)  # the better end of a loss
    assert row["rank_median"] == np.median([1 + (values < value).sum() for value in first])
    assert result.best_of_table == values.min()
    again = search_table(toy, "local", 7, metric="loss", trials=1, seed=102)
    np.testing.assert_array_equal(again.histories[0].codes, result.histories[2].codes)


def test_limits_narrow_what_is_searched(table):
    cost = table.space.cost("params", table.codes)
    keeps = within(table, {"params": 6, "latency:cpu": 3})
    np.testing.assert_array_equal(keeps, (cost <= 6) & (table.codes[:, 0] <= 2))
    result = search_table(table, "random", int(keeps.sum()), limits={"params": 6, "latency:cpu": 3}, trials=2)
    assert result.best_of_table == table.values("acc")[keeps].max()
    assert (table.space.cost("params", result.histories[0].codes) <= 6).all()


def test_limits_that_nothing_is_known_of(toy, table):
    with pytest.raises(ValueError, match="latencies of several devices; name one of cpu, phone"):
        within(table, {"latency": 3})
    with pytest.raises(ValueError, match="no latency of device 'gpu'; name one of cpu, phone"):
        within(table, {"latency:gpu": 3})
    with pytest.raises(ValueError, match="has no latency; measure it"):
        within(toy, {"latency": 3})
    with pytest.raises(ValueError, match="knows no costs"):
        within(toy, {"params": 3})


def test_budgets_must_fit_the_table(toy):
    with pytest.raises(ValueError, match="budget of 91 networks does not suit: there are 90"):
        search_table(toy, "random", 91)
    with pytest.raises(ValueError, match="1 or more trials"):
        search_table(toy, "random", 5, trials=0)


def test_the_command_prints_a_table(run, toy, tmp_path):
    folder = toy.save(tmp_path / "toy")
    code, out, _ = run("search", folder, "--method", "evolution", "--budget", 30, "--trials", 4)
    assert code == 0
    assert "best acc [%] that evolution finds (higher is better), 4 trials" in " ".join(out.split())
    assert f"best of the 90 networks: {toy.values('acc').max():.5g}" in out
    result = search_table(toy, "evolution", 30, trials=4).summary().iloc[-1]
    (row,) = (line.split() for line in out.splitlines() if line.split()[:1] == ["30"])
    assert row[1] == f"{result['best_median']:.5g}"


def test_networks_without_a_latency_are_said_to_be_left_out(run, table, tmp_path):
    frame = table.frame.copy()
    lacking = np.isin(table.lookup(frame[["stage_0", "stage_1", "stage_2"]].to_numpy()), range(7))
    frame.loc[lacking, "latency_phone"] = np.nan
    part = GroundTruth.from_frame(table.space, frame, table.metrics, name="part", default_metric=table.default_metric)
    folder = part.save(tmp_path / "part")
    code, _, err = run("search", folder, "--method", "random", "--budget", 5, "--trials", 2, "--max-latency", "phone:8")
    assert code == 0, err
    assert "7 networks whose latency was not measured are left out" in err


def test_json_and_files(run, table, tmp_path):
    folder = table.save(tmp_path / "costly")
    options = ("--budget", 12, "--trials", 2, "--batch", 5, "--metric", "loss", "--seed", 7)
    limits = ("--max-params", 9, "--max-latency", "phone:8")
    code, out, err = run(
        "search",
        folder,
        "--method",
        "predictor",
        "--predictor",
        "donna",
        *options,
        *limits,
        "--json",
        "--out",
        tmp_path / "o",
    )
    assert code == 0, err
    found = json.loads(out)
    assert found == json.loads((tmp_path / "o" / "search.json").read_text())
    assert found["method"] == "predictor"
    assert (found["budget"], found["trials"], found["seed"]) == (12, 2, 7)
    assert found["limits"] == {"params": 9.0, "latency:phone": 8.0}
    assert list(found["rows"][0]) == ["trained", "best_median", "best_p05", "best_p95", "rank_median"]
    history = pd.read_csv(tmp_path / "o" / "history.csv")
    assert len(history) == 24
    assert history.groupby("trial")["best"].last().median() == found["rows"][-1]["best_median"]
    assert (history["stage_1"] * 2 <= 8).all()
    assert (tmp_path / "o" / "search.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "magic", "--budget", 5), "unknown search 'magic'; there are donna, evolution"),
        (("--method", "random", "--budget", 500), "budget of 500 networks does not suit: there are 90"),
        (("--method", "random", "--budget", 5, "--metric", "speed"), "no metric 'speed'"),
        (
            ("--method", "random", "--budget", 5, "--predictor", "gp"),
            "is guided by no predictor; those that are: donna, predictor, rerank",
        ),
        (("--method", "random", "--budget", 5, "--max-latency", "phone"), "--max-latency takes L or DEVICE:L"),
        (("--method", "random", "--budget", 5, "--max-flops", 5), "knows no costs"),
        (("--budget", 5), "Missing option '--method'"),
    ],
)
def test_wrong_input_ends_in_one_line(run, toy, tmp_path, options, message):
    code, out, err = run("search", toy.save(tmp_path / "toy"), *options)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_help_has_examples(run):
    out = run("search", "--help")[1]
    assert out.count("archrank search blox-mini") == 2
