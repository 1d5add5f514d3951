"""Losses of the neural predictors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def pairwise_logistic(prediction: Tensor, target: Tensor) -> Tensor:
    """RankNet's loss: ``log(1 + exp(-(p_i - p_j)))`` over all pairs with ``y_i > y_j``.

    Parameters
    ----------
    prediction, target
        ``(n,)``.

    Returns
    -------
    The mean over ordered pairs; 0 where all targets are equal (Burges et al., ICML 2005).
    """
    above = target[:, None] > target[None, :]
    losses = functional.softplus(prediction[None, :] - prediction[:, None])
    return torch.where(above, losses, 0.0).sum() / above.sum().clamp(min=1)


def regression_and_ranking(prediction: Tensor, target: Tensor, ranking_weight: float) -> Tensor:
    """Mean squared error plus `ranking_weight` times `pairwise_logistic`."""
    loss = functional.mse_loss(prediction, target)
    return loss + ranking_weight * pairwise_logistic(prediction, target) if ranking_weight else loss
