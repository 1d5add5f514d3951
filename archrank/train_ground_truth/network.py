"""BLOX networks as torch modules, of any number of stages, width and input size."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from archrank.spaces.blox import BloxSpace
from archrank.spaces.blox_blocks import OPS, Block, blocks


class ConvBeforeNorm(nn.Conv2d):
    """Convolution whose bias takes no gradient.

    The BatchNorm after it subtracts whatever the bias adds, so in training the bias has no effect and
    its gradient is zero. Not computing it halves the cost of depthwise weight gradients on a CPU. Without a gradient
    there is no weight decay either: the bias keeps its initial value, which BatchNorm makes immaterial.
    """

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.detach()
        return nn.functional.conv2d(x, self.weight, bias, self.stride, self.padding, groups=self.groups)


class ConvNormRelu(nn.Module):
    """Convolution with bias, BatchNorm, ReLU: "CBR" of the publication."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, padding: int | None = None
    ) -> None:
        super().__init__()
        pad = kernel // 2 if padding is None else padding
        self.conv = ConvBeforeNorm(c_in, c_out, kernel, stride, pad, groups=groups)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.norm(self.conv(x)))


class SqueezeExcite(nn.Module):
    """Channel gates from the global average: conv - ReLU - conv - sigmoid."""

    def __init__(self, channels: int):
        super().__init__()
        self.c1 = nn.Conv2d(channels, channels, 1)
        self.c2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.c2(torch.relu_(self.c1(gate))))


class Residual(nn.Sequential):
    """A chain of layers whose input is added to its output."""

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self:
            y = layer(y)
        return x + y


def operation(op: int, channels: int) -> nn.Module:
    """One of the three operations; input and output have the same shape.

    conv: 4 CBR 3x3. mbconv: 2 fused inverted residual units with squeeze-and-excitation.
    bconv: 6 bottleneck units with 5x5 depthwise convolution of widths C/2, C, 2C, C/2, C, 2C.
    """
    c = channels
    if OPS[op] == "conv":
        return nn.Sequential(*(ConvNormRelu(c, c, 3) for _ in range(4)))
    if OPS[op] == "mbconv":
        return nn.Sequential(
            *(Residual(ConvNormRelu(c, 2 * c, 3), SqueezeExcite(2 * c), ConvNormRelu(2 * c, c, 1)) for _ in range(2))
        )
    return nn.Sequential(
        *(
            Residual(ConvNormRelu(c, w, 1), ConvNormRelu(w, w, 5, groups=w), ConvNormRelu(w, c, 1))
            for w in (c // 2, c, 2 * c) * 2
        )
    )


class Cell(nn.Module):
    """The searchable cell: up to two operations in one of six wirings."""

    def __init__(self, block: Block, channels: int):
        super().__init__()
        self.parallel = block.wiring == "parallel"
        self.adds_input = block.wiring in ("chain+input", "full")
        self.adds_first = block.wiring in ("chain+skip", "full")
        self.op1 = None if block.first is None else operation(block.first, channels)
        self.op2 = operation(block.second, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor
        if self.op1 is None:
            out = self.op2(x)
        elif self.parallel:
            out = self.op1(x) + self.op2(x)
        else:
            a = self.op1(x)
            out = self.op2(a + x if self.adds_input else a)
            if self.adds_first:
                out = out + a
        return out


class Reduction(nn.Module):
    """Twice the channels, half the size: two 3x3 convolutions plus a 2x2 shortcut."""

    def __init__(self, c: int):
        super().__init__()
        self.main = nn.Sequential(ConvNormRelu(c, 2 * c, 3, stride=2), ConvNormRelu(2 * c, 2 * c, 3))
        self.side = ConvNormRelu(c, 2 * c, 2, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        main, side = self.main(x), self.side(x)
        if main.shape != side.shape:  # odd input: the main branch is one row and column larger
            main = main[..., : side.shape[-2], : side.shape[-1]]
        out: Tensor = main + side
        return out


class Stage(nn.Module):
    """What a signature is distilled for: one cell and the reduction after it."""

    def __init__(self, block: int, channels: int):
        super().__init__()
        self.cell = Cell(blocks()[block], channels)
        self.reduction = Reduction(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.reduction(self.cell(x))
        return out


class BloxNetwork(nn.Module):
    """Stem, stages, global average pool, linear classifier: ``(N, 3, S, S) -> (N, classes)``."""

    def __init__(self, code: tuple[int, ...], width: int, classes: int):
        super().__init__()
        self.code = code
        self.width = width
        self.stem = ConvNormRelu(3, width, 3)
        self.stages = nn.ModuleList(Stage(block, width << s) for s, block in enumerate(code))
        self.classifier = nn.Linear(width << len(code), classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.stem(x), 0)

    def after(self, x: Tensor, stage: int) -> Tensor:
        """Logits from the input of one stage."""
        for later in self.stages[stage:]:
            x = later(x)
        return self.head(x)

    def head(self, x: Tensor) -> Tensor:
        """Logits of the last stage's output."""
        out: Tensor = self.classifier(x.mean((2, 3)))
        return out

    def before(self, x: Tensor, stage: int) -> Tensor:
        """Input of one stage, computing nothing after it."""
        x = self.stem(x)
        for earlier in self.stages[:stage]:
            x = earlier(x)
        return x

    def features(self, x: Tensor, stage: int) -> tuple[Tensor, Tensor]:
        """Input and output of one stage, computing nothing after it."""
        x = self.before(x, stage)
        return x, self.stages[stage](x)


def build_network(
    code: ArrayLike,
    space: BloxSpace,
    width: int | None = None,
    image_size: int | None = None,
    classes: int | None = None,
) -> BloxNetwork:
    """Build one network of a BLOX space, default torch initialisation.

    Parameters
    ----------
    code
        Block id per stage, ``(n_stages,)``.
    width, image_size, classes
        Default to the space's own. Widths are even; `image_size` is checked against the reductions.

    Returns
    -------
    Module that maps float images ``(N, 3, image_size, image_size)`` to logits ``(N, classes)``.

    Raises
    ------
    InvalidArchitectureError
        For a code that the space does not hold.
    """
    import numpy as np

    row = space.validate(np.atleast_2d(np.asarray(code)))[0]
    width = space.width if width is None else width
    size = space.image_size if image_size is None else image_size
    if width < 2 or width % 2:
        raise ValueError(f"width must be even and at least 2 (bconv halves it), got {width}")
    if size >> space.stages < 1:
        raise ValueError(f"{space.stages} reductions leave nothing of {size} pixels; use at least {2**space.stages}")
    return BloxNetwork(tuple(int(b) for b in row), width, space.classes if classes is None else classes)
