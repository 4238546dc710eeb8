"""A codec's level that begins as principal components of what it hears, rather than with chance."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from orchestrion.codec.bands import LogBands
from orchestrion.codec.decoder import Decoder
from orchestrion.codec.encoder import Encoder
from orchestrion.codec.phases import logs_of
from orchestrion.nn.conv import ResidualBlock
from orchestrion.nn.precision import doubled

_RIDGE = 1e-4  # of the mean variance, added to each in the regression


@torch.no_grad()
def begin_principal(encoder: Encoder, decoder: Decoder, audio: Float[Tensor, "clip channel sample"]) -> None:
    """Make a level's convolutions the principal components of `audio`, and silence its residual blocks.

    The encoder's bands keep those of a frame that vary most, each further stage those of its frames together, the last
    convolution as many as a vector has. The decoder goes back by the same components, and from there to magnitudes by
    linear regression. So learning starts where the best linear code is; random convolutions take thousands of steps to
    get there. For a level with bands and a spectrum, whose stages do not project.
    """
    heard = encoder.layers[0]
    assert isinstance(heard, LogBands) and decoder.phases is not None
    for block in (*encoder.modules(), *decoder.modules()):
        if isinstance(block, ResidualBlock):
            for weights in block.narrow.parameters():
                weights.zero_()
    rows, steps = heard.bands(audio), []
    for layer in (heard.convolution, *(layer for layer in encoder.layers if isinstance(layer, nn.Conv1d))):
        stride = int(layer.stride[0])
        together = _together(rows, stride)
        mean, parts = _components(together, layer.out_channels)
        _set(layer, parts, -(parts @ mean), stride)
        rows = layer(rows)
        steps.append((stride, mean, parts))
    *outwards, last = [layer for layer in decoder.layers if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)]
    for back, (stride, mean, parts) in zip(outwards, reversed(steps[1:]), strict=True):
        _set_outwards(back, parts, mean, stride)
        rows = back(rows)
    target = logs_of(decoder.phases.target(audio)).transpose(2, 3).flatten(1, 2)
    weight, bias = _regression(rows, target)
    _set(last, weight, bias, 1)


def _together(rows: Float[Tensor, "clip width frame"], stride: int) -> Float[Tensor, "vector stride_width"]:
    """`stride` frames after one another as one vector each."""
    clips, width, frames = rows.shape
    whole = rows[..., : frames // stride * stride].reshape(clips, width, -1, stride)
    return whole.permute(0, 2, 3, 1).reshape(-1, stride * width)


def _components(
    rows: Float[Tensor, "vector width"], most: int
) -> tuple[Float[Tensor, " width"], Float[Tensor, "component width"]]:
    """The mean, and the orthonormal directions in which the rows vary most; zeros where there are more than width."""
    exact = doubled(rows)
    mean = exact.mean(0)
    _, directions = torch.linalg.eigh((exact - mean).T @ (exact - mean))
    kept = directions.flip(1).T[:most].to(rows)
    return mean.to(rows), F.pad(kept, (0, 0, 0, most - len(kept)))


def _regression(
    rows: Float[Tensor, "clip width frame"], target: Float[Tensor, "clip bin frame"]
) -> tuple[Float[Tensor, "bin width"], Float[Tensor, " bin"]]:
    given, wanted = (doubled(some.transpose(1, 2).flatten(0, 1)) for some in (rows, target))
    mean, goal = given.mean(0), wanted.mean(0)
    covariance = (given - mean).T @ (given - mean)
    some = _RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=given.dtype, device=given.device)
    weight = torch.linalg.solve(covariance + some, (given - mean).T @ (wanted - goal)).T
    return weight.to(rows), (goal - weight @ mean).to(rows)


def _middle(layer: nn.Conv1d | nn.ConvTranspose1d, stride: int) -> slice:
    """The taps of a kernel that lie on the frames of one stride."""
    before = (int(layer.kernel_size[0]) - stride) // 2
    return slice(before, before + stride)


def _set(layer: nn.Module, weight: Tensor, bias: Tensor, stride: int) -> None:
    """A convolution that does this to the `stride` frames of each vector, and looks at no others."""
    assert isinstance(layer, nn.Conv1d) and layer.bias is not None
    layer.weight.zero_()
    taps = weight.reshape(len(weight), stride, -1).transpose(1, 2)
    layer.weight[:, :, _middle(layer, stride)] = taps
    layer.bias.copy_(bias)


def _set_outwards(layer: nn.Module, parts: Tensor, mean: Tensor, stride: int) -> None:
    """The way back from components, through a convolution or a transposed one; means of a stride are one mean."""
    if isinstance(layer, nn.Conv1d):
        _set(layer, parts.T, mean, stride)
        return
    assert isinstance(layer, nn.ConvTranspose1d) and layer.bias is not None
    layer.weight.zero_()
    layer.weight[:, :, _middle(layer, stride)] = parts.reshape(len(parts), stride, -1).transpose(1, 2)
    layer.bias.copy_(mean.reshape(stride, -1).mean(0))
