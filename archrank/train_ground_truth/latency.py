"""Latency of blocks and of whole networks, measured on the device at hand.

Everything is measured in ONE process, one candidate at a time: parallel workers would take cores,
caches and memory bandwidth from each other and time that instead. What becomes of the records is in
`archrank.train_ground_truth.latency_tables`.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from archrank._torch import cpu_threads, resolve_device, usable_device
from archrank.spaces import InvalidArchitectureError
from archrank.train_ground_truth.launch import Progress
from archrank.train_ground_truth.network import BloxNetwork, Stage
from archrank.train_ground_truth.recipe import Recipe
from archrank.train_ground_truth.runtime import host_facts
from archrank.train_ground_truth.train import Record, initialised_network

Shape = tuple[int, int, int]  # channels, rows, columns


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How latency is measured.

    Parameters
    ----------
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
    batch_size
        Images per pass.
    warmup, repeats
        Passes of each candidate that are not timed at first, and that are timed after them.
    threads
        CPU threads.
    label
        Name of the device in keys and columns, lower-case letters, digits and ``_``; by default ``cpu``
        or ``cuda``. Two machines whose latencies go into one table need two labels.

    Raises
    ------
    ValueError
        Naming the parameter.
    """

    device: str = "auto"
    batch_size: int = 1
    warmup: int = 3
    repeats: int = 30
    threads: int = 1
    label: str = ""

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("warmup", 0), ("repeats", 1), ("threads", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"latency: {name} = {getattr(self, name)}, expected at least {least}")
        kind = resolve_device(self.device).type
        if kind not in ("cpu", "cuda"):
            raise ValueError(f"latency is measured on cpu and cuda devices, got {self.device!r}")
        if not self.label:
            object.__setattr__(self, "label", kind)
        if not re.fullmatch(r"[a-z0-9_]+", self.label):
            raise ValueError(f"latency: label {self.label!r}, expected lower-case letters, digits and _")


DEFAULT = Protocol()


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Time of one forward pass, and how it was measured.

    ``latency_ms`` is the median over ``repeats`` passes, ``spread_ms`` half the distance between their
    16th and 84th percentile (the standard deviation, were they normal). ``cpu_ms`` is the median CPU time
    of the process: on a CPU, a latency well above ``cpu_ms / threads`` tells that others used the machine.
    """

    latency_ms: float
    spread_ms: float
    cpu_ms: float
    repeats: int
    warmup: int
    batch_size: int
    device: str
    device_name: str
    label: str
    threads: int
    torch: str
    dtype: str
    memory_format: str = "channels_last"


def measure_latency(module: nn.Module, shape: Shape, protocol: Protocol = DEFAULT, **changes: Any) -> Latency:
    """Measure one module: eval mode, no gradients, channels last.

    Parameters
    ----------
    module
        Maps ``(batch_size, *shape)`` to anything; it is left as it was.
    shape
        Channels, rows and columns of one image.
    **changes
        Fields of `Protocol` that differ from `protocol`, for example ``device="cpu", batch_size=64``.
    """
    if changes:
        fields = asdict(protocol)
        if fields["label"] == resolve_device(protocol.device).type:  # not named by anybody
            fields["label"] = ""
        protocol = Protocol(**{**fields, **changes})
    place = usable_device(protocol.device)
    with torch.no_grad():
        own = _placed(copy.deepcopy(module), place)
    return _time_all([(own, shape)], protocol, None)[0]


def measure_blocks(
    recipe: Recipe,
    stages: Iterable[int],
    blocks: Iterable[int],
    protocol: Protocol = DEFAULT,
    progress: Progress | None = None,
) -> list[Record]:
    """Measure each block at each stage (cell and reduction, at the recipe's width and resolution), stem and head.

    Returns
    -------
    Records of kind ``block-latency`` (``stage, block`` and the fields of `Latency`), and two of kind
    ``fixed-latency`` (``part``: ``stem`` or ``head``). `latency_key` names them.

    Raises
    ------
    InvalidArchitectureError
        For a stage or block that the recipe's space does not hold.
    """
    return measure_together(recipe, [(s, b) for s in stages for b in blocks], [], protocol, progress)


def measure_networks(
    recipe: Recipe, codes: ArrayLike, protocol: Protocol = DEFAULT, progress: Progress | None = None
) -> list[Record]:
    """Measure whole networks; records of kind ``network-latency`` (``code`` and the fields of `Latency`)."""
    return measure_together(recipe, [], codes, protocol, progress)


def measure_together(
    recipe: Recipe,
    blocks: Sequence[tuple[int, int]],
    codes: ArrayLike,
    protocol: Protocol = DEFAULT,
    progress: Progress | None = None,
) -> list[Record]:
    """Measure (stage, block) pairs and networks in the same rounds, so that one can be held against the other."""
    space = recipe.build_space()
    for stage, block in blocks:
        if not (0 <= stage < space.stages and 0 <= block < space.n_blocks[0]):
            raise InvalidArchitectureError(
                f"stage {stage}, block {block}: expected stages 0 to {space.stages - 1} and "
                f"blocks 0 to {space.n_blocks[0] - 1}"
            )
    rows = space.validate(codes).tolist() if len(np.atleast_1d(np.asarray(codes))) else []
    width, size, place = recipe.space.width, recipe.space.image_size, usable_device(protocol.device)
    shell = _placed(initialised_network([0] * space.stages, recipe, 0, place), place)
    head = _Head(shell).eval()
    # Networks share their stages, so that memory does not grow with their number: speed does not
    # depend on the weights.
    wanted = dict.fromkeys([*blocks, *((s, b) for row in rows for s, b in enumerate(row))])
    with torch.random.fork_rng(devices=[]):
        pool = {(s, b): _placed(Stage(b, width << s), place) for s, b in wanted}

    kinds: list[dict[str, Any]] = []
    work: list[tuple[nn.Module, Shape]] = []
    for stage, block in blocks:
        kinds.append({"kind": "block-latency", "stage": stage, "block": block})
        work.append((pool[stage, block], (width << stage, size >> stage, size >> stage)))
    if blocks:
        kinds += [{"kind": "fixed-latency", "part": "stem"}, {"kind": "fixed-latency", "part": "head"}]
        last = size >> space.stages
        work += [(shell.stem, (3, size, size)), (head, (width << space.stages, last, last))]
    for row in rows:
        kinds.append({"kind": "network-latency", "code": row})
        work.append((nn.Sequential(shell.stem, *(pool[s, b] for s, b in enumerate(row)), head), (3, size, size)))
    found = _time_all(work, protocol, progress)
    finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return [
        k | {"recipe": recipe.name, "recipe_hash": recipe.hash} | asdict(v) | {"finished": finished}
        for k, v in zip(kinds, found, strict=True)
    ]


def latency_key(record: Mapping[str, Any]) -> str:
    """Key of a record: ``latency-cpu-b1-t1-0-44``, ``...-net-3-14`` for networks, ``...-stem``, ``...-head``."""
    if record["kind"] == "network-latency":
        what = "-".join(["net", *(str(b) for b in record["code"])])
    else:
        what = record["part"] if "part" in record else f"{record['stage']}-{record['block']}"
    return f"latency-{record['label']}-b{record['batch_size']}-t{record['threads']}-{what}"


class _Head(nn.Module):
    """Average pool and classifier of a network."""

    def __init__(self, net: BloxNetwork):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.head(x)


def _placed(module: Any, place: torch.device) -> Any:
    return module.to(place, memory_format=torch.channels_last).eval()


def _time_all(work: Sequence[tuple[nn.Module, Shape]], protocol: Protocol, progress: Progress | None) -> list[Latency]:
    """Time the candidates in rounds, one turn each, in another order each round.

    The machine's speed drifts (clock, heat, other users): were one candidate measured after the other,
    that drift would become a difference between them. A turn is one pass that brings the candidate's weights
    back into the caches, then the pass that is timed.
    """
    place = resolve_device(protocol.device)
    # Random input: zeros would be a special case for the arithmetic units.
    rng = torch.Generator().manual_seed(0)
    dtypes = [next((p.dtype for p in module.parameters()), torch.float32) for module, _ in work]
    inputs: dict[Any, Tensor] = {}
    for (_, shape), dtype in zip(work, dtypes, strict=True):
        if (shape, dtype) not in inputs:
            images = torch.randn(protocol.batch_size, *shape, generator=rng)
            inputs[shape, dtype] = images.to(place, dtype, memory_format=torch.channels_last)
    order = np.random.default_rng(0)
    rounds = protocol.warmup + protocol.repeats
    times = np.empty((rounds, len(work), 2))
    with cpu_threads(protocol.threads), torch.inference_mode():
        for i in range(rounds):
            for k in order.permutation(len(work)):
                module, x = work[k][0], inputs[work[k][1], dtypes[k]]
                module(x)
                times[i, k] = _pass_ms(module, x)
            if progress is not None:
                progress(i + 1, rounds, "")
    times = times[protocol.warmup :]
    host = host_facts(place, 0.0, 0.0)
    low, median, high = np.round(np.percentile(times, (16, 50, 84), axis=0), 6)
    return [
        Latency(
            latency_ms=float(median[k, 0]),
            spread_ms=round(float(high[k, 0] - low[k, 0]) / 2, 6),
            cpu_ms=float(median[k, 1]),
            repeats=protocol.repeats,
            warmup=protocol.warmup,
            batch_size=protocol.batch_size,
            device=host["device"],
            device_name=host["device_name"],
            label=protocol.label,
            threads=protocol.threads,
            torch=host["torch"],
            dtype=str(dtypes[k]).removeprefix("torch."),
        )
        for k in range(len(work))
    ]


def _pass_ms(module: nn.Module, x: Tensor) -> tuple[float, float]:
    """Wall and CPU milliseconds of one pass; on a GPU the wall time is that between two events around it."""
    if x.is_cuda:
        with torch.cuda.device(x.device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
            cpu = time.process_time()
            start.record()
            module(x)
            end.record()
            torch.cuda.synchronize()
            return float(start.elapsed_time(end)), 1e3 * (time.process_time() - cpu)
    wall, cpu = time.perf_counter(), time.process_time()
    module(x)
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)
