"""Every check of a table fails on a table with that fault, and on no other."""

# ruff: noqa: PD008  (only .at puts a whole curve into a cell)

import json
import time

import numpy as np
import pandas as pd
import pytest

import archrank
from archrank._curves import curve_column
from archrank.benchmarks.facts import coverage, seed_counts
from archrank.benchmarks.verify import check_table, verify
from archrank.ground_truth import GroundTruth, Metric, Signatures
from archrank.spaces import blox

NAMES = ["networks", "values", "seeds", "copies", "signatures"]
CURVES = ["train_loss_curve", "val_acc_curve"]


def make(n=None, seeds=2, **provenance):
    """A table of the first `n` networks (default: all) of a space of 2,025, with curves and signatures."""
    space = blox(stages=2, width=8, image_size=8, classes=10)
    codes = space.sample(space.size if n is None else n, seed=0)
    rng, parts = np.random.default_rng(0), []
    for seed in range(seeds):
        part = pd.DataFrame(codes, columns=["stage_0", "stage_1"]).assign(seed=seed, variant="normal", status="ok")
        curve = rng.uniform(10, 60, (len(codes), 4))
        part["test_acc"], part["val_acc"], part["params"] = (
            rng.uniform(10, 60, len(codes)),
            curve[:, -1],
            space.params(codes),
        )
        part["train_loss_curve"], part["val_acc_curve"] = list(rng.uniform(1, 3, (len(codes), 4))), list(curve)
        parts.append(part)
    rows = [(s, b, t, rng.random()) for t in ("3-14-s0", "5-6-s0") for s in range(2) for b in range(45)]
    return GroundTruth.from_frame(
        space,
        pd.concat(parts, ignore_index=True),
        {
            "test_acc": Metric("test_acc", "max", "%", (0.0, 100.0)),
            "val_acc": Metric("val_acc", "max", "%", (0.0, 100.0)),
            "params": Metric("params", "min", "", (0.0, None)),
        },
        name="made",
        signatures=Signatures(
            pd.DataFrame(rows, columns=["stage", "block", "teacher", "nsr"]),
            {"nsr": Metric("nsr", "min", "", (0.0, None))},
        ),
        provenance={"measured_apart": [], **provenance},
    )


def spoil(table, change=None, signatures=None, **provenance):
    """The same table with a changed frame, signature frame or provenance."""
    frame, sig = table.frame.copy(), table.signatures.frame.copy()
    frame = frame if change is None else change(frame)
    sig = sig if signatures is None else signatures(sig)
    return GroundTruth.from_frame(
        table.space,
        frame,
        table.metrics,
        name=table.name,
        signatures=Signatures(sig, table.signatures.metrics),
        provenance={**table.provenance, **provenance},
    )


def put(row, column, value):
    def change(frame):
        frame.at[row, column] = value
        return frame

    return change


def copy_record(source, target):
    def change(frame):
        for column in frame.columns.drop(["stage_0", "stage_1", "seed", "variant", "params", "flops"], errors="ignore"):
            frame.at[target, column] = frame.at[source, column]
        return frame

    return change


def failed(table):
    return {c.name: c.figure for c in check_table(table) if not c.passed}


# -- the table --------------------------------------------------------------------------------------


def test_a_sound_table_passes_everything():
    checks = check_table(make(40))
    assert [(c.name, c.passed) for c in checks] == [(name, True) for name in NAMES]
    assert checks[0].figure == "40 of 2,025 networks, a random sample: the first of the order that --archs N takes"
    assert checks[2].figure == "2 per network, all different"
    assert checks[3].figure == "none among 80 records"


def test_the_toy_table_passes(toy):
    assert failed(toy) == {}


FAULTS = {
    "a flipped value": (put(3, "test_acc", -41.5), "values", "test_acc of {3} seed 0 is -41.5, out of bounds [0.0, 1"),
    "a missing value": (put(3, "test_acc", np.nan), "values", "test_acc of {3} seed 0 is missing"),
    "a missing cost": (lambda f: f.assign(params=f["params"].astype(float).where(f.index != 3)), "values",
                       "params of {3} seed 0 is missing"),
    "a flipped curve": (put(3, "val_acc_curve", [20.0, -30.0]), "values",
                        "val_acc_curve of {3} seed 0 is -30, out of bounds [0.0, 100.0]"),
    "a broken curve": (put(3, "train_loss_curve", [2.0, np.nan]), "values", "train_loss_curve of {3} seed 0 holds nan"),
    "a value of a failed training": (put(3, "status", "diverged"), "values", "but its status is not ok"),
    "equal seeds": (copy_record(3, 43), "seeds", "{3} seed 0 and {3} seed 1 have equal metrics and curves"),
    "a copied record": (copy_record(3, 49), "copies", "{3} seed 0 and {9} seed 1 have equal metrics and curves"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_fails_its_check_and_no_other(fault):
    change, check, text = FAULTS[fault]
    table = make(40)
    keys = table.space.keys(table.codes)
    found = failed(spoil(table, change))
    assert list(found) == [check]
    assert text.replace("{3}", keys[3]).replace("{9}", keys[9]) in found[check]


def test_further_faults_are_counted():
    table = make(40)
    assert failed(spoil(table, lambda f: f.assign(test_acc=-f["test_acc"])))["values"].endswith("(and 79 more)")


@pytest.mark.parametrize(
    ("signatures", "check", "text"),
    [
        (lambda s: s.drop(index=7), "signatures", "teacher 3-14-s0 lacks nsr of 1 of 90 blocks"),
        (put(97, "nsr", np.nan), "signatures", "teacher 5-6-s0 lacks nsr of 1 of 90 blocks"),
        (put(7, "nsr", -0.5), "values", "signature nsr of stage 0, block 7 is -0.5"),
        (put(7, "nsr", np.inf), "values", "signature nsr of stage 0, block 7 is infinite"),
    ],
)
def test_faults_of_signatures(signatures, check, text):
    found = failed(spoil(make(40), signatures=signatures))
    assert list(found) == [check]
    assert text in found[check]


def test_records_that_may_lack_or_equal_each_other_do_not_fail():
    table = make(40)
    apart = spoil(table, lambda f: f.assign(params=np.nan), measured_apart=["params"])
    assert failed(apart) == {}
    tested = spoil(table, lambda f: put(3, "status", "diverged")(put(3, "test_acc", np.nan)(f)))
    assert failed(tested)["values"].startswith("val_acc of ")
    diverged = spoil(tested, put(3, "val_acc", np.nan))
    assert failed(diverged) == {}
    assert seed_counts(diverged) == {1: 1, 2: 39}

    def assembled(frame):  # tested without training: the seed changes nothing
        frame = copy_record(3, 43)(frame)
        for row in (3, 43):
            frame.at[row, "train_loss_curve"] = []
        return frame

    assert failed(spoil(table, assembled)) == {}
    bare = spoil(table, lambda f: copy_record(3, 43)(f).drop(columns=CURVES))
    assert failed(bare) == {}  # two equal accuracies may be chance, and the figure says so
    assert check_table(bare)[3].figure == "not comparable: it has no curves, and equal metrics may be chance"


def test_a_second_seed_that_is_a_copy_of_the_first_throughout_is_no_chance():
    bare = spoil(make(40), lambda f: f.drop(columns=CURVES))
    first = bare.frame["seed"] == 0

    def pasted(rows):
        values = bare.frame.loc[first, "test_acc"].to_numpy()[:rows]
        return lambda f: f.assign(test_acc=[*f["test_acc"][:40], *values, *f["test_acc"][40 + rows :]])

    text = "seeds 0 and 1 have equal test_acc on all 40 networks that have both: copies, no second trainings"
    assert failed(spoil(bare, pasted(40))) == {"seeds": text}
    assert failed(spoil(bare, pasted(39))) == {}


@pytest.mark.parametrize("arrays", [False, True], ids=["lists", "arrays"])
def test_masked_epochs_hide_no_copies(arrays):
    def masked(frame):
        curves = np.stack(frame["val_acc_curve"]).astype(np.float32)
        curves[:, 0] = np.nan
        return frame.assign(val_acc_curve=curve_column(curves) if arrays else list(curves))

    def found(change=None):
        return failed(spoil(spoil(table, change), masked, first_epoch_masked=[0, 1]))

    table = make(40)
    key, other = table.space.keys(table.codes)[[3, 9]]
    assert found() == {}
    assert found(copy_record(3, 43))["seeds"].startswith(f"{key} seed 0 and {key} seed 1 have equal")
    assert found(copy_record(3, 49))["copies"].startswith(f"{key} seed 0 and {other} seed 1 have equal")


def test_curves_without_any_value_are_not_comparable():
    table = make(40)
    part = spoil(table, lambda f: f.assign(train_loss_curve=[[], *f["train_loss_curve"][1:]]))
    assert check_table(part)[3].figure == "none among 79 records; 1 not comparable"
    none = spoil(table, lambda f: copy_record(3, 43)(f).assign(train_loss_curve=[[]] * len(f)))
    assert failed(none) == {}
    text = "not comparable: no record has a value in each of its curves, and equal metrics may be chance"
    assert [c.figure for c in check_table(none)[2:4]] == [f"2 per network; {text}", text]


def test_completeness():
    whole = make(seeds=1, complete=True)
    assert str(coverage(whole)) == "all 2,025 networks of the space"
    lacking = spoil(whole, lambda f: f.drop(index=5))
    key = whole.space.keys(whole.codes[5:6])[0]
    assert (
        f"2,024 of 2,025 networks, but the table says that it is complete; missing are {key}"
        in failed(lacking)["networks"]
    )
    honest = spoil(lacking, complete=False)
    assert failed(honest) == {}
    assert "2,024 of 2,025" in str(coverage(honest))
    # A network that was only fine-tuned is not one that was trained.
    tuned = spoil(whole, put(5, "variant", "finetuned-1"))
    assert key in failed(tuned)["networks"]
    others = make(60)
    others = spoil(others, lambda f: f[f.index % 60 > 20])
    assert str(coverage(others)).endswith("chosen otherwise than by --archs N")
    mostly = spoil(make(60), lambda f: f[f.index % 60 != 50])
    assert "59 of 2,025 networks, 50 of them a random sample" in str(coverage(mostly))


def test_two_thousand_networks_take_less_than_two_seconds(tmp_path):
    folder = make(seeds=3, complete=True).save(tmp_path / "x")
    started = time.process_time()
    checks, _ = verify(folder)
    assert time.process_time() - started < 2
    assert all(c.passed for c in checks)


# -- files ------------------------------------------------------------------------------------------


def test_altered_files_fail(tmp_path):
    table = make(40)
    folder = table.save(tmp_path / "x")
    assert all(c.passed for c in verify(folder)[0])
    put(3, "test_acc", 50.0)(table.frame.copy()).to_parquet(folder / "table.parquet")
    checks, read = verify(folder)
    assert [c.name for c in checks if not c.passed] == ["checksums"]
    assert "table.parquet is damaged: its checksum is not the one in meta.json" in checks[0].figure
    assert read is not None
    (folder / "table.parquet").write_bytes(b"PAR1")
    checks, read = verify(folder)
    assert [(c.name, c.passed) for c in checks] == [("checksums", False), ("records", False)]
    assert read is None


def test_files_that_meta_does_not_list_fail(tmp_path):
    folder = make(40).save(tmp_path / "x")
    meta = json.loads((folder / "meta.json").read_text())
    del meta["sha256"]["signatures.parquet"]
    (folder / "meta.json").write_text(json.dumps(meta))
    assert "signatures.parquet has no checksum" in verify(folder)[0][0].figure


def test_bundled_and_published_tables_pass(nas_bench_macro_file):
    for spec in (*archrank.list_benchmarks(), f"nas-bench-macro:{nas_bench_macro_file}"):
        assert all(c.passed for c in verify(spec)[0]), spec
