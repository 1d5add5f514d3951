"""The dataset card: its numbers are the table's, its picture is small, it overwrites nothing of others."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import kendalltau

import archrank
from archrank._folder import verify_files
from archrank.benchmarks.again import commands
from archrank.benchmarks.card import CARD, PICTURE, card, write_card
from archrank.benchmarks.catalogue import table_folder
from archrank.benchmarks.lone import lone_taus
from archrank.benchmarks.noise import measure_noise
from archrank.cli import main
from archrank.ground_truth import GroundTruth, Metric, Signatures, TableError
from archrank.spaces import blox

RECIPE = {
    "recipe": {"name": "blox-mini", "description": "a recipe", "optimizer": {"lr": 0.05, "momentum": 0.9}},
    "recipe_hash": "8dc3e67edcfa",
    "images_sha256": "ab12",
    "archrank": "0.1.0",
    "commit": None,
    "hosts": [
        {"device_name": "A CPU", "processor": "Maker 1 2 3 AVX2", "threads": 1, "torch": "2.13.0", "python": "3.11.7"}
    ],
    "cpu_hours": 12.5,
    "finished": "2026-01-01T00:00:00Z",
}


def made(n=2025, seeds=3, provenance=RECIPE):
    """Networks whose accuracy grows with one signature and falls with another."""
    space = blox(stages=2, width=8, image_size=8, classes=10)
    codes, rng = space.sample(n, seed=0), np.random.default_rng(0)
    frame = pd.concat(
        [
            pd.DataFrame(codes, columns=["stage_0", "stage_1"]).assign(
                seed=s, acc=40 + codes.sum(1) / 10 + rng.normal(scale=0.5, size=n)
            )
            for s in range(seeds)
        ],
        ignore_index=True,
    )
    teachers = ("3-14-s0", "untrained-5-6-s0")  # gain is the same for both
    rows = [(s, b, t, float(b), b + 0.5 * len(t)) for t in teachers for s in (0, 1) for b in range(45)]
    return GroundTruth.from_frame(
        space,
        frame,
        {"acc": Metric("acc", "max", "%", (0.0, 100.0), "accuracy | top-1")},
        name="made",
        signatures=Signatures(
            pd.DataFrame(rows, columns=["stage", "block", "teacher", "gain", "nsr"]),
            {"gain": Metric("gain", "max"), "nsr": Metric("nsr", "min")},
        ),
        provenance=provenance,
        licence="CC0",
        source="tests",
    )


def test_taus_of_single_quantities():
    table = made(300)
    truth = table.values()
    taus = lone_taus(table).set_index(["what", "teacher"])["tau"]
    assert taus["params", ""] == pytest.approx(kendalltau(table.space.params(table.codes), truth).statistic)
    assert taus["flops", ""] == pytest.approx(kendalltau(table.space.flops(table.codes), truth).statistic)
    gain = kendalltau(table.codes.sum(axis=1), truth).statistic
    assert gain > 0.5
    assert table.signatures.shared_columns == ("gain",)
    assert taus["gain, summed over stages"].to_dict() == pytest.approx({"": gain})
    for teacher in ("3-14-s0", "untrained-5-6-s0"):
        assert taus["nsr, summed over stages", teacher] == pytest.approx(-gain)  # less is said to be better


def test_known_answers_of_published_tables(nas_bench_macro_file, bossnas_folder):
    macro = lone_taus(archrank.load_benchmark(f"nas-bench-macro:{nas_bench_macro_file}")).set_index("what")["tau"]
    assert macro.to_dict() == pytest.approx({"params": 0.215, "flops": 0.546}, abs=0.0006)
    nats = lone_taus(archrank.load_benchmark(f"bossnas-nats:{bossnas_folder}"))
    assert nats["tau"].tolist() == pytest.approx([0.534], abs=0.0005)


def test_every_number_is_the_tables():
    table = made(300, seeds=2)
    text, noise = card(table, {"table.parquet": "c0ffee"}, "- Small."), measure_noise(table)
    apart = pd.Series(np.diff(table.seed_values(), axis=1)[:, 0])
    for expected in (
        "| networks | 300 of 2,025 networks, a random sample: the first of the order that --archs N takes |",
        "| seeds per network | 2 |",
        "| records | 600 normal |",
        f"| acc (default) | higher | % | {table.frame['acc'].min():.6g} to {table.frame['acc'].max():.6g} |",
        "accuracy &#124; top-1",
        "Recipe `blox-mini` (8dc3e67edcfa): a recipe.",
        "| optimizer | lr 0.05, momentum 0.9 |",
        "| A CPU | Maker 1 2 3 AVX2 | 1 | 2.13.0 | 3.11.7 |",
        "12.5 CPU hours",
        f"{noise.reproducibility_tau:.3f} (300 networks)",
        f"{noise.ceiling_tau:.3f} ± {noise.ceiling_std:.3f}",
        f"between seeds: {noise.spread:.3g} %.",
        f"on the networks that have both, with its standard error: seed 1 {apart.mean():+.3g} ± {apart.sem():.2g} %.\n",
        "## Known limits\n\n- Small.\n",
        "## Licence\n\nCC0\n",
        "archrank train blox-mini --data IMAGES --archs 300 --seeds 0,1 --out store\n",
        "archrank merge store --name made --out made\n",
        "--teacher 3-14 --out",
        "--teacher untrained:5-6 --out",
        "| table.parquet | c0ffee |",
    ):
        assert expected in text, expected
    assert "nan" not in text.lower()


def test_the_commands_name_the_networks():
    assert "--archs all --seeds 0 " in card(made(seeds=1))
    table = made(100)
    some = GroundTruth.from_frame(
        table.space, table.frame[table.frame.index % 100 > 3], table.metrics, name="some", provenance=RECIPE
    )
    assert "--archs table.parquet --seeds 0,1,2 " in card(some)
    assert "This trains every network with each seed" not in card(some)
    uneven = made(100).frame.query("seed < 2").drop(index=range(150, 160))  # ten of the first 60 lack seed 1
    text = card(GroundTruth.from_frame(table.space, uneven, table.metrics, name="x", provenance=RECIPE))
    assert "--archs table.parquet --seeds 0,1 " in text
    assert "each seed; the table has 1 to 2 (1 for 10 networks, 2 for 90)" in text
    assert "unlike seeds" not in card(table)


def test_unlike_seeds_are_named_though_each_network_has_as_many():
    frame = made(100).frame
    half = frame.index % 100 < 50
    two_each = frame[(frame["seed"] == 0) | ((frame["seed"] == 1) == half)]
    table = GroundTruth.from_frame(made(100).space, two_each, made(100).metrics, name="x", provenance=RECIPE)
    assert table.seeds == (0, 1, 2)
    assert "Means over unlike seeds may differ by that too; `values(seed=0)` compares like with like." in card(table)


def test_the_commands_are_those_that_made_the_table():
    normal = made(100, seeds=1).frame.assign(variant="normal", teacher="")
    other = dict.fromkeys(("distilled-topk", "finetuned-10", "finetuned-2", "probe"), "3-14-s0")
    parts = [normal, normal.head(60).assign(seed=1), normal.head(60).assign(seed=2)]
    parts += [normal.head(40).assign(variant=variant, teacher=teacher) for variant, teacher in other.items()]
    bare = made(100)
    table = GroundTruth.from_frame(
        bare.space, pd.concat(parts), bare.metrics, name="made", signatures=bare.signatures, provenance=RECIPE
    )
    start = "blox-mini --data IMAGES"
    assert commands(table, "blox-mini") == [
        f"archrank train {start} --archs 100 --seeds 0 --out store",
        f"archrank train {start} --archs 60 --seeds 1,2 --out store",
        f"archrank distill {start} --teacher 3-14 --keep-weights --out store",
        f"archrank distill {start} --teacher untrained:5-6 --out store",
        f"archrank train {start} --archs 40 --seeds 0 --teacher 3-14 --top-k --out store",
        f"archrank finetune {start} --archs 40 --seeds 0 --blocks-from store --teacher 3-14-s0 --epochs probe,2,10 "
        "--out store",
        "archrank merge store --name made --out made",
    ]


def with_variants(table, *parts, signatures=None, **metrics):
    frame = pd.concat([made(100, seeds=1).frame.assign(variant="normal", teacher=""), *parts])
    return GroundTruth.from_frame(
        table.space, frame, {**table.metrics, **metrics}, name="made", signatures=signatures, provenance=RECIPE
    )


def test_the_commands_make_what_later_ones_read():
    """Teachers of other seeds and their weights, blocks from another store, blocks of another seed."""
    table = made(100)
    normal = made(100, seeds=1).frame.assign(variant="normal", teacher="")
    ways = {"finetuned-1:9-9-s1": "9-9-s1", "finetuned-1:3-14-s0-b2": "3-14-s0", "distilled": "3-14-s0"}
    parts = [normal.assign(seed=1), *(normal.head(20).assign(variant=v, teacher=t) for v, t in ways.items())]
    start = "blox-mini --data IMAGES"
    assert commands(with_variants(table, *parts), "blox-mini") == [
        f"archrank train {start} --archs 100 --seeds 0,1 --keep-weights --out store",
        f"archrank distill {start} --teacher 3-14 --seed 2 --keep-weights --out store",
        f"archrank distill {start} --teacher store:normal-9-9-s1 --keep-weights --out store",
        f"archrank train {start} --archs 20 --seeds 0 --teacher 3-14 --out store",
        f"archrank finetune {start} --archs 20 --seeds 0 --blocks-from store --teacher 3-14-s0 --block-seed 2 "
        "--epochs 1 --out store",
        f"archrank finetune {start} --archs 20 --seeds 0 --blocks-from store --teacher 9-9-s1 --epochs 1 --out store",
        "archrank merge store --name made --out made",
    ]


def test_measurements_come_before_the_merge():
    normal = made(100, seeds=1).frame.assign(variant="normal", nwot=1.0, latency_ms_cuda_b64_t2=np.nan)
    normal.loc[normal.index[:40], "latency_ms_cuda_b64_t2"] = 2.0
    metrics = {name: Metric(name) for name in ("nwot", "latency_ms_cuda_b64_t2")}
    table = GroundTruth.from_frame(made(100).space, normal, made(100).metrics | metrics, name="x", provenance=RECIPE)
    assert commands(table, "blox-mini")[1:] == [
        "archrank proxies blox-mini --data IMAGES --archs 100 --out store",
        "archrank latency blox-mini --archs 40 --device cuda --batch-size 64 --threads 2 --out store",
        "archrank merge store --name x --out x",
    ]
    assert "Latencies are those of the machine that measures them." in card(table)


def test_commands_that_train_more_than_the_table_holds_say_so():
    normal = made(100, seeds=1).frame
    some = normal.iloc[50:60].assign(variant="finetuned-1", teacher="3-14-s0")
    text = card(with_variants(made(100), some))
    assert "--archs table.parquet --seeds 0 --blocks-from store --teacher 3-14-s0 --epochs 1" in text
    assert "This trains every network with each seed; the table has 1, and 10 records of finetuned-1." in text


def test_levels_of_seeds_are_those_of_normal_training():
    """Seed 0 is of another way of training alone."""
    normal = made(100, seeds=1).frame
    parts = [normal.assign(variant="normal", seed=s, acc=normal["acc"] + 5 * (s == 2)) for s in (1, 2)]
    frame = pd.concat([*parts, normal.head(20).assign(variant="finetuned-1")])
    table = GroundTruth.from_frame(made(100).space, frame, made(100).metrics, name="x", provenance=RECIPE)
    assert "Mean difference to seed 1, on the networks that have both, with its standard error: seed 2 +5 " in card(
        table
    )


def test_tables_of_others_say_what_they_can(toy):
    text = card(toy)
    assert "| made by | a formula |" in text
    assert "does not say by which recipe" in text
    one_seed = GroundTruth.from_frame(
        toy.space, toy.frame[toy.frame["seed"] == 0].query("variant == 'normal'"), toy.metrics, name="bare"
    )
    text = card(one_seed)
    assert "The noise ceiling of acc is unknown: no network has a second seed." in text
    assert "## How it was made\n\nNot stated." in text
    assert "None were written down." in text


@pytest.mark.parametrize(("n", "seeds", "width"), [(2025, 3, 720), (300, 1, 360)])
def test_the_picture_is_small(tmp_path, n, seeds, width):
    _, picture = write_card(made(n, seeds), tmp_path / "new" / "folder")
    assert picture.stat().st_size < 60_000
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert image.size == (width, 320)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 10  # something is drawn


def test_a_card_replaces_cards_only(tmp_path):
    table = made(100)
    (tmp_path / CARD).write_text("# My project\n")
    with pytest.raises(TableError, match=r"README\.md is no dataset card and would be lost; give another --out"):
        write_card(table, tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == [CARD]
    folder = table.save(tmp_path / "table")
    write_card(table, folder, folder, "old")
    write_card(table, folder, folder, "new")
    assert "new" in (folder / CARD).read_text()
    table.save(folder)  # keeps what lies beside the table
    assert sorted(f.name for f in folder.iterdir()) == sorted(
        [CARD, PICTURE, "meta.json", "signatures.parquet", "table.parquet"]
    )
    assert GroundTruth.load(folder).provenance == RECIPE


def test_nothing_half_written_stays(tmp_path, monkeypatch):
    table = made(100)
    write_card(table, tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device", "card.png")

    monkeypatch.setattr("archrank.benchmarks.card.plot_card", full)
    with pytest.raises(OSError, match="No space"):
        write_card(table, tmp_path)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_the_command_takes_the_notes_beside_the_table(tmp_path, monkeypatch, capsys):
    folder = made(100).save(tmp_path / "table")
    (folder / "notes.md").write_text("- Beside it.\n")
    (tmp_path / "other.md").write_text("- Another.\n")
    for extra, text in (((), "- Beside it."), (("--notes", str(tmp_path / "other.md")), "- Another.")):
        monkeypatch.setattr(sys, "argv", ["archrank", "benchmarks", "card", str(folder), "--out", str(folder), *extra])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert exit_.value.code == 0
        assert f"## Known limits\n\n{text}\n" in (folder / CARD).read_text()
    assert "README.md" in capsys.readouterr().out


@pytest.mark.parametrize("name", archrank.list_benchmarks())
def test_bundled_cards_are_of_their_tables(name):
    folder = table_folder(name)
    text = (folder / CARD).read_text()
    checksums = dict(re.findall(r"\| (\S+\.parquet) \| ([0-9a-f]{64}) \|", text))
    assert checksums == verify_files(folder), f"run: archrank benchmarks card {name} --out {folder}"
    assert (folder / PICTURE).stat().st_size < 60_000
    docs = Path(__file__).parents[1] / "docs" / "bundled-tables.md"
    targets = dict(re.findall(r"\[(\S+)\]\((\S+)\)", docs.read_text()))
    assert (docs.parent / targets[name]).resolve() == (folder / CARD).resolve()
