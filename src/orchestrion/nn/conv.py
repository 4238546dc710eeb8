"""Convolutions that codec and conditioner are made of: residual dilated stacks, changes of rate."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """`x + scale · narrow(relu(wide(relu(x))))`: a dilated convolution of kernel 3, then one of kernel 1."""

    def __init__(self, width: int, residual_width: int, dilation: int, scale: float = 1.0) -> None:
        super().__init__()
        self.wide = nn.Conv1d(width, residual_width, 3, padding=dilation, dilation=dilation)
        self.narrow = nn.Conv1d(residual_width, width, 1)
        self.scale = scale

    def forward(self, x: Float[Tensor, "batch width frame"]) -> Float[Tensor, "batch width frame"]:
        update: Tensor = self.narrow(F.relu(self.wide(F.relu(x))))
        return x + update if self.scale == 1.0 else x + self.scale * update


class ResidualStack(nn.Module):
    """Residual blocks one after another, one for each of `dilations`, at one frame rate (paper, section 3.1)."""

    def __init__(self, width: int, residual_width: int, dilations: Sequence[int], scale: float = 1.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(width, residual_width, dilation, scale) for dilation in dilations)

    def forward(self, x: Float[Tensor, "batch width frame"]) -> Float[Tensor, "batch width frame"]:
        for block in self.blocks:
            x = block(x)
        return x


def downsample(in_width: int, out_width: int, kernel: int, stride: int) -> nn.Conv1d:
    """A strided convolution from n·stride frames to n."""
    return nn.Conv1d(in_width, out_width, kernel, stride, padding=(kernel - stride) // 2)


def upsample(in_width: int, out_width: int, kernel: int, stride: int, *, bias: bool = True) -> nn.ConvTranspose1d:
    """A transposed convolution from n frames to n·stride."""
    return nn.ConvTranspose1d(in_width, out_width, kernel, stride, padding=(kernel - stride) // 2, bias=bias)
