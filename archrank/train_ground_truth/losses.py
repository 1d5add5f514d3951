"""Losses of blockwise and of whole-network distillation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nsr(student: Tensor, teacher: Tensor) -> Tensor:
    """Noise-to-signal power ratio, DONNA's signature and block loss (Moons et al., ICCV 2021).

    Mean over channels of MSE(student, teacher) / unbiased variance of the teacher's channel over batch
    and space. A constant teacher channel carries no signal and is left out of the mean; if all are
    constant the ratio is NaN.

    Parameters
    ----------
    student, teacher
        ``(N, C, H, W)``.

    Returns
    -------
    Scalar tensor.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} must have the same shape")
    noise = (student - teacher).square().mean((0, 2, 3))
    power = teacher.var((0, 2, 3))
    signal = power > 0
    ratio = torch.where(signal, noise / torch.where(signal, power, 1.0), 0.0)
    return ratio.sum() / signal.sum()


def kd(student: Tensor, teacher: Tensor, label: Tensor, alpha: float = 0.9, temperature: float = 1.0) -> Tensor:
    """Knowledge distillation (Hinton et al., 2015) as BLOX weighs it.

    ``(1 - alpha) * CE(student, label) + alpha * batch mean of sum p log(p / q)``, p and q the softmax of
    teacher and student at `temperature`; no factor of temperature squared.

    Parameters
    ----------
    student, teacher
        Logits ``(N, classes)``.
    label
        ``(N,)``.
    """
    p = F.softmax(teacher / temperature, 1)
    return _mix(student, p, label, alpha, temperature)


def kd_topk(
    student: Tensor, teacher: Tensor, label: Tensor, alpha: float = 0.9, temperature: float = 1.0, k: int = 25
) -> Tensor:
    """`kd` against the teacher's `k` largest probabilities, the rest spread evenly over the other classes.

    Raises
    ------
    ValueError
        If `k` is not from 1 to below the number of classes.
    """
    classes = teacher.shape[1]
    if not 1 <= k < classes:
        raise ValueError(f"k must be from 1 to {classes - 1} for {classes} classes, got {k}")
    top = F.softmax(teacher / temperature, 1).topk(k, dim=1)
    rest = (1 - top.values.sum(1, keepdim=True)).clamp_min(0) / (classes - k)
    p = rest.expand(-1, classes).scatter(1, top.indices, top.values)
    return _mix(student, p, label, alpha, temperature)


def _mix(student: Tensor, p: Tensor, label: Tensor, alpha: float, temperature: float) -> Tensor:
    log_q = F.log_softmax(student / temperature, 1)
    return (1 - alpha) * F.cross_entropy(student, label) + alpha * F.kl_div(log_q, p, reduction="batchmean")
