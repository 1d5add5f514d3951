"""Blockwise distillation: every candidate block of a stage learns the teacher's block.

A frozen teacher yields the input and the output of its stage; each candidate gets the TEACHER's
input and regresses the TEACHER's output. Candidates are independent of each other, so one teacher
forward per batch serves them all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from archrank.train_ground_truth.batches import DeviceData, batches
from archrank.train_ground_truth.losses import nsr
from archrank.train_ground_truth.network import BloxNetwork, Stage
from archrank.train_ground_truth.recipe import Recipe
from archrank.train_ground_truth.runtime import generator, host_facts, one_thread
from archrank.train_ground_truth.train import Record


def distill(
    teacher: BloxNetwork,
    stage: int,
    candidates: Sequence[int],
    recipe: Recipe,
    seed: int,
    *,
    data: DeviceData,
    teacher_name: str,
    keep_weights: bool = False,
) -> list[Record]:
    """Distil candidate blocks of one stage and measure their signatures on the validation images.

    Parameters
    ----------
    teacher
        A network of the recipe's space, on the device of `data`.
    stage
        Which stage's block is replaced.
    candidates
        Block ids. What a block becomes does not depend on which others are distilled beside it.
    seed
        Decides the candidates' initial weights, order of images and augmentation.

    Returns
    -------
    One record per candidate: ``kind, stage, block, teacher, seed, recipe, distill_hash, status``,
    ``metrics`` (``train_nsr`` per epoch; ``nsr`` and ``mse`` on the validation images), ``host``.
    """
    device = data.mean.device
    start, start_cpu = time.perf_counter(), time.process_time()
    with one_thread(device):
        blocks = [_candidate(teacher, stage, block, seed, device) for block in candidates]
        curves = _fit(teacher, stage, blocks, recipe, generator(device, seed, 2), data)
        scores = _held_out(teacher, stage, blocks, data)
    n = len(candidates)
    host = host_facts(device, (time.perf_counter() - start) / n, (time.process_time() - start_cpu) / n)
    records: list[Record] = []
    for block, module, curve, (ratio, error) in zip(candidates, blocks, curves, scores, strict=True):
        record: Record = {
            "kind": "block",
            "stage": stage,
            "block": int(block),
            "teacher": teacher_name,
            "seed": int(seed),
            "recipe": recipe.name,
            "distill_hash": recipe.distill_hash,
            "images": data.sha256,
            "status": "ok" if math.isfinite(ratio) else "diverged",
            "metrics": {"train_nsr": curve, "nsr": ratio, "mse": error},
            "host": host,
        }
        if keep_weights:
            record["weights"] = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
        records.append(record)
    return records


def block_key(teacher: str, stage: int, block: int, seed: int = 0) -> str:
    """Key of a distilled block's record, for example ``block-best-1-44-s0``."""
    return f"block-{teacher}-{stage}-{block}-s{seed}"


def _candidate(teacher: BloxNetwork, stage: int, block: int, seed: int, device: torch.device) -> Stage:
    channels = teacher.width << stage
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence((seed, 1, stage, block)).generate_state(1)[0]))
        module = Stage(block, channels)
    return module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _fit(
    teacher: BloxNetwork, stage: int, blocks: list[Stage], recipe: Recipe, rng: torch.Generator, data: DeviceData
) -> list[list[float]]:
    spec = recipe.distill
    steps = spec.epochs * math.ceil(len(data.train[0]) / spec.batch_size)
    optimizers = [torch.optim.Adam(b.parameters(), spec.lr, fused=True) for b in blocks]
    curves: list[list[float]] = [[] for _ in blocks]
    teacher.eval()
    step = 0
    for _ in range(spec.epochs):
        totals = torch.zeros(len(blocks), device=rng.device)
        for block in blocks:
            block.train()
        for x, _y in batches(data, recipe, spec.batch_size, rng):
            with torch.no_grad():
                before, after = teacher.features(x, stage)
            rate = spec.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            for i, (block, adam) in enumerate(zip(blocks, optimizers, strict=True)):
                adam.param_groups[0]["lr"] = rate
                loss = nsr(block(before), after)
                adam.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                adam.step()
                totals[i] += loss.detach() * len(x)
            step += 1
        for curve, total in zip(curves, (totals / len(data.train[0])).tolist(), strict=True):
            curve.append(total)
    return curves


@torch.no_grad()
def _held_out(teacher: BloxNetwork, stage: int, blocks: list[Stage], data: DeviceData) -> list[tuple[float, float]]:
    """(NSR, MSE) of each block over all validation images at once, from sums per channel."""
    for block in blocks:
        block.eval()
    noise: list[Tensor] = []
    shift = first = second = torch.zeros((), dtype=torch.float64)
    count = 0
    for x in torch.split(data.val[0], 1000):
        before, after = teacher.features(data.normalise(x), stage)
        errors = [(block(before) - after).double().square().sum((0, 2, 3)) for block in blocks]
        noise = errors if not noise else [a + b for a, b in zip(noise, errors, strict=True)]
        # The variance is shifted by the first batch's mean, which keeps the sums well conditioned.
        shift = after.double().mean((0, 2, 3)) if count == 0 else shift
        centred = after.double() - shift[:, None, None]
        first, second = first + centred.sum((0, 2, 3)), second + centred.square().sum((0, 2, 3))
        count += after[:, 0].numel()
    power = (second - first.square() / count) / (count - 1)
    signal = power > 0
    out = []
    for sums in noise:
        error = sums / count
        ratio = torch.where(signal, error / torch.where(signal, power, 1.0), 0.0).sum() / signal.sum()
        out.append((ratio.item(), error.mean().item()))
    return out
