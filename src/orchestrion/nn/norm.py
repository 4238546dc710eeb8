"""Norms: every vector brought to unit root mean square, cheaply."""

import functools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

EPSILON = 1e-5


def unit_rms(vectors: Float[Tensor, "*shape width"]) -> Float[Tensor, "*shape width"]:
    """Each vector divided by its root mean square (Zhang & Sennrich 2019, without weights)."""
    if not (torch.is_grad_enabled() and vectors.requires_grad):
        return vectors / _rms(vectors)
    scaled: Tensor = _UnitRms.apply(vectors)  # type: ignore[no-untyped-call]
    return scaled


def unit_rms_in_place(vectors: Float[Tensor, "*shape width"]) -> None:
    """`unit_rms` without a gradient, into the same memory."""
    vectors.div_(_rms(vectors))


def _rms(vectors: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    scale = vectors.shape[-1] ** -0.5
    if size.dtype != torch.float32 or torch.compiler.is_compiling():
        return size.mul_(scale).add_(EPSILON)
    # A number given as such is made a tensor in each operation anew, which is most of the work for few vectors.
    return torch.addcmul(_constant(EPSILON, size.device), size, _constant(scale, size.device))


@functools.cache
def _constant(value: float, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor([value], device=device)


class UnitRms(nn.Module):
    """`unit_rms` as a layer."""

    def forward(self, x: Float[Tensor, "*shape width"]) -> Float[Tensor, "*shape width"]:
        return unit_rms(x)


class _UnitRms(torch.autograd.Function):
    """As torch's rms_norm, with a fraction of its passes over the memory on a CPU."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        inverse = _rms(vectors).reciprocal_()
        scaled: Tensor = vectors * inverse
        ctx.save_for_backward(scaled, inverse)
        return scaled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        scaled, inverse = ctx.saved_tensors
        (gradient,) = gradients
        along = torch.linalg.vecdot(gradient, scaled).unsqueeze(-1) / scaled.shape[-1]
        into: Tensor = torch.addcmul(gradient, scaled, along, value=-1) * inverse
        return into
