"""Augmentation: every RandAugment operation against Pillow, flips, crops, cutout, random streams."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch.utils._python_dispatch import TorchDispatchMode

from archrank.train_ground_truth.augment import OPERATIONS, apply_operations, augment, cutout, rand_augment
from archrank.train_ground_truth.recipe import load_recipe, recipe_from_dict
from archrank.train_ground_truth.runtime import generator

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small batches: threads would wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def recipe(**augmentation):
    return recipe_from_dict({"name": "a", "augment": augmentation})


@pytest.fixture(scope="module")
def pictures():
    """40 pictures of 32 pixels: noise, narrow ranges of grey, smooth ramps, flat ones, two-coloured ones."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(32), np.arange(32))[None] * np.array([1, 3, 4])[:, None, None]
    made = [rng.integers(0, 256, (3, 32, 32)) for _ in range(10)]
    made += [rng.integers(low, low + width, (3, 32, 32)) for low, width in rng.integers(1, 120, (10, 2))]
    made += [np.clip(ramp + rng.integers(-20, 20, (3, 32, 32)), 0, 255) for _ in range(8)]
    made += [np.full((3, 32, 32), level) for level in (0, 7, 255)]
    made += [rng.choice(rng.integers(0, 256, 2), (3, 32, 32)) for _ in range(5)]
    made += [np.where(rng.random((3, 32, 32)) < 0.97, 200, ramp) for _ in range(4)]
    return torch.from_numpy(np.stack(made).astype(np.uint8))


def apply(images, name, sign=1.0, magnitude=14):
    n = len(images)
    return apply_operations(images, torch.full((n,), OPERATIONS.index(name)), torch.full((n,), sign), magnitude)


def by_pillow(images, operation):
    done = [np.asarray(operation(Image.fromarray(i.permute(1, 2, 0).numpy()))).transpose(2, 0, 1) for i in images]
    return torch.from_numpy(np.stack(done))


@pytest.mark.parametrize("magnitude", [0, 1, 14, 23, 30])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("colour", ImageEnhance.Color),
        ("contrast", ImageEnhance.Contrast),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_factors_give_the_levels_of_pillow(pictures, name, enhancer, sign, magnitude):
    factor = 1 + sign * 0.9 * magnitude / 30
    expected = by_pillow(pictures, lambda picture: enhancer(picture).enhance(factor))
    torch.testing.assert_close(apply(pictures, name, sign, magnitude), expected, rtol=0, atol=0)


@pytest.mark.parametrize("magnitude", [0, 1, 14, 23, 30])
@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("posterize", lambda picture, m: ImageOps.posterize(picture, 8 - round(m / 7.5))),
        ("solarize", lambda picture, m: ImageOps.solarize(picture, 255 - 255 * m / 30)),
        ("autocontrast", lambda picture, m: ImageOps.autocontrast(picture)),
        ("equalize", lambda picture, m: ImageOps.equalize(picture)),
        ("identity", lambda picture, m: picture),
    ],
)
def test_level_maps_are_those_of_pillow(pictures, name, operation, magnitude):
    expected = by_pillow(pictures, lambda picture: operation(picture, magnitude))
    torch.testing.assert_close(apply(pictures, name, magnitude=magnitude), expected, rtol=0, atol=0)


def test_the_published_strengths():
    """At index 14: 6 bits, threshold 136."""
    levels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 16, 16)
    assert set(apply(levels, "posterize").flatten().tolist()) == set(range(0, 256, 4))
    assert torch.equal(apply(levels, "solarize"), torch.where(levels >= 136, 255 - levels, levels))


@pytest.mark.parametrize("magnitude", [1, 14, 30])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", ["shear-x", "shear-y", "translate-x", "translate-y", "rotate"])
def test_moves_are_those_of_pillow(pictures, name, sign, magnitude):
    share = sign * magnitude / 30
    sheared, moved, turned = math.tan(0.3 * share), 32 * 150 / 331 * share, math.radians(30 * share)
    cos, sin = math.cos(turned), math.sin(turned)
    a, b, c, d, e, f = {  # output to input, seen from the centre
        "shear-x": (1, sheared, 0, 0, 1, 0),
        "shear-y": (1, 0, 0, sheared, 1, 0),
        "translate-x": (1, 0, moved, 0, 1, 0),
        "translate-y": (1, 0, 0, 0, 1, moved),
        "rotate": (cos, sin, 0, -sin, cos, 0),
    }[name]
    matrix = (a, b, c + 16 - 16 * a - 16 * b, d, e, f + 16 - 16 * d - 16 * e)
    expected = by_pillow(
        pictures, lambda picture: picture.transform((32, 32), Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)
    )
    differing = (apply(pictures, name, sign, magnitude) != expected).any(1).flatten(1).float().mean()
    assert differing < 0.002  # a pixel between two may go either way


def test_rotation_is_by_thirty_degrees_at_the_largest(pictures):
    expected = by_pillow(pictures, lambda picture: picture.rotate(30, Image.Resampling.NEAREST))
    found = [apply(pictures, "rotate", sign, 30) for sign in (1.0, -1.0)]
    assert min((f != expected).float().mean() for f in found) < 0.002


@pytest.mark.parametrize("size", [1, 2, 8, 33])
def test_any_size_of_picture(size):
    rng = generator(CPU, 0)
    images = torch.randint(0, 256, (64, 3, size, size), generator=rng, dtype=torch.uint8)
    out = rand_augment(images, 3, 30, rng)
    assert (out.shape, out.dtype) == (images.shape, torch.uint8)


def test_every_image_draws_its_own_operation(pictures):
    """A mixed batch gives what each image gives alone."""
    op, sign = torch.arange(len(pictures)) % len(OPERATIONS), torch.tensor([1.0, -1.0]).repeat(20)
    together = apply_operations(pictures, op, sign, 14)
    for i in range(len(pictures)):
        assert torch.equal(together[i : i + 1], apply(pictures[i : i + 1], OPERATIONS[op[i]], sign[i].item()))


def test_operations_are_drawn_evenly_with_replacement_and_with_either_sign():
    """One picture many times: each outcome of nine operations with a sign has a share of 1/28."""
    picture = torch.randint(60, 200, (1, 3, 12, 12), generator=generator(CPU, 0), dtype=torch.uint8)
    once = rand_augment(picture.repeat(4000, 1, 1, 1), 1, 14, generator(CPU, 1))
    seen = 0.0
    for name in OPERATIONS[1:10]:
        for sign in (1.0, -1.0):
            share = (once == apply(picture, name, sign)).flatten(1).all(1).float().mean().item()
            assert share == pytest.approx(1 / 28, abs=0.015)  # five standard deviations
            seen += share
    assert seen == pytest.approx(9 / 14, abs=0.04)
    twice = rand_augment(picture.repeat(4000, 1, 1, 1), 2, 14, generator(CPU, 1))
    # Two operations leave it as it is: identity, and equalize, which finds too few pixels to spread.
    assert (twice == picture).flatten(1).all(1).float().mean().item() == pytest.approx((2 / 14) ** 2, abs=0.011)


def test_the_input_is_left_alone(pictures):
    before = pictures.clone()
    augment(pictures, load_recipe("blox-cifar100"), generator(CPU, 0))
    assert torch.equal(pictures, before)


def test_nothing_waits_for_the_device(pictures):
    """No operation whose result the host must read: those stop a GPU's queue."""
    seen = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.add(func.overloadpacket._qualified_op_name.removeprefix("aten::"))
            return func(*args, **(kwargs or {}))

    plan = load_recipe("blox-cifar100")
    with Watch():
        out = augment(pictures, plan, generator(CPU, 0))
        cutout(out.float(), plan, generator(CPU, 0))
    assert "gather" in seen
    assert not seen & {"_local_scalar_dense", "item", "nonzero", "masked_select", "is_nonzero", "equal", "unique"}


def test_flip_and_crop_treat_each_image_on_its_own():
    plan = recipe(flip=True, crop_padding=2)
    x = torch.arange(8 * 8, dtype=torch.uint8).view(1, 1, 8, 8).repeat(64, 3, 1, 1) + 1
    out = augment(x, plan, generator(CPU, 0))
    padded = torch.nn.functional.pad(x[0, 0], (2, 2, 2, 2))
    both = (padded, torch.nn.functional.pad(x[0, 0].flip(1), (2, 2, 2, 2)))
    possible = {p[i : i + 8, j : j + 8].numpy().tobytes() for p in both for i in range(5) for j in range(5)}
    seen = {image[0].numpy().tobytes() for image in out}
    assert seen <= possible
    assert len(seen) > 20
    assert all(torch.equal(image[0], image[2]) for image in out)


def test_cutout_is_one_square_clipped_at_the_border():
    x = cutout(torch.ones(2000, 3, 32, 32), recipe(cutout=16), generator(CPU, 0))
    hole = x == 0
    assert torch.equal(hole[:, 0], hole[:, 2])
    rows, columns = hole[:, 0].any(2).sum(1), hole[:, 0].any(1).sum(1)
    assert torch.equal(rows * columns, hole[:, 0].sum((1, 2)))  # a full rectangle
    assert (rows.min(), rows.max()) == (8, 16)
    assert (columns.min(), columns.max()) == (8, 16)
    # The centre is uniform over 32 pixels; 17 of them leave room for all 16 rows.
    assert (rows == 16).float().mean().item() == pytest.approx(17 / 32, abs=0.06)


def test_recipes_without_randaugment_draw_what_they_always_drew():
    """Published tables depend on this stream: one number per image for the flip, then the crop's."""
    images = torch.randint(0, 256, (6, 3, 8, 8), generator=generator(CPU, 3), dtype=torch.uint8)
    rng = generator(CPU, 4)
    mirror = torch.rand(6, 1, 1, 1, generator=rng) < 0.5
    shift = torch.randint(0, 3, (2, 6, 1), generator=rng)
    flipped = torch.nn.functional.pad(torch.where(mirror, images.flip(3), images), (1, 1, 1, 1))
    expected = torch.stack(
        [flipped[i, :, shift[0, i] : shift[0, i] + 8, shift[1, i] : shift[1, i] + 8] for i in range(6)]
    )
    assert torch.equal(augment(images, recipe(flip=True, crop_padding=1), generator(CPU, 4)), expected)
