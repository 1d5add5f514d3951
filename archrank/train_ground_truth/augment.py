"""Augmentation in batches, on the device, each image on its own.

Everything is arithmetic on whole batches with per-image parameters, so that nothing waits for the
device: an operation that an image did not draw is the identity for it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from archrank.train_ground_truth.recipe import RANDAUGMENT_BINS, Recipe

OPERATIONS = (
    "identity",
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
    "rotate",
    "brightness",
    "colour",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)


def augment(images: Tensor, recipe: Recipe, rng: torch.Generator) -> Tensor:
    """RandAugment, flip and crop a uint8 batch ``(n, 3, S, S)``, each image on its own.

    Parameters
    ----------
    images
        On the device of `rng`.
    recipe
        Its ``[augment]`` part says what is done.

    Returns
    -------
    uint8, the shape of `images`.
    """
    spec, (n, _, size, _) = recipe.augment, images.shape
    if spec.randaugment_ops:
        images = rand_augment(images, spec.randaugment_ops, spec.randaugment_magnitude, rng)
    if spec.flip:
        mirror = torch.rand(n, 1, 1, 1, generator=rng, device=rng.device) < 0.5
        images = torch.where(mirror, images.flip(3), images)
    if spec.crop_padding:
        pad = spec.crop_padding
        shift = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=rng, device=rng.device)
        at = torch.arange(size, device=rng.device) + shift
        batch, channel = torch.arange(n, device=rng.device), torch.arange(3, device=rng.device)
        images = F.pad(images, (pad, pad, pad, pad))[
            batch[:, None, None, None], channel[:, None, None], at[0][:, None, :, None], at[1][:, None, None, :]
        ]
    return images


def cutout(x: Tensor, recipe: Recipe, rng: torch.Generator) -> Tensor:
    """Zero one square of normalised images, its centre uniform, clipped at the border."""
    hole, (n, _, size, _) = recipe.augment.cutout, x.shape
    if not hole:
        return x
    centre = torch.randint(0, size, (2, n, 1), generator=rng, device=rng.device)
    at = torch.arange(size, device=rng.device)
    rows, columns = ((at >= c - hole // 2) & (at < c + (hole + 1) // 2) for c in centre)
    return x.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def rand_augment(images: Tensor, ops: int, magnitude: int, rng: torch.Generator) -> Tensor:
    """RandAugment (Cubuk et al., 2020): `ops` times, an operation drawn for every image.

    Operations are drawn uniformly from `OPERATIONS`, with replacement. Those with a sign (moves, and brightness,
    colour, contrast and sharpness) go either way with probability 1/2.

    Parameters
    ----------
    images
        uint8 ``(n, 3, S, S)`` on the device of `rng`.
    ops
        Operations applied one after another to each image.
    magnitude
        Strength, an index from 0 to ``RANDAUGMENT_BINS - 1``.
    """
    for _ in range(ops):
        op = torch.randint(len(OPERATIONS), (len(images),), generator=rng, device=rng.device)
        sign = torch.rand(len(images), generator=rng, device=rng.device) < 0.5
        images = apply_operations(images, op, sign.float() * 2 - 1, magnitude)
    return images


def apply_operations(images: Tensor, op: Tensor, sign: Tensor, magnitude: int) -> Tensor:
    """Apply to every image one operation.

    Colour operations give the grey levels of Pillow's `ImageEnhance` and `ImageOps`.

    Parameters
    ----------
    images
        uint8 ``(n, 3, S, S)``.
    op
        ``(n,)``, indexes into `OPERATIONS`.
    sign
        ``(n,)``, float, 1 or -1: the direction of operations that have two.
    magnitude
        From 0 to ``RANDAUGMENT_BINS - 1``. At the largest: shears by 0.3 rad, translations by 150/331 of
        the size, rotation by 30 degrees, factors 1 +- 0.9 of brightness, colour, contrast and
        sharpness, 4 bits kept by posterize, everything inverted by solarize.
    """
    strength = magnitude / (RANDAUGMENT_BINS - 1)
    images = _move(images, op, sign * strength)
    images = _blend(images, op, torch.where(sign > 0, 1 + 0.9 * strength, 1 - 0.9 * strength))
    images = _map_levels(images, op, magnitude)
    return _equalize(images, op)


def _drew(op: Tensor, name: str) -> Tensor:
    """Which images drew the operation, ``(n, 1, 1, 1)``."""
    return (op == OPERATIONS.index(name)).view(-1, 1, 1, 1)


def _move(images: Tensor, op: Tensor, strength: Tensor) -> Tensor:
    """Shear, translate and rotate about the centre: each pixel takes the one nearest to where it
    comes from, or 0 from outside."""
    n, _, size, _ = images.shape

    def drawn(name: str, largest: float) -> Tensor:
        return torch.where(op == OPERATIONS.index(name), strength * largest, 0.0).view(n, 1, 1)

    angle = drawn("rotate", math.radians(30))
    cos, sin = angle.cos(), angle.sin()
    # Pixel centres, seen from the centre of the image.
    at = torch.arange(size, device=images.device) + (0.5 - size / 2)
    x, y = at[None, None, :], at[None, :, None]
    from_x = cos * x + (sin + drawn("shear-x", 0.3).tan()) * y + drawn("translate-x", size * 150 / 331)
    from_y = (drawn("shear-y", 0.3).tan() - sin) * x + cos * y + drawn("translate-y", size * 150 / 331)
    column, row = (torch.floor(p + size / 2).long() for p in (from_x, from_y))
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    source = (row.clamp(0, size - 1) * size + column.clamp(0, size - 1)).view(n, 1, -1)
    moved = images.flatten(2).gather(2, source.expand(-1, 3, -1)).view_as(images)
    return moved.masked_fill_(~inside[:, None], 0)


def _blend(images: Tensor, op: Tensor, factor: Tensor) -> Tensor:
    """Brightness, colour, contrast, sharpness: away from, or towards, a picture that lacks it."""
    x = images.int()
    # Luma of ITU-R 601-2 in 16-bit fixed point, rounded.
    grey = (19595 * x[:, :1] + 38470 * x[:, 1:2] + 7471 * x[:, 2:] + 0x8000) >> 16
    pixels = grey[0].numel()
    mean = (2 * grey.sum((1, 2, 3), keepdim=True, dtype=torch.int32) + pixels) // (2 * pixels)
    # 3 x 3 kernel of ones with 5 in the middle, over 13, rounded; the border stays as it is.
    smooth = x.clone()
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth[:, :, 1:-1, 1:-1] = (2 * (box + 4 * x[:, :, 1:-1, 1:-1]) + 13) // 26
    lacking = x
    for name, picture in (("brightness", torch.zeros_like(mean)), ("colour", grey), ("contrast", mean)):
        lacking = torch.where(_drew(op, name), picture, lacking)
    lacking = torch.where(_drew(op, "sharpness"), smooth, lacking)
    # The others lack nothing: x + factor * 0.
    return (lacking + factor.view(-1, 1, 1, 1) * (x - lacking)).clamp_(0, 255).to(torch.uint8)


def _map_levels(images: Tensor, op: Tensor, magnitude: int) -> Tensor:
    """Posterize, solarize, autocontrast: a new grey level for each old one."""
    top = RANDAUGMENT_BINS - 1
    dropped = round(magnitude / (top / 4))
    threshold = 255 - 255 * magnitude / top
    lowest, highest = (f(images, dim=(2, 3), keepdim=True).double() for f in (torch.amin, torch.amax))
    # In double, in Pillow's order, so that the same fractions are cut off (number / tensor would not be:
    # torch computes it as a reciprocal).
    scale = torch.full_like(highest, 255) / (highest - lowest).clamp(min=1)
    stretched = (images * scale - lowest * scale).clamp_(0, 255).to(torch.uint8)
    out = torch.where(_drew(op, "posterize"), images & (255 >> dropped << dropped), images)
    out = torch.where(_drew(op, "solarize") & (images >= threshold), 255 - images, out)
    return torch.where(_drew(op, "autocontrast") & (highest > lowest), stretched, out)


def _equalize(images: Tensor, op: Tensor) -> Tensor:
    """Spread the grey levels of each channel evenly, by its histogram."""
    level = images.flatten(2).long()
    count = torch.zeros(*level.shape[:2], 256, dtype=torch.int32, device=images.device)
    count.scatter_add_(2, level, torch.ones_like(level, dtype=torch.int32))
    brightest = level.amax(2, keepdim=True)
    step = (level.shape[2] - count.gather(2, brightest)) // 255
    darker = count.cumsum(2, dtype=torch.int32) - count
    even = (step // 2 + darker) // step.clamp(min=1)
    spread = even.clamp_(max=255).to(torch.uint8).gather(2, level).view_as(images)
    return torch.where(_drew(op, "equalize") & (step > 0)[..., None], spread, images)
