"""Linear layers for few rows as well as for many, in weights that may be held narrower than they compute."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from orchestrion.nn.precision import multiplies_well

FEW_ROWS = 16
"""Up to here a product on a processor waits for the weights rather than for arithmetic."""
_FEWER_ROWS = 4
"""Up to here a product in parts is faster with the weights on the left."""


class Linear(nn.Linear):
    """`torch.nn.Linear` by way of `linear`."""

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        return linear(x, self.weight, self.bias)


class Tied(nn.Module):
    """The product with the table of an embedding, which keeps it: a linear layer without weights of its own."""

    bias = None

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self._table = (table,)  # in a tuple it is no module of this one

    @property
    def weight(self) -> Tensor:
        return self._table[0].weight

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        return linear(x, self.weight)


def linear(
    x: Float[Tensor, "*batch width"],
    weight: Float[Tensor, "out width"],
    bias: Float[Tensor, " out"] | None = None,
) -> Float[Tensor, "*batch out"]:
    """`x @ weight.T + bias` in the dtype of `x`.

    Narrower weights are widened while they are used; so is everything where the machine is slow in the dtype of
    `x`, but for a single row, which it reads at full speed in any.
    """
    dtype, device, num_rows = x.dtype, x.device.type, x.shape[:-1].numel()
    if dtype == weight.dtype == torch.float32:
        # asked for few rows alone: to ask for it ends a compiled graph
        if num_rows <= FEW_ROWS and device == "cpu" and (num_threads := torch.get_num_threads()) > 1:
            return _few_rows(x, weight, bias, num_rows, math.gcd(weight.shape[0], 2 * num_threads))
        return F.linear(x, weight, bias)
    if torch.is_autocast_enabled(device):
        return F.linear(x, weight, bias)
    inner = torch.promote_types(dtype, weight.dtype)
    if num_rows > 1 and not multiplies_well(inner, device):
        inner = torch.float32
    return F.linear(x.to(inner), weight.to(inner), None if bias is None else bias.to(inner)).to(dtype)


def _few_rows(x: Tensor, weight: Tensor, bias: Tensor | None, num_rows: int, num_parts: int) -> Tensor:
    """The product in several parts of `weight`, which a processor's threads read side by side.

    As one product, which one thread works at alone, it takes one and a half times as long, or twice.
    """
    parts, rows = weight.reshape(num_parts, -1, weight.shape[1]), x.reshape(num_rows, -1)
    if num_rows <= _FEWER_ROWS:
        out = torch.bmm(parts, rows.t().expand(num_parts, -1, -1)).flatten(0, 1).t().contiguous()
    else:
        out = torch.bmm(rows.expand(num_parts, -1, -1), parts.transpose(1, 2)).transpose(0, 1).flatten(1)
    if bias is not None:
        out = out + bias
    return out.view(*x.shape[:-1], -1)
