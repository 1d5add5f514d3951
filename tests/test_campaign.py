"""The whole way on the command line: from pictures to a table to a report."""

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from archrank.benchmarks.again import commands
from archrank.benchmarks.catalogue import load_benchmark
from archrank.cli import app, main
from archrank.train_ground_truth.campaign import run_many
from archrank.train_ground_truth.jobs import TeacherRef, distill_jobs
from archrank.train_ground_truth.options import epochs_or_probe
from archrank.train_ground_truth.recipe import list_recipes, load_recipe
from archrank.train_ground_truth.store import Store

RECIPE = """
name = "tiny"
[space]
stages = 2
width = 4
image_size = 8
classes = 3
[data]
train = 48
val = 12
[training]
epochs = 1
batch_size = 16
[kd]
top_k = 2
[distill]
epochs = 1
batch_size = 16
norm_batches = 2
"""


def run(*arguments: object) -> dict:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory, pictures):
    """A store with every kind of record, and the table made of it."""
    home = tmp_path_factory.mktemp("campaign")
    recipe, archs, store = home / "tiny.toml", home / "archs.csv", home / "store"
    recipe.write_text(RECIPE)
    codes = [(a, b) for a in (0, 3, 7, 11) for b in (0, 7, 20)]
    pd.DataFrame(codes, columns=["stage_0", "stage_1"]).to_csv(archs, index=False)
    images = ("--data", pictures, "--device", "cpu", "--out", store)
    some = ("--archs", archs)
    blocks = ("--blocks", "0,3,7,11,20")
    run("train", recipe, *images, *some, "--seeds", "0,1")
    run("distill", recipe, *images, "--teacher", "3-7", *blocks, "--keep-weights")
    run("distill", recipe, *images, "--teacher", "untrained:3-7", *blocks, "--columns", "nsr,kl")
    run("train", recipe, *images, *some, "--teacher", "3-7")
    run("train", recipe, *images, *some, "--teacher", "3-7", "--top-k")
    run("finetune", recipe, *images, *some, "--blocks-from", store, "--teacher", "3-7-s0", "--epochs", "0,1,probe")
    run("proxies", recipe, *images, *some)
    run("latency", recipe, "--out", store, "--device", "cpu", *some, *blocks, "--repeats", "2")
    table = home / "table"
    run("merge", store, "--out", table)
    return recipe, images, table


def test_epochs_of_fine_tuning_are_the_recipes_unless_given():
    assert epochs_or_probe("", 3) == [3]
    assert epochs_or_probe("0,2,probe", 3) == [0, 2, None]


def test_the_table_holds_every_way_of_training(campaign):
    table = load_benchmark(campaign[2])
    assert len(table) == 12
    assert set(table.variants) == {"normal", "distilled", "distilled-topk", "finetuned-0", "finetuned-1", "probe"}
    for variant in table.variants:
        assert (table.values("test_acc", variant=variant) >= 0).all()
    assert {"nwot", "log_synflow", "latency_ms_cpu"} <= set(table.metrics)


def test_the_table_holds_signatures_of_both_teachers(campaign):
    signatures = load_benchmark(campaign[2]).signatures
    assert signatures.teachers == ("3-7-s0", "untrained-3-7-s0")
    assert {"nsr", "mse", "acc_change", "ce_change", "kl", "params", "flops", "latency_ms_cpu"} <= set(
        signatures.columns
    )
    known = signatures.table("kl", teacher="untrained-3-7-s0")[1]
    assert pd.notna(known[[0, 3, 7, 11, 20]]).all()
    assert pd.isna(known[1])


@pytest.mark.slow
def test_the_commands_of_the_card_make_the_table_again(campaign, tmp_path, monkeypatch):
    recipe, images, folder = campaign
    table = load_benchmark(folder)
    monkeypatch.chdir(tmp_path)
    for line in commands(table, "RECIPE"):
        places = {"RECIPE": recipe, "IMAGES": images[1], "table.parquet": folder / "table.parquet"}
        few = ("--blocks", "0,3,7,11,20") if " distill " in line else ()  # all 90 take minutes
        run(*(places.get(word, word) for word in line.split()[1:]), *few)
    again = load_benchmark(tmp_path / table.name)
    assert again.variants == table.variants
    for variant in table.variants:
        np.testing.assert_array_equal(again.seed_values("test_acc", variant), table.seed_values("test_acc", variant))
    for teacher in table.signatures.teachers:
        before, after = table.signatures.table("nsr", teacher), again.signatures.table("nsr", teacher)
        np.testing.assert_array_equal(np.concatenate(after), np.concatenate(before))


def test_proxies_are_features_of_a_report(campaign):
    report = run("report", campaign[2], "--predictors", "gbdt:structure+proxy", "--n-train", "8", "--trials", "2")
    assert report["rows"][0]["failures"] <= 2
    assert report["rows"][0]["kendall_tau_mean"] is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--teacher", "3-7-9"), "names 3 blocks, the space has 2 stages"),
        (("--teacher", "3-99"), "block id 99 is out of range"),
        (("--teacher", "3-7", "--columns", "psnr"), "no signature 'psnr'"),
        (("--teacher", "3-7", "--stages", "2"), "2 is out of range, expected 0 to 1"),
    ],
)
def test_wrong_requests_name_the_cure(campaign, arguments, message):
    recipe, images, _ = campaign
    result = CliRunner().invoke(app, [*map(str, ("distill", recipe, *images)), *arguments])
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--device", "foo"), "unknown device 'foo'; expected auto, cpu, cuda, cuda:1 or the like"),
        (("train", "--device", ""), "unknown device ''"),
        (("proxies", "--device", "cuda:99"), "device 'cuda:99' was asked for, but torch does not see it"),
        (("latency", "--device", "cuda:99"), "device 'cuda:99' was asked for, but torch does not see it"),
        (("train", "--device", "cuda:99", "--workers", "2"), "device 'cuda:99' was asked for, but torch does not see"),
        (("train", "--seeds", str(2**53)), "out of range, expected 0 to 9007199254740991"),
        (("distill", "--teacher", "3-7", "--seed", "-1"), "Invalid value for '--seed'"),
        (("train", "--archs", "²"), "--archs '²': expected all, a whole number from 1, or a file of architectures"),
        (("train", "--archs", "0"), "--archs '0': expected all, a whole number from 1, or a file of architectures"),
        (("train", "--data", "nosuch.tar"), "no images at nosuch.tar; give a folder or tar"),
        (("finetune", "--blocks-from", "x", "--epochs", "a"), "'a' is neither a whole number from 0 nor probe"),
    ],
)
def test_what_will_not_do_ends_in_one_line(campaign, arguments, message, tmp_path, monkeypatch, capsys):
    recipe, images, _ = campaign
    command, *options = arguments
    given = ["--data", images[1], "--out", tmp_path / "store", *(("--archs", "1") if command != "distill" else ())]
    monkeypatch.setattr(sys, "argv", [*map(str, ("archrank", command, recipe, *given)), *options])
    with pytest.raises(SystemExit) as exit_:
        main()
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert exit_.value.code == 2
    assert said.startswith("archrank: ")
    assert message in said


def test_seeds_that_no_table_holds_are_refused(campaign, tmp_path):
    recipe, images, _ = campaign
    for seed in (-1, 2**53):
        with pytest.raises(ValueError, match=f"seed {seed} is out of range, expected 0 to 9007199254740991"):
            run_many([[0, 0]], load_recipe(recipe), [0, seed], tmp_path / "store", data=images[1])
    assert not (tmp_path / "store").exists()


def test_the_help_names_every_packaged_recipe():
    told = " ".join(CliRunner().invoke(app, ["train", "--help"], terminal_width=300).output.split())
    assert all(re.search(rf"[ :]{name}[,.]", told) for name in list_recipes())


def test_blocks_are_recorded_ten_at_a_time_at_most():
    teacher = TeacherRef((3, 7), 0, None)
    for parts, sizes in ((1, {9}), (2, {9}), (8, {5, 6})):
        jobs = distill_jobs({0: range(45), 1: range(45)}, teacher, 0, parts=parts)
        assert {len(job.blocks) for job in jobs} == sizes
        for stage in (0, 1):
            assert sorted(b for job in jobs if job.stage == stage for b in job.blocks) == list(range(45))


def test_a_teacher_of_a_store_has_been_trained_from_scratch(campaign):
    """Its name says architecture and seed only, so that weights of another training would pass for them."""
    recipe, images, _ = campaign
    store = images[-1]
    distil = ("distill", recipe, *images, "--blocks", "0,3,7,11,20", "--keep-weights", "--teacher")
    assert run(*distil, f"{store}:normal-3-7-s0")["teacher"] == "3-7-s0"
    records = Store(store).read_all()
    others = {record.get("variant", record.get("kind")): key for key, record in records.items()}
    assert {"distilled", "distilled-topk", "finetuned-0", "finetuned-1", "probe", "block"} <= set(others)
    del others["normal"]
    for key in (*others.values(), "normal-3-7-s9"):
        result = CliRunner().invoke(app, [*map(str, distil), f"{store}:{key}"])
        assert result.exit_code == 2, key
        assert f"has no network '{key}' trained" in " ".join(result.output.replace("│", "").split()), key
    assert Store(store).read_all() == records
