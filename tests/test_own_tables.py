"""Users' tables as they come: any kind of cell, each fault in one line, a million rows in bounded time and memory.

More faults, which the command line is tested for too, are in `test_benchmarks`.
"""

import decimal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from archrank._block_columns import BlockColumn
from archrank.benchmarks.formats.own_table import read_table
from archrank.ground_truth import TableError, read_codes
from archrank.spaces import MacroSpace, blox

HEAD = "stage_0,stage_1,acc\n"


def csv(tmp_path, text, **options):
    path = tmp_path / "own.csv"
    path.write_text(text, encoding="utf-8")
    return read_table(path, **options)


def parquet(tmp_path, **columns):
    path = tmp_path / "own.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return read_table(path)


# -- what is taken ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stage",
    [
        ["b", "a", "b"],
        pd.Categorical(["b", "a", "b"]),
        [" b", "a ", "b"],
        [True, False, True],
        [7, 5, 7],
        [7.0, 5.0, 7.0],
        np.array([7, 5, 7], np.uint8),
        pd.array([7, 5, 7], dtype="Int64"),
        [decimal.Decimal(7), decimal.Decimal(5), decimal.Decimal(7)],
    ],
    ids=str,
)
def test_kinds_of_blocks(tmp_path, stage):
    table = parquet(tmp_path, stage_0=stage, acc=[1.0, 2.0, 4.0])
    assert table.codes.tolist() == [[1], [0]]
    assert table.values().tolist() == [2.5, 2.0]


@pytest.mark.parametrize(
    "numbers",
    [
        [1, 2],
        [True, False],
        [np.float32(0.5), np.float32(0.25)],
        [decimal.Decimal("1.5"), decimal.Decimal("2.5")],
        ["1.5", "2.5"],
        pd.Categorical(["1", "2"]),
        pd.array([1, 2], dtype="Int64"),
    ],
    ids=str,
)
def test_kinds_of_numbers(tmp_path, numbers):
    table = parquet(tmp_path, stage_0=["a", "b"], acc=numbers)
    assert table.values().tolist() == [float(n) for n in numbers]


def test_ids_sort_as_numbers_and_names_as_words(tmp_path):
    assert csv(tmp_path, "stage_0,acc\n10,1\n9,2\n-1,3\n").space.blocks == (("-1", "9", "10"),)
    assert csv(tmp_path, "stage_0,acc\nb10,1\nb9,2\na,3\n").space.blocks == (("a", "b10", "b9"),)


def test_repeated_rows_and_twins_are_seeds_in_order_of_the_file(tmp_path):
    table = csv(tmp_path, HEAD + "a,x,1\nb,x,2\na,x,3\na,x,5\n")
    np.testing.assert_array_equal(table.seed_values(), [[1, 3, 5], [2, np.nan, np.nan]])
    layers = ",".join(f"layer{i}" for i in range(8)) + ",acc\n"
    one, twin = ["MB3_K3"] * 8, ["MB3_K3"] * 8
    one[3], twin[4] = "Identity", "Identity"
    other = ["MB6_K5"] * 8
    table = csv(
        tmp_path, layers + "".join(",".join([*row, v]) + "\n" for row, v in ((one, "1"), (twin, "2"), (other, "3")))
    )
    assert len(table) == 2
    assert table.values().tolist() == [1.5, 3.0]


def test_ids_of_a_known_space(tmp_path):
    table = csv(tmp_path, HEAD + "44,0,1\n3,17,2\n", space=blox(stages=2))
    assert table.codes.tolist() == [[44, 0], [3, 17]]


def test_codes_of_a_file_keep_their_order(tmp_path):
    (tmp_path / "a.csv").write_text("stage_0,stage_1\nconv,bconv\nbconv,conv\nconv,bconv\n")
    space = blox(stages=2)
    codes = read_codes(tmp_path / "a.csv", space)
    assert space.names(codes).tolist() == [["conv", "bconv"], ["bconv", "conv"], ["conv", "bconv"]]


def test_columns_of_blocks_by_their_distinct_cells():
    column = BlockColumn.of(pd.Series(["b", None, " b", "a", "7"]))
    assert [column.texts[i] for i in column.which] == ["b", "", "b", "a", "7"]
    assert column.names() == ["", "7", "a", "b"]
    assert column.first_row(column.is_whole) == 4
    assert column.first_row(np.zeros(len(column.texts), bool)) is None
    assert column.share(column.places_in(["b", "x"]) >= 0) == 0.4


# -- what is refused -------------------------------------------------------------------------------


def test_other_metrics_may_be_measured_in_part(tmp_path):
    table = csv(tmp_path, "stage_0,acc,latency\na,1,5.5\nb,2,\nc,3,7\n")
    assert table.default_metric == "acc"
    np.testing.assert_array_equal(table.values("latency"), [5.5, np.nan, 7.0])


@pytest.mark.parametrize(
    ("column", "direction"),
    [
        *((name, "min") for name in ("top1_err", "test_error", "wer", "FID", "latency")),
        *((name, "max") for name in ("top1", "acc", "acc_size", "fidelity", "power")),
    ],
)
def test_directions_by_name(tmp_path, column, direction):
    table = csv(tmp_path, f"stage_0,{column}\na,1\nb,20\n")
    assert table.metric().direction == direction


BAD_CSV = {
    "nothing at all": ("", "the file is empty; expected a header and one row per network"),
    "a column of nothing": ("stage_0,acc,loss\na,1,\nb,2,\n", "column 'loss': is empty, as is every other row"),
    "percent sign": (HEAD + "a,x,93%\nb,x,3\n", r"row 1 \(line 2\), column 'acc': holds '93%', not a number"),
    "decimal comma": (HEAD + 'a,x,"93,5"\nb,x,3\n', r"column 'acc': holds '93,5', not a number"),
    "beyond floats": (HEAD + "a,x,1\nb,x,-1e400\n", r"row 2 \(line 3\), column 'acc': .*expected a finite number"),
    "semicolons": ("stage_0;acc\na;93,5\n", "header is one cell, 'stage_0;acc'; columns are separated by commas"),
    "tabs": ("stage_0\tacc\na\t93\n", "header is one cell, .* separated by commas"),
    "blank variant": ("stage_0,variant,acc\na,normal,1\nb, ,2\n", r"row 2 \(line 3\), column 'variant': is empty"),
    "word among ids": ("stage_0,acc\n1,1\n2,2\nx,3\n", r"row 3 .*unknown block 'x' among whole block ids"),
    "half an id": ("stage_0,acc\n1,1\n2,2\n1.5,3\n", r"row 3 .*unknown block '1\.5' among whole block ids"),
    "huge seed": ("stage_0,seed,acc\na,99999999999999999999,1\nb,1,2\n", "column 'seed': .*expected a whole number"),
    "first of two faults": (HEAD + "conv,conv,1\nconv,bcon,1\ncon,conv,2\n" + "conv,conv,2\n" * 8, "row 2 .*'bcon'"),
    "twins only": (
        ",".join(f"stage_{i}" for i in range(8))
        + ",acc\n"
        + "MB3_K3,MB3_K3,Identity,Identity,MB3_K3,Identity,Identity,"
        "MB3_K3,1\nMB3_K3,MB3_K3,Identity,MB3_K3,Identity,Identity,MB3_K3,Identity,2\n",
        r"one network in 2 row\(s\), isomorphic twins counted as one; ranking needs at least two",
    ),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(tmp_path, case):
    content, text = BAD_CSV[case]
    with pytest.raises(TableError, match=text) as caught:
        csv(tmp_path, content)
    assert "own.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_PARQUET = {
    "date": ({"stage_0": ["a", "b"], "acc": pd.to_datetime(["2020-01-01"] * 2)}, "row 1, column 'acc': .* not a time"),
    "duration": ({"stage_0": ["a", "b"], "acc": pd.to_timedelta([1, 2], unit="s")}, "'acc': .* not a time"),
    "missing number": ({"stage_0": ["a", "b"], "acc": [1.0, None]}, "row 2, column 'acc': holds nan; .*finite"),
    "infinite": ({"stage_0": ["a", "b"], "acc": [1.0, np.inf]}, "row 2, column 'acc': holds inf; .*finite"),
    "nullable": ({"stage_0": ["a", "b"], "acc": pd.array([1, None], dtype="Int64")}, "row 2, column 'acc'"),
    "lists": ({"stage_0": ["a", "b"], "acc": [[1.0], [2.0]]}, "row 1, column 'acc': .* not a number"),
    "text": ({"stage_0": ["a", "b"], "acc": ["1", "x"]}, "row 2, column 'acc': holds 'x', not a number"),
    "list block": ({"stage_0": [[1], [2]], "acc": [1.0, 2.0]}, "row 1, column 'stage_0': .*expected a block"),
    "bytes block": ({"stage_0": [b"a", b"b"], "acc": [1.0, 2.0]}, "row 1, column 'stage_0': holds b'a'; expected"),
    "missing block": ({"stage_0": ["a", None], "acc": [1.0, 2.0]}, "row 2, column 'stage_0': is empty"),
    "missing id": ({"stage_0": [1, None, 2], "acc": [1.0, 2.0, 3.0]}, "row 2, column 'stage_0': holds nan; expected"),
    "missing variant": ({"stage_0": ["a", "b"], "variant": ["normal", None], "acc": [1.0, 2.0]}, "row 2, .*'variant'"),
}


@pytest.mark.parametrize("case", BAD_PARQUET)
def test_bad_parquet(tmp_path, case):
    columns, text = BAD_PARQUET[case]
    with pytest.raises(TableError, match=text) as caught:
        parquet(tmp_path, **columns)
    assert "own.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ids_out_of_a_known_space(tmp_path):
    with pytest.raises(TableError, match=r"row 2 \(line 3\), column 'stage_1': unknown block id 45; .* 0 to 44"):
        csv(tmp_path, HEAD + "44,0,1\n3,45,2\n", space=blox(stages=2))
    with pytest.raises(TableError, match="unknown block id -1"):
        csv(tmp_path, HEAD + "44,0,1\n3,-1,2\n", space=blox(stages=2))


def test_a_seed_of_its_own_for_every_run(tmp_path):
    n = 8000
    frame = pd.DataFrame({"stage_0": np.arange(n), "seed": np.arange(n), "acc": 1.0})
    frame.to_parquet(tmp_path / "own.parquet")
    with pytest.raises(TableError, match=r"'seed' holds 8,000 different seeds of 8,000 networks; .* remove the column"):
        read_table(tmp_path / "own.parquet")
    frame.drop(columns="seed").to_parquet(tmp_path / "own.parquet")
    assert len(read_table(tmp_path / "own.parquet")) == n


# -- size ------------------------------------------------------------------------------------------

MEASURE = """
import resource, sys, time
from archrank.benchmarks.formats.own_table import read_table
before = time.process_time()
table = read_table(sys.argv[1])
print(len(table.frame), time.process_time() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("names", [True, False], ids=["names", "ids"])
def test_a_million_rows(tmp_path, suffix, names):
    """Eight stages, three metrics: bounds are three times what was measured, for machines that are slow or busy."""
    n, rng = 1_000_000, np.random.default_rng(0)
    codes = rng.integers(0, 12, (n, 8))
    space = MacroSpace.from_blocks([[f"operation{i}" for i in range(12)]] * 8)
    frame = pd.DataFrame(space.names(codes) if names else codes, columns=[f"stage_{i}" for i in range(8)])
    for metric in ("test_acc", "val_loss", "latency"):
        frame[metric] = rng.random(n).round(6)
    path = tmp_path / f"own.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    rows, seconds, megabytes = map(float, done.stdout.split())
    assert rows == n
    assert seconds < (15 if suffix == "csv" else 7)
    assert megabytes < 1500


def test_time_grows_with_rows_not_with_rows_times_blocks(tmp_path):
    """100,000 rows in the time of a few: a guard against loops over cells."""
    n = 100_000
    frame = pd.DataFrame({"stage_0": np.arange(n) % 50, "stage_1": np.arange(n) // 50 % 50, "acc": 1.0})
    frame.to_parquet(tmp_path / "own.parquet")
    before = time.process_time()
    table = read_table(tmp_path / "own.parquet")
    assert time.process_time() - before < 2
    assert len(table) == 2500
    assert len(table.seeds) == 40
