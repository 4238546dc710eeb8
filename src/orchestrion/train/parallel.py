"""Several processes that train one model: who takes which items, how gradients meet, how a model is put together."""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from orchestrion.config.training import TrainingConfig
from orchestrion.errors import UserError
from orchestrion.nn.precision import multiplies_well
from orchestrion.nn.ranks import num_ranks, rank, summed, wait_for_all
from orchestrion.nn.transformer import Block

PATIENCE = timedelta(hours=4)
"""So long processes wait for one another: rank 0 validates, draws and writes."""


class Part(NamedTuple):
    """Items `first` to `first + size` of a batch of `total`."""

    first: int
    size: int
    total: int

    def cut(self, num: int) -> list["Part"]:
        """`num` parts of the same size, one after another."""
        size = self.size // num
        return [Part(self.first + index * size, size, self.total) for index in range(num)]


def launched() -> bool:
    """Whether `torchrun` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join(device: torch.device) -> None:
    """Meet the other processes that `torchrun` started: over NCCL on CUDA, over gloo on processors."""
    if launched() and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)


def leave() -> None:
    """Part from the others, where there are any."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def first_alone() -> Iterator[None]:
    """Rank 0 goes through the block before the others, which find what it made."""
    if rank() > 0:
        wait_for_all()
    yield
    if rank() == 0:
        wait_for_all()


def own_items(config: TrainingConfig) -> Part:
    """The items of a batch that this rank takes; UserError where the batch cannot be shared evenly."""
    pieces = num_ranks() * config.accumulate
    if config.batch_size % pieces:
        raise UserError(
            f"a batch of {config.batch_size} cannot be cut into {pieces} parts of the same size",
            f"make training.batch_size a multiple of {pieces}, or change training.accumulate or how many processes",
        )
    count = config.batch_size // num_ranks()
    return Part(rank() * count, count, config.batch_size)


def mean_over_ranks(numbers: dict[str, Tensor | float], device: torch.device) -> dict[str, float]:
    """Each number's mean, by one sum."""
    if num_ranks() == 1:
        return {name: float(value) for name, value in numbers.items()}
    stacked = torch.tensor([float(value) for value in numbers.values()], dtype=torch.float64, device=device)
    means = (summed(stacked) / num_ranks()).tolist()
    return dict(zip(numbers, means, strict=True))


class Shared:
    """A model whose gradients meet over all ranks, by DDP or FSDP2; alone it is left as it is.

    `loss` makes the loss of a part from it, and calls nothing of the model but the methods `entries`.
    """

    def __init__(
        self, model: nn.Module, loss: Callable[..., Any], entries: tuple[str, ...], config: TrainingConfig
    ) -> None:
        self.model = model
        self.sharded = num_ranks() > 1 and config.parallel == "fsdp"
        self.skeleton = _skeleton(model) if self.sharded else None
        self._call = loss
        self._wrapped: DistributedDataParallel | None = None
        if config.compile_blocks:
            torch.compiler.assume_constant_result(multiplies_well)  # type: ignore[no-untyped-call]
        for module in model.modules():
            if isinstance(module, Block):
                module.recompute = config.recompute
                if config.compile_blocks:
                    module.compile()
        if self.sharded:
            _shard(model, entries, config)
        elif num_ranks() > 1:
            device = next(model.parameters()).device
            self._wrapped = DistributedDataParallel(
                _Calling(model, loss),
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,  # they are the same on every rank
                gradient_as_bucket_view=True,
            )
            self._call = self._wrapped

    def loss(self, *arguments: Any) -> Any:
        """What the loss gives, such that its backward pass makes the gradients of all ranks meet."""
        return self._call(*arguments)

    def alone(self, *, alone: bool) -> AbstractContextManager[None]:
        """Whether gradients of the losses in the block stay on this rank until a later one's meet."""
        if isinstance(self.model, FSDPModule):
            self.model.set_requires_gradient_sync(not alone)
        if self._wrapped is not None and alone:
            return self._wrapped.no_sync()
        return nullcontext()

    def whole(self, tensors: dict[str, Tensor]) -> nn.Module | None:
        """On rank 0 a copy of the sharded model that is no longer so, with `tensors` in it; nothing on the others."""
        assert self.skeleton is not None, "the model is not sharded"
        state = self.model.state_dict() | tensors
        full = {name: _full(tensor) for name, tensor in state.items()}
        if rank() > 0:
            return None
        twin = _skeleton(self.skeleton)
        twin.load_state_dict(full, assign=True)
        return twin.eval()


class _Calling(nn.Module):
    """A module whose forward pass is a function of a model's."""

    def __init__(self, model: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def _shard(model: nn.Module, entries: tuple[str, ...], config: TrainingConfig) -> None:
    """Each block by itself, then the rest. In bfloat16 weights are gathered so, and gradients summed in float32."""
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (num_ranks(),))
    half = config.precision == "bfloat16"
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if half else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for module in model.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    for name in entries:
        register_fsdp_forward_method(model, name)


def _skeleton(model: nn.Module) -> nn.Module:
    """The same modules with the same buffers, its parameters without memory."""
    known: dict[int, Any] = {id(buffer): buffer.clone() for buffer in model.buffers()}
    for parameter in model.parameters():
        known[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    return copy.deepcopy(model, known)


def _full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach().clone()


def like(whole: Tensor, example: Tensor) -> Tensor:
    """The part of a whole tensor that this rank holds where `example` is sharded; else as it is."""
    if not isinstance(example, DTensor):
        return whole
    return distribute_tensor(whole, example.device_mesh, example.placements, src_data_rank=None)
