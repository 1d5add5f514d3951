"""The graph network behind the gcn predictor."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import DenseGraphConv


class _Layer(nn.Module):
    """Messages along the edges and against them, then LayerNorm, ReLU and dropout."""

    def __init__(self, width_in: int, width: int, dropout: float) -> None:
        super().__init__()
        self.along = DenseGraphConv(width_in, width)
        self.against = DenseGraphConv(width_in, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        x = self.along(x, adjacency) + self.against(x, adjacency.transpose(1, 2))
        out: Tensor = self.dropout(torch.relu(self.norm(x)))
        return out


class GraphNetwork(nn.Module):
    """Unnormalised graph convolutions, read out at the global vertex (place 0) by a linear layer.

    `(n, V, F)` features and `(n, V, V)` adjacency without the diagonal (`DenseGraphConv` has a weight
    of its own for the vertex itself) -> `(n,)`.
    """

    def __init__(self, n_features: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        widths = [n_features] + [width] * layers
        self.layers = nn.ModuleList(_Layer(a, width, dropout) for a in widths[:-1])
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, adjacency)
        out: Tensor = self.head(x[:, 0]).squeeze(-1)
        return out
