"""Augmentation in batches, on the device, each image on its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from archrank.train_ground_truth.recipe import Recipe


def augment(images: Tensor, recipe: Recipe, rng: torch.Generator) -> Tensor:
    """Flip and crop a uint8 batch ``(n, 3, S, S)``, each image on its own."""
    spec, (n, _, size, _) = recipe.augment, images.shape
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
