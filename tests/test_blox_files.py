"""Released BLOX files as they come: formats, seeds, devices, faults, damage and malice."""

from __future__ import annotations

import csv
import json
import os
import pickle
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from blox_release import SPACE, VALIDATION, release
from conftest import _shared
from typer.testing import CliRunner

import archrank
from archrank._curves import curve_column
from archrank.benchmarks.formats import blox, blox_cache, blox_files, blox_plain_pickle, blox_writer
from archrank.benchmarks.formats.blox_plain_pickle import plain_data
from archrank.benchmarks.queries import Queries
from archrank.cli import app
from archrank.ground_truth import TableError
from archrank.testing import check_benchmark


@pytest.fixture
def golden():
    return _shared("golden", "release")


@pytest.fixture
def folder(tmp_path):
    """Two seeds, two devices, both formats."""
    table = release(seeds=(0, 12), devices=("jetson_nano.v2", "pixel3-cpu"))
    for coding in blox_writer.FORMATS:
        blox_writer.write(table, tmp_path / "release", coding)
    return tmp_path / "release"


def split(path):
    """Header and payload of a file."""
    data = path.read_bytes()
    end = data.index(b"\n---\n", 4) + 5
    return data[:end], data[end:]


def as_pickle(source, protocol=4):
    """The `.pickle` beside a `.csv`."""
    header, payload = split(source)
    rows = list(csv.reader(payload.decode().splitlines()))
    rows = [[row[0], *(json.loads(cell) for cell in row[1:])] for row in rows]
    target = source.with_suffix(".pickle")
    target.write_bytes(header.replace(b"format: csv", b"format: pickle") + pickle.dumps(rows, protocol))
    return target


# -- the golden release -----------------------------------------------------------------------------


def test_golden_release_reads_equal_in_all_formats(golden):
    tables = [
        archrank.load_benchmark(f"blox:{golden}"),
        blox.read(golden, prefer=("csv", "pickle", "blox")),
        blox.read(golden, prefer=("pickle", "csv", "blox")),
    ]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table.frame, tables[0].frame)
        assert table.metrics == tables[0].metrics
    assert tables[1].provenance["files"][0] == "blox-base-0.csv"
    assert tables[2].provenance["files"][0] == "blox-base-0.pickle"


def test_golden_release_holds_what_its_text_says(golden):
    table = blox.read(golden)
    base, info = (
        list(csv.reader(split(golden / f"blox-{part}.csv")[1].decode().splitlines())) for part in ("base-0", "info")
    )
    bench = dict(csv.reader(split(golden / "blox-bench-pixel3-cpu.csv")[1].decode().splitlines()))
    assert table.space.hashes(table.codes).tolist() == [row[0] for row in base]
    assert table.values("test_acc").tolist() == [float(row[2]) for row in base]
    assert table.values("train_seconds").tolist() == [float(row[3]) for row in base]
    curves = np.array([json.loads(row[1]) for row in base])
    np.testing.assert_array_equal(table.curves("val_acc"), curves.astype(np.float32))
    assert Queries(table).val_acc(table.codes, epoch=9, best=False).tolist() == curves[:, 9].tolist()
    assert table.values("val_acc").tolist() == curves.max(axis=1).tolist()
    # The last two vectors are of another isomorphic form; the network is the same.
    by_hash = {row[0]: json.loads(row[3]) for row in info}
    codes = table.space.from_arch_vectors([by_hash[row[0]] for row in base])
    np.testing.assert_array_equal(table.codes, codes)
    np.testing.assert_array_equal(table.space.flops(table.codes), table.values("flops"))
    assert table.values("latency_pixel3-cpu").tolist() == [float(bench[row[0]]) for row in base]
    assert table.frame["env_gpu"][0] == "NVIDIA A100-SXM4-40GB"
    loss, top5 = table.curves("val_loss"), table.curves("val_top5")
    at = [max(range(200), key=lambda e, a=a, v=v: (a[e], -v[e], e)) for a, v in zip(curves, loss, strict=True)]
    np.testing.assert_allclose(table.values("val_loss"), loss[range(300), at], rtol=1e-6)
    np.testing.assert_allclose(table.values("val_top5"), top5[range(300), at], rtol=1e-6)


def test_releases_keep_the_contract_of_benchmarks(golden, tmp_path):
    check_benchmark(blox.read(golden))
    blox_writer.write(release(60, seeds=(0, 1), fault=True), tmp_path)
    with pytest.warns(blox.BloxWarning):
        faulty = blox.read(tmp_path)
    check_benchmark(faulty)


# -- which files ------------------------------------------------------------------------------------


def test_seeds_and_devices(folder, monkeypatch):
    table = archrank.load_benchmark(f"blox:{folder}")
    assert table.seeds == (0, 12)
    assert [m for m in table.metrics if m.startswith("latency")] == ["latency_jetson_nano.v2", "latency_pixel3-cpu"]
    made = release(seeds=(0, 12), devices=("jetson_nano.v2", "pixel3-cpu"))
    for seed in (0, 12):
        np.testing.assert_array_equal(table.curves("val_loss", seed), made.curves("val_loss", seed))
        np.testing.assert_array_equal(table.values("test_acc", seed), made.values("test_acc", seed))
    np.testing.assert_array_equal(table.values("latency_pixel3-cpu"), made.values("latency_pixel3-cpu"))
    listing = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: sorted(listing(self), reverse=True))
    assert blox_files.find_files(folder) == sorted(blox_files.find_files(folder))
    pd.testing.assert_frame_equal(blox.read(folder, prefer=("csv",)).frame, table.frame)


def test_single_files_need_no_other(folder):
    whole = blox.read(folder)
    for suffix in ("blox", "csv"):
        one = archrank.load_benchmark(f"blox:{folder}/blox-base-12.{suffix}")
        assert one.seeds == (12,)
        np.testing.assert_array_equal(one.values("test_acc"), whole.values("test_acc", 12))
        np.testing.assert_array_equal(one.codes, whole.codes)
    two = blox.read([folder / "blox-ext-0.csv", folder / "blox-info.blox"])
    assert two.default_metric == "test_top5"
    np.testing.assert_array_equal(two.values("params"), SPACE.params(two.codes))
    bench = blox.read(folder / "blox-bench-pixel3-cpu.blox")
    np.testing.assert_array_equal(bench.values(), np.arange(8) / 64 + 1)


def test_files_need_not_hold_the_same_networks(tmp_path):
    codes = SPACE.sample(8, seed=0)
    blox_writer.write(release(codes=codes[:5], devices=()), tmp_path / "a")
    blox_writer.write(release(codes=codes[::-1][:6], seeds=(1,), devices=("x",)), tmp_path / "b")
    (tmp_path / "b" / "blox-ext-1.blox").unlink()
    files = [*(tmp_path / "a").glob("blox-[be]*"), *(tmp_path / "b").glob("blox-[be]*")]
    table = blox.read([*files, tmp_path / "a" / "blox-info.blox"])
    np.testing.assert_array_equal(table.codes, [*codes[:5], *codes[:4:-1]])
    counts = np.isfinite(table.seed_values("test_acc")).sum(axis=0)
    assert counts.tolist() == [5, 6]
    assert np.isnan(table.values("params")).tolist() == [False] * 5 + [True] * 3
    assert np.isfinite(table.curves("val_loss", 0)).all(axis=1).sum() == 5
    assert np.isnan(table.curves("val_loss", 1)).all()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_all_protocols(folder, protocol):
    for name in ("base-0", "ext-0", "info", "bench-pixel3-cpu"):
        source = folder / f"blox-{name}.csv"
        a, b = (blox_files.read_file(file).columns for file in (source, as_pickle(source, protocol)))
        for column, values in a.items():
            np.testing.assert_array_equal(values, b[column])


def test_networks_that_the_space_does_not_have_are_left_out(folder):
    path = folder / "blox-base-0.csv"
    header, payload = split(path)
    lines = payload.split(b"\r\n")
    lines[2], lines[5] = (b"%032x" % i + lines[i][32:] for i in (2, 5))
    path.write_bytes(header + b"\r\n".join(lines))
    with pytest.warns(blox.BloxWarning, match="2 rows are left out, no network of blox-3 has their hash"):
        table = blox.read(path)
    assert len(table) == 6
    path.write_bytes(header + b"%032x" % 7 + lines[0][32:])
    with pytest.raises(TableError, match="no row is of a network of BLOX with 3 stages"):
        blox.read(path)


# -- the fault of the first epoch -------------------------------------------------------------------


@pytest.mark.parametrize("coding", blox_writer.FORMATS)
def test_the_first_epoch_is_masked_where_it_repeats_the_best(tmp_path, coding):
    made = release(seeds=(0, 1), fault=True)
    blox_writer.write(made, tmp_path, coding)
    for _ in ("decoded", "cached"):
        with pytest.warns(blox.BloxWarning, match="of seed 0, 1 are those of the best epoch") as caught:
            table = archrank.load_benchmark(f"blox:{tmp_path}")
        assert len(caught) == 1
        for name in made.curve_names:
            for seed in (0, 1):
                was, now = made.curves(name, seed), table.curves(name, seed)
                assert np.isnan(now[:, 0]).all() == (name in VALIDATION)
                np.testing.assert_array_equal(now[:, 1:], was[:, 1:])
    np.testing.assert_allclose(table.values("val_acc", 1), made.curves("val_acc", 1).max(axis=1), rtol=1e-6)
    query = Queries(table)
    assert np.isnan(query.val_acc(table.codes, epoch=0)).all()
    np.testing.assert_allclose(query.val_acc(table.codes, epoch=2, seed=0), made.curves("val_acc")[:, 2], rtol=1e-6)


def test_only_the_faulty_seed_is_masked_and_parts_alone_show_it(tmp_path):
    blox_writer.write(release(), tmp_path)
    blox_writer.write(release(seeds=(3,), fault=True), tmp_path)
    with pytest.warns(blox.BloxWarning, match="of seed 3 are"):
        table = blox.read(tmp_path)
    assert table.provenance["first_epoch_masked"] == [3]
    assert np.isfinite(table.curves("val_acc", 0)).all()
    with pytest.warns(blox.BloxWarning):
        ext = blox.read(tmp_path / "blox-ext-3.blox")
    assert np.isnan(ext.curves("val_top5")[:, 0]).all()


def test_constant_curves_are_no_fault(tmp_path):
    table = release()
    flat = np.full((8, 6), 1.0, dtype=np.float32)
    table.frame["val_acc_curve"] = curve_column(flat)
    blox_writer.write(table, tmp_path)
    assert blox.read(tmp_path).values("val_acc").tolist() == [1.0] * 8


# -- the cache --------------------------------------------------------------------------------------


def test_the_first_load_leaves_a_cache(folder, monkeypatch):
    first = blox.read(folder)
    monkeypatch.setattr(blox, "read_file", lambda path: pytest.fail("decoded again"))
    again = blox.read(folder)
    pd.testing.assert_frame_equal(again.frame, first.frame)
    assert (again.metrics, again.provenance, again.source) == (first.metrics, first.provenance, first.source)
    np.testing.assert_array_equal(again.space.params(again.codes), first.space.params(first.codes))


@pytest.mark.parametrize("damage", ["a bit", "half", "empty", "text"])
def test_a_damaged_cache_is_made_again(folder, damage):
    first = blox.read(folder)
    files = blox_files.find_files(folder)
    place = blox_cache._place(files)
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 16
    place.write_bytes({"a bit": data, "half": data[: len(data) // 2], "empty": b"", "text": b"x" * 500}[damage])
    assert blox_cache.load(files) is None
    pd.testing.assert_frame_equal(blox.read(folder).frame, first.frame)
    assert blox_cache.load(files) is not None


def test_a_changed_file_makes_the_cache_out_of_date(folder):
    blox.read(folder / "blox-base-0.csv")
    path = folder / "blox-base-0.csv"
    header, payload = split(path)
    stat = path.stat()
    path.write_bytes(header + payload.replace(b",6", b",5"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size, same time
    assert (blox.read(path).values("test_acc") < 60).all()


def test_without_a_writable_cache(folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ARCHRANK_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        assert len(blox.read(folder)) == 8


# -- wrong, damaged and hostile files ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "old", "new", "text"),
    [
        ("base-0.csv", b"---\nversion", b"version", "no YAML header"),
        ("base-0.csv", b"seed: 0", b"seed: 0\nnote: " + b"x" * 1000, "within the first 1,024 bytes"),
        ("base-0.csv", b"seed: 0", b"seed: [", "header is not YAML"),
        ("base-0.csv", b"seed: 0", b"seed: &a [*a, *a]", "'seed' is missing or no text|recursive"),
        ("base-0.csv", b"seed: 0", b"seed: &a !!python/object/apply:os.abort []", "'seed' is missing or no text"),
        ("base-0.csv", b"seed: 0", b"seed: -1", "'seed' is '-1', no whole number"),
        ("base-0.csv", b"version: 1", b"version: 2", "reads version 1"),
        ("base-0.csv", b"stages: 3", b"stages: 2", "is not BLOX with 1 to 3 stages"),
        ("base-0.csv", b"    - - 3\n    -", b"    - - 4\n    -", "is not BLOX"),
        ("base-0.csv", b"- mbconv", b"- mbconf", "operations are not conv, mbconv, bconv"),
        ("base-0.csv", b"format: csv", b"format: xml", "none of custom, csv, pickle"),
        ("base-0.csv", b"type: training", b"type: base", "'dataset_type' is 'base', none of"),
        ("base-0.csv", b"part: base", b"part: bass", "'part' is 'bass'"),
        ("base-0.csv", b"- test_top1", b"- best_top1", "unknown column 'best_top1' of a base file"),
        ("base-0.csv", b"- model_hash\n", b"", "must be model_hash"),
        ("base-0.csv", b"epochs: 6", b"epochs: 5", "6 epochs, but the header says 5"),
        ("base-0.csv", b",6", b",x6", "not the rows that its header describes"),
        ("base-0.csv", b",6", b",-6", "column 'test_top1': a value out of range, expected 0 to 100 %"),
        ("base-0.csv", b",6", b",inf6", "not the rows"),
        ("base-0.csv", b'"[', b'"(', "is no list of numbers"),
        ("base-0.csv", b'"[', b'"[y', "not the rows"),
        ("base-0.csv", b"\r\n", b",1\r\n", "not the rows"),
        ("bench-cpu.csv", b"format: csv\n---\n", b"format: csv\n---\nxyz,1\r\n", "'xyz' is no model hash"),
        ("bench-cpu.csv", b",0.015625", b",inf", "expected finite"),
        ("info.csv", b'"[[[', b'"[[[[', "is no architecture vector of 3 cells"),
        ("base-0.blox", b"list[b_", b"list[c_", "column 'val_top1' has the unknown type"),
        ("base-0.blox", b"test_top1: b_", b"test_top1: b_9", "no range of 0 to 10,000 correct answers"),
        ("base-0.blox", b"train_time_s: int", b"train_time_s: str", "cannot have this type"),
        ("base-0.blox", b"train_time_s: int", b"train_time_s: float", "rows|bytes"),
        ("base-0.blox", b"_13]", b"_9]", "9 bits do not hold"),
        ("bench-cpu.blox", b"latency: float", b"latency: hash", "cannot have this type"),
    ],
)
def test_wrong_files(tmp_path, name, old, new, text):
    release_files = release()
    for coding in blox_writer.FORMATS:
        blox_writer.write(release_files, tmp_path, coding)
    path = tmp_path / f"blox-{name}"
    data = path.read_bytes()
    if b"_9]" in new:
        bits = int(data.split(b"]")[0].rsplit(b"_", 1)[1])
        old = b"_%d]" % bits
    changed = data.replace(old, new)
    assert changed != data
    path.write_bytes(changed)
    with pytest.raises(TableError, match=text) as caught:
        blox.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_sets_of_files(folder, tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").write_text("")
    for path, text in (
        (tmp_path / "none", "no BLOX files; expected names such as"),
        (tmp_path / "x", "no such folder"),
    ):
        with pytest.raises(TableError, match=text):
            blox.read(path)
    (folder / "blox-base-1.csv").write_bytes((folder / "blox-base-0.csv").read_bytes())
    with pytest.raises(TableError, match="both hold base of seed 0; give one of them"):
        blox.read(folder)
    with pytest.raises(TableError, match=r"both hold info; give one of them"):
        blox.read([folder / "blox-info.csv", folder / "blox-info.csv"])
    other = folder / "blox-base-12.csv"
    other.write_bytes(other.read_bytes().replace(b"cifar100", b"cifar10"))
    with pytest.raises(TableError, match="the one is of dataset 'cifar100', the other of 'cifar10'"):
        blox.read([folder / "blox-base-0.csv", other])
    with pytest.raises(TableError, match="only environments"):
        blox.read(folder / "blox-env-0.csv")


def test_rows_that_contradict_each_other(folder):
    header, payload = split(folder / "blox-base-0.csv")
    lines = payload.split(b"\r\n")
    (folder / "blox-base-0.csv").write_bytes(header + b"\r\n".join([*lines[:3], lines[1]]))
    with pytest.raises(TableError, match="rows 2 and 4: both hold"):
        blox.read(folder / "blox-base-0.csv")
    header, payload = split(folder / "blox-info.csv")
    lines = payload.split(b"\r\n")
    (folder / "blox-info.csv").write_bytes(header + lines[0][:32] + lines[1][32:])
    with pytest.raises(TableError, match="is not that of its architecture vector"):
        blox.read(folder / "blox-info.csv")


@pytest.mark.parametrize(
    ("rows", "bits", "body", "text"),
    [
        (2**32 - 1, None, b"", "rows cannot take the"),
        (8, 8 * (4 + 19 * 9), b"", "8 rows cannot take the 171 bytes"),
        (50_000, 8 * (4 + 19 * 50_000), bytes(19 * 50_000), "which its .* bytes cannot hold"),
        (8, None, bytes(50_000_000), "not of the 152 bytes that it claims"),  # a bomb
        (8, None, bytes(range(100)), "not of the 152 bytes"),
        (8, 1, b"", "cannot take"),
    ],
)
def test_blox_files_that_lie(tmp_path, rows, bits, body, text):
    blox_writer.write(release(), tmp_path)
    path = tmp_path / "blox-bench-cpu.blox"
    header, _ = split(path)
    bits = 8 * (4 + 19 * rows) if bits is None and rows == 8 else bits or 2**62
    path.write_bytes(header + zlib.compress(bits.to_bytes(8, "little") + rows.to_bytes(4, "little") + body))
    tracemalloc.start()
    with pytest.raises(TableError, match=text):
        blox.read(path)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_truncated_streams(folder):
    path = folder / "blox-base-0.blox"
    data = path.read_bytes()
    header, payload = split(path)
    for cut in (data[:-1], header, header + b"x" * 100, data + b"x", header + payload[:30]):
        path.write_bytes(cut)
        with pytest.raises(TableError, match=r"truncated|damaged|ends within"):
            blox.read(path)


class Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickles_run_nothing(folder, tmp_path):
    source = as_pickle(folder / "blox-bench-pixel3-cpu.csv")
    header, _ = split(source)
    for content in (Malice(str(tmp_path / "ran")), [["0" * 32, Malice(str(tmp_path / "ran"))]]):
        for protocol in range(6):
            source.write_bytes(header + pickle.dumps(content, protocol))
            with pytest.raises(TableError, match=r"only lists, tuples, text and numbers are admitted|damaged"):
                blox.read(source)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x05\x96" + b"\xff" * 7 + b"\x0f.",  # an array of 2**60 bytes
        b"\x80\x04]r\xff\xff\xff\x7f.",  # place 2**31 of the memo
        b"\x80\x04\x8d" + b"\xff" * 7 + b"\x0fabc.",  # text of 2**60 characters
        b"\x80\x04" + b"(" * 100_000,
        b"\x80\x04](" + b"]" * 5_000 + b"e.",
        b"\x80\x04]\x94" + b"h\x00" * 10 + b"a.",
        b"\x80\x04](G" + bytes(4),
        b"\x80\x04](G" + bytes(8) + b"\x94e.",
        b"",
        b".",
        b"\x80",
        b"a.",
        b"\x85.",
    ],
)
def test_pickles_stay_bounded(data, monkeypatch):
    monkeypatch.setattr(blox_plain_pickle, "_MAX_OBJECTS", 1000)
    tracemalloc.start()
    try:
        result, text = plain_data(data), ""
    except ValueError as error:
        result, text = None, str(error)
    assert isinstance(result, list) or text.startswith("the pickle")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_one_long_list_in_every_row_of_a_pickle(folder):
    source = as_pickle(folder / "blox-base-0.csv")
    header, _ = split(source)
    long = list(range(100)) * 10_000
    for rows in ([[f"{i:032x}", long, 1.0, 1] for i in range(1000)], [long] * 1000):
        source.write_bytes(header + pickle.dumps(rows))
        with pytest.raises(TableError, match=r"GB in memory|expected one value"):
            blox.read(source)


def test_damaged_files_are_refused_or_read(folder, tmp_path):
    """Seeded damage to every kind of file: a table or one line, never another error."""
    as_pickle(folder / "blox-base-0.csv")
    as_pickle(folder / "blox-info.csv")
    files = [path for path in sorted(folder.iterdir()) if "12" not in path.name]
    rng, refused = np.random.default_rng(0), []
    for turn in range(600):
        path = files[turn % len(files)]
        header, payload = split(path)
        packed = path.suffix == ".blox" and turn % 2 == 0
        parts = [bytearray(header), bytearray(zlib.decompress(payload) if packed else payload)]
        part = parts[int(rng.random() < 0.7)]
        for at in rng.integers(len(part), size=3):
            part[at] = rng.integers(256)
        if turn % 5 == 0:
            del part[int(rng.integers(len(part))) :]
        target = tmp_path / path.name
        target.write_bytes(parts[0] + (zlib.compress(parts[1]) if packed else parts[1]))
        try:
            assert len(blox_files.read_file(target))
        except TableError as error:
            refused.append(str(error).startswith(str(target)) and "\n" not in str(error))
    assert all(refused)
    assert len(refused) > 300


# -- the command line -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("coding", "parts"), [("csv", {"base-0", "info"}), ("blox", {"base-0", "ext-0", "info", "bench-cpu", "env-0"})]
)
def test_report_on_a_folder(tmp_path, coding, parts):
    for path in blox_writer.write(release(200), tmp_path, coding):
        if path.stem.removeprefix("blox-") not in parts:
            path.unlink()
    arguments = [
        "report",
        f"blox:{tmp_path}",
        "--predictors",
        "gbdt,gcn",
        "--n-train",
        "100",
        "--trials",
        "1",
        "--json",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [(r["predictor"], r["failures"]) for r in rows] == [("gbdt", 0), ("gcn", 0)]
