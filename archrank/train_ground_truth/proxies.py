"""Zero-cost proxies: numbers of untrained networks, from one batch, said to go with accuracy."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from archrank._torch import resolve_device
from archrank.ground_truth import Metric
from archrank.train_ground_truth.batches import DeviceData
from archrank.train_ground_truth.launch import Records, Setup
from archrank.train_ground_truth.network import ConvNormRelu, SqueezeExcite
from archrank.train_ground_truth.recipe import Recipe
from archrank.train_ground_truth.runtime import Stream, generator, host_facts, reproducible
from archrank.train_ground_truth.store import record_key
from archrank.train_ground_truth.train import Record, initialised_network

PROXY_METRICS = {
    m.name: m
    for m in (
        Metric("synflow", "max", "", (0.0, None), "synaptic flow at initialisation (Tanaka 2020)"),
        Metric("log_synflow", "max", "", (None, None), "natural logarithm of synflow"),
        Metric("jacob_cov", "max", "", (None, 0.0), "how little the images' input gradients correlate (Mellor 2020)"),
        Metric("nwot", "max", "", (None, None), "log-determinant of the kernel of ReLU codes (Mellor 2021)"),
        Metric("grad_norm", "max", "", (0.0, None), "sum of the weights' gradient norms (Abdelfattah 2021)"),
    )
}


def zero_cost_proxies(code: ArrayLike, recipe: Recipe, seed: int, data: DeviceData) -> dict[str, float]:
    """All proxies of one network at initialisation.

    The weights are those that training starts from with this seed. One batch of ``training.batch_size``
    images, the first of a seeded order, not augmented, serves them all. One forward pass in training mode
    (BatchNorm at its initial statistics would hardly tell images apart) serves all but synflow.

    Parameters
    ----------
    code
        Block id per stage.
    seed
        Decides weights and images; the same on every device.
    data
        From `archrank.train_ground_truth.batches.prepare_data`.

    Returns
    -------
    Value by name, see `PROXY_METRICS`; NaN where one is not defined (two images with the same ReLU codes,
    a number that overflows).
    """
    device = data.mean.device
    with reproducible(device):
        net = initialised_network(code, recipe, seed, device)
        size = recipe.space.image_size
        log_flow = log_synflow(net, (3, size, size))
        images, labels = data.train
        order = torch.randperm(len(images), generator=generator(torch.device("cpu"), seed, Stream.MEASUREMENT))
        index = order[: recipe.training.batch_size].to(device)
        x = data.normalise(images[index]).requires_grad_()
        net.train()
        with _relu_kernel(net) as kernel:
            logits = net(x)
        (jacobian,) = torch.autograd.grad(logits.sum(), x, retain_graph=True)
        values = {
            "synflow": math.exp(log_flow) if log_flow < 709 else math.inf,  # where float64 ends
            "log_synflow": log_flow,
            "jacob_cov": jacob_cov(jacobian),
            "nwot": nwot(kernel[0]),
            "grad_norm": grad_norm(net, F.cross_entropy(logits, labels[index])),
        }
    return {name: value if math.isfinite(value) else math.nan for name, value in values.items()}


def log_synflow(module: nn.Module, shape: tuple[int, ...]) -> float:
    """Natural logarithm of the synaptic flow (Tanaka et al., NeurIPS 2020).

    Synflow is the sum over weights of ``theta * dR/dtheta``, R the sum of the outputs for an input of ones when
    every weight has its absolute value. Weights are those of convolutions and linear layers; biases are 0 and
    BatchNorm keeps its initial statistics, as R is a product of weights in the paper. float64, and still the
    logarithm is what is safe to use: R grows exponentially with depth.

    Parameters
    ----------
    module
        An untrained network; it is left as it was.
    shape
        Of one input, without the batch.

    Returns
    -------
    ``-inf`` if no flow reaches the output.
    """
    net = copy.deepcopy(module).double().eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.abs_() if not name.endswith("bias") else parameter.zero_()
    device = next(net.parameters()).device
    weights = _weights(net)
    flow = net(torch.ones(1, *shape, dtype=torch.float64, device=device)).sum()
    gradients = torch.autograd.grad(flow, weights, allow_unused=True)
    pairs = zip(weights, gradients, strict=True)
    score = sum((float((w.detach() * g).sum()) for w, g in pairs if g is not None), 0.0)
    return float(torch.tensor(score, dtype=torch.float64).log())


def jacob_cov(jacobian: Tensor) -> float:
    """Score of the correlations between images' input gradients (Mellor et al., 2020, arXiv 2006.04647v1).

    ``-sum(log(e + k) + 1 / (e + k))`` over the eigenvalues e of the correlation matrix of the flattened
    gradients, k = 1e-5; used as ``jacob_cov`` by Abdelfattah et al. (ICLR 2021). It is largest, ``-N``,
    where nothing correlates.

    Parameters
    ----------
    jacobian
        Gradient of the summed logits by each image, ``(N, ...)``.

    Returns
    -------
    NaN if some image's gradient is constant, which leaves its correlations undefined.
    """
    rows = jacobian.detach().flatten(1).double()
    centred = rows - rows.mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    if not bool((length > 0).all()) or not bool(length.isfinite().all()):
        return math.nan
    unit = centred / length
    eigenvalues = torch.linalg.eigvalsh(unit @ unit.T).clamp_(min=0) + 1e-5
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())


def nwot(kernel: Tensor) -> float:
    """Log-determinant of the kernel of ReLU codes (Mellor et al., ICML 2021, "NAS without training").

    Parameters
    ----------
    kernel
        ``(N, N)``: for each pair of images the number of ReLU units that agree, active in both or in neither.

    Returns
    -------
    NaN for a singular kernel: then the network cannot tell some images apart, and the determinant is 0.
    """
    eigenvalues = torch.linalg.eigvalsh(kernel.double())
    if float(eigenvalues[0]) <= len(kernel) * torch.finfo(torch.float64).eps * float(eigenvalues[-1]):
        return math.nan
    return float(eigenvalues.log().sum())


def code_kernel(active: Tensor) -> Tensor:
    """Number of units on which each pair of rows agrees, float64 ``(N, N)``, from bool ``(N, units)``."""
    c = active.flatten(1).float()
    both, each = (c @ c.T).double(), c.sum(1).double()
    return both.mul_(2) - each[:, None] - each + c.shape[1]


def grad_norm(module: nn.Module, loss: Tensor) -> float:
    """Sum of the Euclidean norms of each weight tensor's gradient (Abdelfattah et al., ICLR 2021).

    Weights are those of convolutions and linear layers; one that the loss does not depend on adds nothing.
    """
    gradients = torch.autograd.grad(loss, _weights(module), allow_unused=True)
    return sum((float(g.norm()) for g in gradients if g is not None), 0.0)


def _weights(module: nn.Module) -> list[Tensor]:
    return [m.weight for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


@contextmanager
def _relu_kernel(net: nn.Module) -> Iterator[list[Tensor]]:
    """The kernel of ReLU codes of the next forward pass, summed over layers, as a list of one."""
    total: list[Tensor] = []

    def add(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        kernel = code_kernel(output.detach() > 0)
        total[:] = [total[0] + kernel] if total else [kernel]

    # Squeeze-and-excitation applies its ReLU to what its first convolution gives: the same signs.
    layers = [m.c1 if isinstance(m, SqueezeExcite) else m for m in net.modules() if _has_relu(m)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        yield total
    finally:
        for hook in hooks:
            hook.remove()


def _has_relu(module: nn.Module) -> bool:
    return isinstance(module, (ConvNormRelu, SqueezeExcite, nn.ReLU))


# -- campaigns and tables ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ProxyJob:
    """Proxies of one network; key ``proxies-3-14-s0``."""

    code: tuple[int, ...]
    seed: int = 0

    @property
    def key(self) -> str:
        """Key of the record."""
        return record_key(self.code, self.seed, "proxies")

    def run(self, setup: Setup, data: DeviceData, store: Records) -> None:
        """Compute and write the record: kind ``proxies``, ``code, seed, status, metrics, host`` and whence."""
        wall, cpu = time.perf_counter(), time.process_time()
        values = zero_cost_proxies(self.code, setup.recipe, self.seed, data)
        host = host_facts(data.mean.device, time.perf_counter() - wall, time.process_time() - cpu)
        store.write(self.key, self._record(setup, data.sha256, "ok", values, host))

    def failure(self, setup: Setup, images: str, status: str) -> dict[str, Record]:
        """The record that stands for a network which ran out of memory."""
        host = host_facts(resolve_device(setup.device), 0.0, 0.0)
        return {self.key: self._record(setup, images, status, dict.fromkeys(PROXY_METRICS, math.nan), host)}

    def _record(self, setup: Setup, images: str, status: str, values: dict[str, float], host: dict[str, Any]) -> Record:
        return {
            "kind": "proxies",
            "code": list(self.code),
            "seed": self.seed,
            "recipe": setup.recipe.name,
            "recipe_hash": setup.recipe.hash,
            "images": images,
            "status": status,
            "metrics": values,
            "host": host,
        }


def proxy_rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per network in order of codes: ``code`` (a tuple) and the columns of `PROXY_METRICS`.

    Each value is the mean over the seeds that have one, NaN if none has. Records of other kinds are passed over.
    """
    found: dict[tuple[int, ...], list[Mapping[str, float]]] = {}
    for r in records:
        if r.get("kind") == "proxies":
            found.setdefault(tuple(r["code"]), []).append(r["metrics"])
    return [
        {"code": code} | {name: _mean([v[name] for v in found[code]]) for name in PROXY_METRICS}
        for code in sorted(found)
    ]


def _mean(values: list[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return math.fsum(finite) / len(finite) if finite else math.nan
