"""Networks assembled from distilled blocks: fine-tuned for any number of epochs, or probed as they are."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from archrank.train_ground_truth.batches import DeviceData, evaluate
from archrank.train_ground_truth.checkpoint import Checkpoint
from archrank.train_ground_truth.network import BloxNetwork, Stage
from archrank.train_ground_truth.recipe import Recipe
from archrank.train_ground_truth.runtime import Clock, Stream, generator, reproducible
from archrank.train_ground_truth.signatures import re_estimate_norms
from archrank.train_ground_truth.train import Record, Teacher, cpu_weights, fit, hard_labels, network_record

_BATCH = 1000


def assemble(code: Sequence[int], teacher: Teacher, blocks: Sequence[Mapping[str, Tensor]]) -> BloxNetwork:
    """The network of `code` with distilled blocks, and stem and classifier of their teacher.

    Parameters
    ----------
    code
        Block id per stage.
    blocks
        Weights of one distilled block per stage.
    """
    source = teacher.network
    net = copy.deepcopy(source)
    net.code = tuple(int(b) for b in code)
    device = source.classifier.weight.device
    for stage, (block, weights) in enumerate(zip(net.code, blocks, strict=True)):
        module = Stage(block, source.width << stage)
        module.load_state_dict(dict(weights))
        net.stages[stage] = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def finetune_one(
    code: Sequence[int],
    blocks: Sequence[Mapping[str, Tensor]],
    recipe: Recipe,
    seed: int,
    *,
    data: DeviceData,
    teacher: Teacher,
    epochs: int | None = None,
    keep_weights: bool = False,
    checkpoint: Path | None = None,
    fast: bool = False,
) -> Record:
    """Train on from distilled blocks, and test.

    BatchNorm statistics are re-estimated first, since each block has only seen its teacher's features.

    Parameters
    ----------
    epochs
        0 tests the assembled network as it is; by default the recipe's ``[finetune]``.
    checkpoint
        As of `train_one`; a file for these blocks alone.

    Returns
    -------
    A record as of `train_one`, variant ``finetuned-EPOCHS``.
    """
    device, clock = data.mean.device, Clock()
    spec = recipe.finetune
    n = spec.epochs if epochs is None else epochs
    with reproducible(device, fast):
        net = assemble(code, teacher, blocks)
        re_estimate_norms(net, recipe, generator(device, seed, Stream.MEASUREMENT), data)
        if n:
            rng = generator(device, seed, Stream.FINETUNING)
            how = f"{recipe.hash} {recipe.distill_hash} {data.sha256} finetuned-{n} {spec.lr} {'fast ' * fast}"
            state = Checkpoint(checkpoint, device, f"{how}{teacher.name} {net.code} {seed}", clock)
            metrics, status = fit(
                net, recipe, rng, data, epochs=n, lr=spec.lr, loss=hard_labels(recipe), checkpoint=state
            )
        else:
            metrics, status = _as_it_is(net, data), "ok"
    host = clock.facts(device, fast)
    record = network_record(code, recipe, seed, f"finetuned-{n}", data.sha256, status, metrics, host, teacher)
    if keep_weights:
        record["weights"] = cpu_weights(net)
    return record


def _as_it_is(net: BloxNetwork, data: DeviceData) -> dict[str, Any]:
    accuracy, loss = evaluate(net, data.val, data)
    test_acc, test_loss = evaluate(net, data.test, data)
    return {"train_loss": [], "val_acc": [accuracy], "val_loss": [loss], "test_acc": test_acc, "test_loss": test_loss}


def probe_one(
    code: Sequence[int],
    blocks: Sequence[Mapping[str, Tensor]],
    recipe: Recipe,
    seed: int,
    *,
    data: DeviceData,
    teacher: Teacher,
    fast: bool = False,
) -> Record:
    """Score a frozen stack of distilled blocks by a linear classifier on its pooled features.

    Multinomial logistic regression on standardised features of the unaugmented training images, L2 penalty
    as the recipe's weight decay, by L-BFGS.

    Returns
    -------
    A record as of `train_one`, variant ``probe``.
    """
    device, clock = data.mean.device, Clock()
    with reproducible(device, fast):
        net = assemble(code, teacher, blocks)
        re_estimate_norms(net, recipe, generator(device, seed, Stream.MEASUREMENT), data)
        parts = [(_pooled(net, images, data), labels) for images, labels in (data.train, data.val, data.test)]
        mean, scale = parts[0][0].mean(0), parts[0][0].std(0).clamp_min(1e-6)
        train, val, test = (((x - mean) / scale, y) for x, y in parts)
        head = torch.nn.Linear(train[0].shape[1], recipe.space.classes, device=device)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        train_loss = _logistic_regression(head, train, recipe.optimizer.weight_decay)
        (val_acc, val_loss), (test_acc, test_loss) = (_linear_scores(head, part) for part in (val, test))
    metrics = {
        "train_loss": [train_loss],
        "val_acc": [val_acc],
        "val_loss": [val_loss],
        "test_acc": test_acc,
        "test_loss": test_loss,
    }
    status = "ok" if math.isfinite(train_loss) else "diverged"
    host = clock.facts(device, fast)
    return network_record(code, recipe, seed, "probe", data.sha256, status, metrics, host, teacher)


@torch.no_grad()
def _pooled(net: BloxNetwork, images: Tensor, data: DeviceData) -> Tensor:
    """Pooled features of the last stage ``(n, channels)``."""
    net.eval()
    last = len(net.stages) - 1
    chunks = [net.features(data.normalise(x), last)[1].mean((2, 3)) for x in torch.split(images, _BATCH)]
    return torch.cat(chunks)


def _logistic_regression(head: torch.nn.Linear, part: tuple[Tensor, Tensor], penalty: float) -> float:
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(head(part[0]), part[1]) + 0.5 * penalty * head.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return F.cross_entropy(head(part[0]), part[1]).item()


@torch.no_grad()
def _linear_scores(head: torch.nn.Linear, part: tuple[Tensor, Tensor]) -> tuple[float, float]:
    logits = head(part[0])
    accuracy = (logits.argmax(1) == part[1]).double().mean().item()
    return 100 * accuracy, F.cross_entropy(logits, part[1]).item()
