"""Steps of one token through a stack as compiled code: a layer is a few kernels in place of thirty operations.

Everything has a fixed shape: a layer reads all slots that its pattern can ever see at once, and those not to be seen
count for nothing. So one compilation serves every position of every window, and on CUDA steps are graphs that are
replayed. Layers are compiled by the shortest run of patterns that repeats: the code of three serves all 72.
"""

import functools
import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from orchestrion.errors import UserError
from orchestrion.nn.attention import Angles
from orchestrion.nn.cache import Cache, Layout
from orchestrion.nn.fast import Weights, whole_numbers
from orchestrion.nn.linear import Linear
from orchestrion.nn.norm import EPSILON
from orchestrion.nn.transformer import Block, Transformer, bend

MOST_ROWS_CUDA = 64
"""Beyond it a step is arithmetic rather than waiting for one small kernel after another."""
LEAST_CAPABILITY = (7, 0)
"""Of a CUDA device that Triton compiles for."""
MOST_VARIANTS = 256
"""Of compiled code in one process: one for each form of layers, kind of weights and batch size."""
MADE_ONCE = {"realize_reads_threshold": 2, "realize_opcount_threshold": 8}
"""The compiler keeps the result of more reads or operations than these instead of repeating them where it is used."""
_MOST_WEIGHT = 128  # a power of two, by which a division is exact, above all whole numbers that weights are
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Product(NamedTuple):
    """A linear layer: its weight in any type, a factor of each output where that is whole numbers, and its bias."""

    weight: Num[Tensor, "out width"]
    scale: Float[Tensor, " out"] | None
    bias: Float[Tensor, " out"] | None


class LayerTensors(NamedTuple):
    """All weights of a layer; norms have weight and bias, or nothing."""

    attention_norm: tuple[Tensor, Tensor] | None
    inputs: Product
    output: Product
    mlp_norm: tuple[Tensor, Tensor] | None
    wide: Product
    narrow: Product


@dataclass(frozen=True)
class LayerForm:
    """What of a layer is settled when it is compiled."""

    layout: Layout
    head_width: int
    normalize: bool
    activation: str
    residual_scale: float


class View(NamedTuple):
    """The slots that the token at a position sees, and the one that it is kept in; all of fixed shape."""

    slot: Int[Tensor, "1"]
    held: Int[Tensor, " key"] | None = None
    """Slots that are read; None for all."""
    seen: Bool[Tensor, " key"] | None = None
    """Which of them count; None for all."""
    any_seen: Bool[Tensor, "1"] | None = None
    """Whether there is one; None where there always is."""
    kept: Bool[Tensor, "1"] | None = None
    """Whether the token is kept; None for always."""


class CompiledSteps:
    """Steps of `transformer`, with its weights as they are or, as `weights` says, in fewer bits.

    "int8" rounds the weights alone, with a scale for each output. Weights are narrowed when this is made. The first
    step of each batch size compiles, which takes seconds; what was compiled once is found on the disk later.
    """

    def __init__(self, transformer: Transformer, weights: Weights | None = None) -> None:
        blocks = [block for block in transformer.blocks if isinstance(block, Block)]
        device = next(transformer.parameters()).device
        on_cuda = device.type == "cuda"
        rotary = transformer.rotary
        self.angles = None if rotary is None else (rotary.cosine, rotary.sine)
        self.layers = [_tensors(block, weights) for block in blocks]
        self.period = _period(transformer.config.patterns)
        self.run = _compiled(tuple(_form(block) for block in blocks[: self.period]), on_cuda)
        self.replayed = on_cuda
        self.most_rows = most_rows(device)
        if on_cuda:
            _stay_where_they_are((self.layers, self.angles))
        self.batches: set[int] = set()

    def begun(self, cache: Cache) -> None:
        """To be told of every new cache, which has room for a full window."""
        if self.replayed:
            _stay_where_they_are([past.memory for past in cache.layers])

    def __call__(self, x: Float[Tensor, "batch width"], position: int, cache: Cache) -> Float[Tensor, "batch width"]:
        """What the last layer makes of the token at `position`, which is written to `cache`."""
        if len(x) in self.batches:
            return self._step(x, position, cache)
        self.batches.add(len(x))
        with torch._dynamo.config.patch(recompile_limit=MOST_VARIANTS):
            return self._step(x, position, cache)

    def _step(self, x: Tensor, position: int, cache: Cache) -> Tensor:
        place = torch.tensor([position], device=x.device)
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        for first in range(0, len(self.layers), self.period):
            part = slice(first, first + self.period)
            x = self.run(x, place, self.layers[part], [past.memory for past in cache.layers[part]], self.angles)
        return x


def most_rows(device: torch.device) -> int:
    """The largest batch for which compiled steps are worth it.

    On a processor a single row, for which a product is a matter of reading the weights once; with more, the packed
    products of `fast` are better.
    """
    return MOST_ROWS_CUDA if device.type == "cuda" else 1


def can_compile(device: torch.device) -> bool:
    """Whether `check_compiler` finds all that is needed."""
    try:
        check_compiler(device)
    except UserError:
        return False
    return True


def check_compiler(device: torch.device) -> None:
    """Raise UserError where nothing can be compiled for `device`."""
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise UserError(
                "compiling for CUDA needs Triton, which is not installed",
                "install it (pip install triton), or say --no-compile (in Python compiled=False)",
            )
        capability = torch.cuda.get_device_capability(device)
        if capability < LEAST_CAPABILITY:
            raise UserError(
                f"Triton compiles for a compute capability of {_dotted(LEAST_CAPABILITY)} or more, and that of "
                f"this device is {_dotted(capability)}",
                "say --no-compile (in Python compiled=False)",
            )
    elif shutil.which(os.environ.get("CXX", "g++")) is None:
        raise UserError(
            "compiling needs a C++ compiler, and there is none",
            "install g++ (apt install g++), or leave --compile out (in Python compiled=True)",
        )


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _period(patterns: tuple[str, ...]) -> int:
    """The length of the shortest run of patterns that is all of them when it is repeated."""
    count = len(patterns)
    return next(n for n in range(1, count + 1) if count % n == 0 and patterns == patterns[:n] * (count // n))


def _stay_where_they_are(tensors: object) -> None:
    """Tell the compiler that the memory of these is written and read in place, not copied for each replay."""
    for tensor in pytree.tree_leaves(tensors):
        if isinstance(tensor, Tensor):
            torch._dynamo.mark_static_address(tensor, guard=False)


def _form(block: Block) -> LayerForm:
    attention = block.attention
    return LayerForm(
        layout=attention.layout(attention.context_tokens),
        head_width=attention.head_width,
        normalize=attention.normalize,
        activation=block.mlp.activation,
        residual_scale=block.scale,
    )


def _tensors(block: Block, weights: Weights | None) -> LayerTensors:
    return LayerTensors(
        _norm(block.attention_norm),
        _product(block.attention.inputs, weights),
        _product(block.attention.output, weights),
        _norm(block.mlp_norm),
        _product(block.mlp.wide, weights),
        _product(block.mlp.narrow, weights),
    )


def _norm(norm: nn.Module) -> tuple[Tensor, Tensor] | None:
    return (norm.weight.detach(), norm.bias.detach()) if isinstance(norm, nn.LayerNorm) else None


def _product(layer: Linear, weights: Weights | None) -> Product:
    weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
    if weights == "int8":
        return Product(*whole_numbers(weight), bias)
    return Product(weight if weights is None else weight.to(_DTYPES[weights]), None, bias)


@functools.cache
def _compiled(forms: tuple[LayerForm, ...], replayed: bool) -> Callable[..., Tensor]:
    """A step through layers of these forms, one after another."""

    def run(x: Tensor, position: Tensor, layers: list[LayerTensors], memories: list[Tensor], angles: Angles) -> Tensor:
        turned = None if angles is None else (angles[0][position].to(x.dtype), angles[1][position].to(x.dtype))
        for form, layer, memory in zip(forms, layers, memories, strict=True):
            attended = _attend(_normal(x, layer.attention_norm), form, layer, memory, turned, position)
            between = x + attended
            update = _multiply(
                bend(_multiply(_normal(between, layer.mlp_norm), layer.wide), form.activation), layer.narrow
            )
            x = between + update if form.residual_scale == 1.0 else x + form.residual_scale * (attended + update)
        return x

    # On a processor the vector that a matrix is multiplied with must be made once, not anew for each row of the matrix.
    how: dict[str, Any] = {"mode": "reduce-overhead"} if replayed else {"options": MADE_ONCE}
    compiled: Callable[..., Tensor] = torch.compile(run, dynamic=False, fullgraph=True, **how)
    return compiled


def _normal(x: Tensor, norm: tuple[Tensor, Tensor] | None) -> Tensor:
    return unit(x) if norm is None else F.layer_norm(x, x.shape[-1:], *norm)


def unit(vectors: Float[Tensor, "*shape width"]) -> Float[Tensor, "*shape width"]:
    """`norm.unit_rms` as the compiler likes it."""
    size = vectors.float().square().mean(-1, keepdim=True).sqrt() + EPSILON
    return (vectors.float() / size).to(vectors.dtype)


def _multiply(x: Float[Tensor, "batch width"], layer: Product) -> Float[Tensor, "batch out"]:
    if x.device.type == "cpu":
        # Written out, the compiler reads each weight once, widens it in a register and shares rows among threads.
        out = (x.unsqueeze(-2).float() * layer.weight.float()).sum(-1)
        out = out if layer.scale is None else out * layer.scale
    elif layer.scale is None:
        out = F.linear(x, layer.weight.to(x.dtype))
    else:  # sums of whole numbers would pass what float16 can hold
        out = F.linear(x / _MOST_WEIGHT, layer.weight.to(x.dtype)).float() * (_MOST_WEIGHT * layer.scale)
    out = out.to(x.dtype)
    return out if layer.bias is None else out + layer.bias


def _attend(
    x: Float[Tensor, "batch width"],
    form: LayerForm,
    layer: LayerTensors,
    memory: Float[Tensor, "2 batch head slot head_width"],
    angles: Angles,
    position: Int[Tensor, "1"],
) -> Float[Tensor, "batch width"]:
    batch, num_heads = memory.shape[1:3]
    new = _multiply(x, layer.inputs).view(batch, -1, num_heads, form.head_width)
    turning, values = new[:, :2], new[:, 2:]
    if form.normalize:
        turning = unit(turning)
    if form.layout.pattern == "lyrics":
        return _mix(turning[:, 0], memory, None, None, layer.output)
    if angles is not None:
        first, second = turning.chunk(2, -1)
        turning = turning * angles[0] + torch.cat((second, first), -1) * angles[1]
    view = _view(form.layout, position)
    token = torch.cat((turning[:, 1:], values), 1).transpose(0, 1).unsqueeze(3).to(memory.dtype)
    if view.kept is not None:
        token = torch.where(view.kept, token, memory.index_select(3, view.slot))
    memory.index_copy_(3, view.slot, token)
    held = memory if view.held is None else memory.index_select(3, view.held)
    return _mix(turning[:, 0], held, view.seen, view.any_seen, layer.output)


def _mix(
    queries: Float[Tensor, "batch head head_width"],
    held: Float[Tensor, "2 batch head key head_width"],
    seen: Bool[Tensor, " key"] | None,
    any_seen: Bool[Tensor, "1"] | None,
    output: Product,
) -> Float[Tensor, "batch out"]:
    keys, values = held.unbind()
    scores = (queries.unsqueeze(2).float() * keys.float()).sum(-1) * queries.shape[-1] ** -0.5
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    mixed = (scores.softmax(-1).unsqueeze(-1) * values.float()).sum(2)
    if any_seen is not None:
        mixed = mixed * any_seen
    return _multiply(mixed.to(queries.dtype).flatten(1), output)


def _view(layout: Layout, position: Int[Tensor, "1"]) -> View:
    """`Layout.seen` and `Layout.places` of one token whose position is known when the code runs."""
    rows, length = layout.num_rows, layout.row_length
    row, column = position // length, position % length

    def count(slots: int) -> Tensor:
        return torch.arange(slots, device=position.device)

    match layout.pattern:
        case "row":
            return View(column, seen=count(layout.num_slots) <= column)
        case "sliding":
            return View(column, seen=count(layout.num_slots) <= position)
        case "previous_row":
            before = (row + 1) % 2 * length + count(length)
            return View(position % (2 * length), held=before % layout.num_slots, any_seen=row > 0)
        case "column":
            first = column * rows
            return View(first + row, held=first + count(rows), seen=count(rows) <= row)
        case "prefix":
            kept, last = position < layout.prefix_tokens, layout.num_slots - 1
            return View(position.clamp(max=last), seen=count(layout.num_slots) <= position, kept=kept)
        case "summary" | "summary_spread":
            place = column - length + layout.ends
            seen = (row * layout.ends + (place + 1).clamp(min=0)).clamp(max=layout.final_row * layout.ends)
            kept = (place >= 0) & (row < layout.final_row)
            slot = layout.spread + row * layout.ends + place
            return View(
                slot.clamp(min=0, max=layout.num_slots - 1),
                seen=count(layout.num_slots) < layout.spread + seen,
                kept=kept,
            )
        case "full":
            return View(position, seen=count(layout.num_slots) <= position)
        case _:
            raise AssertionError(f"{layout.pattern} is not stepped through")
