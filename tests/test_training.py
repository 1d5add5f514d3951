"""Training and distillation: seeds, splits, resuming, known answers of the losses."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from archrank.train_ground_truth import distill, load_images, load_recipe, losses, prepare_data, run_many, train_one
from archrank.train_ground_truth.augment import augment
from archrank.train_ground_truth.batches import evaluate
from archrank.train_ground_truth.data import DataError
from archrank.train_ground_truth.finetune import assemble, finetune_one, probe_one
from archrank.train_ground_truth.network import ConvNormRelu, Stage
from archrank.train_ground_truth.recipe import RecipeError, recipe_from_dict
from archrank.train_ground_truth.runtime import generator
from archrank.train_ground_truth.signatures import output_errors, re_estimate_norms, swap_scores
from archrank.train_ground_truth.store import Store, StoreError, record_key
from archrank.train_ground_truth.table import merge
from archrank.train_ground_truth.train import Teacher, initialised_network, learning_rate

DATA = Path(__file__).parent / "data"
TINY = {
    "name": "tiny",
    "space": {"stages": 2, "width": 4, "image_size": 8, "classes": 3},
    "data": {"train": 48, "val": 12, "pool": 1},
    "training": {"epochs": 2, "batch_size": 16, "weights": "last"},
    "distill": {"epochs": 2, "batch_size": 16},
}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of 60 train and 30 test pictures in three classes that differ in colour."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, n in (("train", 20), ("test", 10)):
        for c, name in enumerate(("ant", "bee", "cat")):
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 120, (8, 8, 3), dtype=np.uint8)
                pixels[..., c] += 100
                Image.fromarray(pixels).save(root / split / name / f"{i:04d}.png")
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ARCHRANK_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def recipe():
    return recipe_from_dict(TINY)


@pytest.fixture
def data(pictures, recipe):
    return prepare_data(load_images(pictures, 8), recipe, "cpu")


def _values(record):
    return {k: v for k, v in record.items() if k not in ("host", "weights")}


def test_nsr_and_kd_agree_with_known_answers():
    golden = np.load(DATA / "nsr.npz")
    for i in range(2):
        student, teacher = (torch.from_numpy(golden[f"{k}_{i}"]) for k in ("student", "teacher"))
        assert losses.nsr(student, teacher).item() == pytest.approx(float(golden[f"nsr_{i}"]), rel=1e-5)
    golden = np.load(DATA / "kd.npz")
    for i in range(5):
        student, teacher, label = (torch.from_numpy(golden[f"{k}_{i}"]) for k in ("student", "teacher", "label"))
        alpha, temperature, k = golden[f"cfg_{i}"].tolist()
        assert losses.kd(student, teacher, label, alpha, temperature).item() == pytest.approx(
            float(golden[f"kd_{i}"]), abs=1e-5
        )
        assert losses.kd_topk(student, teacher, label, alpha, temperature, int(k)).item() == pytest.approx(
            float(golden[f"kd_topk_{i}"]), abs=1e-5
        )
    with pytest.raises(ValueError, match="k must be from 1 to"):
        losses.kd_topk(student, teacher, label, k=student.shape[1])


def test_nsr_leaves_out_constant_channels():
    teacher = torch.randn(4, 3, 5, 5)
    teacher[:, 1] = 2.0
    student = teacher + 1
    expected = losses.nsr(student[:, [0, 2]], teacher[:, [0, 2]])
    assert losses.nsr(student, teacher) == pytest.approx(expected.item())
    assert torch.isnan(losses.nsr(student[:, [1]], teacher[:, [1]]))


def test_same_seed_same_record_and_other_seed_other_record(recipe, data):
    first, again, other = (train_one([3, 7], recipe, seed, "cpu", data=data) for seed in (0, 0, 1))
    assert _values(first) == _values(again)
    assert first["metrics"]["test_loss"] != other["metrics"]["test_loss"]
    assert len(first["metrics"]["val_acc"]) == recipe.training.epochs


def test_training_learns(pictures):
    plan = recipe_from_dict(
        {**TINY, "space": {**TINY["space"], "width": 8}, "training": {"epochs": 20, "batch_size": 8}}
    )
    record = train_one([0, 0], plan, 0, "cpu", data=prepare_data(load_images(pictures, 8), plan, "cpu"))
    assert record["metrics"]["test_acc"] > 80  # three classes told apart by colour; chance is 33


def test_threads_and_global_seed_do_not_matter(recipe, data):
    torch.manual_seed(5)
    first = train_one([2, 9], recipe, 0, "cpu", data=data)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(6)
    assert _values(train_one([2, 9], recipe, 0, "cpu", data=data)) == _values(first)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_the_bias_before_a_batch_norm_has_no_gradient():
    """The reason for not computing it: autograd's own gradient is zero to rounding."""
    layer = ConvNormRelu(3, 4, 3).double()
    x = torch.randn(8, 3, 6, 6, dtype=torch.float64)
    y = layer.norm(torch.nn.functional.conv2d(x, layer.conv.weight, layer.conv.bias, padding=1))
    (gradient,) = torch.autograd.grad(y.square().mul(torch.rand_like(y)).sum(), layer.conv.bias)
    assert gradient.abs().max() < 1e-10
    torch.testing.assert_close(torch.relu(y), layer(x))


def test_best_epoch_is_tested_when_asked_for(pictures):
    plan = recipe_from_dict({**TINY, "training": {"epochs": 6, "batch_size": 16, "weights": "best-val"}})
    part = prepare_data(load_images(pictures, 8), plan, "cpu")
    # Validation images as test images: the tested accuracy must be that of the best epoch.
    swapped = type(part)(part.train, part.val, part.val, part.mean, part.std, part.sha256)
    metrics = train_one([1, 1], plan, 0, "cpu", data=swapped)["metrics"]
    assert metrics["test_acc"] == max(metrics["val_acc"])


def test_divergence_is_a_record_with_its_status(recipe, data):
    wild = recipe_from_dict({**TINY, "optimizer": {"lr": 1e30}})
    record = train_one([0, 0], wild, 0, "cpu", data=data)
    assert record["status"] == "diverged"
    assert np.isnan(record["metrics"]["test_acc"])


def test_distillation_does_not_depend_on_the_company(recipe, data):
    teacher = Teacher("t", initialised_network([4, 4], recipe, 0, torch.device("cpu")))
    together = distill(teacher, 1, [0, 5, 20], recipe, 0, data=data)
    alone = distill(teacher, 1, [5], recipe, 0, data=data)
    assert _values(together[1]) == _values(alone[0])
    assert all(r["metrics"]["train_nsr"][-1] < r["metrics"]["train_nsr"][0] for r in together)


def test_one_teacher_forward_per_batch_serves_all_candidates(recipe, data):
    teacher = Teacher("t", initialised_network([4, 4], recipe, 0, torch.device("cpu")))
    calls = 0

    def count(*_):
        nonlocal calls
        calls += 1

    teacher.network.stem.register_forward_hook(count)
    distill(teacher, 0, [0, 1, 2, 3], recipe, 0, data=data)
    # 48 images in batches of 16 while distilling and once more for the norms; held-out images once for the
    # errors and once for the swaps.
    assert calls == recipe.distill.epochs * 3 + 3 + 1 + 1


def test_block_errors_on_held_out_images_are_the_loss_on_them_at_once(recipe, data):
    """The sums over batches give what one big batch gives."""
    teacher = initialised_network([4, 4], recipe, 0, torch.device("cpu")).eval()
    block = Stage(7, 4).eval()
    (score,) = output_errors(teacher, 0, [block], data)
    with torch.no_grad():
        before, after = teacher.features(data.normalise(data.val[0]), 0)
        assert score["nsr"] == pytest.approx(losses.nsr(block(before), after).item(), rel=1e-5)
        assert score["mse"] == pytest.approx((block(before) - after).square().mean().item(), rel=1e-5)


def test_the_teachers_own_block_changes_nothing_but_the_norms(recipe, data):
    teacher = initialised_network([4, 4], recipe, 0, torch.device("cpu"))
    re_estimate_norms(teacher, recipe, generator(torch.device("cpu"), 3), data)
    own, other = copy.deepcopy(teacher.stages[1]), Stage(7, 8)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    same, changed = swap_scores(teacher, 1, [own, other], recipe, generator(torch.device("cpu"), 3), data)
    # Not exactly zero: the whole network's norms were estimated with norms that were being estimated.
    assert abs(same["ce_change"]) < 0.02
    assert 0 <= same["kl"] < 1e-3 < changed["kl"]
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items()), "the teacher was altered"


def test_signature_columns_are_a_choice(recipe, data):
    teacher = Teacher("t", initialised_network([4, 4], recipe, 0, torch.device("cpu")))
    (record,) = distill(teacher, 1, [3], recipe, 0, data=data, columns=["nsr", "kl"])
    assert set(record["metrics"]) == {"train_nsr", "nsr", "kl"}
    with pytest.raises(ValueError, match="no signature column 'psnr'; there are nsr, mse"):
        distill(teacher, 1, [3], recipe, 0, data=data, columns=["psnr"])


# -- other ways to train --------------------------------------------------------------------------------


def test_distillation_with_logits_follows_the_teacher(pictures):
    """A student that is taught wrong labels learns the teacher's, not the true ones."""
    plan = recipe_from_dict(
        {
            **TINY,
            "space": {**TINY["space"], "width": 8},
            "training": {"epochs": 20, "batch_size": 8},
            "kd": {"alpha": 1},
        }
    )
    part = prepare_data(load_images(pictures, 8), plan, "cpu")
    good = train_one([0, 0], plan, 0, "cpu", data=part, keep_weights=True)
    network = initialised_network([0, 0], plan, 0, torch.device("cpu"))
    network.load_state_dict(good["weights"])
    # The teacher confuses class 0 with class 1: its outputs change places.
    with torch.no_grad():
        network.classifier.weight.copy_(network.classifier.weight[[1, 0, 2]])
        network.classifier.bias.copy_(network.classifier.bias[[1, 0, 2]])
    student = train_one([0, 0], plan, 1, "cpu", data=part, teacher=Teacher("wrong", network))
    assert student["variant"] == "distilled"
    assert student["teacher"] == "wrong"
    assert good["metrics"]["test_acc"] > 80
    assert student["metrics"]["test_acc"] < 50


def test_kd_top_k_is_a_variant_of_its_own(pictures):
    plan = recipe_from_dict({**TINY, "kd": {"top_k": 1}})
    part = prepare_data(load_images(pictures, 8), plan, "cpu")
    teacher = Teacher("t", initialised_network([4, 4], plan, 0, torch.device("cpu")))
    record = train_one([0, 0], plan, 0, "cpu", data=part, teacher=teacher)
    assert record["variant"] == "distilled-topk"


@pytest.fixture
def distilled(recipe, data):
    """A teacher and its distilled blocks 4 and 7 of both stages."""
    teacher = Teacher("t", initialised_network([4, 4], recipe, 0, torch.device("cpu")))
    records = [distill(teacher, s, [4, 7], recipe, 0, data=data, keep_weights=True) for s in (0, 1)]
    return teacher, [{r["block"]: r["weights"] for r in stage} for stage in records]


def test_fine_tuning_starts_from_the_blocks(recipe, data, distilled):
    teacher, blocks = distilled
    net = assemble([7, 4], teacher, [blocks[0][7], blocks[1][4]])
    assert net.code == (7, 4)
    assert all(torch.equal(v, blocks[0][7][k]) for k, v in net.stages[0].state_dict().items())
    assert all(torch.equal(v, teacher.network.stem.state_dict()[k]) for k, v in net.stem.state_dict().items())
    chosen = [blocks[0][7], blocks[1][4]]
    zero = finetune_one([7, 4], chosen, recipe, 0, data=data, teacher=teacher, epochs=0)
    two = finetune_one([7, 4], chosen, recipe, 0, data=data, teacher=teacher, epochs=2)
    again = finetune_one([7, 4], chosen, recipe, 0, data=data, teacher=teacher, epochs=2)
    assert (zero["variant"], two["variant"]) == ("finetuned-0", "finetuned-2")
    assert len(zero["metrics"]["val_acc"]) == 1
    assert len(two["metrics"]["train_loss"]) == 2
    assert _values(two) == _values(again)


def test_the_probe_separates_what_features_separate(recipe, data, distilled):
    teacher, blocks = distilled
    record = probe_one([4, 4], [blocks[0][4], blocks[1][4]], recipe, 0, data=data, teacher=teacher)
    assert record["variant"] == "probe"
    assert record["metrics"]["test_acc"] > 80  # colours survive random convolutions; chance is 33


def test_a_resumed_training_gives_the_same_bits(recipe, data, tmp_path, monkeypatch):
    monkeypatch.setattr("archrank.train_ground_truth.checkpoint._EVERY_SECONDS", 0.0)
    plan = recipe_from_dict({**TINY, "training": {"epochs": 4, "batch_size": 16, "weights": "best-val"}})
    whole = train_one([3, 7], plan, 0, "cpu", data=data)
    file = tmp_path / "checkpoints" / "3-7.pt"
    calls = 0

    def power_cut(*args):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return evaluate(*args)

    monkeypatch.setattr("archrank.train_ground_truth.train.evaluate", power_cut)
    with pytest.raises(KeyboardInterrupt):
        train_one([3, 7], plan, 0, "cpu", data=data, checkpoint=file)
    assert file.exists()
    resumed = train_one([3, 7], plan, 0, "cpu", data=data, checkpoint=file)
    assert calls == 3 + 2 + 1  # two epochs were done before the cut; two more, and the test
    assert _values(resumed) == _values(whole)
    assert not file.exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint"])
def test_a_damaged_or_foreign_checkpoint_is_ignored(recipe, data, tmp_path, monkeypatch, content):
    monkeypatch.setattr("archrank.train_ground_truth.checkpoint._EVERY_SECONDS", 0.0)
    file = tmp_path / "x.pt"
    file.write_bytes(content)
    whole = train_one([3, 7], recipe, 0, "cpu", data=data)
    assert _values(train_one([3, 7], recipe, 0, "cpu", data=data, checkpoint=file)) == _values(whole)


def test_fast_says_so_in_the_record(recipe, data):
    assert train_one([0, 0], recipe, 0, "cpu", data=data)["host"]["deterministic"] is True
    assert train_one([0, 0], recipe, 0, "cpu", data=data, fast=True)["host"]["deterministic"] is False
    assert not torch.are_deterministic_algorithms_enabled()


class _Syncs(TorchDispatchMode):
    """Counts operations that make a GPU's host wait."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.count += name in ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "masked_select", "equal")
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_the_device(pictures):
    """The number of waits is the same for 3 and for 24 steps per epoch."""
    counts = []
    for batch in (16, 2):
        plan = recipe_from_dict(
            {
                **TINY,
                "training": {"epochs": 1, "batch_size": batch},
                "augment": {"flip": True, "crop_padding": 1, "cutout": 4, "randaugment_ops": 2},
            }
        )
        part = prepare_data(load_images(pictures, 8), plan, "cpu")
        with _Syncs() as seen:
            train_one([3, 7], plan, 0, "cpu", data=part)
        counts.append(seen.count)
    assert counts[0] == counts[1] > 0


def test_augmentation_flips_and_crops_each_image_on_its_own():
    plan = recipe_from_dict({**TINY, "augment": {"flip": True, "crop_padding": 2}})
    x = torch.arange(8 * 8, dtype=torch.uint8).view(1, 1, 8, 8).repeat(64, 3, 1, 1) + 1
    out = augment(x, plan, generator(torch.device("cpu"), 0))
    padded = torch.nn.functional.pad(x[0, 0], (2, 2, 2, 2))
    both = (padded, torch.nn.functional.pad(x[0, 0].flip(1), (2, 2, 2, 2)))
    possible = {p[i : i + 8, j : j + 8].numpy().tobytes() for p in both for i in range(5) for j in range(5)}
    seen = {image[0].numpy().tobytes() for image in out}
    assert seen <= possible
    assert len(seen) > 20
    assert all(torch.equal(image[0], image[2]) for image in out)


def test_schedules_start_peak_and_end_where_they_should():
    cosine = recipe_from_dict({**TINY, "training": {"epochs": 4, "batch_size": 16}, "optimizer": {"lr": 0.2}})
    assert [learning_rate(cosine, 0.2, 4, s, 10) for s in (0, 9, 20)] == pytest.approx([0.2, 0.2, 0.1])
    cycle = recipe_from_dict(
        {
            **TINY,
            "training": {"epochs": 4, "batch_size": 16},
            "optimizer": {"lr": 0.2, "schedule": "one-cycle", "warmup": 0.25},
        }
    )
    rates = [learning_rate(cycle, 0.2, 4, s, 10) for s in range(40)]
    assert max(rates) == pytest.approx(0.2)
    assert rates.index(max(rates)) == 9
    assert rates[0] == pytest.approx(0.02)
    assert 0 < rates[-1] < 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainning": {}}, "trainning is not a key"),
        ({"training": {"epochs": 2.5}}, "training.epochs = 2.5"),
        ({"training": {"epochs": True}}, "training.epochs = True"),
        ({"optimizer": {"schedule": "step"}}, "expected one of: cosine, one-cycle"),
        ({"optimizer": {"lr": 0}}, "optimizer.lr = 0.0, expected above 0"),
        ({"data": {"mean": [0.5]}}, "data.mean"),
        ({"space": {"width": 7}}, r"\[space\]"),
        ({"space": 3}, r"expected a table \[space\]"),
    ],
)
def test_bad_recipes_are_one_clear_line(change, message):
    with pytest.raises(RecipeError, match=message) as caught:
        recipe_from_dict({**TINY, **change})
    assert "\n" not in str(caught.value)


def test_recipe_files(tmp_path):
    with pytest.raises(RecipeError, match="no recipe 'nope'"):
        load_recipe("nope")
    bad = tmp_path / "bad.toml"
    bad.write_text("[training\n")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(bad)
    assert load_recipe("blox-mini").hash == load_recipe("blox-mini").hash


def test_recipe_hash_covers_what_changes_the_numbers(recipe):
    assert recipe_from_dict({**TINY, "description": "words"}).hash == recipe.hash
    assert recipe_from_dict({**TINY, "optimizer": {"lr": 0.02}}).hash != recipe.hash
    distilled = recipe_from_dict({**TINY, "distill": {"epochs": 3, "batch_size": 16}})
    assert distilled.hash == recipe.hash
    assert distilled.distill_hash != recipe.distill_hash


# -- images -----------------------------------------------------------------------------------------


def test_images_are_decoded_once_and_a_damaged_copy_is_made_anew(pictures, tmp_path):
    first = load_images(pictures, 8, cache=tmp_path)
    (file,) = tmp_path.glob("images-*.safetensors")
    assert first.train[0].shape == (60, 3, 8, 8)
    assert first.classes == ("ant", "bee", "cat")
    stamp = file.stat().st_mtime_ns
    assert load_images(pictures, 8, cache=tmp_path).sha256 == first.sha256
    assert file.stat().st_mtime_ns == stamp
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    assert load_images(pictures, 8, cache=tmp_path).sha256 == first.sha256
    assert file.stat().st_mtime_ns != stamp


def test_tar_of_pictures_equals_folder(pictures, tmp_path):
    import tarfile

    archive = tmp_path / "pictures.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(pictures, "pictures")
    assert load_images(archive, 8, cache=tmp_path).sha256 == load_images(pictures, 8, cache=tmp_path).sha256


@pytest.mark.parametrize(("kind", "head"), [("cifar-10", 1), ("cifar-100", 2)])
def test_cifar_binary_files(tmp_path, kind, head):
    rng = np.random.default_rng(0)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if kind == "cifar-10" else ["train.bin"]
    records = {}
    for name in [*names, "test_batch.bin" if kind == "cifar-10" else "test.bin"]:
        records[name] = rng.integers(0, 10, (4, head + 3072), dtype=np.uint8)
        (tmp_path / name).write_bytes(records[name].tobytes())
    images = load_images(tmp_path, 32, cache=tmp_path / "cache")
    whole = np.concatenate([records[n] for n in names])
    np.testing.assert_array_equal(images.train[0], whole[:, head:].reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(images.train[1], whole[:, head - 1])
    (tmp_path / names[0]).write_bytes(records[names[0]].tobytes()[:-7])
    with pytest.raises(DataError, match="not a multiple of"):
        load_images(tmp_path, 32, cache=tmp_path / "cache")


def test_unusable_images_are_clear_errors(pictures, tmp_path, recipe):
    with pytest.raises(FileNotFoundError, match="no images at"):
        load_images(tmp_path / "nothing")
    with pytest.raises(DataError, match="holds no pictures"):
        load_images(tmp_path)
    broken = tmp_path / "broken"
    (broken / "train" / "ant").mkdir(parents=True)
    (broken / "train" / "ant" / "0.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"cannot decode train/ant/0\.png"):
        load_images(broken)
    not_tar = tmp_path / "x.tar"
    not_tar.write_bytes(b"hello")
    with pytest.raises(DataError, match="not a readable tar"):
        load_images(not_tar)
    with pytest.raises(DataError, match="wants 600"):
        prepare_data(load_images(pictures, 8), recipe_from_dict({**TINY, "data": {"train": 600, "val": 1}}), "cpu")


# -- store and workers --------------------------------------------------------------------------------


def test_workers_and_order_do_not_matter(pictures, recipe, tmp_path):
    codes = np.array([[0, 3], [4, 1], [0, 0]])
    one = run_many(codes, recipe, [0], tmp_path / "one", data=pictures, device="cpu")
    two = run_many(codes[::-1], recipe, [0], tmp_path / "two", data=pictures, device="cpu", workers=2)
    assert [_values(r) for r in one] == [_values(r) for r in reversed(two)]


def test_finished_records_are_not_trained_again(pictures, recipe, tmp_path):
    codes = [[0, 3], [4, 1]]
    first = run_many(codes, recipe, [0], tmp_path / "s", data=pictures, device="cpu")
    assert run_many(codes, recipe, [0], tmp_path / "s", data=pictures, device="cpu") == first


def test_damaged_record_is_set_aside_and_made_anew(pictures, recipe, tmp_path):
    first = run_many([[0, 3]], recipe, [0], tmp_path / "s", data=pictures, device="cpu")
    file = tmp_path / "s" / "records" / f"{record_key([0, 3], 0)}.json"
    file.write_text(file.read_text().replace('"test_acc": ', '"test_acc": 1'))
    again = run_many([[0, 3]], recipe, [0], tmp_path / "s", data=pictures, device="cpu")
    assert [_values(r) for r in again] == [_values(r) for r in first]
    assert file.with_suffix(".json.damaged").exists()


def test_a_store_never_mixes_recipes_or_images(recipe, tmp_path):
    Store.create(tmp_path / "s", recipe, "abc")
    with pytest.raises(StoreError, match="never mixes recipes"):
        Store.create(tmp_path / "s", recipe_from_dict({**TINY, "optimizer": {"lr": 0.5}}), "abc")
    with pytest.raises(StoreError, match="never mixes data"):
        Store.create(tmp_path / "s", recipe, "abd")
    head = json.loads((tmp_path / "s" / "store.json").read_text())
    (tmp_path / "s" / "store.json").write_text(json.dumps({**head, "format_version": 99}))
    with pytest.raises(StoreError, match="install a newer archrank"):
        Store(tmp_path / "s")


def test_nothing_is_written_when_the_disk_is_full(recipe, tmp_path, monkeypatch):
    store = Store.create(tmp_path / "s", recipe, "abc")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write("normal-0-0-s0", {"metrics": {}})
    assert list((tmp_path / "s" / "records").iterdir()) == []


def test_merge_makes_a_table_with_signatures(pictures, recipe, data, tmp_path):
    run_many([[0, 3], [4, 1]], recipe, [0, 1], tmp_path / "s", data=pictures, device="cpu")
    store = Store(tmp_path / "s")
    teacher = Teacher("t", initialised_network([4, 4], recipe, 0, torch.device("cpu")))
    for stage in (0, 1):
        for record in distill(teacher, stage, range(45), recipe, 0, data=data):
            store.write(f"block-{stage}-{record['block']}", record)
    table = merge(store, "tiny")
    assert len(table) == 2
    assert table.seeds == (0, 1)
    assert table.signatures is not None
    assert [len(column) for column in table.signatures.table("nsr")] == [45, 45]
    assert table.provenance["recipe_hash"] == recipe.hash
    record = store.read(record_key([4, 1], 1))
    assert record is not None
    assert table.seed_values("test_acc")[table.lookup([[4, 1]])[0], 1] == record["metrics"]["test_acc"]


def test_killing_the_parent_alone_leaves_no_worker_behind_and_loses_nothing(pictures, tmp_path):
    recipe_file = tmp_path / "tiny.toml"
    recipe_file.write_text(
        'name = "tiny"\n[space]\nstages = 2\nwidth = 4\nimage_size = 8\nclasses = 3\n'
        "[data]\ntrain = 48\nval = 12\n[training]\nepochs = 40\nbatch_size = 8\n"
    )
    store = tmp_path / "killed"
    command = [sys.executable, "-m", "archrank", "train", str(recipe_file), "--data", str(pictures)]
    command += ["--archs", "6", "--workers", "2", "--device", "cpu", "--out"]
    process = subprocess.Popen([*command, str(store)], stderr=subprocess.DEVNULL, start_new_session=True)
    records = store / "records"
    deadline = time.monotonic() + 120
    while len(list(records.glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while _group_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _group_alive(process.pid), "workers outlived their parent"
    kept = {f.name: f.read_bytes() for f in records.glob("*.json")}
    assert 2 <= len(kept) < 6
    subprocess.run([*command, str(store)], check=True, stderr=subprocess.DEVNULL, timeout=300)
    subprocess.run([*command, str(tmp_path / "whole")], check=True, stderr=subprocess.DEVNULL, timeout=300)
    resumed, whole = Store(store).read_all(), Store(tmp_path / "whole").read_all()
    assert len(resumed) == 6
    assert all((records / name).read_bytes() == content for name, content in kept.items()), "trained twice"
    assert {k: _values(r) for k, r in resumed.items()} == {k: _values(r) for k, r in whole.items()}


def _group_alive(group: int) -> bool:
    """Whether a process of the group runs; the dead that nobody waited for do not count."""
    done = subprocess.run(["ps", "-o", "stat=", "--no-headers", "-g", str(group)], capture_output=True, text=True)
    return any(not state.startswith("Z") for state in done.stdout.split())
