"""Muon: momentum whose matrices are made orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

`torch.optim.Muon` does the same, but always multiplies in bfloat16, which a processor without that arithmetic does a
hundred times slower than in float32.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from orchestrion.train.parallel import like

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that drives singular values towards 1
_ITERATIONS = 5


def orthogonalised(matrix: Float[Tensor, "row column"], dtype: torch.dtype) -> Float[Tensor, "row column"]:
    """Nearly the closest matrix whose singular values are all 1, by five Newton-Schulz iterations in `dtype`."""
    a, b, c = _COEFFICIENTS
    x = matrix.to(dtype)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal, and scaled so that an update is as large as AdamW's (0.2 · √max(shape))."""

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        learning_rate: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`dtype` is what the products are made in."""
        super().__init__(matrices, {"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)

    def _update(self, weight: nn.Parameter, group: dict[str, Any]) -> None:
        gradient = weight.grad
        assert gradient is not None
        assert weight.ndim == 2, f"Muon trains matrices, not {tuple(weight.shape)}"
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(momentum, group["momentum"])
        scale = 0.2 * max(weight.shape) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        # A sharded matrix is put together: only as a whole can it be made orthogonal.
        whole = ahead.full_tensor() if isinstance(ahead, DTensor) else ahead
        weight.add_(like(orthogonalised(whole, self.dtype), ahead), alpha=-group["lr"] * scale)
