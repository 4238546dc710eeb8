"""Weights in fewer bits for drawing: a step waits for the weights to be read, so fewer bits are more codes a second.

"bfloat16" and "float16" halve the memory and multiply in single precision. A plain product widens all of a matrix in
bfloat16 first, which takes longer than one in float32; compiled steps (`nn.compiled`) widen as they read. "int8" rounds
large matrices and what they multiply, and is the fastest there; small ones, which a processor reads fast enough, it
holds in float16. The packed products are FBGEMM's, which torch has on x86 processors.
"""

import copy
import functools
import logging
import warnings
from collections.abc import Callable
from itertools import chain
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from orchestrion.nn.linear import FEW_ROWS, Linear, Tied

logger = logging.getLogger(__name__)

Weights = Literal["bfloat16", "float16", "int8"]
M = TypeVar("M", bound=nn.Module)

_STEPS = 63
"""An int8 product adds pairs of 16 bits on older processors, which 7 bits and sign of activation never overflow."""
_SMALLEST = 1e-30
_SMALL = 2**19
"""Up to here a product in float16 is faster than in int8, and on one thread than on several, which begin late."""


def usable(weights: Weights, device: torch.device) -> bool:
    """Whether `quantized` can give these weights to a module on `device`."""
    return _problem(weights, {device.type}) is None


def quantized(module: M, weights: Weights = "int8", *, many_rows: bool = False) -> M:
    """A copy of `module` for use, whose `Linear` layers hold `weights`; all other tensors are shared with it.

    With `many_rows` it is to work on hundreds of rows at once: "int8" is then in small matrices too.

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
            if weights != "bfloat16" and isinstance(child, Linear | Tied):
                small = not many_rows and child.weight.numel() <= _SMALL and _failure("float16") is None
                setattr(parent, name, _PACKED["float16" if small else weights](child.weight, child.bias))
            elif isinstance(child, Linear):
                child.weight = nn.Parameter(child.weight.detach().bfloat16(), requires_grad=False)
    return made


class HalfLinear(nn.Module):
    """A linear layer in float16, which a product widens as it reads: 11 bits of each weight.

    That pays while a product waits for its weights. A small matrix is there in single precision too, the same numbers,
    and meets many rows so, on all threads.
    """

    def __init__(self, weight: Float[Tensor, "out width"], bias: Float[Tensor, " out"] | None = None) -> None:
        super().__init__()
        weight, bias = _constants(weight, bias)
        large = weight.numel() > _SMALL
        self.bias = None if large else bias
        self.wide = None if large else weight.half().float()
        if large:
            self.packed = torch.ops.quantized.linear_prepack_fp16(weight, bias)
        else:
            self.packed = torch.fbgemm_pack_gemm_matrix_fp16(weight)

    def forward(self, x: Float[Tensor, "batch *token width"]) -> Float[Tensor, "batch *token out"]:
        if x.dtype != torch.float32:
            return self.forward(x.float()).to(x.dtype)
        out: Tensor
        if self.wide is None:
            out = torch.ops.quantized.linear_dynamic_fp16(x, self.packed)
        elif x.shape[:-1].numel() > FEW_ROWS:
            out = F.linear(x, self.wide, self.bias)
        else:
            out = torch.fbgemm_linear_fp16_weight_fp32_activation(x, self.packed, self.bias)
        return out

    def __deepcopy__(self, memo: dict[int, object]) -> "HalfLinear":
        return self  # never changes, and a copy of the packed numbers would be none


class Int8Linear(nn.Module):
    """A linear layer in int8, a scale for each output; what comes in is rounded row by row, to 7 bits.

    A row's scale is its own: what else it meets a product with, and in whatever pieces, changes nothing but where a
    number lies so near the middle of two steps that its last bits decide.
    """

    def __init__(self, weight: Float[Tensor, "out width"], bias: Float[Tensor, " out"] | None = None) -> None:
        super().__init__()
        weight, self.bias = _constants(weight, bias)
        scale = _scales(weight)
        zero = torch.zeros(len(weight), dtype=torch.long)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.quantize_per")  # may be gone one day: `quantized` tests
            rounded = torch.quantize_per_channel(weight, scale.double(), zero, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(rounded, None)

    def forward(self, x: Float[Tensor, "batch *token width"]) -> Float[Tensor, "batch *token out"]:
        if x.dtype != torch.float32:
            return self.forward(x.float()).to(x.dtype)
        product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        out: Tensor
        if x.shape[:-1].numel() == 1:  # a number spares two passes over the row
            size = max(float(torch.linalg.vector_norm(x, torch.inf)), _SMALLEST)
            out = product(x, size / _STEPS, _STEPS + 1, self.packed)
            return out if self.bias is None else out.add_(self.bias)
        sizes = torch.maximum(x.amax(-1, keepdim=True), -x.amin(-1, keepdim=True)).clamp_(min=_SMALLEST)
        out = product(x / sizes, 1 / _STEPS, _STEPS + 1, self.packed)
        return out.mul_(sizes) if self.bias is None else torch.addcmul(self.bias, out, sizes, out=out)


def whole_numbers(
    weight: Float[Tensor, "out width"],
) -> tuple[Int[Tensor, "out width"], Float[Tensor, " out"]]:
    """The nearest of 255 whole numbers for each weight, and what they are to be multiplied by for each output."""
    weight = weight.float()  # a scale in fewer bits may be too small, and a weight beyond the largest number
    scale = _scales(weight)
    return (weight / scale[:, None]).round().to(torch.int8), scale


def _scales(weight: Tensor) -> Tensor:
    return weight.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127


def _constants(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return weight.detach().float(), None if bias is None else bias.detach().float()


_PACKED: dict[str, Callable[[Tensor, Tensor | None], nn.Module]] = {"float16": HalfLinear, "int8": Int8Linear}
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
    rng = torch.Generator().manual_seed(0)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some products may be gone one day, which this finds out
        weight, x = torch.randn(40, 96, generator=rng) * 96**-0.5, torch.randn(3, 96, generator=rng)
        weight[:2], x[:2] = 3.0, torch.tensor([[5.0], [-5.0]])
        for bias in (None, torch.randn(40, generator=rng)):
            expected = F.linear(x, weight, bias)
            try:
                found: Any = _PACKED[weights](weight, bias)(x)
            except (RuntimeError, AttributeError, TypeError) as error:
                return str(error).splitlines()[0]
            error_share = float((found - expected).norm() / expected.norm())
            if not error_share < _ERROR[weights]:
                return f"its products are off by {error_share:.1%}"
    return None
