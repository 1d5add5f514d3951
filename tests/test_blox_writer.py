"""Writing released BLOX files: what is written reads back the same, and what a format cannot hold is refused."""

from __future__ import annotations

import json
import tempfile
import warnings
import zlib

import numpy as np
import pandas as pd
import pytest
from blox_release import SPACE, release
from conftest import _shared
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import archrank
from archrank._curves import curve_column
from archrank.benchmarks.formats import blox, blox_writer
from archrank.benchmarks.formats.blox_header import read_header
from archrank.benchmarks.formats.blox_names import METRICS, latency_metric
from archrank.benchmarks.formats.blox_types import pack, unpack
from archrank.cli import app
from archrank.ground_truth import GroundTruth, Metric, TableError


def types(path):
    with path.open("rb") as file:
        header = read_header(file, path)
    return dict(zip(header.columns, header.types, strict=True))


def rebuilt(table, **columns):
    """The table with other columns."""
    frame = table.frame.assign(**{k: curve_column(v) if np.ndim(v) == 2 else v for k, v in columns.items()})
    return GroundTruth.from_frame(table.space, frame, table.metrics, name="t", provenance=table.provenance)


# -- the same as the release ------------------------------------------------------------------------


@pytest.mark.parametrize("coding", blox_writer.FORMATS)
def test_golden_files_are_written_byte_for_byte(tmp_path, coding):
    golden = _shared("golden", "release")
    written = blox_writer.write(blox.read(golden), tmp_path, coding)
    assert set(written.values()) == {300}
    same = []
    for path in written:
        original = golden / path.name
        if original.exists() and "info" not in path.name:  # its last two vectors are of another isomorphic form
            (head, body), (its_head, its_body) = (p.read_bytes().split(b"\n---\n", 1) for p in (path, original))
            assert head == its_head
            assert body == its_body if coding == "csv" else zlib.decompress(body) == zlib.decompress(its_body)
            same.append(path.name)
    assert len(same) == {"blox": 4, "csv": 3}[coding]


# -- read, write, read ------------------------------------------------------------------------------


@st.composite
def tables(draw):
    """Tables of odd sizes: one row or a few, one epoch or many, shorter curves, missing parts, extreme values."""
    n, epochs, seeds = draw(st.integers(1, 6)), draw(st.integers(1, 12)), draw(st.sampled_from([(0,), (3, 20)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def answers(of, shape):
        low = int(rng.integers(of + 1))
        width = draw(st.sampled_from([0, 1, 2, 3, 4, 255, 256, 257, 4095, 4096, of]))
        return np.round(np.clip(low + rng.integers(0, width + 1, shape), 0, of) / of * 100, 3)

    def loss(shape):
        top = draw(st.sampled_from([1, 10**6, 2**24 - 1]))
        return rng.integers(0, top + 1, shape) / 1e6

    columns = {
        **{f"{name}_curve": ("val", answers, 5_000) for name in ("val_acc", "val_top5")},
        **{f"{name}_curve": ("train", answers, 45_000) for name in ("train_acc", "train_top5")},
    }
    codes = np.tile(SPACE.sample(n, seed=int(rng.integers(1000))), (len(seeds), 1))
    rows = len(codes)
    frame = pd.DataFrame(codes, columns=["stage_0", "stage_1", "stage_2"]).assign(seed=np.repeat(seeds, n))
    lengths = rng.integers(1, epochs + 1, rows) if draw(st.booleans()) else np.full(rows, epochs)
    lengths[0] = epochs
    curves = {name: make(of, (rows, epochs)) for name, (_, make, of) in columns.items()}
    curves |= {f"{name}_loss_curve": loss((rows, epochs)) for name in ("val", "train")}
    for name, values in curves.items():
        values[np.arange(epochs) >= lengths[:, None]] = np.nan
        frame[name] = curve_column(values.astype(np.float32))
    for name in ("test_acc", "test_top5"):
        frame[name] = answers(10_000, rows)
    frame["test_loss"] = loss(rows)
    frame["train_seconds"] = rng.integers(0, 2**32, rows).astype(float)
    frame["params"], frame["flops"] = (f(codes).astype(float) for f in (SPACE.params, SPACE.flops))
    frame["latency_a_b.c"] = np.tile(loss(n), len(seeds))
    frame["env_x"] = pd.Categorical(rng.choice(["", "a,b", 'q"q', "y" * 255], rows))
    if draw(st.booleans()):
        frame.loc[int(rng.integers(rows)), draw(st.sampled_from(["test_acc", "test_loss"]))] = np.nan
    metrics = [*(m for m in METRICS if m.name in frame), latency_metric("a_b.c")]
    return GroundTruth.from_frame(SPACE, frame, {m.name: m for m in metrics}, name="drawn")


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(tables())
def test_read_write_read_is_the_identity(table):
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", blox.BloxWarning)  # chance may make a table look faulty: it stays so
        found = {}
        for coding in blox_writer.FORMATS:
            blox_writer.write(table, f"{folder}/1-{coding}", coding)
            first = blox.read(f"{folder}/1-{coding}")
            for again in blox_writer.FORMATS:
                blox_writer.write(first, f"{folder}/2-{coding}-{again}", again)
                second = blox.read(f"{folder}/2-{coding}-{again}")
                pd.testing.assert_frame_equal(second.frame, first.frame)
                assert second.metrics == first.metrics
            found[coding] = first
        pd.testing.assert_frame_equal(found["csv"].frame, found["blox"].frame)
        if not first.provenance["first_epoch_masked"]:
            seed = table.seeds[-1]
            complete = np.isfinite(table.values("test_acc", seed)) & np.isfinite(table.values("test_loss", seed))
            for name in ("test_acc", "test_loss", "train_seconds", "latency_a_b.c") if complete.any() else ():
                mine, its = (t.values(name, seed)[t.lookup(table.codes[complete])] for t in (table, first))
                np.testing.assert_array_equal(mine, its)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 32), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_packed_bits(bits, length, seed):
    values = np.random.default_rng(seed).integers(0, 1 << bits, (3, length))
    raw = pack(values, bits)
    assert raw.shape == (3, (bits * length + 7) // 8)
    np.testing.assert_array_equal(unpack(raw, bits, length), values)
    for row, number in zip(values.tolist(), raw, strict=True):  # least significant bit first
        assert sum(v << bits * i for i, v in enumerate(row)) == int.from_bytes(number.tobytes(), "little")


@pytest.mark.parametrize("coding", blox_writer.FORMATS)
def test_masked_epochs_stay_masked(tmp_path, coding):
    blox_writer.write(release(fault=True, seeds=(0, 5)), tmp_path / "1")
    with pytest.warns(blox.BloxWarning):
        first = blox.read(tmp_path / "1")
    blox_writer.write(first, tmp_path / "2", coding)
    with pytest.warns(blox.BloxWarning):
        second = blox.read(tmp_path / "2")
    pd.testing.assert_frame_equal(second.frame, first.frame)
    assert second.provenance["first_epoch_masked"] == [0, 5]


@pytest.mark.parametrize("coding", blox_writer.FORMATS)
def test_tables_made_here(tmp_path, coding):
    mini = archrank.load_benchmark("blox-mini")
    blox_writer.write(mini, tmp_path, coding)
    table = blox.read(tmp_path)
    rows = table.lookup(mini.codes)
    for name in ("test_acc", "val_acc", "params", "flops"):
        np.testing.assert_allclose(table.values(name)[rows], mini.values(name), atol=1e-9)
    np.testing.assert_allclose(table.values("val_loss")[rows], mini.values("val_loss"), atol=6e-7)
    np.testing.assert_allclose(table.curves("val_loss", 1)[rows], mini.curves("val_loss_curve", 1), atol=1e-6)
    assert table.space.describe() == mini.space.describe()  # width, image size and classes follow from the costs


# -- ranges and widths ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "bits"), [(100, 100, 1), (100, 101, 1), (100, 102, 2), (0, 255, 8), (0, 256, 9), (1, 4097, 13)]
)
def test_ranges_of_accuracies(tmp_path, low, high, bits):
    curve = np.full((8, 6), high / 50)
    curve[2:, :3] = low / 50
    test = np.where(np.arange(8) < 3, high / 100, low / 100)
    blox_writer.write(rebuilt(release(), val_acc_curve=curve, test_acc=test), tmp_path)
    found = types(tmp_path / "blox-base-0.blox")
    assert found["val_top1"] == f"list[b_{low}_{high}_{bits}]"
    assert found["test_top1"] == f"b_{low}_{high}_{8 if bits <= 8 else 16}"
    back = blox.read(tmp_path)
    np.testing.assert_array_equal(back.curves("val_acc"), curve.astype(np.float32))
    np.testing.assert_array_equal(back.values("test_acc"), test)


def test_all_accuracies_of_45000_images_survive_three_decimals(tmp_path):
    curve = np.round(np.resize(np.arange(45_001), (225, 201)) / 450, 3)
    table = release(225, epochs=201)
    blox_writer.write(rebuilt(table, train_acc_curve=curve), tmp_path)
    np.testing.assert_array_equal(blox.read(tmp_path).curves("train_acc"), curve.astype(np.float32))


# -- what cannot be written -------------------------------------------------------------------------


def test_what_blox_cannot_hold_is_refused_and_csv_holds(tmp_path):
    table = release()
    long = np.full((8, 300), 50.0)
    cases = {
        "latency of network .* is 16.777216, but .blox holds at most 16.777215": {"latency_cpu": 16.777216},
        "test_loss of network .* is 17, but .blox holds at most 16.777215": {"test_loss": 17.0},
        "train_loss of network .* is 20, but": {"train_loss_curve": np.full((8, 6), 20.0)},
        "flops of network .* is 5000000000, but .blox holds at most 4294967295": {"flops": 5e9},
        "test_top1 of network .* is 50.125 %, which is no number of correct answers among the 10,000": {
            "test_acc": 50.125
        },
        "val_top1 .* among the 5,000 images": {"val_acc_curve": np.full((8, 6), 33.33)},
        "val_top1 has 300 epochs, but .blox holds 255": {"val_acc_curve": long},
        "gpu: .* is not at most 255 ASCII characters": {"env_gpu": "\u00e9"},
    }
    for text, columns in cases.items():
        other = rebuilt(table, **columns)
        with pytest.raises(TableError, match=text):
            blox_writer.write(other, tmp_path / "blox")
        assert not (tmp_path / "blox").exists()  # nothing is written
        blox_writer.write(other, tmp_path / "csv", "csv")
        back = blox.read(tmp_path / "csv")
        for name, values in columns.items():
            if name in other.metrics:
                assert (back.values(name) == values).all()
    blox_writer.write(rebuilt(table, latency_cpu=16.777215), tmp_path / "most")
    assert (blox.read(tmp_path / "most").values("latency_cpu") == 16.777215).all()


def test_what_no_released_file_can_say_is_refused(tmp_path, toy, nas_bench_macro_file):
    table = release()
    gap = table.curves("val_acc").copy()
    gap[3, 2] = np.nan
    for other, coding, text in (
        (rebuilt(table, val_acc_curve=gap), "csv", "val_top1 of network .* lacks epoch 2"),
        (with_latencies("latency_ms_cpu"), "csv", "two latencies of device 'cpu': latency_cpu and latency_ms_cpu"),
        (toy, "csv", "is of toy-space; only BLOX with 2 or 3 stages has released files"),
        (archrank.load_benchmark(f"nas-bench-macro:{nas_bench_macro_file}"), "csv", "only BLOX"),
        (table, "pickle", "unknown format 'pickle'; expected blox or csv"),
        (rebuilt(table, **{f"env_{'k' * i}": "v" for i in range(50)}), "csv", "bytes, but readers allow 1,024"),
    ):
        with pytest.raises(TableError, match=text):
            blox_writer.write(other, tmp_path / "x", coding)
    assert not (tmp_path / "x").exists()


def test_latencies_by_any_name_are_written(tmp_path):
    blox_writer.write(with_latencies("latency_ms_gpu_b64", "zcu102_latency_mean", "latency"), tmp_path)
    back = blox.read(tmp_path)
    assert archrank.Queries(back).devices.keys() == {"cpu", "gpu_b64", "zcu102", "latency"}
    assert back.values("latency_zcu102").tolist() == [2.0] * 8


def with_latencies(*names):
    """A release with further latencies: 1, 2, 3 and so on."""
    table = release()
    frame = table.frame.assign(**{name: float(i) for i, name in enumerate(names, 1)})
    metrics = table.metrics | {name: Metric(name, "min") for name in names}
    return GroundTruth.from_frame(table.space, frame, metrics, name="t", provenance=table.provenance)


def test_incomplete_networks_are_left_out_of_the_files_that_they_cannot_fill(tmp_path):
    table = release()
    test = table.values("test_acc").copy()
    test[[1, 4]] = np.nan
    written = blox_writer.write(rebuilt(table, test_acc=test), tmp_path)
    assert {p.stem: n for p, n in written.items()} == {
        "blox-base-0": 6,
        "blox-ext-0": 8,
        "blox-env-0": 8,
        "blox-info": 8,
        "blox-bench-cpu": 8,
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in written)


def test_export_command(tmp_path):
    result = CliRunner().invoke(app, ["export", "blox-mini", "--format", "csv", "--out", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    files = json.loads(result.stdout)["files"]
    assert files[str(tmp_path / "blox-info.csv")] == len(archrank.load_benchmark("blox-mini"))
    shown = CliRunner().invoke(app, ["export", f"blox:{tmp_path}", "--out", str(tmp_path)])
    assert "blox-base-0.blox: " in shown.stdout.replace("\n", "")
