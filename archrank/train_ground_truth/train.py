"""Train one BLOX network: the same numbers for the same (architecture, recipe, seed)."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from archrank.train_ground_truth.data import DataError, Images
from archrank.train_ground_truth.network import BloxNetwork, build_network
from archrank.train_ground_truth.recipe import Recipe

Record = dict[str, Any]
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


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """``auto`` is the first CUDA device, else the CPU."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def prepare_data(images: Images, recipe: Recipe, device: str | torch.device = "auto") -> DeviceData:
    """Split, pool and place the images as `recipe` says.

    Raises
    ------
    DataError
        If there are too few images, or their size or number of classes does not suit the recipe.
    """
    spec, space, place = recipe.data, recipe.space, resolve_device(device)
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


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """One CPU thread inside: sums are then in the same order on any number of cores."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def generator(device: torch.device, *seed: int) -> torch.Generator:
    """A stream of its own for each tuple of seeds."""
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def initialised_network(code: ArrayLike, recipe: Recipe, seed: int, device: torch.device) -> BloxNetwork:
    """The untrained network, drawn on the CPU so that every device starts from the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence((seed, 0)).generate_state(1)[0]))
        net = build_network(code, recipe.build_space())
    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


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


def batches(data: DeviceData, recipe: Recipe, batch_size: int, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled, augmented, normalised batches; a partial last batch is kept."""
    x, y = data.train
    order = torch.randperm(len(x), generator=rng, device=rng.device)
    for index in torch.split(order, batch_size):
        if len(index) > 1:  # BatchNorm cannot normalise a single image of one pixel
            yield cutout(data.normalise(augment(x[index], recipe, rng)), recipe, rng), y[index]


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Rate at a global step, see `archrank.train_ground_truth.recipe.OptimizerSpec`."""
    spec, total = recipe.optimizer, recipe.training.epochs * steps_per_epoch
    if spec.schedule == "cosine":
        return spec.lr * 0.5 * (1 + math.cos(math.pi * (step // steps_per_epoch) / recipe.training.epochs))
    rise = max(1.0, spec.warmup * total)
    return spec.lr * min((step + 1) / rise, (total - step) / (total + 1 - rise))


@torch.no_grad()
def evaluate(net: nn.Module, part: tuple[Tensor, Tensor], data: DeviceData) -> tuple[float, float]:
    """(accuracy in per cent, mean cross-entropy) in eval mode."""
    net.eval()
    correct = torch.zeros((), device=part[1].device, dtype=torch.int64)
    loss = torch.zeros((), device=part[1].device, dtype=torch.float64)
    for x, y in zip(torch.split(part[0], _EVAL_BATCH), torch.split(part[1], _EVAL_BATCH), strict=True):
        logits = net(data.normalise(x)).float()
        correct += (logits.argmax(1) == y).sum()
        loss += F.cross_entropy(logits, y, reduction="sum")
    return 100.0 * correct.item() / len(part[1]), loss.item() / len(part[1])


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


def host_facts(device: torch.device, wall: float, cpu: float) -> dict[str, Any]:
    """Where and how long: everything in a record that may differ between equal runs."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "device": device.type,
        "device_name": name,
        "threads": 1 if device.type == "cpu" else torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "pid": os.getpid(),
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
