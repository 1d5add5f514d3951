import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from archrank._curves import curve_column
from archrank.ground_truth import GroundTruth, Metric, Signatures, TableError, read_codes
from archrank.spaces import MacroSpace, blox, nas_bench_macro


def frame_of(codes, **columns):
    codes = np.asarray(codes)
    return pd.DataFrame({f"stage_{s}": codes[:, s] for s in range(codes.shape[1])}).assign(**columns)


PAIR = MacroSpace.from_blocks([["a", "b"], ["x", "y", "z"]], name="pair")
ACC = {"acc": Metric("acc")}


def test_metric():
    assert Metric("a").sign == 1
    assert Metric("a", "min").sign == -1
    with pytest.raises(ValueError, match="'max' or 'min'"):
        Metric("a", "up")


def test_networks_keep_the_order_of_first_appearance():
    table = GroundTruth.from_frame(
        PAIR, frame_of([[1, 2], [0, 0], [1, 2], [0, 1]], seed=[0, 0, 1, 0], acc=[1.0, 2, 3, 4]), ACC, name="t"
    )
    assert table.codes.tolist() == [[1, 2], [0, 0], [0, 1]]
    assert table.values().tolist() == [2.0, 2.0, 4.0]
    assert table.values(seed=0).tolist() == [1.0, 2.0, 4.0]
    np.testing.assert_array_equal(table.seed_values(), [[1, 3], [2, np.nan], [4, np.nan]])
    assert table.seeds == (0, 1)
    assert table.variants == ("normal",)


def test_values_by_seed_and_variant(toy):
    assert len(toy) == 90
    assert toy.default_metric == "acc"
    np.testing.assert_allclose(toy.values(), (toy.values(seed=0) + toy.values(seed=1)) / 2)
    distilled = toy.values("acc", variant="distilled")
    assert np.isfinite(distilled).sum() == 10
    for call, text in (
        (lambda: toy.values("nope"), "no metric 'nope'; there are acc, loss"),
        (lambda: toy.values("los"), "no metric 'los'; .*did you mean 'loss'"),
        (lambda: toy.values(seed=7), "no seed 7; it has 0, 1"),
        (lambda: toy.values(variant="x"), "no variant 'x'; there are normal, distilled"),
    ):
        with pytest.raises(TableError, match=text):
            call()


def test_curves(toy):
    curves = toy.curves("val_acc", seed=1)
    assert curves.shape == (90, 3)
    np.testing.assert_allclose(curves[:, -1], toy.values("acc", seed=1))
    assert toy.curve_names == ("val_acc",)
    with pytest.raises(TableError, match="it has val_acc"):
        toy.curves("acc")


def test_twins_are_one_network_and_find_their_row():
    space = nas_bench_macro()
    twins = [[1, 1, 1, 0, 2, 1, 0, 0], [1, 1, 1, 2, 0, 1, 0, 0], [2] * 8]
    table = GroundTruth.from_frame(space, frame_of(twins, seed=[0, 1, 0], acc=[1.0, 3, 5]), ACC, name="t")
    assert table.values().tolist() == [2.0, 5.0]
    assert table.lookup(twins).tolist() == [0, 0, 1]
    with pytest.raises(TableError, match=r"row 1: network 0-0-0-0-0-0-0-0 is not among the 2"):
        table.lookup([[2] * 8, [0] * 8])


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (frame_of([[0, 0], [0, 0]], seed=0, acc=1.0), "row 1: the same network, seed and variant as row 0"),
        (frame_of([[0, 0]], acc=np.inf), "row 0, column 'acc': infinite"),
        (frame_of([[0, 0]], acc="high"), "column 'acc'"),
        (frame_of([[0, 0], [0, 1]], acc=1.0, seed=[0, np.inf]), "row 1, column 'seed': inf; expected a whole number"),
        (frame_of([[0, 0], [0, 1]], acc=1.0, seed=[np.nan, 0]), "row 0, column 'seed': nan"),
        (frame_of([[0, 0], [0, 1]], acc=1.0, seed=[0.0, 0.5]), "row 1, column 'seed': 0.5"),
        (frame_of([[0, 0], [0, 1]], acc=1.0, seed=[0, 10**400]), "column 'seed': .*; expected numbers"),
        (frame_of([[0, 0]], acc=pd.Timestamp(0)), "column 'acc': holds times .*; expected numbers"),
        (frame_of([[0, 0], [0, 1]], acc=1.0, c=[[1.0], ["x"]]), "column 'c': .*'x'; expected one number per epoch"),
        (frame_of([[0, 0], [0, 1]], acc=1.0, c=[[1.0], 2.0]), "column 'c': holds float of 0 dimensions; expected one"),
        (frame_of([[0, 0], [0, 1]], acc=1.0, c=[[[1.0]], [1.0]]), "column 'c': holds list of 2 dimensions"),
        (frame_of([[0, 0]], acc=1.0, seed="first"), "column 'seed': .*'first'; expected numbers"),
        (frame_of([[0, 0]], loss=1.0), "lacks column 'acc'"),
        (frame_of([[0, 5]], acc=1.0), "row 0, stage 1: block id 5"),
    ],
)
def test_bad_frames(frame, text):
    with pytest.raises(ValueError, match=text):
        GroundTruth.from_frame(PAIR, frame, ACC, name="t")


def test_signatures(toy):
    signatures = toy.signatures
    assert signatures.columns == ("nsr",)
    assert signatures.teachers == ("t0", "t1")
    assert [len(t) for t in signatures.table("nsr")] == [5, 6, 3]
    assert signatures.table("nsr", "t1")[2].tolist() == [-1.0, -2.0, -3.0]
    with pytest.raises(TableError, match="unknown signature column 'mse'; there are nsr"):
        signatures.table("mse")
    with pytest.raises(TableError, match="unknown teacher 't9'; there are t0, t1"):
        signatures.table("nsr", "t9")


def test_signatures_know_what_is_absent():
    rows = pd.DataFrame({"stage": [0, 1], "block": [0, 1], "teacher": "t", "nsr": [0.5, 0.7]})
    table = GroundTruth.from_frame(
        PAIR, frame_of([[0, 0]], acc=1.0), ACC, name="t", signatures=Signatures(rows, {"nsr": Metric("nsr", "min")})
    )
    stages = table.signatures.table("nsr")
    np.testing.assert_array_equal(stages[0], [0.5, np.nan])
    np.testing.assert_array_equal(stages[1], [np.nan, 0.7, np.nan])
    np.testing.assert_array_equal(table.signatures.scores(np.array([[0, 1], [0, 0]])), [-1.2, np.nan])
    with pytest.raises(TableError, match="row 1: stage 1, block 1 appears twice"):
        Signatures(pd.concat([rows.iloc[1:], rows.iloc[1:]]), {"nsr": Metric("nsr")})
    with pytest.raises(TableError, match="stage 0, block 9 is not in the space"):
        GroundTruth.from_frame(
            PAIR,
            frame_of([[0, 0]], acc=1.0),
            ACC,
            name="t",
            signatures=Signatures(rows.assign(block=9), {"nsr": Metric("nsr")}),
        )


# -- on disk --------------------------------------------------------------------------------------


def test_round_trip(toy, tmp_path):
    toy.save(tmp_path / "toy")
    back = GroundTruth.load(tmp_path / "toy")
    assert (back.name, back.licence, back.source, back.provenance) == ("toy", "CC0", "tests", toy.provenance)
    assert back.metrics == toy.metrics
    assert back.space.blocks == toy.space.blocks
    np.testing.assert_array_equal(back.codes, toy.codes)
    np.testing.assert_array_equal(back.seed_values(), toy.seed_values())
    np.testing.assert_array_equal(back.curves("val_acc"), toy.curves("val_acc"))
    np.testing.assert_array_equal(back.signatures.table("nsr")[1], toy.signatures.table("nsr")[1])


def test_round_trip_of_blox(tmp_path):
    space = blox(stages=2, width=8, image_size=8, classes=10)
    table = GroundTruth.from_frame(space, frame_of(space.sample(5), acc=np.arange(5.0)), ACC, name="b")
    table.save(tmp_path / "b")
    back = GroundTruth.load(tmp_path / "b")
    np.testing.assert_array_equal(back.space.params(back.codes), space.params(table.codes))


def test_save_replaces_a_table_keeps_its_notes_and_nothing_else(toy, tmp_path):
    folder = toy.save(tmp_path / "toy")
    (folder / "README.md").write_text("notes")
    toy.save(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "meta.json", "signatures.parquet", "table.parquet"]
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("...")
    with pytest.raises(TableError, match="not empty and holds no table"):
        toy.save(tmp_path / "mine")


def test_a_failing_save_leaves_the_old_table(toy, tmp_path, monkeypatch):
    folder = toy.save(tmp_path / "toy")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def full(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("archrank._folder._sha256", full)
    with pytest.raises(OSError, match="disk full"):
        toy.save(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]


def test_a_failing_swap_puts_the_old_table_back(toy, tmp_path, monkeypatch):
    import os

    folder = toy.save(tmp_path / "toy")
    replace = os.replace

    def only_old(source, target):
        if str(source).endswith("new"):
            raise OSError("gone")
        replace(source, target)

    monkeypatch.setattr(os, "replace", only_old)
    with pytest.raises(OSError, match="gone"):
        toy.save(folder)
    monkeypatch.undo()
    assert len(GroundTruth.load(folder)) == 90


def test_damaged_folders(toy, tmp_path):
    folder = toy.save(tmp_path / "toy")
    table = folder / "table.parquet"
    good = table.read_bytes()
    table.write_bytes(good[:-100])
    with pytest.raises(TableError, match=r"table\.parquet is damaged: its checksum"):
        GroundTruth.load(folder)
    with pytest.raises(TableError, match=r"table\.parquet is damaged or truncated"):
        GroundTruth.load(folder, verify=False)
    table.unlink()
    with pytest.raises(TableError, match=r"table\.parquet is missing"):
        GroundTruth.load(folder)
    table.write_bytes(good)
    meta = json.loads((folder / "meta.json").read_text())
    for change, text in (
        ({"format_version": 2}, "format version 2, this archrank reads up to 1; update archrank"),
        ({"sha256": None}, "damaged"),
        ({"metrics": [{"nome": "acc"}]}, "damaged"),
        ({"space": {"kind": "other"}}, "unknown kind of space"),
    ):
        (folder / "meta.json").write_text(json.dumps(meta | change))
        with pytest.raises(TableError, match=text):
            GroundTruth.load(folder)
    (folder / "meta.json").write_text(json.dumps(meta)[:50])
    with pytest.raises(TableError, match=r"meta\.json is damaged"):
        GroundTruth.load(folder)
    with pytest.raises(TableError, match=r"holds no meta\.json"):
        GroundTruth.load(tmp_path)


# -- files of architectures -------------------------------------------------------------------------


def test_read_codes(tmp_path):
    space = blox(stages=2)
    codes = space.sample(20, seed=1)
    columns = ["stage_0", "stage_1"]
    pd.DataFrame(codes, columns=columns).to_csv(tmp_path / "ids.csv")  # with pandas' own row numbers
    pd.DataFrame(space.names(codes), columns=["block0", "block1"]).to_csv(tmp_path / "names.csv", index=False)
    pd.DataFrame(codes, columns=columns).to_parquet(tmp_path / "ids.parquet")
    pd.DataFrame(space.names(codes), columns=columns).to_parquet(tmp_path / "names.parquet")
    (tmp_path / "vectors.json").write_text(json.dumps(space.arch_vectors(codes)))
    (tmp_path / "rows.json").write_text(json.dumps(codes.tolist()))
    for file in tmp_path.iterdir():
        np.testing.assert_array_equal(read_codes(file, space), codes)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", "stage_0,stage_1\nconv,convv\n", r"row 1 \(line 2\), column 'stage_1': unknown block 'convv'"),
        ("a.csv", "stage_0,stage_1\n3,45\n", r"row 1 \(line 2\), column 'stage_1': unknown block id 45"),
        ("a.csv", "stage_0\n3\n", "1 stage columns .* has 2 stages"),
        ("a.csv", "stage_0,stage_1\n", "no rows"),
        ("a.csv", "", "the file is empty"),
        ("a.txt", "x", "unknown kind of file '.txt'"),
        ("a.parquet", "not parquet", "not a readable parquet"),
        ("a.json", "[[1, 2", "not JSON"),
        ("a.json", "[[0, 1], [3]]", "architecture 1 has 1 stages, expected a list of 2 stages"),
        ("a.json", "[[0, 1], 7]", "architecture 1 has 7, expected a list of 2 stages"),
        ("a.json", "{}", "expected a JSON list"),
        ("a.json", "[[1, 99]]", "row 0, stage 1: block id 99"),
        ("a.json", "[[[[0], [0, 0, 0, 0]], [[0], [0, 0, 1, 0]]]]", "connected to nothing"),
        ("b.csv", None, "no such file"),
        ("b.json", None, "No such file"),
    ],
)
def test_bad_files_of_architectures(tmp_path, name, content, text):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(TableError, match=text):
        read_codes(tmp_path / name, blox(stages=2))


# -- curves of long tables ------------------------------------------------------------------------


def curves_of_two_seeds():
    rng = np.random.default_rng(0)
    values = rng.random((2, 6, 4), dtype=np.float32)
    parts = [
        frame_of(PAIR.all_codes(), seed=seed, acc=1.0).assign(acc_curve=curve_column(values[seed])) for seed in (0, 1)
    ]
    return parts, values


def test_curves_of_long_tables_are_arrays():
    parts, values = curves_of_two_seeds()
    one = GroundTruth.from_frame(PAIR, parts[0], ACC, name="one")
    assert one.curve_names == ("acc_curve",)
    assert one.curves("acc").dtype == np.float32
    assert one.curves("acc").base is not None  # no copy
    np.testing.assert_array_equal(one.curves("acc_curve"), values[0])
    both = pd.concat([parts[1].iloc[::-1], parts[0].iloc[2:]], ignore_index=True)
    table = GroundTruth.from_frame(PAIR, both, ACC, name="both")
    np.testing.assert_array_equal(table.codes, PAIR.all_codes()[::-1])
    np.testing.assert_array_equal(table.curves("acc", 1), values[1][::-1])
    np.testing.assert_array_equal(table.curves("acc", 0), [*values[0][:1:-1], [np.nan] * 4, [np.nan] * 4])


def test_curves_of_long_tables_round_trip(tmp_path):
    parts, values = curves_of_two_seeds()
    table = GroundTruth.from_frame(PAIR, pd.concat(parts, ignore_index=True), ACC, name="t")
    back = GroundTruth.load(table.save(tmp_path / "t"))
    for seed in (0, 1):
        np.testing.assert_array_equal(back.curves("acc", seed), values[seed])
    pd.testing.assert_frame_equal(back.frame, table.frame)


@pytest.mark.parametrize("missing", [False, True])
def test_curves_of_whole_numbers_and_of_missing_ones_are_floats(missing):
    lists = pa.array([[1, None if missing else 2], [3, 4]], pa.list_(pa.int64(), 2))
    frame = frame_of([[0, 0], [1, 2]], acc=1.0, acc_curve=pd.Series(pd.arrays.ArrowExtensionArray(lists)))
    table = GroundTruth.from_frame(PAIR, frame, ACC, name="t")
    np.testing.assert_array_equal(table.curves("acc"), [[1.0, np.nan if missing else 2.0], [3.0, 4.0]])
    words = pd.Series(pd.arrays.ArrowExtensionArray(pa.array([["a"], ["b"]], pa.list_(pa.string(), 1))))
    with pytest.raises(TableError, match="column 'acc_curve': holds lists of string; expected one number per epoch"):
        GroundTruth.from_frame(PAIR, frame.assign(acc_curve=words), ACC, name="t")
