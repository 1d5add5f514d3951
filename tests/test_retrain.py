"""Records of a table are trained again: equal to the bit, or within the spread between seeds, or not."""

import json
import shutil
import sys

import numpy as np
import pytest
from test_verify import CURVES, NAMES, copy_record, failed, put
from tiny import TINY

from archrank.cli import main
from archrank.ground_truth import GroundTruth, TableError
from archrank.train_ground_truth import Store, merge, run_many
from archrank.train_ground_truth import retrain as retraining
from archrank.train_ground_truth.recipe import recipe_from_dict
from archrank.train_ground_truth.retrain import retrain

BRISK = {**TINY, "optimizer": {"lr": 0.2}}  # networks differ, and so do their seeds


@pytest.fixture
def recipe():
    return recipe_from_dict(BRISK)


@pytest.fixture(scope="module")
def store(pictures, tmp_path_factory):
    """Four tiny networks with two seeds, and a fifth with one."""
    recipe, folder = recipe_from_dict(BRISK), tmp_path_factory.mktemp("store") / "s"
    codes = recipe.build_space().sample(5, seed=0)
    run_many(codes[:4], recipe, [0, 1], folder, data=pictures, device="cpu")
    run_many(codes[4:], recipe, [0], folder, data=pictures, device="cpu")
    return Store(folder)


@pytest.fixture
def trained(store):
    return merge(store, "trained")


@pytest.fixture
def packaged(monkeypatch, recipe):
    """The tiny recipe as if it were in the package."""
    monkeypatch.setattr(retraining, "list_recipes", lambda: [recipe.name])
    monkeypatch.setattr(retraining, "load_recipe", lambda name: recipe)
    return recipe


def again(table, recipe, pictures, n=9):
    return retrain(table, recipe, n, pictures)


def changed(table, change=lambda frame: frame, **host):
    """The table with a changed frame, or as if made on another host."""
    hosts = [{**h, **host} for h in table.provenance["hosts"]]
    provenance = {**table.provenance, "hosts": hosts}
    return GroundTruth.from_frame(
        table.space, change(table.frame.copy()), table.metrics, name=table.name, provenance=provenance
    )


def test_the_table_names_the_host_of_each_record(store, trained, tmp_path):
    assert len(trained.provenance["hosts"]) == 1
    assert trained.provenance["hosts"][0]["processor"]
    assert trained.frame["host"].eq(0).all()
    assert trained.provenance["complete"] is False
    other = Store.create(tmp_path / "s", store.recipe, store.images)
    for i, (key, record) in enumerate(store.read_all().items()):
        if i % 2:
            record["host"]["torch"] = "9.9"
        if i == 2:  # made before these facts were recorded
            del record["host"]["processor"], record["host"]["compiled"]
        other.write(key, record)
    table = merge(other, "mixed")
    hosts = [table.provenance["hosts"][i] for i in table.frame["host"]]
    assert sorted(h["torch"] == "9.9" for h in hosts) == [False] * 5 + [True] * 4
    assert [h["compiled"] for h in hosts if not h["processor"]] == [False]
    assert failed(table) == {}
    assert "host 7 of" in failed(changed(table, put(0, "host", 7)))["values"]


def test_records_trained_again_on_the_same_host_are_equal_to_the_bit(trained, recipe, pictures):
    results = again(trained, recipe, pictures)
    assert len(results) == 9
    assert {(r.rule, r.passed, r.difference) for r in results} == {("bits", True, 0.0)}
    two, same, others = (retrain(trained, recipe, 2, pictures, seed=s) for s in (3, 3, 4))
    assert len(two) == 2
    assert two == same
    assert [r.key for r in two] != [r.key for r in others]


def nudge(row, column):
    """One value, or the last of a curve, to the next number there is."""

    def change(frame):
        value = frame.at[row, column]
        if column.endswith("_curve"):
            frame.at[row, column] = [*value[:-1], np.nextafter(value[-1], 1e9)]
        else:
            frame.at[row, column] = np.nextafter(value, 1e9)
        return frame

    return change


@pytest.mark.parametrize("column", ["test_acc", "test_loss", "val_acc", "val_loss", *CURVES, "val_loss_curve"])
def test_one_bit_off_on_the_same_host_fails(trained, recipe, pictures, column):
    (result,) = again(changed(trained, lambda f: nudge(2, column)(f).loc[[2]]), recipe, pictures)
    assert (result.rule, result.passed) == ("bits", False)
    assert f"not equal to the bit: {column} is off by" in result.figure


def test_a_shortened_curve_fails(trained, recipe, pictures):
    (result,) = again(changed(trained, lambda f: put(2, "val_loss_curve", [1.0])(f).loc[[2]]), recipe, pictures)
    assert not result.passed
    assert result.figure == "not equal to the bit: val_loss_curve is off by inf (same processor, torch and threads)"


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ({"processor": "Another 1 2 3"}, "processor Another 1 2 3, here "),
        ({"torch": "1.0"}, "torch 1.0, here "),
        ({"threads": 8}, "threads 8, here 1"),
        ({"processor": ""}, "names no processor"),
        ({"deterministic": False}, "made with --fast or --compile"),
        ({"compiled": True}, "made with --fast or --compile"),
    ],
)
def test_elsewhere_the_spread_between_seeds_is_the_measure(trained, recipe, pictures, host, why):
    results = retrain(changed(trained, **host), recipe, 1, pictures)
    assert [(r.rule, r.passed, r.difference) for r in results] == [("spread", True, 0.0)]
    assert why in results[0].figure
    assert results[0].figure.startswith("equal to the bit; ")


def test_four_standard_deviations(trained, recipe, pictures):
    values = trained.seed_values()[:4]
    spread = trained.seed_spread()
    assert spread == pytest.approx(np.sqrt(values.var(axis=1, ddof=1).mean()))
    single = trained.codes[4].tolist()  # the network of one seed does not change the spread
    row = int(np.flatnonzero((trained.frame[["stage_0", "stage_1"]] == single).all(axis=1))[0])
    only = np.where(trained.frame.index == row, "ok", "not chosen")
    for factor, passed in ((3.99, True), (-3.99, True), (4.01, False), (-4.01, False)):
        value = trained.frame["test_acc"][row] - factor * spread
        table = changed(trained, lambda f, v=value: put(row, "test_acc", v)(f).assign(status=only), torch="1.0")
        assert table.seed_spread() == spread
        (result,) = again(table, recipe, pictures)
        assert (result.rule, result.passed) == ("spread", passed)
        assert result.difference == pytest.approx(factor * spread)
        assert f"test_acc is off by {factor * spread:+.3g}; {4 * spread:.3g} allowed" in result.figure


def test_what_cannot_be_trained_again_says_why(trained, recipe, pictures, tmp_path, monkeypatch):
    one_seed = changed(trained, lambda f: f[f["seed"] == 0], torch="1.0")
    with pytest.raises(TableError, match="no network with two seeds"):
        again(one_seed, recipe, pictures)
    with pytest.raises(TableError, match="merge its store again"):
        again(changed(trained, lambda f: f.drop(columns="host")), recipe, pictures)
    with pytest.raises(TableError, match="host 99 of a record is none of the 1 of its provenance; merge"):
        again(changed(trained, lambda f: f.assign(host=99)), recipe, pictures)
    with pytest.raises(TableError, match="trained by recipe 'tiny'; only tables of packaged recipes"):
        retraining.packaged_recipe(trained)
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("ARCHRANK_CACHE", str(tmp_path / "cache"))
    with pytest.raises(TableError, match="have not been decoded here yet; give them with --data"):
        again(trained, recipe, None)
    again(trained, recipe, pictures, n=1)
    assert retrain(trained, recipe, 1)[0].passed  # now they are in the cache
    other = tmp_path / "other"
    shutil.copytree(pictures, other)
    shutil.copy(other / "train" / "ant" / "0000.png", other / "train" / "bee" / "0000.png")
    with pytest.raises(TableError, match="give the same copy of the same images"):
        again(trained, recipe, other)


# -- the command ------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["archrank", "benchmarks", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        return exit_.value.code, capsys.readouterr().out

    return call


def test_the_command(command, packaged, trained, pictures, tmp_path):
    folder = trained.save(tmp_path / "good")
    code, out = command("verify", folder, "--retrain", 2, "--data", pictures)
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[:2] for line in lines[:7]] == [["ok", f"{n}:"] for n in ("checksums", *NAMES, "recipe")]
    assert len(lines) == 9
    assert all(line.startswith("ok     normal-") and "equal to the bit" in line for line in lines[7:])
    code, out = command("verify", folder, "--retrain", 1, "--data", pictures, "--json")
    data = json.loads(out)
    assert (code, data["passed"], len(data["checks"]), data["retrained"][0]["rule"]) == (0, True, 7, "bits")

    wrong = changed(trained, lambda f: f.assign(test_acc=f["test_acc"] + 0.5)).save(tmp_path / "wrong")
    code, out = command("verify", wrong, "--retrain", 1, "--data", pictures)
    assert code == 1
    assert out.splitlines()[-1].startswith("FAILED normal-")
    copied = changed(trained, copy_record(0, 4)).save(tmp_path / "copied")
    assert command("verify", copied)[0] == 1


def test_another_recipe_of_the_same_name_fails(command, packaged, trained, pictures, tmp_path):
    table = GroundTruth.from_frame(
        trained.space,
        trained.frame,
        trained.metrics,
        name="old",
        provenance={**trained.provenance, "recipe_hash": "0123456789ab"},
    )
    code, out = command("verify", table.save(tmp_path / "old"), "--retrain", 1, "--data", pictures)
    assert code == 1
    assert out.splitlines()[-1] == f"FAILED recipe: tiny packaged here is {packaged.hash}, the table's is 0123456789ab"
