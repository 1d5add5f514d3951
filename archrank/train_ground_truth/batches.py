"""Images on the device: split and pooled as a recipe says, served in augmented batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archrank._torch import usable_device
from archrank.train_ground_truth.augment import augment, cutout
from archrank.train_ground_truth.data import DataError, Images
from archrank.train_ground_truth.recipe import Recipe

_EVAL_BATCH = 1000


@dataclass(frozen=True)
class DeviceData:
    """Everything a recipe trains and tests on, resident on one device.

    Each part is ``(images uint8 (n, 3, S, S), labels int64 (n,))``; `mean` and `std` normalise.
    """

    train: tuple[Tensor, Tensor]
    val: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    mean: Tensor
    std: Tensor
    sha256: str

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 images to float32, channels last."""
        x = images.to(torch.float32, memory_format=torch.channels_last)
        return x.sub_(self.mean).div_(self.std)


def prepare_data(images: Images, recipe: Recipe, device: str | torch.device = "auto") -> DeviceData:
    """Split, pool and place the images as `recipe` says.

    Raises
    ------
    DataError
        If there are too few images, or their size or number of classes does not suit the recipe.
    """
    spec, space, place = recipe.data, recipe.space, usable_device(device)
    n, size = len(images.train[0]), images.train[0].shape[-1]
    if spec.train + spec.val > n:
        raise DataError(f"recipe {recipe.name!r} wants {spec.train} + {spec.val} training images, the data has {n}")
    if size != space.image_size * spec.pool:
        raise DataError(
            f"recipe {recipe.name!r} wants images of {space.image_size * spec.pool} pixels "
            f"(image_size {space.image_size} x pool {spec.pool}), the data has {size}"
        )
    if len(images.classes) > space.classes:
        raise DataError(f"recipe {recipe.name!r} has {space.classes} classes, the data has {len(images.classes)}")
    order = torch.from_numpy(np.random.RandomState(spec.split_seed).permutation(n))

    def part(source: tuple[Tensor, Tensor], index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, y = source if index is None else (source[0][index], source[1][index])
        if spec.pool > 1:
            x = F.avg_pool2d(x.float(), spec.pool).round_().to(torch.uint8)
        return x.to(place), y.to(place)

    def channel(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, device=place).mul_(255).view(1, 3, 1, 1)

    return DeviceData(
        train=part(images.train, order[: spec.train]),
        val=part(images.train, order[n - spec.val :]),
        test=part(images.test),
        mean=channel(spec.mean),
        std=channel(spec.std),
        sha256=images.sha256,
    )


def batches(data: DeviceData, recipe: Recipe, batch_size: int, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled, augmented, normalised batches; a partial last batch is kept."""
    x, y = data.train
    order = torch.randperm(len(x), generator=rng, device=rng.device)
    for index in torch.split(order, batch_size):
        if len(index) > 1:  # BatchNorm cannot normalise a single image of one pixel
            yield cutout(data.normalise(augment(x[index], recipe, rng)), recipe, rng), y[index]


@torch.no_grad()
def evaluate(net: nn.Module, part: tuple[Tensor, Tensor], data: DeviceData) -> tuple[float, float]:
    """(accuracy in per cent, mean cross-entropy) in eval mode, float32 whatever the precision of training."""
    net.eval()
    correct = torch.zeros((), device=part[1].device, dtype=torch.int64)
    loss = torch.zeros((), device=part[1].device, dtype=torch.float64)
    for x, y in zip(torch.split(part[0], _EVAL_BATCH), torch.split(part[1], _EVAL_BATCH), strict=True):
        logits = net(data.normalise(x)).float()
        correct += (logits.argmax(1) == y).sum()
        loss += F.cross_entropy(logits, y, reduction="sum")
    return 100.0 * correct.item() / len(part[1]), loss.item() / len(part[1])
