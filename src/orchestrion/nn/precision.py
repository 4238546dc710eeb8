"""Which floating-point types the machine at hand has and multiplies well."""

import functools
import time

import torch
from torch import Tensor


def multiplies_well(dtype: torch.dtype, device_type: str) -> bool:
    """Whether products of matrices in `dtype` are no slower than in float32.

    On a processor without arithmetic of that width they are a hundred times slower, on one with it several times
    faster: a short product tells, once in a process.
    """
    return _multiplies_well(dtype, device_type)  # cached there: a compiler takes this for a constant, and not a cache


@functools.cache
def _multiplies_well(dtype: torch.dtype, device_type: str) -> bool:
    if dtype in (torch.float32, torch.float64):
        return True
    if device_type == "cuda":
        return dtype != torch.bfloat16 or torch.cuda.is_bf16_supported(including_emulation=False)
    device = torch.device(device_type)
    return _seconds(dtype, device) < _seconds(torch.float32, device)


def doubled(values: Tensor) -> Tensor:
    """`values` in double precision; on the processor where their device has none, as Apple's."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def _seconds(dtype: torch.dtype, device: torch.device) -> float:
    """The fastest of five products of two matrices of 512 by 512."""
    matrix = torch.ones(512, 512, dtype=dtype, device=device)
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        (matrix @ matrix).sum().item()
        taken.append(time.perf_counter() - started)
    return min(taken)
