"""Devices and threads of torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product on a GPU, by whoever makes it


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """``auto`` is the first CUDA device, else the CPU.

    Raises
    ------
    ValueError
        For a name that torch does not know.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}; expected auto, cpu, cuda, cuda:1 or the like") from None


def usable_device(device: str | torch.device = "auto") -> torch.device:
    """`resolve_device`, and on this machine.

    Raises
    ------
    ValueError
        Also for a device that this machine, or this build of torch, does not have.
    """
    place = resolve_device(device)
    if not is_there(place):
        raise ValueError(f"device {str(device)!r} was asked for, but torch does not see it; use auto or cpu")
    return place


def is_there(device: torch.device) -> bool:
    """Whether this machine, and this build of torch, have the device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # the second where torch was built without it
        return False
    return True


@contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Inside, torch computes with so many threads; results depend on their number in the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
