"""What only a CUDA device can show; `make test-gpu` runs it."""

import time

import pytest
import torch

from archrank.spaces import blox
from archrank.train_ground_truth import distill, prepare_data, train_one
from archrank.train_ground_truth.data import Images
from archrank.train_ground_truth.recipe import Recipe, recipe_from_dict
from archrank.train_ground_truth.train import Teacher, initialised_network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
RECIPE = {
    "name": "gpu",
    "space": {"stages": 3, "width": 32, "image_size": 32, "classes": 10},
    "data": {"train": 2048, "val": 256},
    "training": {"epochs": 2, "batch_size": 256, "weights": "last"},
    "augment": {"flip": True, "crop_padding": 4, "cutout": 16, "randaugment_ops": 2},
    "distill": {"epochs": 1, "batch_size": 256},
}


def _recipe(**training: object) -> Recipe:
    return recipe_from_dict({**RECIPE, "training": {**RECIPE["training"], **training}})


@pytest.fixture(scope="module")
def images():
    """Classes told apart by brightness, so that a network can learn them."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(2304) % 10
    pixels = torch.randint(0, 56, (2304, 3, 32, 32), generator=rng) + 20 * labels[:, None, None, None]
    pixels = pixels.to(torch.uint8)
    return Images((pixels, labels), (pixels[:512], labels[:512]), tuple("0123456789"), "synthetic")


def _values(record):
    return {k: v for k, v in record.items() if k != "host"}


def test_same_seed_same_bits(images):
    data = prepare_data(images, _recipe(), "cuda")
    first, again = (train_one([3, 7, 20], _recipe(), 0, "cuda", data=data) for _ in range(2))
    assert _values(first) == _values(again)
    assert first["host"]["device"] == "cuda"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_as_fp32_does(images, precision):
    plain = train_one([0, 0, 0], _recipe(), 0, "cuda", data=prepare_data(images, _recipe(), "cuda"))
    mixed_recipe = _recipe(precision=precision)
    mixed = train_one([0, 0, 0], mixed_recipe, 0, "cuda", data=prepare_data(images, mixed_recipe, "cuda"))
    assert mixed["status"] == "ok"
    assert abs(mixed["metrics"]["train_loss"][-1] - plain["metrics"]["train_loss"][-1]) < 0.3


def test_distillation_on_the_device(images):
    data = prepare_data(images, _recipe(), "cuda")
    teacher = Teacher("t", initialised_network([4, 4, 4], _recipe(), 0, torch.device("cuda")))
    records = distill(teacher, 1, [0, 5, 20], _recipe(), 0, data=data)
    assert all(r["status"] == "ok" for r in records)


def test_throughput_table(images, capsys):
    """Images per second of whole trainings, smallest, median and largest published model."""
    lines = []
    for name, code in {"smallest": [11, 11, 11], "middle": [0, 0, 0], "largest": [4, 4, 4]}.items():
        for precision in ("fp32", "bf16", "fp16"):
            recipe = _recipe(precision=precision)
            data = prepare_data(images, recipe, "cuda")
            train_one(code, recipe, 0, "cuda", data=data, fast=True)  # warm-up
            torch.cuda.synchronize()
            start = time.perf_counter()
            train_one(code, recipe, 0, "cuda", data=data, fast=True)
            torch.cuda.synchronize()
            seconds = time.perf_counter() - start
            rate = recipe.training.epochs * recipe.data.train / seconds
            assert rate > 0
            lines.append(f"{name:<9} {blox().names([code])[0][0]:<15} x 3  {precision} {rate:>9.0f} images/s")
    with capsys.disabled():
        print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, batch 256, 32x32x3")
        print("\n".join(lines))
