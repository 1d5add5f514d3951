"""A graph convolution network over architectures (after BRP-NAS, Dudziak et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from archrank._torch import cpu_threads, is_there, resolve_device, usable_device
from archrank.encodings.graph import GraphBatch
from archrank.predictors.base import State
from archrank.predictors.gcn_network import GraphNetwork
from archrank.predictors.losses import regression_and_ranking
from archrank.predictors.target import Target, Transform, check_targets

# Graphs per forward pass: the activations of so many stay in the cache of one core.
_CHUNK = 128


class GCNRegressor(RegressorMixin, BaseEstimator):
    """Graph convolutions, LayerNorm, ReLU, read out at the global vertex; trained by AdamW.

    The published network (BRP-NAS, BLOX) in a smaller size, with messages along and against the edges
    and a loss that adds pairwise ranking to the squared error.

    Parameters
    ----------
    width, layers, dropout
        Of the network. The last layer computes the global vertex alone, so 2 layers pass messages once.
    steps
        Optimiser steps; by default two per network, between 200 and 2,000.
    batch_size
        Graphs per step.
    learning_rate, weight_decay
        Of AdamW; the rate falls along a cosine after a short rise.
    ranking_weight
        Weight of the pairwise ranking loss beside the squared error.
    target_transform
        "log-error" learns ``-log(best_value - y)`` where `best_value` is known; "identity" learns y.
    best_value
        The best value that the metric can reach, such as 100 for an accuracy in per cent.
    device
        A torch device, or "auto" for a GPU if there is one. So small a network learns as fast on a core, where many
        fits in parallel do not fill a GPU. A model that is loaded where its device is missing predicts on what
        "auto" gives there.
    n_jobs
        CPU threads; results depend on their number in the last bits.
    random_state
        Seed, generator or None.

    Attributes
    ----------
    network_ : `GraphNetwork`
    device_ : torch.device
    n_features_in_ : number of vertex features

    Notes
    -----
    With one network, or a constant target, predictions are constant.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 2,
        dropout: float = 0.0,
        steps: int | None = None,
        batch_size: int = 32,
        learning_rate: float = 5e-3,
        weight_decay: float = 1e-2,
        ranking_weight: float = 1.0,
        target_transform: Transform = "log-error",
        best_value: float | None = None,
        device: str = "cpu",
        n_jobs: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.width = width
        self.layers = layers
        self.dropout = dropout
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.ranking_weight = ranking_weight
        self.target_transform = target_transform
        self.best_value = best_value
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: GraphBatch, y: ArrayLike) -> Self:
        """Fit to graphs ``(n,)`` and metric values ``(n,)``."""
        _check_graphs(X)
        check_targets(y)
        values = column_or_1d(y, dtype=np.float64, warn=True)
        check_consistent_length(X, values)
        if not len(values):
            raise ValueError("Found 0 networks; fit needs at least 1")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.device_ = usable_device(self.device)
        self.n_features_in_ = X.shape[2]
        self.target_ = Target.fit(values, self.target_transform, self.best_value)
        # Numbers are brought down to 1; what is small, such as a relative cost, is meant to be.
        self.feature_scale_ = np.maximum(np.abs(X.features).max(axis=(0, 1)), 1).astype(np.float32)
        # Seeding inside fork_rng leaves the generators of the caller as they were.
        cuda = [self.device_] if self.device_.type == "cuda" else []
        with cpu_threads(self.n_jobs), torch.random.fork_rng(devices=cuda):
            (torch.manual_seed if cuda else torch.default_generator.manual_seed)(seed)
            self.network_ = self._build().to(self.device_)
            if len(values) > 1 and np.ptp(values) > 0:
                self._train(X, torch.from_numpy(self.target_.forward(values)).float().to(self.device_))
            else:
                torch.nn.init.zeros_(self.network_.readout.head.weight)
                torch.nn.init.zeros_(self.network_.readout.head.bias)
        self.network_.eval()
        return self

    def _build(self) -> GraphNetwork:
        return GraphNetwork(self.n_features_in_, self.width, self.layers, self.dropout)

    def _tensors(self, X: GraphBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled features and adjacency without the diagonal."""
        adjacency = torch.from_numpy(X.adjacency & ~np.eye(X.shape[1], dtype=bool))
        features = torch.from_numpy(X.features / self.feature_scale_)
        return features.to(self.device_), adjacency.to(self.device_, torch.float32)

    def _train(self, X: GraphBatch, target: torch.Tensor) -> None:
        features, adjacency = self._tensors(X)
        steps = int(np.clip(2 * len(target), 200, 2000)) if self.steps is None else self.steps
        # One call for all weights: with few networks the calls, not the arithmetic, take the time.
        parameters = self.network_.parameters()
        optimiser = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.learning_rate, total_steps=steps, pct_start=0.1)
        self.network_.train()
        for rows in _batches(len(target), self.batch_size, steps, self.device_):
            optimiser.zero_grad(set_to_none=True)
            prediction = self.network_(features[rows], adjacency[rows])
            loss = regression_and_ranking(prediction, target[rows], self.ranking_weight)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()

    def predict(self, X: GraphBatch) -> NDArray[np.float64]:
        """Metric values ``(n,)``."""
        check_is_fitted(self, "network_")
        _check_graphs(X)
        if X.shape[2] != self.n_features_in_:
            raise ValueError(f"X has {X.shape[2]} vertex features, but {self.n_features_in_} were seen in fit")
        with cpu_threads(self.n_jobs), torch.inference_mode():
            chunks = [self.network_(*self._tensors(X[i : i + _CHUNK])) for i in range(0, len(X), _CHUNK)]
            z = torch.cat(chunks).double().cpu().numpy() if chunks else np.zeros(0)
        return self.target_.inverse(z)

    def get_state(self) -> State:
        """See `archrank.predictors.base.Persistent`."""
        if not hasattr(self, "network_"):
            return State()
        weights = {f"network.{k}": v.cpu().numpy() for k, v in self.network_.state_dict().items()}
        return State({"target": self.target_.to_dict()}, weights | {"feature_scale": self.feature_scale_})

    def set_state(self, state: State) -> None:
        """See `archrank.predictors.base.Persistent`."""
        self.target_ = Target(**state.values["target"])
        self.device_ = resolve_device(self.device)
        if not is_there(self.device_):  # fitted on another machine
            self.device_ = resolve_device("auto")
        self.feature_scale_ = state.arrays["feature_scale"]
        self.n_features_in_ = len(self.feature_scale_)
        self.network_ = self._build()
        prefix = "network."
        weights = {
            k.removeprefix(prefix): torch.from_numpy(v.copy()) for k, v in state.arrays.items() if k.startswith(prefix)
        }
        self.network_.load_state_dict(weights)
        self.network_.to(self.device_).eval()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


def _batches(n: int, size: int, steps: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Index batches from one permutation after another, whole batches only."""
    size = min(size, n)
    done = 0
    while True:
        order = torch.randperm(n).to(device)  # drawn on the CPU: the same order on every device
        for start in range(0, n - size + 1, size):
            if done == steps:
                return
            done += 1
            yield order[start : start + size]


def _check_graphs(X: Any) -> None:
    if not isinstance(X, GraphBatch):
        raise TypeError(f"the gcn needs a GraphBatch, got {type(X).__name__}; put a GraphEncoding before it")
