"""Signatures of distilled blocks, measured on the validation images.

``nsr``, ``mse``: error of the block's output against the teacher's (DONNA, DNA). ``acc_change``,
``ce_change``: change of the teacher's accuracy (percentage points) and cross-entropy when this one
block replaces its own (HANT/LANA). ``kl``: Kullback-Leibler divergence of the outputs from the
teacher's (Puzzle). BatchNorm statistics are re-estimated after the swap.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archrank.train_ground_truth.batches import DeviceData, batches
from archrank.train_ground_truth.network import BloxNetwork, Stage
from archrank.train_ground_truth.recipe import Recipe

SWAPPED = ("acc_change", "ce_change", "kl")
SIGNATURES = ("nsr", "mse", *SWAPPED)
_BATCH = 1000


@contextmanager
def re_estimating_norms(module: nn.Module) -> Iterator[None]:
    """Inside, forward passes in train mode average new BatchNorm statistics; eval mode afterwards."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [n.momentum for n in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over the batches seen
    module.train()
    try:
        yield
    finally:
        module.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@torch.no_grad()
def re_estimate_norms(net: BloxNetwork, recipe: Recipe, rng: torch.Generator, data: DeviceData) -> None:
    """New BatchNorm statistics of a whole network from the recipe's number of batches."""
    with re_estimating_norms(net):
        for x, _ in islice(batches(data, recipe, recipe.distill.batch_size, rng), recipe.distill.norm_batches):
            net(x)


@torch.no_grad()
def output_errors(
    teacher: BloxNetwork, stage: int, blocks: Sequence[Stage], data: DeviceData
) -> list[dict[str, float]]:
    """``nsr`` and ``mse`` of each block over all validation images at once, from sums per channel."""
    for block in blocks:
        block.eval()
    channels = 2 * teacher.width << stage
    zeros = torch.zeros(channels, dtype=torch.float64, device=data.mean.device)
    noise = [zeros.clone() for _ in blocks]
    shift: Tensor | None = None
    first, second, count = zeros.clone(), zeros.clone(), 0
    for x in torch.split(data.val[0], _BATCH):
        before, after = teacher.features(data.normalise(x), stage)
        for sums, block in zip(noise, blocks, strict=True):
            sums += (block(before) - after).double().square().sum((0, 2, 3))
        # The variance is shifted by the first batch's mean, which keeps the sums well conditioned.
        shift = after.double().mean((0, 2, 3)) if shift is None else shift
        centred = after.double() - shift[:, None, None]
        first += centred.sum((0, 2, 3))
        second += centred.square().sum((0, 2, 3))
        count += after[:, 0].numel()
    power = (second - first.square() / count) / (count - 1)
    signal = power > 0
    out = []
    for sums in noise:
        error = sums / count
        ratio = torch.where(signal, error / torch.where(signal, power, 1.0), 0.0).sum() / signal.sum()
        out.append({"nsr": ratio.item(), "mse": error.mean().item()})
    return out


class _Swapped(nn.Module):
    """A block and what the teacher has after it, with norms of their own."""

    def __init__(self, teacher: BloxNetwork, stage: int, block: Stage) -> None:
        super().__init__()
        self.block = copy.deepcopy(block)
        self.rest = nn.ModuleList(copy.deepcopy(later) for later in teacher.stages[stage + 1 :])
        self.classifier = teacher.classifier

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        for later in self.rest:
            x = later(x)
        out: Tensor = self.classifier(x.mean((2, 3)))
        return out


@torch.no_grad()
def swap_scores(
    teacher: BloxNetwork,
    stage: int,
    blocks: Sequence[Stage],
    recipe: Recipe,
    rng: torch.Generator,
    data: DeviceData,
) -> list[dict[str, float]]:
    """``acc_change``, ``ce_change`` and ``kl`` of each block put into the teacher.

    The teacher's part before the stage runs once per batch for all blocks; memory holds one copy of the
    part after it per block, whatever the number of images.
    """
    teacher.eval()
    nets = [_Swapped(teacher, stage, block) for block in blocks]
    everyone = nn.ModuleList(nets)
    with re_estimating_norms(everyone):
        for x, _ in islice(batches(data, recipe, recipe.distill.batch_size, rng), recipe.distill.norm_batches):
            before = teacher.before(x, stage)
            for net in nets:
                net(before)
    # Rows: the teacher, then each block; columns: correct answers, cross-entropy, divergence.
    sums = torch.zeros(len(nets) + 1, 3, dtype=torch.float64, device=data.mean.device)
    for images, y in zip(torch.split(data.val[0], _BATCH), torch.split(data.val[1], _BATCH), strict=True):
        before = teacher.before(data.normalise(images), stage)
        reference = teacher.after(before, stage)
        log_p = F.log_softmax(reference, 1)
        for row, logits in enumerate([reference, *(net(before) for net in nets)]):
            log_q = F.log_softmax(logits, 1)
            divergence = (log_p.exp() * (log_p - log_q)).sum()
            sums[row] += torch.stack([(logits.argmax(1) == y).sum(), F.nll_loss(log_q, y, reduction="sum"), divergence])
    means = (sums / len(data.val[1])).tolist()
    accuracy, entropy, _ = means[0]
    return [{"acc_change": 100 * (a - accuracy), "ce_change": e - entropy, "kl": kl} for a, e, kl in means[1:]]
