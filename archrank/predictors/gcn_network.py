"""The graph network behind the gcn predictor."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import DenseGraphConv


class _Layer(nn.Module):
    """Messages along the edges and against them, then LayerNorm, ReLU and dropout."""

    def __init__(self, width_in: int, width: int, dropout: float) -> None:
        super().__init__()
        self.along = DenseGraphConv(width_in, width)  # and the vertex itself
        self.against = nn.Linear(width_in, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        x = self.along(x, adjacency) + self.against(adjacency.transpose(1, 2) @ x)
        out: Tensor = self.dropout(torch.relu(self.norm(x)))
        return out


class _Readout(nn.Module):
    """The last graph convolution, at the global vertex alone: it has an edge to every other vertex."""

    def __init__(self, width_in: int, width: int, dropout: float) -> None:
        super().__init__()
        self.own = nn.Linear(width_in, width)
        self.others = nn.Linear(width_in, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.own(x[:, 0]) + self.others(x[:, 1:].sum(dim=1))
        out: Tensor = self.head(self.dropout(torch.relu(self.norm(x)))).squeeze(-1)
        return out


class GraphNetwork(nn.Module):
    """Unnormalised graph convolutions, the last one at the global vertex (place 0) with a linear head.

    `(n, V, F)` features and `(n, V, V)` adjacency without the diagonal (`DenseGraphConv` has a weight
    of its own for the vertex itself) -> `(n,)`.
    """

    def __init__(self, n_features: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        widths = [n_features] + [width] * (layers - 1)
        self.layers = nn.ModuleList(_Layer(a, width, dropout) for a in widths[:-1])
        self.readout = _Readout(widths[-1], width, dropout)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, adjacency)
        out: Tensor = self.readout(x)
        return out
