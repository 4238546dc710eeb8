"""Positions: rotary tables, and numbers on a range as vectors."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from orchestrion.errors import UserError


class Rotary(nn.Module):
    """Angles that turn each pair of channels by an amount proportional to the position (Su et al. 2021)."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, head_width: int, num_positions: int, base: float) -> None:
        super().__init__()
        frequency = base ** (-torch.arange(0, head_width, 2) / head_width)
        angle = torch.arange(num_positions)[:, None] * frequency
        cosine, sine = angle.cos()[:, None], angle.sin()[:, None]
        self.register_buffer("cosine", torch.cat((cosine, cosine), -1), persistent=False)
        self.register_buffer("sine", torch.cat((-sine, sine), -1), persistent=False)

    def at(self, start: int, stop: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines `position 1 width` in the dtype of `like`."""
        return self.cosine[start:stop].to(like.dtype), self.sine[start:stop].to(like.dtype)


def rotate(
    vectors: Float[Tensor, "*batch token head width"],
    cosine: Float[Tensor, "token 1 width"],
    sine: Float[Tensor, "token 1 width"],
) -> Float[Tensor, "*batch token head width"]:
    """Turn channel i against channel i + width/2."""
    turned: Tensor = _Rotate.apply(vectors, cosine, sine)  # type: ignore[no-untyped-call]
    return turned


def rotate_in_place(
    vectors: Float[Tensor, "*batch head width"], cosine: Float[Tensor, "1 1 width"], sine: Float[Tensor, "1 1 width"]
) -> None:
    """`rotate` without a gradient, for vectors at one position, into the same memory."""
    swapped = vectors.view(*vectors.shape[:-1], 2, -1).flip(-2).view(vectors.shape)
    vectors.mul_(cosine).addcmul_(swapped, sine)


class _Rotate(torch.autograd.Function):
    """Out of place in four passes over the memory; the gradient is the rotation back."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _turned(vectors, cosine, sine)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _turned(gradients[0], cosine, -sine), None, None


def _turned(vectors: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    out = torch.mul(vectors, cosine)
    first, second = vectors.chunk(2, -1)
    out_first, out_second = out.chunk(2, -1)
    sine_first, sine_second = sine.chunk(2, -1)
    out_first.addcmul_(second, sine_first)
    out_second.addcmul_(first, sine_second)
    return out


class RangeEmbedding(nn.Module):
    """A vector for a number in [low, high), by the equal bin it falls into.

    Numbers outside are clamped to the range, or else a UserError.
    """

    def __init__(self, num_bins: int, width: int, low: float, high: float, *, clamp: bool, what: str) -> None:
        super().__init__()
        self.table = nn.Embedding(num_bins, width)
        self.low, self.high, self.clamp, self.what = low, high, clamp, what

    def bins(self, values: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Bin numbers; single precision, in the order of operations that the published numbers need."""
        num_bins = self.table.num_embeddings
        if self.clamp:
            values = values.clamp(self.low, self.high)
        elif ((values < self.low) | (values >= self.high)).any():
            raise UserError(
                f"{self.what} of {float(values.min()):g} to {float(values.max()):g} is outside the range "
                f"{self.low:g} to {self.high:g} that this prior knows",
                "choose another length or position",
            )
        share = (values - self.low) / (self.high - self.low)
        return (num_bins * share).floor().long().clamp(max=num_bins - 1)

    def forward(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape width"]:
        vectors: Tensor = self.table(self.bins(values))
        return vectors
