import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

import archrank
from archrank.benchmarks import measure_noise
from archrank.benchmarks.formats.own_table import read_table
from archrank.ground_truth import GroundTruth, Metric, TableError
from archrank.spaces import MacroSpace, blox, nas_bench_macro

# -- the catalogue ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", archrank.list_benchmarks())
def test_bundled_tables(name):
    table = archrank.load_benchmark(name)
    assert table.name == name
    assert table.licence
    assert table.provenance
    assert np.isfinite(table.values()).all()


def test_catalogue_takes_tables_and_folders(toy, tmp_path):
    assert archrank.load_benchmark(toy) is toy
    assert len(archrank.load_benchmark(str(toy.save(tmp_path / "x")))) == 90


def test_catalogue_errors(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for spec, text in (
        ("no-such", "no benchmark 'no-such': neither a bundled name"),
        ("nas-bench-macro:", "lacks a path; write nas-bench-macro:FILE"),
        (tmp_path / "notes.txt", "unknown kind of file"),
        (f"nas-bench-macro:{tmp_path}/none.json", "No such file"),
        (f"nas-bench-macro:{tmp_path}/notes.txt", "not a JSON file"),
        (f"bossnas-nats:{tmp_path}/none", "no such folder"),
        (f"bossnas-nats:{tmp_path}", r"accuracy\.csv: no such file"),
        (tmp_path, r"holds no meta\.json"),
    ):
        with pytest.raises(TableError, match=text):
            archrank.load_benchmark(spec)
    with pytest.raises(TableError, match="are for CSV and parquet files"):
        archrank.load_benchmark("no-such", space=blox(stages=2))


# -- published sources ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def macro(nas_bench_macro_file):
    return archrank.load_benchmark(f"nas-bench-macro:{nas_bench_macro_file}")


def test_nas_bench_macro(macro, nas_bench_macro_file):
    raw = json.loads(nas_bench_macro_file.read_text())
    strings = ["".join(map(str, row)) for row in macro.codes.tolist()]
    assert len(macro) == 3969
    assert strings == sorted(strings)
    assert macro.seeds == (0, 1, 2)
    np.testing.assert_array_equal(macro.values(), [raw[s]["mean_acc"] for s in strings])
    twins = np.array([list(s) for s in raw]).astype(np.int64)
    np.testing.assert_array_equal(macro.values()[macro.lookup(twins)], [r["mean_acc"] for r in raw.values()])
    # Costs are additive over layers, exactly, so the space knows them for all its networks.
    np.testing.assert_array_equal(macro.space.params(twins), [r["params"] for r in raw.values()])
    np.testing.assert_array_equal(macro.space.flops(twins), [r["flops"] for r in raw.values()])


def test_nas_bench_macro_noise(macro):
    noise = measure_noise(macro)
    assert noise.ceiling_tau == pytest.approx(0.950, abs=0.003)
    assert noise.reproducibility_tau == pytest.approx(0.88, abs=0.003)
    assert (noise.seeds, noise.repeated) == (3, 3969)
    assert macro.noise_ceiling("test_acc") == noise.ceiling_tau


def test_nas_bench_macro_in_part(tmp_path):
    record = {"test_acc": [90.0, 91.0], "params": 5, "flops": 7}
    path = tmp_path / "part.json"
    path.write_text(json.dumps({"00000002": record, "00000020": record, "11111111": record}))
    table = archrank.load_benchmark(f"nas-bench-macro:{path}")
    assert len(table) == 2
    assert not table.space.block_costs  # two networks do not determine them
    for content, text in (
        ({"0123": record}, "'0123' is no NAS-Bench-Macro string"),
        ({"00000000": {"test_acc": [1.0]}}, "lacks test_acc, params or flops"),
        ([], "expected a JSON object"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(TableError, match=text):
            archrank.load_benchmark(f"nas-bench-macro:{path}")


def test_bossnas(bossnas_folder):
    table = archrank.load_benchmark(f"bossnas-nats:{bossnas_folder}")
    assert len(table) == 32768
    assert table.space.names(table.codes[:2]).tolist() == [["8:8", "8:8", "8"], ["8:8", "8:8", "16"]]
    scores = table.signatures.table("score")
    assert table.signatures.metrics["score"].direction == "min"
    total = sum(scores[s][table.codes[:, s]] for s in range(3))
    assert kendalltau(-total, table.values()).statistic == pytest.approx(0.534, abs=0.0005)
    assert table.noise_ceiling() is None


def test_bossnas_faults(tmp_path):
    accuracy, scores = tmp_path / "accuracy.csv", tmp_path / "block_scores.csv"
    scores.write_text("stage,block,score\n0,8:8,-3\n")
    for content, text in (
        ("widths\n8:8:8:8:8\n", "'cifar10_test_acc' is missing"),
        ("widths,cifar10_test_acc\n8:8:8,90\n", "row 1 .* expected five layer widths"),
        ("widths,cifar10_test_acc\n8:8:8:8:9,90\n", "row 1 .* a width is none of"),
        ("widths,cifar10_test_acc\n8:8:8:8:8,high\n", "holds 'high', not a number"),
    ):
        accuracy.write_text(content)
        with pytest.raises(TableError, match=text):
            archrank.load_benchmark(f"bossnas-nats:{tmp_path}")
    accuracy.write_text("widths,cifar10_test_acc\n8:8:8:8:8,90\n")
    scores.write_text("stage,block,score\n0,7:8,-3\n")
    with pytest.raises(TableError, match="unknown block '7:8' of stage 0"):
        archrank.load_benchmark(f"bossnas-nats:{tmp_path}")


# -- one's own table --------------------------------------------------------------------------------


def own(tmp_path, text, name="own.csv", **options):
    path = tmp_path / name
    path.write_text(text)
    return read_table(path, **options)


def test_own_table_makes_its_space(tmp_path):
    table = own(tmp_path, "layer0,layer1,val_loss,top1\nwide,x,0.5,70\nslim,y,0.7,60\nwide,x,0.6,72\n")
    assert table.name == "own"
    assert table.space.blocks == (("slim", "wide"), ("x", "y"))
    assert table.default_metric == "top1"
    assert table.metrics["val_loss"].direction == "min"
    assert table.metrics["top1"].bounds == (0.0, 100.0)
    assert table.values().tolist() == [71.0, 60.0]
    assert table.seeds == (0, 1)


def test_own_table_of_a_known_space(tmp_path):
    table = own(tmp_path, "stage_0,stage_1,acc\nconv,bconv\u007cconv,0.5\nconv>conv,mbconv,0.6\n")
    assert table.space.blocks == blox(stages=2).blocks
    assert table.metrics["acc"].bounds == (0.0, 1.0)
    twins = "Identity,MB3_K3,MB3_K3,Identity,MB6_K5,Identity,Identity,Identity,90\n"
    twins += "Identity,MB3_K3,MB3_K3,MB6_K5,Identity,Identity,Identity,Identity,92\n" + "MB3_K3," * 8 + "95\n"
    table = own(tmp_path, ",".join(f"stage{i}" for i in range(8)) + ",acc\n" + twins)
    assert table.space.blocks == nas_bench_macro().blocks
    assert table.values().tolist() == [91.0, 95.0]


def test_own_table_with_seeds_variants_options_and_parquet(tmp_path):
    text = "a,b,seed,variant,acc,note\n0,1,3,normal,1,x\n0,1,5,normal,3,y\n1,1,3,normal,4,z\n0,1,3,distilled,9,w\n"
    space = MacroSpace.from_blocks([["p", "q"], ["r", "s", "t"]])
    options = {"space": space, "stage_columns": ["a", "b"], "metrics": {"acc": Metric("acc", "min", "ms")}}
    table = own(tmp_path, text, **options)
    assert table.seeds == (3, 5)
    assert table.values().tolist() == [2.0, 4.0]
    assert table.metrics["acc"].unit == "ms"
    assert table.space is space
    pd.read_csv(tmp_path / "own.csv").to_parquet(tmp_path / "own.parquet")
    again = archrank.load_benchmark(tmp_path / "own.parquet", **options)
    np.testing.assert_array_equal(again.seed_values(), table.seed_values())


BLOX_HEAD = "stage_0,stage_1,test_acc\n"
BAD_TABLES = {
    "missing metric": ("stage_0,stage_1\nconv,conv\n", "no metric column"),
    "missing stage": ("stage_0,stage_2,acc\nconv,conv,1\n", "column stage_1 is missing"),
    "no stage": ("a,b,acc\nconv,conv,1\n", "no stage columns among a, b, acc"),
    "text": (BLOX_HEAD + "conv,conv,40\nconv,bconv,high\n", r"row 2 \(line 3\), column 'test_acc': holds 'high'"),
    "empty": (BLOX_HEAD + "conv,conv,40\nconv,bconv,\n", r"row 2 \(line 3\), column 'test_acc': is empty"),
    "NaN": (BLOX_HEAD + "conv,conv,nan\nconv,bconv,41\n", r"row 1 \(line 2\), column 'test_acc': .* finite number"),
    "infinite": (BLOX_HEAD + "conv,conv,inf\nconv,bconv,41\n", r"row 1 \(line 2\), column 'test_acc': .* finite"),
    "unknown block": (
        BLOX_HEAD + "conv,conv,40\nconv,bconv,41\nbconv,convv,42\n",
        r"row 3 \(line 4\), column 'stage_1': unknown block 'convv'",
    ),
    "name among ids": (
        BLOX_HEAD + "1,2,40\n2,3,41\n3,x,42\n",
        r"row 3 \(line 4\), column 'stage_1': unknown block 'x'",
    ),
    "no block": (BLOX_HEAD + "conv,conv,40\n,bconv,41\n", r"row 2 \(line 3\), column 'stage_0': is empty"),
    "one row": (BLOX_HEAD + "conv,conv,40\n", "one network in 1 row"),
    "no rows": (BLOX_HEAD, "no rows"),
    "seed": ("stage_0,seed,acc\na,0,1\na,0,2\nb,0,3\n", r"row 2 \(line 3\), column 'seed'"),
    "half a seed": ("stage_0,seed,acc\na,0.5,1\nb,0,3\n", "expected a whole number"),
    "ragged": (BLOX_HEAD + "conv,conv,40,7,8\nconv\n,,,,,,,\n", "not a readable CSV|is empty"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_own_tables(tmp_path, case):
    content, text = BAD_TABLES[case]
    with pytest.raises(TableError, match=text) as caught:
        own(tmp_path, content)
    assert "own.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_own_tables_with_options(tmp_path):
    with pytest.raises(TableError, match=r"2 stage columns .* has 3 stages"):
        own(tmp_path, BLOX_HEAD + "conv,conv,40\nconv,bconv,41\n", space=blox(stages=3))
    with pytest.raises(TableError, match="column 'c' is missing"):
        own(tmp_path, BLOX_HEAD + "conv,conv,40\n", stage_columns=["c"])
    with pytest.raises(TableError, match="column 'loss' is missing"):
        own(tmp_path, BLOX_HEAD + "conv,conv,40\n", metrics={"loss": Metric("loss")})
    pd.DataFrame({"stage_0": [0.0, 0.5], "acc": [1.0, 2.0]}).to_parquet(tmp_path / "f.parquet")
    with pytest.raises(TableError, match=r"row 2, column 'stage_0': holds 0\.5"):
        read_table(tmp_path / "f.parquet")


# -- noise ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("law", "repeated"), [("normal", 300), ("skewed", 300), ("normal", 60)])
def test_ceiling_against_simulated_truth(law, repeated):
    space = MacroSpace.from_blocks([list(map(str, range(20)))] * 2)
    codes = space.sample(300, seed=0)
    known, estimated = [], []
    for run in range(8):
        rng = np.random.default_rng(run)
        truth = rng.normal(size=300) if law == "normal" else -rng.exponential(size=300)
        values = truth[:, None] + 0.5 * rng.normal(size=(300, 2))
        parts = [(codes, values[:, 0], 0), (codes[:repeated], values[:repeated, 1], 1)]
        frame = pd.concat(
            [pd.DataFrame(c, columns=["stage_0", "stage_1"]).assign(acc=v, seed=s) for c, v, s in parts],
            ignore_index=True,
        )
        table = GroundTruth.from_frame(space, frame, {"acc": Metric("acc")}, name="sim")
        known.append(kendalltau(truth, table.values()).statistic)
        estimated.append(table.noise_ceiling())
    assert np.mean(estimated) == pytest.approx(np.mean(known), abs=0.04)


def test_noise_unknown_with_one_seed_or_few_repeats(toy):
    noise = measure_noise(toy, variant="distilled")
    assert noise.ceiling_tau is None
    assert (noise.seeds, noise.repeated) == (1, 0)
    few = toy.frame[(toy.frame.seed == 0) | (toy.frame.index < 95)].query("variant == 'normal'")
    table = GroundTruth.from_frame(toy.space, few, toy.metrics, name="few")
    assert measure_noise(table).repeated == 5
    assert table.noise_ceiling() is None


def test_noiseless_metric_has_ceiling_one(toy):
    assert toy.noise_ceiling("loss") == pytest.approx(1.0)
