"""Train one BLOX network: the same numbers for the same (architecture, recipe, seed)."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from archrank.train_ground_truth.batches import DeviceData, batches, evaluate
from archrank.train_ground_truth.network import BloxNetwork, build_network
from archrank.train_ground_truth.recipe import Recipe
from archrank.train_ground_truth.runtime import generator, host_facts, one_thread, resolve_device

Record = dict[str, Any]


def initialised_network(code: ArrayLike, recipe: Recipe, seed: int, device: torch.device) -> BloxNetwork:
    """The untrained network, drawn on the CPU so that every device starts from the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence((seed, 0)).generate_state(1)[0]))
        net = build_network(code, recipe.build_space())
    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Rate at a global step, see `archrank.train_ground_truth.recipe.OptimizerSpec`."""
    spec, total = recipe.optimizer, recipe.training.epochs * steps_per_epoch
    if spec.schedule == "cosine":
        return spec.lr * 0.5 * (1 + math.cos(math.pi * (step // steps_per_epoch) / recipe.training.epochs))
    rise = max(1.0, spec.warmup * total)
    return spec.lr * min((step + 1) / rise, (total - step) / (total + 1 - rise))


def train_one(
    code: ArrayLike,
    recipe: Recipe,
    seed: int,
    device: str | torch.device = "auto",
    *,
    data: DeviceData,
    keep_weights: bool = False,
) -> Record:
    """Train and test one network.

    Parameters
    ----------
    code
        Block id per stage.
    seed
        Decides initial weights, order of images and augmentation.
    data
        From `prepare_data`, on the same device.
    keep_weights
        Put the tested weights into the record under ``weights`` (a state dict on the CPU).

    Returns
    -------
    JSON-ready record (but for ``weights``): ``code, seed, variant, recipe, recipe_hash, status``
    (``ok`` or ``diverged``), ``metrics`` (per-epoch ``train_loss, val_acc, val_loss`` as lists, ``test_acc``
    in per cent, ``test_loss``; NaN where diverged) and ``host`` (seconds, versions, device).
    """
    place = resolve_device(device)
    wall, cpu = time.perf_counter(), time.process_time()
    with one_thread(place):
        net = initialised_network(code, recipe, seed, place)
        metrics, status = _fit(net, recipe, generator(place, seed, 1), data)
    record: Record = {
        "code": [int(b) for b in net.code],
        "seed": int(seed),
        "variant": "normal",
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        "images": data.sha256,
        "status": status,
        "metrics": metrics,
        "host": host_facts(place, time.perf_counter() - wall, time.process_time() - cpu),
    }
    if keep_weights:
        record["weights"] = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    return record


def _fit(net: BloxNetwork, recipe: Recipe, rng: torch.Generator, data: DeviceData) -> tuple[dict[str, Any], str]:
    spec, opt = recipe.training, recipe.optimizer
    sgd = torch.optim.SGD(
        net.parameters(), opt.lr, opt.momentum, weight_decay=opt.weight_decay, nesterov=opt.nesterov, fused=True
    )
    per_epoch = math.ceil(len(data.train[0]) / spec.batch_size)
    curves: dict[str, list[float]] = {"train_loss": [], "val_acc": [], "val_loss": []}
    best: tuple[float, float] | None = None
    best_weights: dict[str, Tensor] = {}
    step = 0
    for _ in range(spec.epochs):
        net.train()
        total = torch.zeros((), device=rng.device, dtype=torch.float64)
        for x, y in batches(data, recipe, spec.batch_size, rng):
            for group in sgd.param_groups:
                group["lr"] = learning_rate(recipe, step, per_epoch)
            loss = F.cross_entropy(net(x), y, label_smoothing=opt.label_smoothing)
            sgd.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            sgd.step()
            total += loss.detach() * len(y)
            step += 1
        accuracy, val_loss = evaluate(net, data.val, data)
        curves["train_loss"].append(total.item() / len(data.train[0]))
        curves["val_acc"].append(accuracy)
        curves["val_loss"].append(val_loss)
        if not math.isfinite(curves["train_loss"][-1] + val_loss):
            return {**curves, "test_acc": math.nan, "test_loss": math.nan}, "diverged"
        # On a tie of accuracy the later epoch wins if its loss is not larger.
        if spec.weights == "best-val" and (best is None or (accuracy, -val_loss) >= best):
            best = (accuracy, -val_loss)
            best_weights = {k: v.clone() for k, v in net.state_dict().items()}
    if best_weights:
        net.load_state_dict(best_weights)
    test_acc, test_loss = evaluate(net, data.test, data)
    return {**curves, "test_acc": test_acc, "test_loss": test_loss}, "ok"
