"""A store never mixes: settings that no hash covers, weights of other stores, what is asked for later, block seeds."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from tiny import TINY, make_pictures, values

from archrank.train_ground_truth import load_images, load_recipe, train_one
from archrank.train_ground_truth.contract import missing
from archrank.train_ground_truth.jobs import DistillJob, FinetuneJob, TeacherRef, TrainJob
from archrank.train_ground_truth.launch import CampaignError, Setup, run_jobs
from archrank.train_ground_truth.ray_launcher import RecordSink
from archrank.train_ground_truth.recipe import Recipe, recipe_from_dict
from archrank.train_ground_truth.store import APART, Store, StoreError
from archrank.train_ground_truth.table import merge
from archrank.train_ground_truth.train import Teacher, initialised_network

UNTRAINED = TeacherRef((4, 4), 0, None)
TEACHER = TrainJob((4, 4), 0, keep_weights=True)


def made(store, *jobs, recipe=None, pictures=None):
    return run_jobs(jobs, Setup(recipe or store.recipe, str(pictures), "cpu"), store)


# -- settings outside the hashes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "harmless", "key", "message"),
    [
        ({"kd": {"alpha": 0.5}}, "normal-0-3-s0", "distilled-4-4-s0-0-3-s0", r"kd\.alpha = 0\.9, .* says 0\.5"),
        ({"kd": {"temperature": 2}}, "finetuned-1-x", "distilled-topk-4-4-s0-0-3-s0", r"kd\.temperature = 1\.0"),
        ({"kd": {"top_k": 2}}, "distilled-4-4-s0-0-3-s0", "distilled-topk-4-4-s0-0-3-s0", r"topk .* kd\.top_k = 0"),
        ({"finetune": {"lr": 0.5}}, "distilled-x", "finetuned-1-4-4-s0-0-3-s0", r"finetune\.lr = 0\.01, .* says 0\.5"),
    ],
)
def test_settings_that_no_hash_covers_are_one_for_all_records(store, changed, harmless, key, message):
    other = recipe_from_dict({**TINY, **changed})
    assert (other.hash, other.distill_hash) == (store.recipe.hash, store.recipe.distill_hash)
    store.write(harmless, {"metrics": {}})
    assert Store.create(store.folder, other, store.images).recipe == other
    assert Store(store.folder).recipe == other  # what the table will say
    Store.create(store.folder, store.recipe, store.images)
    store.write(key, {"metrics": {}})
    with pytest.raises(StoreError, match=f"{message}.*give another --out, a store never mixes recipes"):
        Store.create(store.folder, other, store.images)
    assert Store.create(store.folder, store.recipe, store.images).recipe == store.recipe


def test_settings_stay_while_somebody_works_by_them(store):
    other = recipe_from_dict({**TINY, "kd": {"alpha": 0.5}})
    lock = store.folder / "locks" / "distilled-4-4-s0-0-3-s0.lock"
    lock.parent.mkdir()
    with FileLock(lock), pytest.raises(StoreError, match="never mixes recipes"):
        Store.create(store.folder, other, store.images)
    assert Store.create(store.folder, other, store.images).recipe == other


def test_every_setting_outside_the_hashes_is_compared():
    parts = Recipe(name="").to_dict()
    assert set(APART) == {f"{part}.{name}" for part in ("kd", "finetune") for name in parts[part]}


def test_the_precision_of_distillation_is_in_its_hash_and_published_hashes_stay():
    half = recipe_from_dict({**TINY, "training": {**TINY["training"], "precision": "bf16"}})
    assert half.distill_hash != recipe_from_dict(TINY).distill_hash
    found = {r.name: (r.hash, r.distill_hash) for r in map(load_recipe, ("blox-mini", "blox-mini-3"))}
    assert found == {
        "blox-mini": ("8dc3e67edcfa", "88d41eb4ddfa"),
        "blox-mini-3": ("876bbb306c13", "103e1b0e15b1"),
    }


def test_an_unfinished_training_goes_on_under_its_own_settings_only(recipe, data, tmp_path, monkeypatch):
    from archrank.train_ground_truth import train as module

    seen = []

    class Noted(module.Checkpoint):
        def __init__(self, file, device, belongs_to, *rest):
            seen.append(belongs_to)
            super().__init__(file, device, belongs_to, *rest)

    monkeypatch.setattr(module, "Checkpoint", Noted)
    teacher = Teacher("t", initialised_network([4, 4], recipe, 0, data.mean.device))
    for plan in (recipe, recipe_from_dict({**TINY, "kd": {"alpha": 0.5}})):
        train_one([0, 3], plan, 0, "cpu", data=data, teacher=teacher)
    assert len(set(seen)) == 2


# -- teachers and blocks of other stores ------------------------------------------------------------


@pytest.fixture(params=["training", "distillation", "images"])
def foreign(request, store, tmp_path, pictures):
    """A store that differs, with a teacher and its blocks, and whether its teacher is the same all the same."""
    changed = {"training": {"optimizer": {"lr": 0.5}}, "distillation": {"distill": {"epochs": 1}}, "images": {}}
    images = store.images
    if request.param == "images":
        pictures = tmp_path / "others"
        make_pictures(pictures)
        next(pictures.rglob("*.png")).unlink()
        images = load_images(pictures, 8).sha256
    plan = recipe_from_dict({**TINY, **changed[request.param], "name": "foreign"})
    other = Store.create(tmp_path / "foreign", plan, images)
    made(other, TEACHER, pictures=pictures)
    teacher = TeacherRef((4, 4), 0, str(other.folder))
    made(other, *(DistillJob(s, (4, 7), teacher, keep_weights=True) for s in (0, 1)), pictures=pictures)
    return other, request.param == "distillation"


def test_teachers_and_blocks_of_another_recipe_or_images_are_refused(store, pictures, foreign):
    other, same_teacher = foreign
    teacher = TeacherRef((4, 4), 0, str(other.folder))
    jobs = {
        "teacher": TrainJob((0, 3), 0, teacher),
        "its blocks": DistillJob(0, (3,), teacher),
        "blocks": FinetuneJob((4, 7), 0, teacher, str(other.folder)),
    }
    expected = "holds (networks|distilled blocks) of (recipe 'foreign'|images)"
    for name, job in jobs.items():
        if same_teacher and name != "blocks":
            assert made(store, job, pictures=pictures) == 1
            continue
        # Also where the records are there: they are those of another teacher of the same name.
        for record in ({}, {key: {"metrics": {"nsr": 1.0}} for key in getattr(job, "keys", (job.key,))}):
            for key, content in record.items():
                store.write(key, content)
            with pytest.raises(StoreError, match=f"{expected}.*give a store of the same"):
                made(store, job, pictures=pictures)


# -- what is asked for later ------------------------------------------------------------------------


def test_weights_asked_for_later_are_made_and_the_record_stays_what_it_was(store, pictures, monkeypatch):
    job = TrainJob((0, 3), 0)
    wanted = dataclasses.replace(job, keep_weights=True)
    assert made(store, job, pictures=pictures) == 1
    before = store.read(job.key)

    def no_time(*_, **__):
        assert store.read(job.key) == before, "the record was gone before the new one was there"
        raise RuntimeError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr("archrank.train_ground_truth.jobs.train_one", no_time)
        with pytest.raises(CampaignError, match="interrupted"):
            made(store, wanted, pictures=pictures)
    assert store.read(job.key) == before
    assert made(store, wanted, pictures=pictures) == 1
    assert store.has_weights(job.key)
    assert values(store.read(job.key)) == values(before)
    assert [made(store, j, pictures=pictures) for j in (wanted, job)] == [0, 0]


def test_columns_asked_for_later_come_to_those_that_are_there(store, pictures):
    first = DistillJob(0, (3, 7), UNTRAINED, columns=("nsr",), keep_weights=True)
    more = DistillJob(0, (3, 7, 9), UNTRAINED, columns=("kl",))
    assert made(store, first, pictures=pictures) == 1
    before = store.read(first.keys[0])
    assert [made(store, job, pictures=pictures) for job in (more, first, more)] == [1, 0, 0]
    after = store.read(first.keys[0])
    assert set(after["metrics"]) == {"train_nsr", "nsr", "kl"}
    assert after["metrics"]["nsr"] == before["metrics"]["nsr"]
    assert "kl" in store.read(more.keys[2])["metrics"]
    assert all(store.has_weights(key) for key in first.keys)


def test_blocks_that_are_complete_are_not_distilled_again(store, pictures, monkeypatch):
    made(store, DistillJob(0, (3,), UNTRAINED, keep_weights=True), pictures=pictures)
    job = DistillJob(0, (3, 7), UNTRAINED, keep_weights=True)
    assert missing(job, store) == job.keys[1:]
    known = {job.keys[0]: store.read(job.keys[0])}  # where there is no store, as on a Ray node
    assert missing(job, RecordSink(known, frozenset(known), {})) == job.keys[1:]
    assert missing(job, RecordSink(known, frozenset(), {})) == job.keys
    sink = RecordSink(known, frozenset(known), {})
    sink.write(job.keys[1], {**known[job.keys[0]], "weights": {}})
    assert missing(job, sink) == ()


def test_what_ran_out_of_memory_has_no_weights_to_ask_for(store, pictures):
    store.write(TEACHER.key, {"status": "out-of-memory", "metrics": {}})
    assert made(store, TEACHER, pictures=pictures) == 0


def test_a_record_stays_where_making_it_again_takes_too_much_memory(store, pictures, monkeypatch):
    job = TrainJob((0, 3), 0)
    made(store, job, pictures=pictures)
    before = store.read(job.key)
    monkeypatch.setattr(TrainJob, "run", lambda *_: (_ for _ in ()).throw(MemoryError("too large")))
    monkeypatch.setattr("archrank.train_ground_truth.launch._crew", _here)
    with pytest.raises(CampaignError, match="too large"):
        made(store, dataclasses.replace(job, keep_weights=True), pictures=pictures)
    assert store.read(job.key) == before


def _here(launcher, setup, store, workers, ledger, alone=False):
    from archrank.train_ground_truth.workers import ThisProcess

    return ThisProcess(setup, store)


def test_a_claim_is_given_for_a_record_that_is_not_enough(store):
    store.write("a", {"metrics": {}})
    for enough in (True, False):
        with store.claim("a", enough=lambda enough=enough: enough) as mine:
            assert mine is not enough


def test_a_probe_keeps_no_weights():
    with pytest.raises(ValueError, match="a probe has no weights to keep"):
        FinetuneJob((4, 7), 0, UNTRAINED, "s", epochs=None, keep_weights=True)


# -- seeds of blocks --------------------------------------------------------------------------------


def test_blocks_of_two_seeds_on_the_command_line(run, store, pictures, tmp_path):
    recipe, archs = tmp_path / "tiny.toml", tmp_path / "archs.csv"
    parts = [f"[{k}]\n" + "\n".join(f"{n} = {json.dumps(x)}" for n, x in v.items()) for k, v in list(TINY.items())[1:]]
    recipe.write_text("\n".join(['name = "tiny"', *parts]))
    pd.DataFrame([(4, 7), (7, 4)], columns=["stage_0", "stage_1"]).to_csv(archs, index=False)
    common = (recipe, "--data", pictures, "--device", "cpu", "--out", store.folder)
    some, blocks = ("--archs", archs), ("--teacher", "4-7", "--blocks", "4,7")
    tuned = ("finetune", *common, *some, "--blocks-from", store.folder, "--epochs", "0,probe", "--keep-weights")

    def ran(*arguments):
        code, _out, err = run(*arguments)
        assert code == 0, err

    ran("train", *common, *some)
    teacher = store.read("normal-4-7-s0")
    ran("distill", *common, *blocks)  # the teacher had no weights
    assert store.has_weights("normal-4-7-s0")
    assert values(store.read("normal-4-7-s0")) == values(teacher)
    code, _out, err = run(*tuned)
    assert code == 2
    assert "run the command that made it, or makes it, with --keep-weights" in " ".join(err.split())
    ran("distill", *common, *blocks, "--keep-weights")  # which this error told to do
    ran(*tuned)
    ran("distill", *common, *blocks, "--keep-weights", "--seed", "1")
    ran(*tuned, "--block-seed", "1")
    assert {"probe-4-7-s0-4-7-s0", "probe-4-7-s0-b1-4-7-s0"} <= set(store.keys())
    table = merge(store, "tiny")
    tuned_ways = {f"{v}:4-7-s0{b}" for v in ("finetuned-0", "probe") for b in ("", "-b1")}
    assert set(table.variants) == {"normal", *tuned_ways}
    zero, one = (table.values("val_loss", variant=f"finetuned-0:4-7-s0{b}") for b in ("", "-b1"))
    assert (zero != one).all()
    seeds = [store.read(f"block-4-7-s0-1-7-s{seed}")["metrics"]["nsr"] for seed in (0, 1)]
    assert seeds[0] != seeds[1]
    assert table.signatures.table("nsr")[1][7] == pytest.approx(np.mean(seeds), rel=1e-12)
