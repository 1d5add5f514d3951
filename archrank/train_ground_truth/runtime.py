"""Reproducible arithmetic, random streams, and what a record says of the machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
import time
from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from itertools import takewhile
from typing import Any

import numpy as np
import torch

from archrank._torch import cpu_threads


@contextlib.contextmanager
def reproducible(device: torch.device, fast: bool = False) -> Iterator[None]:
    """Inside, the same inputs give the same bits on the same machine.

    On a CPU one thread, so that sums are in the same order on any number of cores; on CUDA only
    algorithms with a fixed order of sums, and float32 in full (TF32, torch's default for convolutions, keeps 10 of
    its 23 bits). `fast` allows all algorithms and TF32, and lets cuDNN try them out.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    benchmark, fill = torch.backends.cudnn.benchmark, memory.fill_uninitialized_memory
    if device.type == "cpu":
        _keep_freed_memory()
    torch.use_deterministic_algorithms(not fast)
    memory.fill_uninitialized_memory = False  # 7 % of a step, and nothing here reads such memory
    torch.backends.cudnn.benchmark = fast
    try:
        with _float32_products(fast), cpu_threads(1) if device.type == "cpu" else contextlib.nullcontext():
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = benchmark
        memory.fill_uninitialized_memory = fill


@contextlib.contextmanager
def _float32_products(tf32: bool) -> Iterator[None]:
    """TF32 on a GPU or not, and float32 in full on a CPU, whatever the caller has set.

    torch has two ways to set this, of which the second came with 2.9. Where they contradict each other the first
    cannot be read, and then the second restores all that counts. An operation that was set to what its whole says
    follows the whole afterwards: torch does not tell the two apart.
    """
    backends: Any = torch.backends
    on_gpu: list[Any] = []
    on_cpu: list[Any] = []
    kept = []
    if hasattr(backends, "fp32_precision"):
        on_gpu = [backends.cudnn, backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul]
        on_cpu = [backends.mkldnn.conv, backends.mkldnn.matmul]
        # torch calls "cudnn" what is above all of CUDA.
        above = [backends, backends.cudnn, backends.cudnn, backends.cudnn, backends.mkldnn, backends.mkldnn]
        for operation, whole in zip(on_gpu + on_cpu, above, strict=True):
            own = operation.fp32_precision
            kept.append((operation, "none" if own == whole.fp32_precision else own))  # "none": as the whole
    convolutions = products = None
    with contextlib.suppress(RuntimeError):
        convolutions = backends.cudnn.allow_tf32
    with contextlib.suppress(RuntimeError):
        products = torch.get_float32_matmul_precision()
    backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    for operation in on_gpu:
        operation.fp32_precision = "tf32" if tf32 else "ieee"
    for operation in on_cpu:
        operation.fp32_precision = "ieee"
    try:
        yield
    finally:
        if convolutions is not None:
            backends.cudnn.allow_tf32 = convolutions
        if products is not None:
            torch.set_float32_matmul_precision(products)
        for operation, precision in kept:
            operation.fp32_precision = precision


@cache
def _keep_freed_memory() -> None:
    """Let glibc's malloc reuse large blocks instead of handing them back to the kernel after every operation.

    Feature maps are above its limit for that; fresh pages cost a quarter of the CPU time of a training step.
    Other allocators know no ``mallopt`` and are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(top_pad, 1 << 28)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision as a recipe says: ``fp32`` none, ``bf16`` or ``fp16`` autocast."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)


class Stream(IntEnum):
    """What a seed is used for; each use has random numbers of its own."""

    INITIAL_WEIGHTS = 0
    TRAINING = 1
    DISTILLATION = 2
    MEASUREMENT = 3  # images from which BatchNorm statistics and proxies are taken
    FINETUNING = 4
    UNTRAINED_TEACHER = 5


def generator(device: torch.device, seed: int, stream: Stream = Stream.TRAINING) -> torch.Generator:
    """The random numbers of one seed for one use."""
    state = np.random.SeedSequence((seed, stream)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def host_facts(device: torch.device, wall: float, cpu: float, fast: bool = False) -> dict[str, Any]:
    """Where and how long: everything in a record that may differ between equal runs."""
    name, processor = machine(device)
    return {
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "device": device.type,
        "device_name": name,
        "processor": processor,
        "threads": 1,  # that compute: see `reproducible`; on a GPU none decides a bit
        "deterministic": not fast,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "pid": os.getpid(),
    }


def machine(device: torch.device) -> tuple[str, str]:
    """Name of what computes, and for a CPU what decides its bits, see `cpu_identity`."""
    return (_gpu_name(device), "") if device.type == "cuda" else cpu_identity()


def _gpu_name(device: torch.device) -> str:
    """Empty in a process that has none, such as the driver of a Ray cluster."""
    return torch.cuda.get_device_name(device) if torch.cuda.is_available() else ""


class Clock:
    """Wall and CPU seconds since it was made, and those that a killed run had spent on the same job."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def spent(self) -> tuple[float, float]:
        """``(wall, cpu)``."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu

    def add(self, wall: float, cpu: float) -> None:
        """Count seconds that were spent before."""
        self._wall -= wall
        self._cpu -= cpu

    def facts(self, device: torch.device, fast: bool) -> dict[str, Any]:
        """The ``host`` part of a record."""
        return host_facts(device, *self.spent(), fast)


def cpu_identity() -> tuple[str, str]:
    """Name of the CPU, and what decides its bits: family, model, stepping and the vector instructions in use.

    The name alone does not: under a hypervisor CPUs of several generations are all called "AMD EPYC", and their
    sums differ in the last bits.
    """
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in takewhile(str.strip, lines):  # an empty line ends the first core
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    name = facts.get("model name") or platform.processor() or platform.machine()
    # x86 gives the first four, ARM the last two.
    numbers = [
        facts[k] for k in ("vendor_id", "cpu family", "model", "stepping", "CPU implementer", "CPU part") if k in facts
    ]
    return name, " ".join([*numbers, torch.backends.cpu.get_cpu_capability()])
