"""The processes that train one model together. Alone, a process is rank 0 of one, and a sum is what it is given."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup


def num_ranks() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if num_ranks() > 1 else 0


def summed(tensor: Tensor) -> Tensor:
    """The sum over all ranks, the same on each; without a gradient."""
    if num_ranks() == 1:
        return tensor
    total = tensor.detach().clone().contiguous()
    dist.all_reduce(total)
    return total


def wait_for_all(group: ProcessGroup | None = None) -> None:
    """Go on when all ranks have come here; they meet in `group`, by default that of all their work."""
    if num_ranks() > 1:
        dist.barrier(group)


def all_rows(rows: Tensor, chosen: Tensor) -> Tensor:
    """Rows `chosen` of what all ranks have one after another, each as many `rows`; the same on each rank."""
    if num_ranks() == 1:
        return rows[chosen]
    own = chosen - rank() * len(rows)
    mine = (own >= 0) & (own < len(rows))
    picked = rows[own.clamp(0, len(rows) - 1)]
    return summed(torch.where(mine[:, None], picked, 0))
