"""Convolutions that codec and conditioner are made of: residual dilated stacks, changes of rate."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


def snake(x: Float[Tensor, "*shape"], frequency: Float[Tensor, "*_"]) -> Float[Tensor, "*shape"]:
    """`x + sin²(a x) / a`, with a the frequency: grows like x and repeats itself.

    (Ziyin et al. 2020, arXiv 2006.08195.)
    """
    return x + (frequency * x).sin().square() / frequency


class Snake(nn.Module):
    """`snake` with a frequency for each channel that is learned, by its logarithm so that it stays above 0.

    It begins at 1, as in BigVGAN (Lee et al. 2023, arXiv 2206.04658).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.log_frequency = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "batch width frame"]) -> Float[Tensor, "batch width frame"]:
        return snake(x, self.log_frequency.exp()[:, None])


class ResidualBlock(nn.Module):
    """`x + scale · narrow(f(wide(f(x))))`: a dilated convolution of kernel 3, then one of kernel 1.

    f is relu, or else a `Snake` of its own in each place.
    """

    def __init__(
        self, width: int, residual_width: int, dilation: int, scale: float = 1.0, *, periodic: bool = False
    ) -> None:
        super().__init__()
        self.outer: nn.Module = Snake(width) if periodic else nn.ReLU()
        self.wide = nn.Conv1d(width, residual_width, 3, padding=dilation, dilation=dilation)
        self.inner: nn.Module = Snake(residual_width) if periodic else nn.ReLU()
        self.narrow = nn.Conv1d(residual_width, width, 1)
        self.scale = scale

    def forward(self, x: Float[Tensor, "batch width frame"]) -> Float[Tensor, "batch width frame"]:
        update: Tensor = self.narrow(self.inner(self.wide(self.outer(x))))
        return x + update if self.scale == 1.0 else x + self.scale * update


class ResidualStack(nn.Module):
    """Residual blocks one after another, one for each of `dilations`, at one frame rate (paper, section 3.1)."""

    def __init__(
        self,
        width: int,
        residual_width: int,
        dilations: Sequence[int],
        scale: float = 1.0,
        *,
        periodic: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(width, residual_width, dilation, scale, periodic=periodic) for dilation in dilations
        )

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
