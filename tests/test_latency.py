"""Latency: what is measured and recorded, sums of blocks, columns of tables, the command."""

import json
import math
import time

import numpy as np
import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from archrank.spaces import InvalidArchitectureError
from archrank.train_ground_truth.latency import (
    Protocol,
    latency_key,
    measure_blocks,
    measure_latency,
    measure_networks,
    measure_together,
)
from archrank.train_ground_truth.latency_tables import (
    additive_prediction,
    additivity,
    column_name,
    latency_rows,
    latency_table,
)
from archrank.train_ground_truth.measure_commands import register
from archrank.train_ground_truth.network import Stage
from archrank.train_ground_truth.recipe import recipe_from_dict
from archrank.train_ground_truth.store import Store

RECIPE = recipe_from_dict({"name": "small", "space": {"stages": 2, "width": 4, "image_size": 8, "classes": 3}})
FAST = Protocol(device="cpu", repeats=2, warmup=0)


def record(kind="block-latency", ms=1.0, label="cpu", batch=1, threads=1, **where):
    return {"kind": kind, "latency_ms": ms, "cpu_ms": ms, "label": label, "batch_size": batch, "threads": threads} | {
        "device_name": "a device",
        **where,
    }


@pytest.fixture(scope="module")
def measured():
    """Blocks 0, 1 and 9 of both stages and their nine networks."""
    codes = [[a, b] for a in (0, 1, 9) for b in (0, 1, 9)]
    return measure_together(RECIPE, [(s, b) for s in range(2) for b in (0, 1, 9)], codes, FAST), codes


def test_more_work_takes_longer():
    """CPU time, as the machine that runs tests may be busy; factor 5 and more in FLOPs."""
    small, large = (nn.Conv2d(c, c, 3, padding=1) for c in (16, 64))
    times = [measure_latency(net, (c, 32, 32), FAST, repeats=9).cpu_ms for net, c in ((small, 16), (large, 64))]
    assert times[0] < times[1]
    wide = recipe_from_dict({"name": "wide", "space": {"stages": 2, "width": 32, "image_size": 32, "classes": 3}})
    narrow, broad = (measure_networks(recipe, [[0, 0]], FAST)[0] for recipe in (RECIPE, wide))
    assert narrow["cpu_ms"] < broad["cpu_ms"]


@pytest.mark.parametrize(
    ("protocol", "label"),
    [(Protocol(device="cuda"), "cpu"), (Protocol(device="cuda", label="pixel_6"), "pixel_6")],
)
def test_another_device_has_another_label_unless_somebody_named_it(protocol, label):
    found = measure_latency(Stage(3, 4), (4, 8, 8), protocol, device="cpu", repeats=1, warmup=0)
    assert (found.device, found.label) == ("cpu", label)


def test_a_latency_says_how_it_was_measured():
    module = Stage(3, 4).train()
    before = torch.get_num_threads()
    found = measure_latency(module, (4, 8, 8), device="cpu", batch_size=2, repeats=5, warmup=1, threads=1)
    assert (found.repeats, found.warmup, found.batch_size, found.threads, found.device) == (5, 1, 2, 1, "cpu")
    assert (found.label, found.dtype, found.torch, found.memory_format) == (
        "cpu",
        "float32",
        torch.__version__,
        "channels_last",
    )
    assert found.device_name
    assert found.latency_ms > 0
    assert found.spread_ms >= 0
    assert found.cpu_ms > 0
    assert module.training
    assert torch.get_num_threads() == before
    assert measure_latency(module.double(), (4, 8, 8), FAST).dtype == "float64"


def test_spread_is_that_of_the_passes():
    class Sometimes(nn.Module):
        """Every other timed pass takes 20 ms longer; a turn is an untimed and a timed pass."""

        passes = 0

        def forward(self, x):
            Sometimes.passes += 1
            time.sleep(0.02 if Sometimes.passes % 4 == 0 else 0)
            return x

    found = measure_latency(Sometimes(), (1, 2, 2), FAST, repeats=8)
    assert Sometimes.passes == 16
    assert found.spread_ms > 9
    assert found.latency_ms > 9
    assert found.cpu_ms < 9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"repeats": 0}, "repeats = 0, expected at least 1"),
        ({"batch_size": 0}, "batch_size"),
        ({"threads": -1}, "threads"),
        ({"warmup": -1}, "warmup"),
        ({"device": "meta"}, "cpu and cuda devices"),
        ({"label": "Pixel 7"}, "lower-case"),
    ],
)
def test_wrong_protocols(wrong, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**{"device": "cpu", **wrong})


def test_what_the_space_does_not_hold_is_not_measured():
    with pytest.raises(InvalidArchitectureError, match="stage 2, block 0: expected stages 0 to 1"):
        measure_blocks(RECIPE, [2], [0], FAST)
    with pytest.raises(InvalidArchitectureError, match="blocks 0 to 44"):
        measure_blocks(RECIPE, [0], [45], FAST)
    with pytest.raises(InvalidArchitectureError):
        measure_networks(RECIPE, [[0, 45]], FAST)


def test_records_and_their_keys(measured):
    records, codes = measured
    assert [r["kind"] for r in records] == ["block-latency"] * 6 + ["fixed-latency"] * 2 + ["network-latency"] * 9
    assert [r["code"] for r in records[8:]] == codes
    keys = [latency_key(r) for r in records]
    assert len(set(keys)) == len(keys)
    assert keys[2] == "latency-cpu-b1-t1-0-9"
    assert keys[6:9] == ["latency-cpu-b1-t1-stem", "latency-cpu-b1-t1-head", "latency-cpu-b1-t1-net-0-0"]
    assert {r["repeats"] for r in records} == {2}
    assert json.loads(json.dumps(records)) == records
    other = measure_blocks(RECIPE, [1], [9], Protocol(device="cpu", batch_size=4, repeats=1, warmup=0, label="pi5"))
    assert latency_key(other[0]) == "latency-pi5-b4-t1-1-9"


def test_measuring_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    measure_blocks(RECIPE, [0], [0], Protocol(device="cpu", repeats=1, warmup=0))
    assert torch.rand(1) == expected


def test_prediction_is_the_sum_of_the_table(measured):
    rng = np.random.default_rng(0)
    space = RECIPE.build_space()
    table = [rng.random(45), rng.random(45)]
    codes = space.all_codes()
    expected = [0.25 + table[0][a] + table[1][b] for a, b in codes]
    np.testing.assert_allclose(additive_prediction(table, codes, 0.25), expected)
    records, pairs = measured
    tables, fixed = latency_table(records, space.n_blocks)
    by_key = {latency_key(r).removeprefix("latency-cpu-b1-t1-"): r["latency_ms"] for r in records}
    whole = [by_key["stem"] + by_key["head"] + by_key[f"0-{a}"] + by_key[f"1-{b}"] for a, b in pairs]
    np.testing.assert_allclose(additive_prediction(tables, pairs, fixed), whole)
    found = additivity(records, space.n_blocks)
    assert found["networks"] == 9
    error = np.array(whole) / [r["latency_ms"] for r in records[8:]] - 1
    assert found["mean_abs_relative_error"] == pytest.approx(np.abs(error).mean())
    assert found["mean_relative_error"] == pytest.approx(error.mean())
    assert -1 <= found["kendall_tau"] <= 1


def test_predictions_that_cannot_be_made():
    table = [np.array([1.0, np.nan]), np.array([1.0, 2.0])]
    for codes, message in (
        ([[1, 0]], "stage 0: block 1 has no measured"),
        ([[0, 2]], "stage 1: block 2"),
        ([[-1, 0]], "block -1"),
        ([[0, 0, 0]], r"\(n_archs, 2\)"),
        ([[0.0, 1.0]], "whole-number"),
    ):
        with pytest.raises(ValueError, match=message):
            additive_prediction(table, codes, 0.0)
    stem, head = (record("fixed-latency", part=part) for part in ("stem", "head"))
    with pytest.raises(ValueError, match="stem and head"):
        latency_table([record(stage=0, block=0), stem], (2,))
    with pytest.raises(ValueError, match="latency_ms_cpu_b8"):
        latency_table([record(stage=0, block=0, batch=8), stem, head], (2,))


def test_machines_are_not_mixed_in_one_column():
    mine, other = record(stage=0, block=0), record(stage=0, block=1) | {"device_name": "Another CPU"}
    fixed = [record("fixed-latency", part=part) for part in ("stem", "head")]
    for making in (lambda: latency_table([mine, other, *fixed], (2,)), lambda: latency_rows([mine, other], BLOCKS)):
        with pytest.raises(
            ValueError, match=r"latency_ms_cpu was measured on Another CPU and on .*; measure all of it"
        ):
            making()
    named = other | {"label": "other"}
    assert len(latency_rows([mine, named], BLOCKS)[1]) == 2


def test_columns_for_tables():
    records = [
        record(stage=1, block=0, ms=2.0),
        record(stage=0, block=3, ms=1.0),
        record(stage=0, block=3, ms=0.1, label="cuda", batch=64),
        record("network-latency", code=[3, 0], ms=4.0, threads=2),
        record("fixed-latency", part="stem"),
        {"code": [1, 2], "variant": "normal"},
    ]
    rows, metrics = latency_rows(records, "block-latency")
    assert [(r["stage"], r["block"], r["latency_ms_cpu"]) for r in rows] == [(0, 3, 1.0), (1, 0, 2.0)]
    assert rows[0]["latency_ms_cuda_b64"] == 0.1
    assert math.isnan(rows[1]["latency_ms_cuda_b64"])
    assert list(metrics) == ["latency_ms_cpu", "latency_ms_cuda_b64"]
    assert (metrics["latency_ms_cpu"].direction, metrics["latency_ms_cpu"].unit) == ("min", "ms")
    rows, metrics = latency_rows(records, "network-latency")
    assert rows == [{"latency_ms_cpu_t2": 4.0, "code": (3, 0)}]
    assert list(metrics) == [column_name(records[3])]


BLOCKS = "block-latency"
SMALL = {"stages": 1, "width": 4, "image_size": 4, "classes": 3}


def test_the_command(tmp_path):
    app = typer.Typer()
    register(app)

    def call(*args):
        result = CliRunner().invoke(app, ["latency", *map(str, args)], terminal_width=300)
        return result.exit_code, result.stdout, " ".join(result.output.split())

    plan, store = tmp_path / "small.toml", tmp_path / "store"
    plan.write_text('name = "small"\n[space]\nstages = 1\nwidth = 4\nimage_size = 4\nclasses = 3\n')
    code, _, text = call(plan, "--out", store)
    assert code == 2
    assert "give --data too" in text
    made = Store.create(store, recipe_from_dict({"name": "small", "space": SMALL}), "some images")
    quick = (plan, "--out", store, "--repeats", 1, "--warmup", 0, "--device", "cpu", "--json")
    code, out, _ = call(*quick, "--archs", 5)
    assert code == 0
    found = json.loads(out)
    assert (found["column"], found["blocks"], found["networks"]) == ("latency_ms_cpu", 45, 5)
    assert found["additivity"]["networks"] == 5
    assert found["wall_over_cpu"] > 0.5
    assert len(made.keys()) == 45 + 2 + 5
    code, out, _ = call(*quick, "--blocks", "3,4", "--threads", 2)
    assert code == 0
    assert json.loads(out)["additivity"] is None
    assert made.read("latency-cpu-b1-t2-0-4")["threads"] == 2
    twice = tmp_path / "twice.csv"
    twice.write_text("stage_0\n7\n7\n")
    code, out, _ = call(*quick, "--archs", twice)
    assert code == 0
    assert json.loads(out)["networks"] == 1
    assert "nothing to measure" in call(*quick, "--blocks", "none")[2]
    assert "out of range" in call(*quick, "--blocks", "45")[2]
    assert "Example" in call("--help")[1]


@pytest.mark.gpu
def test_latency_on_a_gpu():
    records = measure_together(RECIPE, [(0, 0)], [[0, 0]], Protocol(device="cuda", repeats=5, batch_size=8))
    assert {r["label"] for r in records} == {"cuda"}
    assert all(r["latency_ms"] > 0 and r["device_name"] for r in records)
    assert latency_key(records[0]) == "latency-cuda-b8-t1-0-0"
