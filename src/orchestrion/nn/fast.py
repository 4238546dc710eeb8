"""Weights in fewer bits for drawing: a step waits for the weights to be read, so fewer bits are more codes a second.

"bfloat16" and "float16" halve the memory and multiply in single precision; "int8" rounds weights and what they
multiply, and is the fastest. The packed products are FBGEMM's, which torch has on x86 processors.
"""

import copy
import functools
import logging
import warnings
from collections.abc import Callable
from itertools import chain
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orchestrion.nn.linear import Linear

logger = logging.getLogger(__name__)

Weights = Literal["bfloat16", "float16", "int8"]
M = TypeVar("M", bound=nn.Module)

_STEPS = 63
"""An int8 product adds pairs of 16 bits on older processors, which 7 bits and sign of activation never overflow."""
_SMALLEST = 1e-30


def quantized(module: M, weights: Weights = "int8") -> M:
    """A copy of `module` for use, whose `Linear` layers hold `weights`; all other tensors are shared with it.

    Where the machine's packed products fail their test, "float16" and "int8" give back `module` with a warning in
    the log.
    """
    problem = _problem(weights, {parameter.device.type for parameter in module.parameters()})
    if problem:
        logger.warning("weights stay as they are, %s is of no use here: %s", weights, problem)
        return module
    made = copy.deepcopy(module, {id(part): part for part in chain(module.parameters(), module.buffers())})
    for parent in list(made.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Linear):
                setattr(parent, name, _narrowed(child) if weights == "bfloat16" else _PACKED[weights](child))
    return made


def _narrowed(layer: Linear) -> Linear:
    layer.weight = nn.Parameter(layer.weight.detach().bfloat16(), requires_grad=False)
    return layer


class HalfLinear(nn.Module):
    """A linear layer in float16, which a product widens as it reads: 11 bits of each weight."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        bias = None if layer.bias is None else layer.bias.detach().float()
        self.packed = torch.ops.quantized.linear_prepack_fp16(layer.weight.detach().float(), bias)

    def forward(self, x: Float[Tensor, "batch *token width"]) -> Float[Tensor, "batch *token out"]:
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(x.float(), self.packed)
        return out.to(x.dtype)


class Int8Linear(nn.Module):
    """A linear layer in int8, a scale for each output; what comes in is rounded row by row, to 7 bits.

    A row's scale is its own, so that a song is the same whatever others it is made with, and in whatever pieces.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().float()
        scale = weight.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        zero = torch.zeros(len(weight), dtype=torch.long)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.quantize_per")  # may be gone one day: `quantized` tests
            rounded = torch.quantize_per_channel(weight, scale.double(), zero, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(rounded, None)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().float(), requires_grad=False)

    def forward(self, x: Float[Tensor, "batch *token width"]) -> Float[Tensor, "batch *token out"]:
        dtype, x = x.dtype, x.float()
        product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        out: Tensor
        if x.shape[:-1].numel() == 1:  # a number spares two passes over the row
            size = max(float(torch.linalg.vector_norm(x, torch.inf)), _SMALLEST)
            out = product(x, size / _STEPS, _STEPS + 1, self.packed)
        else:
            sizes = x.abs().amax(-1, keepdim=True).clamp_(min=_SMALLEST)
            out = product(x / sizes, 1 / _STEPS, _STEPS + 1, self.packed).mul_(sizes)
        if self.bias is not None:
            out.add_(self.bias)
        return out.to(dtype)


_PACKED: dict[str, Callable[[nn.Linear], nn.Module]] = {"float16": HalfLinear, "int8": Int8Linear}
_ERROR = {"float16": 1e-3, "int8": 2e-2}


def _problem(weights: Weights, devices: set[str]) -> str | None:
    """Why these weights cannot be had, or None."""
    if weights == "bfloat16":
        return None
    if devices != {"cpu"}:
        return "packed products are a processor's"
    return _failure(weights)


@functools.cache
def _failure(weights: Weights) -> str | None:
    """Multiplies once, with all that could overflow at its largest."""
    layer = nn.Linear(96, 40, device="meta").to_empty(device="cpu")
    rng = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        layer.weight.normal_(generator=rng)[:2] = 3.0
        layer.bias.normal_(generator=rng)
        x = torch.randn(3, 96, generator=rng)
        x[:2] = torch.tensor([[5.0], [-5.0]])
        expected = layer(x)
        try:
            found: Any = _PACKED[weights](layer)(x)
        except (RuntimeError, AttributeError) as error:
            return str(error).splitlines()[0]
        error_share = float((found - expected).norm() / expected.norm())
    return None if error_share < _ERROR[weights] else f"its products are off by {error_share:.1%}"
