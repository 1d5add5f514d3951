"""Train one BLOX network: the same numbers for the same (architecture, recipe, seed)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from archrank._torch import resolve_device
from archrank.train_ground_truth.batches import DeviceData, batches, evaluate
from archrank.train_ground_truth.checkpoint import Checkpoint
from archrank.train_ground_truth.losses import kd, kd_topk
from archrank.train_ground_truth.network import BloxNetwork, build_network
from archrank.train_ground_truth.recipe import Recipe
from archrank.train_ground_truth.runtime import Clock, Stream, autocast, generator, reproducible

Record = dict[str, Any]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # (images, logits, labels) -> scalar


@dataclass(frozen=True)
class Teacher:
    """A trained network whose logits or blocks others learn from."""

    name: str
    network: BloxNetwork


def initialised_network(code: ArrayLike, recipe: Recipe, seed: int, device: torch.device) -> BloxNetwork:
    """The untrained network, drawn on the CPU so that every device starts from the same weights."""
    number = np.random.SeedSequence((seed, Stream.INITIAL_WEIGHTS)).generate_state(1)[0]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(number))
        net = build_network(code, recipe.build_space())
    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def learning_rate(recipe: Recipe, lr: float, epochs: int, step: int, steps_per_epoch: int) -> float:
    """Rate at a global step for peak `lr`, see `archrank.train_ground_truth.recipe.OptimizerSpec`."""
    spec, total = recipe.optimizer, epochs * steps_per_epoch
    if spec.schedule == "cosine":
        return lr * 0.5 * (1 + math.cos(math.pi * (step // steps_per_epoch) / epochs))
    rise = max(1.0, spec.warmup * total)
    return lr * min((step + 1) / rise, (total - step) / (total + 1 - rise))


def train_one(
    code: ArrayLike,
    recipe: Recipe,
    seed: int,
    device: str | torch.device = "auto",
    *,
    data: DeviceData,
    teacher: Teacher | None = None,
    top_k: bool = False,
    keep_weights: bool = False,
    checkpoint: Path | None = None,
    fast: bool = False,
    compiled: bool = False,
) -> Record:
    """Train and test one network, with a teacher by knowledge distillation.

    Parameters
    ----------
    code
        Block id per stage.
    seed
        Decides initial weights, order of images and augmentation.
    data
        From `prepare_data`, on the same device.
    teacher
        Its logits on the same augmented images are learnt as the recipe's ``[kd]`` says.
    top_k
        Keep only as many of the teacher's largest probabilities as ``[kd] top_k`` says.
    keep_weights
        Put the tested weights into the record under ``weights`` (a state dict on the CPU).
    checkpoint
        File that keeps the state after an epoch, so that a killed training goes on from there with the
        same numbers; removed at the end.
    fast
        Allow algorithms whose sums have no fixed order; the record says so.
    compiled
        Train through ``torch.compile``, which pays on GPUs; its sums differ in the last bits, the record says so.

    Returns
    -------
    JSON-ready record (but for ``weights``): ``code, seed, variant`` (``normal``, ``distilled`` or
    ``distilled-topk``), ``recipe, recipe_hash, status`` (``ok`` or ``diverged``), ``metrics`` (per-epoch
    ``train_loss, val_acc, val_loss`` as lists, ``test_acc`` in per cent, ``test_loss``; NaN where diverged)
    and ``host`` (seconds, versions, device).
    """
    place = resolve_device(device)
    if top_k and (teacher is None or not recipe.kd.top_k):
        raise ValueError("top_k needs a teacher and a recipe whose [kd] top_k is above 0")
    variant = "normal" if teacher is None else "distilled-topk" if top_k else "distilled"
    clock = Clock()
    belongs_to = f"{recipe.hash} {data.sha256} {variant} {'fast ' * fast}{'compiled ' * compiled}"
    if teacher is not None:
        belongs_to += f"{teacher.name} {recipe.kd} "  # which the recipe's hash leaves out
    with reproducible(place, fast):
        net = initialised_network(code, recipe, seed, place)
        loss = hard_labels(recipe) if teacher is None else _soft_labels(recipe, teacher.network, top_k)
        metrics, status = fit(
            net,
            recipe,
            generator(place, seed, Stream.TRAINING),
            data,
            epochs=recipe.training.epochs,
            lr=recipe.optimizer.lr,
            loss=loss,
            checkpoint=Checkpoint(checkpoint, place, f"{belongs_to} {net.code} {seed}", clock),
            compiled=compiled,
        )
    host = clock.facts(place, fast) | {"compiled": compiled}
    record = network_record(net.code, recipe, seed, variant, data.sha256, status, metrics, host, teacher)
    if keep_weights:
        record["weights"] = cpu_weights(net)
    return record


def network_record(
    code: Sequence[int],
    recipe: Recipe,
    seed: int,
    variant: str,
    images: str,
    status: str,
    metrics: dict[str, Any],
    host: dict[str, Any],
    teacher: Teacher | None = None,
) -> Record:
    """The record of one network, see `train_one`."""
    return {
        "code": [int(b) for b in code],
        "seed": int(seed),
        "variant": variant,
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        "images": images,
        "status": status,
        **({} if teacher is None else {"teacher": teacher.name}),
        "metrics": metrics,
        "host": host,
    }


def no_metrics() -> dict[str, Any]:
    """The metrics of a network that could not be trained: NaN, never 0."""
    nan = math.nan
    return {"train_loss": [nan], "val_acc": [nan], "val_loss": [nan], "test_acc": nan, "test_loss": nan}


def cpu_weights(module: nn.Module) -> dict[str, Tensor]:
    """A state dict that can be written to disk."""
    return {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}


def hard_labels(recipe: Recipe) -> Loss:
    """Cross-entropy with the recipe's label smoothing."""
    smoothing = recipe.optimizer.label_smoothing
    return lambda x, logits, y: F.cross_entropy(logits, y, label_smoothing=smoothing)


def _soft_labels(recipe: Recipe, teacher: BloxNetwork, top_k: bool) -> Loss:
    spec = recipe.kd
    teacher.eval()

    def loss(x: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            target = teacher(x)
        if top_k:
            return kd_topk(logits, target, y, spec.alpha, spec.temperature, spec.top_k)
        return kd(logits, target, y, spec.alpha, spec.temperature)

    return loss


def fit(
    net: BloxNetwork,
    recipe: Recipe,
    rng: torch.Generator,
    data: DeviceData,
    *,
    epochs: int,
    lr: float,
    loss: Loss,
    checkpoint: Checkpoint,
    compiled: bool = False,
) -> tuple[dict[str, Any], str]:
    """The training loop; ``(metrics, status)``. Nothing in an epoch waits for the device."""
    spec, opt = recipe.training, recipe.optimizer
    sgd = torch.optim.SGD(
        net.parameters(), lr, opt.momentum, weight_decay=opt.weight_decay, nesterov=opt.nesterov, fused=True
    )
    scaler = torch.amp.GradScaler(rng.device.type, enabled=spec.precision == "fp16")
    if scaler.is_enabled():
        # The fused step makes this buffer uninitialised, and leaves it so when the first gradients overflow.
        for parameter in net.parameters():
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    if compiled:
        torch.compiler.reset()  # else all networks of a process share one limit, past which nothing is compiled
    forward = torch.compile(net, dynamic=False) if compiled else net
    per_epoch = math.ceil(len(data.train[0]) / spec.batch_size)
    curves: dict[str, list[float]] = {"train_loss": [], "val_acc": [], "val_loss": []}
    best: dict[str, Any] = {"score": None, "weights": {}}
    parts = {"net": net, "sgd": sgd, "scaler": scaler}
    first = checkpoint.restore(parts, rng, curves, best)
    for epoch in range(first, epochs):
        net.train()
        total = torch.zeros((), device=rng.device, dtype=torch.float64)
        for step, (x, y) in enumerate(batches(data, recipe, spec.batch_size, rng), start=epoch * per_epoch):
            for group in sgd.param_groups:
                group["lr"] = learning_rate(recipe, lr, epochs, step, per_epoch)
            with autocast(rng.device, spec.precision):
                value = loss(x, forward(x), y)
            sgd.zero_grad()
            scaler.scale(value).backward()  # type: ignore[no-untyped-call]
            scaler.step(sgd)
            scaler.update()
            total += value.detach() * len(y)
        accuracy, val_loss = evaluate(net, data.val, data)
        curves["train_loss"].append(total.item() / len(data.train[0]))
        curves["val_acc"].append(accuracy)
        curves["val_loss"].append(val_loss)
        if not math.isfinite(curves["train_loss"][-1] + val_loss):
            checkpoint.remove()
            return {**curves, "test_acc": math.nan, "test_loss": math.nan}, "diverged"
        # On a tie of accuracy the later epoch wins if its loss is not larger.
        if spec.weights == "best-val" and (best["score"] is None or [accuracy, -val_loss] >= best["score"]):
            best.update(score=[accuracy, -val_loss], weights={k: v.clone() for k, v in net.state_dict().items()})
        checkpoint.keep(epoch + 1, parts, rng, curves, best)
    if best["weights"]:
        net.load_state_dict(best["weights"])
    test_acc, test_loss = evaluate(net, data.test, data)
    checkpoint.remove()
    return {**curves, "test_acc": test_acc, "test_loss": test_loss}, "ok"
