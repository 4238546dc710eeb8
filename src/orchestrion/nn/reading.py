"""Known tokens, two thousand at once, in whole numbers: integer products with compiled code between them.

Reading is arithmetic, where drawing waits for memory. A processor with instructions for products of 8 bits (VNNI) does
them five times as fast as in single precision. What is left, norms and rounding, is passes over memory: written out,
the compiler makes one loop over the rows of all that lies between two products.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.nn.attention import Angles
from orchestrion.nn.cache import LayerCache
from orchestrion.nn.compiled import MADE_ONCE, MOST_VARIANTS, CompiledSteps, LayerTensors, Product, unit
from orchestrion.nn.fast import Weights
from orchestrion.nn.norm import EPSILON
from orchestrion.nn.transformer import Block, Transformer, bend

NUM_ROWS = 2048
"""So many are read at once: fewer take longer, twice as many no less (docs/experiments.md)."""
_MOST = 127
_SMALLEST = 1e-30


class CompiledReading:
    """`num_rows` tokens of one sequence through layers in int8: weights with a scale for each output, and each row of
    what they multiply with its own, to 8 bits.

    Takes single precision only. The first call compiles, which takes seconds; what was compiled once is found on the
    disk later.
    """

    def __init__(self, transformer: Transformer, layers: list[LayerTensors], num_rows: int = NUM_ROWS) -> None:
        assert all(layer.wide.scale is not None for layer in layers), "layers in int8"
        self.layers, self.num_rows = layers, num_rows
        self.opening = _opening()
        self.compiled: set[tuple[int, bool]] = set()
        self.closing = _closing(transformer.config.activation, transformer.config.residual_scale)

    def takes(self, x: Float[Tensor, "batch new width"]) -> bool:
        return x.shape[:2] == (1, self.num_rows) and x.dtype == torch.float32

    def __call__(
        self,
        layer: int,
        block: Block,
        x: Float[Tensor, "batch new width"],
        start: int,
        angles: Angles,
        past: LayerCache,
        kept: int,
    ) -> Float[Tensor, "batch asked width"]:
        """What `block`, the layer of this number, makes of the tokens from `start` on, which are written to `past`.

        The first `kept` of them are only written.
        """
        if (layer, kept > 0) in self.compiled:
            return self._through(layer, block, x, start, angles, past, kept)
        self.compiled.add((layer, kept > 0))
        with torch._dynamo.config.patch(recompile_limit=MOST_VARIANTS):
            return self._through(layer, block, x, start, angles, past, kept)

    def _through(
        self, layer: int, block: Block, x: Tensor, start: int, angles: Angles, past: LayerCache, kept: int
    ) -> Tensor:
        tensors, rows = self.layers[layer], x[0]
        mixed = block.attention.mixed(self.opening(rows, tensors)[None], start, angles, past, kept)
        if kept:
            return block.join_in_place(x[:, kept:], block.attention.close(mixed))
        return self.closing(rows, mixed[0].flatten(1).contiguous(), tensors)[None]


def compile_into(drawing: Transformer, like: Transformer, weights: Weights | None) -> None:
    """Let `drawing` step through compiled layers with the weights of `like`, in `weights`; read so too if it pays."""
    steps = CompiledSteps(like, weights)
    drawing.steps = steps
    on_processor = next(like.parameters()).device.type == "cpu"
    if weights == "int8" and on_processor and reads_fast():
        drawing.reading = CompiledReading(like, steps.layers)


def reads_fast() -> bool:
    """Whether this processor has instructions for products of whole numbers, and they are exact."""
    held: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch does not say
    return any(held.get(name, False) for name in ("avx512_vnni", "avx_vnni")) and exact_products()


@functools.cache
def exact_products() -> bool:
    """Multiplies once, with all that could overflow at its largest."""
    rng = torch.Generator().manual_seed(0)
    rows = torch.randint(-_MOST, _MOST + 1, (64, 96), generator=rng, dtype=torch.int8)
    weight = torch.randint(-_MOST, _MOST + 1, (40, 96), generator=rng, dtype=torch.int8)
    rows[0], rows[1], weight[:2] = _MOST, -_MOST, _MOST
    return torch.equal(torch._int_mm(rows, weight.t()).long(), rows.long() @ weight.long().t())


@functools.cache
def _opening() -> Callable[[Tensor, LayerTensors], Tensor]:
    def opening(rows: Tensor, layer: LayerTensors) -> Tensor:
        return _multiply(_normal(rows, layer.attention_norm), layer.inputs)

    return _compiled(opening)


@functools.cache
def _closing(activation: str, residual_scale: float) -> Callable[[Tensor, Tensor, LayerTensors], Tensor]:
    def closing(rows: Tensor, mixed: Tensor, layer: LayerTensors) -> Tensor:
        attended = _multiply(mixed, layer.output)
        between = rows + attended
        hidden = bend(_multiply(_normal(between, layer.mlp_norm), layer.wide), activation)
        update = _multiply(hidden, layer.narrow)
        return between + update if residual_scale == 1.0 else rows + residual_scale * (attended + update)

    return _compiled(closing)


def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    made: Callable[..., Tensor] = torch.compile(function, dynamic=False, fullgraph=True, options=dict(MADE_ONCE))
    return made


def _normal(rows: Float[Tensor, "row width"], norm: tuple[Tensor, Tensor] | None) -> Float[Tensor, "row width"]:
    """A layer norm from sums, which the compiler keeps in one loop where it cuts that of `F.layer_norm` into three."""
    if norm is None:
        return unit(rows)
    share = 1 / rows.shape[-1]
    centred = rows - rows.sum(-1, keepdim=True) * share
    inverse = (centred.square().sum(-1, keepdim=True) * share + EPSILON).rsqrt()
    return centred * inverse * norm[0] + norm[1]


def _multiply(rows: Float[Tensor, "row width"], layer: Product) -> Float[Tensor, "row out"]:
    whole, size = _rounded(rows)
    assert layer.scale is not None
    out = torch._int_mm(whole, layer.weight.t()).float() * size * layer.scale
    return out if layer.bias is None else out + layer.bias


def _rounded(rows: Float[Tensor, "row width"]) -> tuple[Int[Tensor, "row width"], Float[Tensor, "row 1"]]:
    """The nearest whole numbers for each row, and what they are to be multiplied by."""
    largest = rows.abs().amax(-1, keepdim=True).clamp(min=_SMALLEST)
    return (rows * (_MOST / largest)).round().to(torch.int8), largest / _MOST
