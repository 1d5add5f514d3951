"""Blockwise distillation: every candidate block of a stage learns the teacher's block.

A frozen teacher yields the input and the output of its stage; each candidate gets the TEACHER's
input and regresses the TEACHER's output. Candidates are independent of each other, so one teacher
forward per batch serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from archrank._errors import there_are
from archrank.train_ground_truth.batches import DeviceData, batches
from archrank.train_ground_truth.losses import nsr
from archrank.train_ground_truth.network import BloxNetwork, Stage
from archrank.train_ground_truth.recipe import Recipe
from archrank.train_ground_truth.runtime import Clock, Stream, autocast, generator, reproducible
from archrank.train_ground_truth.signatures import SIGNATURES, SWAPPED, output_errors, swap_scores
from archrank.train_ground_truth.train import Record, Teacher, cpu_weights


def distill(
    teacher: Teacher,
    stage: int,
    candidates: Sequence[int],
    recipe: Recipe,
    seed: int,
    *,
    data: DeviceData,
    columns: Sequence[str] = SIGNATURES,
    keep_weights: bool = False,
    fast: bool = False,
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
    columns
        Which signatures to measure, see `archrank.train_ground_truth.signatures.SIGNATURES`.

    Returns
    -------
    One record per candidate: ``kind, stage, block, teacher, seed, recipe, distill_hash, status``,
    ``metrics`` (``train_nsr`` per epoch and the columns), ``host``.

    Raises
    ------
    ValueError
        For a column that there is not.
    """
    if unknown := sorted(set(columns) - set(SIGNATURES)):
        raise ValueError(f"no signature column {unknown[0]!r}; {there_are(unknown[0], SIGNATURES)}")
    device, clock = data.mean.device, Clock()
    with reproducible(device, fast):
        blocks = [_candidate(teacher.network, stage, block, seed, device) for block in candidates]
        curves = _fit(teacher.network, stage, blocks, recipe, generator(device, seed, Stream.DISTILLATION), data)
        scores = output_errors(teacher.network, stage, blocks, data)
        if set(columns) & set(SWAPPED):
            swapped = swap_scores(
                teacher.network, stage, blocks, recipe, generator(device, seed, Stream.MEASUREMENT), data
            )
            scores = [a | b for a, b in zip(scores, swapped, strict=True)]
    host = clock.facts(device, fast)
    host |= {k: round(host[k] / len(candidates), 3) for k in ("wall_seconds", "cpu_seconds")}
    records: list[Record] = []
    for block, module, curve, score in zip(candidates, blocks, curves, scores, strict=True):
        status = "ok" if math.isfinite(score["nsr"]) else "diverged"
        metrics = {"train_nsr": curve, **{k: v for k, v in score.items() if k in columns}}
        record = block_record(stage, block, teacher.name, seed, recipe, data.sha256, status, metrics, host)
        if keep_weights:
            record["weights"] = cpu_weights(module)
        records.append(record)
    return records


def block_record(
    stage: int,
    block: int,
    teacher: str,
    seed: int,
    recipe: Recipe,
    images: str,
    status: str,
    metrics: dict[str, Any],
    host: dict[str, Any],
) -> Record:
    """The record of one distilled block, see `distill`."""
    return {
        "kind": "block",
        "stage": stage,
        "block": int(block),
        "teacher": teacher,
        "seed": int(seed),
        "recipe": recipe.name,
        "distill_hash": recipe.distill_hash,
        "images": images,
        "status": status,
        "metrics": metrics,
        "host": host,
    }


def block_key(teacher: str, stage: int, block: int, seed: int = 0) -> str:
    """Key of a distilled block's record, for example ``block-3-14-s0-1-44-s0``."""
    return f"block-{teacher}-{stage}-{block}-s{seed}"


def _candidate(teacher: BloxNetwork, stage: int, block: int, seed: int, device: torch.device) -> Stage:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(np.random.SeedSequence((seed, 1, stage, block)).generate_state(1)[0]))
        module = Stage(block, teacher.width << stage)
    return module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _fit(
    teacher: BloxNetwork, stage: int, blocks: list[Stage], recipe: Recipe, rng: torch.Generator, data: DeviceData
) -> list[list[float]]:
    """Train the blocks side by side; their mean training NSR per epoch."""
    spec, precision = recipe.distill, recipe.training.precision
    steps = spec.epochs * math.ceil(len(data.train[0]) / spec.batch_size)
    optimizers = [torch.optim.Adam(b.parameters(), spec.lr, fused=True) for b in blocks]
    scalers = [torch.amp.GradScaler(rng.device.type, enabled=precision == "fp16") for _ in blocks]
    curves: list[list[float]] = [[] for _ in blocks]
    teacher.eval()
    step = 0
    for _ in range(spec.epochs):
        totals = torch.zeros(len(blocks), device=rng.device)
        for block in blocks:
            block.train()
        for x, _y in batches(data, recipe, spec.batch_size, rng):
            with torch.no_grad(), autocast(rng.device, precision):
                before, after = (t.float() for t in teacher.features(x, stage))
            rate = spec.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            for i, (block, adam, scaler) in enumerate(zip(blocks, optimizers, scalers, strict=True)):
                adam.param_groups[0]["lr"] = rate
                with autocast(rng.device, precision):
                    student = block(before)
                loss = nsr(student.float(), after)
                adam.zero_grad()
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.step(adam)
                scaler.update()
                totals[i] += loss.detach() * len(x)
            step += 1
        for curve, total in zip(curves, (totals / len(data.train[0])).tolist(), strict=True):
            curve.append(total)
    return curves
