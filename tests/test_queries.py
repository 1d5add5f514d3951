"""Questions to a table: known answers by architecture, seed, epoch and device; one line for what it does not have."""

import copy
import json
import pickle

import numpy as np
import pandas as pd
import pytest

import archrank
from archrank._curves import curve_column
from archrank.ground_truth import GroundTruth, Metric, TableError
from archrank.spaces import InvalidArchitectureError, MacroSpace, blox

NAN = np.nan
# What three trainings recorded; the first epoch of the second is masked.
ACCURACY = [[10.0, 30.0, 20.0, 25.0], [NAN, 40.0, 60.0, 50.0], [12.0, 14.0, 16.0, 18.0]]
LOSS = [[4.0, 2.0, 3.0, 2.5], [NAN, 1.5, 0.5, 1.0], [4.0, 3.9, 3.8, 3.7]]
CODES = [[3, 4], [3, 4], [10, 20]]
SEEDS = [0, 777, 0]


def table(names: dict[str, str] | None = None, arrays: bool = False) -> GroundTruth:
    """Two networks of BLOX with two stages: two seeds of (3, 4), one of (10, 20)."""
    frame = pd.DataFrame(CODES, columns=["stage_0", "stage_1"]).assign(seed=SEEDS)
    for curve, values in (("val_acc", ACCURACY), ("val_loss", LOSS), ("train_top5", ACCURACY)):
        frame[f"{curve}_curve"] = curve_column(np.array(values)) if arrays else pd.Series(values)
    frame = frame.assign(test_acc=[24.0, 55.0, 17.0], test_loss=[2.0, 1.0, 3.0], test_top5=[60.0, 80.0, 50.0])
    frame = frame.assign(train_seconds=[100.0, 110.0, 50.0])
    frame["latency_pixel3-cpu"] = [5.0, 5.0, 7.0]
    frame["latency_jetson_nano_v1.2"] = [9.0, 9.0, NAN]
    frame = frame.rename(columns=names or {})
    metrics = {
        c: Metric(c, "min" if "loss" in c or "lat" in c else "max")
        for c in frame.columns
        if c.startswith(("test", "latency", "train_sec", "train_time"))
    }
    return GroundTruth.from_frame(blox(stages=2), frame, metrics, name="small")


RELEASED = {
    "val_acc_curve": "val_top1",
    "val_loss_curve": "val_loss",
    "train_top5_curve": "train_top5",
    "test_acc": "test_top1",
    "train_seconds": "train_time_s",
}


@pytest.fixture(params=["own names, lists", "own names, arrays", "released names, lists"])
def query(request):
    return archrank.Queries(table(RELEASED if "released" in request.param else None, "arrays" in request.param))


# -- values per epoch ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "epoch", "best", "expected"),
    [
        (0, None, True, 30.0),
        (0, None, False, 25.0),
        (0, 0, True, 10.0),
        (0, 2, True, 30.0),
        (0, 2, False, 20.0),
        (777, 0, True, NAN),
        (777, 0, False, NAN),
        (777, 1, True, 40.0),
        (777, None, True, 60.0),
        ("mean", None, True, 45.0),  # the best of each seed first: not the best of the mean, 40
        ("mean", None, False, 37.5),
        ("mean", 0, True, 10.0),  # over the seeds that have it
        ("mean", 3, False, 37.5),
    ],
)
def test_validation_accuracy(query, seed, epoch, best, expected):
    answer = query.val_acc([3, 4], epoch=epoch, best=best, seed=seed)
    assert isinstance(answer, float)
    np.testing.assert_equal(answer, expected)
    np.testing.assert_equal(query.val_acc([[3, 4]], epoch, best, seed), np.array([expected]))


def test_losses_are_best_where_lowest(query):
    assert query.val_loss([3, 4], seed=0) == 2.0
    assert query.val_loss([3, 4], epoch=0, seed=0) == 4.0
    assert query.val_loss([3, 4], best=False) == 1.75
    assert query.val_loss([[10, 20], [3, 4]]).tolist() == [3.7, 1.25]


def test_top5_and_the_defaults(query):
    assert query.train_top5([[3, 4], [10, 20], [3, 4]]).tolist() == [45.0, 18.0, 45.0]
    assert query.test_top5([3, 4]) == 70.0
    assert query.test_acc([[3, 4], [10, 20]]).tolist() == [39.5, 17.0]
    assert query.test_acc([3, 4], seed=777) == 55.0
    assert query.test_loss([10, 20], seed=0) == 3.0
    assert query.train_time([3, 4]) == 105.0


def test_a_seed_that_a_network_lacks_is_nan(query):
    np.testing.assert_equal(query.test_acc([[3, 4], [10, 20]], seed=777), [55.0, NAN])
    np.testing.assert_equal(query.val_acc([10, 20], seed=777), NAN)


def test_shorter_curves_end_where_they_end():
    bench = table()
    frame = bench.frame.assign(val_acc_curve=[*ACCURACY[:2], [12.0, 19.0]])
    query = archrank.Queries(GroundTruth.from_frame(bench.space, frame, bench.metrics, name="short"))
    assert query.val_acc([10, 20], best=False) == 19.0
    assert query.val_acc([10, 20], epoch=3) == 19.0
    np.testing.assert_equal(query.val_acc([10, 20], epoch=3, best=False), NAN)


def test_answers_agree_with_a_loop_over_the_records():
    """Random curves with holes, three seeds, all epochs; the definition written plainly."""
    space, rng = blox(stages=2), np.random.default_rng(3)
    codes = space.sample(20, seed=1).repeat(3, axis=0)
    curves = np.where(rng.random((60, 7)) < 0.2, NAN, rng.uniform(0, 100, (60, 7)))
    frame = pd.DataFrame(codes, columns=["stage_0", "stage_1"]).assign(seed=np.tile([1, 2, 5], 20), test_acc=1.0)
    frame["val_acc"] = pd.Series(curves.tolist())
    bench = GroundTruth.from_frame(space, frame, {"test_acc": Metric("test_acc")}, name="random")
    query = archrank.Queries(bench)
    for epoch in range(7):
        expected = []
        for network in range(20):
            seen = [curve[: epoch + 1] for curve in curves[3 * network : 3 * network + 3]]
            bests = [max(c[np.isfinite(c)]) for c in seen if np.isfinite(c).any()]
            expected.append(sum(bests) / len(bests) if bests else NAN)
        np.testing.assert_allclose(query.val_acc(bench.codes, epoch), expected, rtol=1e-15)
    np.testing.assert_equal(query.val_acc(bench.codes, seed=2), np.fmax.reduce(curves[1::3], axis=1))


def test_a_seed_without_any_curve(query):
    bench, frame = query.bench, query.bench.frame
    extra = frame.drop(columns=list(bench.curve_names)).assign(seed=5).head(1)
    bench = GroundTruth.from_frame(bench.space, pd.concat([frame, extra]), bench.metrics, name="more seeds")
    np.testing.assert_equal(archrank.Queries(bench).val_acc([3, 4], seed=5), NAN)
    assert archrank.Queries(bench).val_acc([3, 4]) == 45.0


def test_curves_of_single_precision_answer_with_the_decimals_that_were_stored():
    space, rng = blox(stages=2), np.random.default_rng(5)
    accuracy, loss = rng.integers(0, 100_001, (45, 6)) / 1000, rng.integers(0, 8_000_000, (45, 6)) / 1e6
    frame = pd.DataFrame(space.all_codes()[:45], columns=["stage_0", "stage_1"]).assign(test_acc=1.0)
    for name, values in (("val_acc_curve", accuracy), ("val_loss_curve", loss)):
        frame[name] = curve_column(values.astype(np.float32))
    query = archrank.Queries(GroundTruth.from_frame(space, frame, {"test_acc": Metric("test_acc")}, name="single"))
    codes = query.bench.codes
    assert query.val_acc(codes).tolist() == accuracy.max(axis=1).tolist()
    assert query.val_loss(codes, epoch=3, best=False).tolist() == loss[:, 3].tolist()
    assert query.val_loss(codes, best=False).tolist() == loss[:, -1].tolist()
    assert query.full_info(codes[5])["trainings"][0]["val_acc_curve"] == accuracy[5].tolist()


def test_tables_without_curves_answer_with_the_epoch_they_chose():
    space = MacroSpace.from_blocks([["a", "b"], ["x", "y"]])
    frame = pd.DataFrame({"stage_0": [0, 1], "stage_1": [1, 0], "val_acc": [50.0, 60.0]})
    query = archrank.Queries(GroundTruth.from_frame(space, frame, {"val_acc": Metric("val_acc")}, name="plain"))
    assert query.val_acc([1, 0]) == 60.0
    for asked in ({"epoch": 0}, {"best": False}):
        with pytest.raises(TableError, match="has no val_acc per epoch; it has val_acc, and per epoch none"):
            query.val_acc([1, 0], **asked)


def test_variants(toy):
    query = archrank.Queries(toy)
    first = toy.curves("val_acc", 0, "distilled")[0].max()
    assert query.val_acc(toy.codes[0], variant="distilled") == first
    with pytest.raises(TableError, match="has no variant 'pruned'; there are normal, distilled"):
        query.val_acc(toy.codes, variant="pruned")


# -- costs ---------------------------------------------------------------------------------------


def test_costs_and_latencies(query):
    space = query.bench.space
    assert query.params([3, 4]) == space.params([[3, 4]])[0]
    assert query.flops([[3, 4], [10, 20]]).tolist() == space.flops([[3, 4], [10, 20]]).tolist()
    assert set(query.devices) == {"pixel3-cpu", "jetson_nano_v1.2"}
    assert query.latency([[10, 20], [3, 4]], "pixel3-cpu").tolist() == [7.0, 5.0]
    np.testing.assert_equal(query.latency([[10, 20], [3, 4]], "jetson_nano_v1.2"), [NAN, 9.0])


def test_device_names_in_all_tables():
    space = MacroSpace.from_blocks([["a", "b"]])
    names = ["latency_ms_cpu_b64", "zcu102_latency_mean", "latency", "latency:gpu", "tpuv2_throughput_mean"]
    frame = pd.DataFrame({"stage_0": [0, 1]} | {name: [1.0, 2.0] for name in names})
    metrics = {name: Metric(name, "min") for name in names}
    query = archrank.Queries(GroundTruth.from_frame(space, frame, metrics, name="devices"))
    assert query.devices == dict(zip(["cpu_b64", "zcu102", "latency", "gpu"], names, strict=False))
    one = GroundTruth.from_frame(space, frame, {"latency": metrics["latency"]}, name="one")
    assert archrank.Queries(one).latency([1]) == 2.0


@pytest.mark.parametrize(
    ("first", "second", "device"),
    [
        ("latency_cpu", "latency_ms_cpu", "cpu"),
        ("cpu_latency", "latency:cpu", "cpu"),
        ("latency_ms", "latency", "latency"),
    ],
)
def test_two_latencies_of_one_device(first, second, device):
    space = MacroSpace.from_blocks([["a", "b"]])
    frame = pd.DataFrame({"stage_0": [0, 1], first: [1.0, 2.0], second: [3.0, 4.0]})
    metrics = {name: Metric(name, "min") for name in (first, second)}
    query = archrank.Queries(GroundTruth.from_frame(space, frame, metrics, name="t"))
    with pytest.raises(TableError, match=f"two latencies of device '{device}': {first} and {second}; give"):
        query.latency([0], device)


def test_costs_that_only_the_table_knows():
    space = MacroSpace.from_blocks([["a", "b"]])
    frame = pd.DataFrame({"stage_0": [0, 1], "params": [1.5, 2.5]})
    query = archrank.Queries(GroundTruth.from_frame(space, frame, {"params": Metric("params", "min", "M")}, name="t"))
    assert query.params([[1], [0]]).tolist() == [2.5, 1.5]
    with pytest.raises(TableError, match="'t' has no flops; it has params"):
        query.flops([0])


# -- how architectures are named -------------------------------------------------------------------


def test_codes_vectors_and_digits_are_one(query):
    space = query.bench.space
    vectors = space.arch_vectors([[3, 4], [10, 20]])
    digits = np.array([[[*op1, *rest] for op1, rest in vector] for vector in vectors])
    many = query.test_acc([[3, 4], [10, 20]])
    for same in (np.array([[3, 4], [10, 20]]), ((3, 4), (10, 20)), vectors, digits, pd.DataFrame([[3, 4], [10, 20]])):
        np.testing.assert_array_equal(query.test_acc(same), many)
    for one in (np.array([3, 4]), (3, 4), vectors[0], tuple(vectors[0])):
        assert query.test_acc(one) == many[0]
    assert query.test_acc(digits[:1]).tolist() == [many[0]]
    assert query.test_acc([]).shape == query.test_acc(np.empty((0, 2), int)).shape == (0,)


def test_isomorphic_forms_have_one_answer(nas_bench_macro_file):
    query = archrank.Queries(archrank.load_benchmark(f"nas-bench-macro:{nas_bench_macro_file}"))
    moved = query.test_acc([[1, 1, 1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1, 1]])
    assert moved[0] == moved[1]


def test_answers_are_the_callers_own(query):
    query.test_acc([[3, 4]])[0] = -1
    assert query.test_acc([3, 4]) == 39.5


# -- everything at once ----------------------------------------------------------------------------


def test_full_info():
    query = archrank.Queries(table())
    info = query.full_info([3, 4])
    assert json.loads(json.dumps(info)) == info
    assert (info["code"], info["key"]) == ([3, 4], "3-4")
    assert info["blocks"] == ["conv>mbconv", "mbconv>mbconv"]
    assert info["hash"] == query.bench.space.hashes([[3, 4]])[0]
    assert query.bench.space.from_arch_vectors([info["arch_vec"]]).tolist() == [[3, 4]]
    assert info["params"] == query.params([3, 4])
    first, second = info["trainings"]
    assert (first["variant"], first["seed"], first["test_acc"]) == ("normal", 0, 24.0)
    assert second["val_acc_curve"] == [None, 40.0, 60.0, 50.0]
    many = query.full_info([[10, 20], [3, 4]])
    assert many[1] == info
    assert [t["seed"] for t in many[0]["trainings"]] == [0]
    assert "latency_jetson_nano_v1.2" not in many[0]["trainings"][0]


def test_full_info_of_other_spaces(toy):
    info = archrank.Queries(toy).full_info(toy.codes[0])
    assert info["blocks"] == ["a", "u", "k"]
    assert "hash" not in info
    assert [(t["variant"], t["seed"]) for t in info["trainings"]] == [("normal", 0), ("normal", 1), ("distilled", 0)]


# -- what there is not -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda q: q.val_acc([[3, 4], [0, 0]]), "row 1: network 0-0 is not among the 2 of table 'small'"),
        (lambda q: q.val_acc([3, 4], seed=1), "has no seed 1; give 'mean' or one of 0, 777"),
        (lambda q: q.test_acc([3, 4], seed="median"), "has no seed 'median'; give 'mean' or one of 0, 777"),
        (lambda q: q.test_acc([3, 4], seed=False), "has no seed False; give 'mean' or one of 0, 777"),
        (lambda q: q.val_acc([3, 4], epoch=4), r"has no epoch 4 of val_\w+; it has epochs 0 to 3"),
        (lambda q: q.val_acc([3, 4], epoch=-1), r"has no epoch -1 of val_\w+; it has epochs 0 to 3"),
        (lambda q: q.val_acc([3, 4], epoch=1.0), r"has no epoch 1.0 of val_\w+; it has epochs 0 to 3"),
        (lambda q: q.val_acc([3, 4], epoch=[1]), r"has no epoch \[1\] of val_\w+; it has epochs 0 to 3"),
        (lambda q: q.train_acc([3, 4]), r"has no train_acc; it has test_\w+, .*and per epoch val_\w+, val_loss"),
        (lambda q: q.latency([3, 4], "pixel4"), "no latency of device 'pixel4'; name one of pixel3-cpu, jetson_"),
        (lambda q: q.latency([3, 4]), "latencies of several devices; name one of pixel3-cpu, jetson_nano_v1.2"),
    ],
)
def test_what_the_table_does_not_have(query, ask, message):
    query.val_acc([3, 4], epoch=1)  # an answer that is kept must not hide an error
    with pytest.raises(TableError, match=message) as caught:
        ask(query)
    assert "\n" not in str(caught.value)


def test_no_latency_at_all(toy):
    with pytest.raises(TableError, match="'toy' has no latency; measure it"):
        archrank.Queries(toy).latency(toy.codes, "cpu")


@pytest.mark.parametrize("codes", [[45, 0], [0, 1, 2], [0.5, 1], 3, [[[0], [0, 0, 0, 0]]] * 2, "3-4", [["a", "b"]]])
def test_what_is_no_architecture(query, codes):
    with pytest.raises(InvalidArchitectureError):
        query.test_acc(codes)


def test_copies_and_pickles_answer_alike(query):
    for twin in (copy.deepcopy(query), pickle.loads(pickle.dumps(query))):
        assert twin.val_acc([3, 4]) == 45.0
    assert repr(query) == "Queries(GroundTruth('small', 2 networks, metrics " + ", ".join(query.bench.metrics) + "))"
