"""Blocks of attention and MLP, and the stack of them."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.utils.checkpoint import checkpoint

from orchestrion.config.prior import Pattern, TransformerConfig
from orchestrion.nn.attention import Angles, Attention
from orchestrion.nn.cache import Cache, LayerCache
from orchestrion.nn.chance import kept_channels
from orchestrion.nn.embed import Rotary
from orchestrion.nn.linear import Linear
from orchestrion.nn.norm import UnitRms

_STEEPNESS = 1.702
"""Of the sigmoid in quick_gelu."""


def bend(hidden: Float[Tensor, "*batch width"], activation: str) -> Float[Tensor, "*batch width"]:
    """The nonlinearity of this name in `TransformerConfig.activation`."""
    if activation == "squared_relu":
        return F.relu(hidden).square()
    return hidden * torch.sigmoid(_STEEPNESS * hidden)


class Mlp(nn.Module):
    """Widen, bend, narrow."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.wide = Linear(config.width, config.mlp_width, bias=config.biases)
        self.narrow = Linear(config.mlp_width, config.width, bias=config.biases)
        self.activation = config.activation

    def forward(self, x: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        out: Tensor = self.narrow(bend(self.wide(x), self.activation))
        return out

    def drawing(self, x: Float[Tensor, "batch *token width"]) -> Float[Tensor, "batch *token width"]:
        """`forward` without a gradient: bent in place."""
        hidden: Tensor = self.wide(x)
        if self.activation == "squared_relu":
            hidden.relu_().square_()
        else:
            hidden.mul_((_STEEPNESS * hidden).sigmoid_())
        out: Tensor = self.narrow(hidden)
        return out


class Kept(NamedTuple):
    """What a block's two updates are multiplied by in training: 0, or 1 over the share that is kept (dropout)."""

    attention: Float[Tensor, "batch 1 width"]
    mlp: Float[Tensor, "batch 1 width"]


class Block(nn.Module):
    """`x + s · (a + mlp(norm(x + a)))` with `a = attention(norm(x))` and s the residual scale."""

    def __init__(
        self, config: TransformerConfig, pattern: Pattern, context_tokens: int, memory_width: int | None
    ) -> None:
        super().__init__()
        self.attention_norm = _norm(config)
        self.attention = Attention(config, pattern, context_tokens, memory_width)
        self.mlp_norm = _norm(config)
        self.mlp = Mlp(config)
        self.scale = config.residual_scale
        self.dropout = config.dropout
        self.recompute = False
        """Keep only what comes in for the backward pass, and compute the rest again there (Chen et al. 2016)."""

    def forward(
        self,
        x: Float[Tensor, "batch token width"],
        angles: Angles,
        memory: Float[Tensor, "batch character memory"] | None = None,
        kept: Kept | None = None,
        *,
        watched: bool = False,
    ) -> tuple[Float[Tensor, "batch token width"], Float[Tensor, "batch head token key"] | None]:
        """A whole sequence from its first token on; of the updates of x only channels that are `kept` count.

        With `watched` also how much each token attends to each key: here, since a block that is shared among devices
        has its weights only while it is called.
        """

        def whole(x: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
            normed = self.attention_norm(x)
            weights = self.attention.weights(normed, angles, memory) if watched else None
            return self.join(x, self.attention(normed, angles, memory), kept), weights

        if not (self.recompute and torch.is_grad_enabled()):
            return whole(x, memory)
        out: tuple[Tensor, Tensor | None] = checkpoint(whole, x, memory, use_reentrant=False, preserve_rng_state=False)
        return out

    def keep(self, x: Float[Tensor, "batch token width"], rng: Generator | None) -> Kept | None:
        """Which channels dropout leaves, drawn ahead of `forward`; None for all, as everywhere but in training."""
        if rng is None or not self.dropout or not self.training:
            return None
        return Kept(*(kept_channels(x, 1 - self.dropout, rng) for _ in Kept._fields))

    def join(self, x: Tensor, attended: Tensor, kept: Kept | None = None) -> Tensor:
        """The block's output, where `attended` came out of its attention."""
        if kept is not None:
            attended = attended * kept.attention.to(attended.dtype)
        between = x + attended
        update = self.mlp(self.mlp_norm(between))
        if kept is not None:
            update = update * kept.mlp.to(update.dtype)
        out: Tensor = between + update if self.scale == 1.0 else x + self.scale * (attended + update)
        return out

    def step(
        self, x: Float[Tensor, "batch width"], start: int, angles: Angles, past: LayerCache
    ) -> Float[Tensor, "batch width"]:
        """The block's output for the token at `start` alone, without a gradient."""
        return self.join_in_place(x, self.attention.step(self.attention_norm(x), start, angles, past))

    def advance(
        self, x: Float[Tensor, "batch new width"], start: int, angles: Angles, past: LayerCache, kept: int = 0
    ) -> Float[Tensor, "batch asked width"]:
        """The block's output for the tokens from `start` on, without a gradient; the first `kept` are only kept."""
        attended = self.attention.advance(self.attention_norm(x), start, angles, past, kept)
        return self.join_in_place(x[:, kept:], attended)

    def join_in_place(
        self, x: Float[Tensor, "batch *token width"], attended: Float[Tensor, "batch *token width"]
    ) -> Float[Tensor, "batch *token width"]:
        """`join` without a gradient: in the memory of `attended`."""
        if self.scale == 1.0:
            between = attended.add_(x)
            return self.mlp.drawing(self.mlp_norm(between)).add_(between)
        update = self.mlp.drawing(self.mlp_norm(x + attended))
        return torch.add(x, update.add_(attended), alpha=self.scale)


@runtime_checkable
class Steps(Protocol):
    """Another way through all blocks for one token, for batches of up to `most_rows`."""

    most_rows: int

    def begun(self, cache: Cache) -> None: ...
    def __call__(
        self, x: Float[Tensor, "batch width"], position: int, cache: Cache
    ) -> Float[Tensor, "batch width"]: ...


@runtime_checkable
class Reading(Protocol):
    """Another way through a block, number `layer` of the stack, for `num_rows` known tokens at once."""

    num_rows: int

    def takes(self, x: Float[Tensor, "batch new width"]) -> bool: ...
    def __call__(
        self,
        layer: int,
        block: Block,
        x: Float[Tensor, "batch new width"],
        start: int,
        angles: Angles,
        past: LayerCache,
        kept: int,
    ) -> Float[Tensor, "batch asked width"]: ...


class Transformer(nn.Module):
    """Vectors in, vectors out; each position sees itself and earlier ones as the patterns allow."""

    def __init__(self, config: TransformerConfig, context_tokens: int, memory_width: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.rotary = (
            Rotary(config.head_width, context_tokens, config.rotary_base) if config.positions == "rotary" else None
        )
        self.blocks = nn.ModuleList(Block(config, pattern, context_tokens, memory_width) for pattern in config.patterns)
        self.final_norm = _norm(config) if config.final_norm else nn.Identity()
        self.context_tokens = context_tokens
        self.steps: Steps | None = None
        """Makes steps of one token in place of the blocks: `compiled.CompiledSteps` of the same weights."""
        self.reading: Reading | None = None
        """Reads many tokens in place of the blocks: `reading.CompiledReading` of the same weights."""

    def forward(
        self,
        x: Float[Tensor, "batch token width"],
        memory: Float[Tensor, "batch character memory"] | None = None,
        *,
        rng: Generator | None = None,
    ) -> Float[Tensor, "batch token width"]:
        """The whole sequence; blocks drop channels only in training mode and where an `rng` is given."""
        out, _ = self.watched(x, memory, None, rng=rng)
        return out

    def watched(
        self,
        x: Float[Tensor, "batch token width"],
        memory: Float[Tensor, "batch character memory"] | None,
        layer: int | None,
        *,
        rng: Generator | None = None,
    ) -> tuple[Float[Tensor, "batch token width"], Float[Tensor, "batch head token key"] | None]:
        """As `forward`, and how much each token attends to each key in one `layer`, with a gradient."""
        angles = self._angles(0, x)
        weights = None
        for number, block in enumerate(self._blocks()):
            kept = block.keep(x, rng)
            if number == layer:
                x, weights = block(x, angles, memory, kept, watched=True)
            else:
                x, _ = block(x, angles, memory, kept)
        return self.final_norm(x), weights

    def keep_first(self, num_layers: int) -> None:
        """Drop the layers after these, which `features` does without."""
        self.blocks = self.blocks[:num_layers]

    def features(
        self,
        x: Float[Tensor, "batch token width"],
        memory: Float[Tensor, "batch character memory"] | None,
        num_layers: int,
    ) -> Float[Tensor, "batch token width"]:
        """What comes out of the first `num_layers` layers."""
        angles = self._angles(0, x)
        for _, block in zip(range(num_layers), self._blocks(), strict=False):
            x = block.join(x, block.attention(block.attention_norm(x), angles, memory))
        return x

    def weights(
        self,
        x: Float[Tensor, "batch token width"],
        memory: Float[Tensor, "batch character memory"] | None,
        layer: int,
    ) -> Float[Tensor, "batch head token key"]:
        """How much each token attends to each key in `layer`, counted from 0."""
        below = self.features(x, memory, layer)
        block = list(self._blocks())[layer]
        return block.attention.weights(block.attention_norm(below), self._angles(0, x), memory)

    @torch.inference_mode()
    def begin(
        self,
        x: Float[Tensor, "batch token width"],
        num_tokens: int,
        memory: Float[Tensor, "batch character memory"] | None = None,
    ) -> Cache:
        """An empty past with room for `num_tokens` tokens, in batch size and dtype like `x`."""
        steps = self._steps_for(x)
        room = num_tokens if steps is None else self.context_tokens
        cache = Cache([block.attention.begin(x, room, memory) for block in self._blocks()])
        if steps is not None:
            steps.begun(cache)
        return cache

    def advance(
        self, x: Float[Tensor, "batch new width"], cache: Cache, *, last: bool = False
    ) -> Float[Tensor, "batch asked width"]:
        """The next tokens after those that `cache` has read; the same numbers as all at once, without a gradient.

        With `last` only the last of them comes out, and layers leave out what neither it nor later tokens need.
        """
        with torch.inference_mode():
            advanced = self._advance(x, cache, last)
        return advanced.clone()  # outside, so that it is a tensor like any other

    def _advance(self, x: Tensor, cache: Cache, last: bool) -> Tensor:
        pieces = (x,) if self.reading is None else torch.split(x, self.reading.num_rows, 1)
        made = [self._piece(piece, cache, last) for piece in pieces]
        out: Tensor = self.final_norm(made[-1] if last else torch.cat(made, 1))
        return out

    def _piece(self, x: Tensor, cache: Cache, last: bool) -> Tensor:
        start, stop = cache.length, cache.length + x.shape[1]
        cache.length = stop
        if x.shape[1] == 1:
            return self._step(x.squeeze(1), start, cache).unsqueeze(1)
        layers, needed = cache.layers, [start] * (len(cache.layers) + 1)
        if last:
            needed[-1] = stop - 1
            for number in reversed(range(len(layers))):
                needed[number] = layers[number].layout.needed(needed[number + 1], start)
        x = x[:, needed[0] - start :]
        angles = self._angles(needed[0], x)
        for number, (block, past) in enumerate(zip(self._blocks(), layers, strict=True)):
            first, asked = needed[number : number + 2]
            if self.reading is not None and self.reading.takes(x):
                x = self.reading(number, block, x, first, angles, past, asked - first)
            else:
                x = block.advance(x, first, angles, past, asked - first)
            if asked > first:
                angles = self._angles(asked, x)
        return x

    def _step(self, x: Tensor, start: int, cache: Cache) -> Tensor:
        if (steps := self._steps_for(x)) is not None:
            return steps(x, start, cache)
        angles = self._angles(start, x[:, None])
        for block, past in zip(self._blocks(), cache.layers, strict=True):
            x = block.step(x, start, angles, past)
        return x

    def _steps_for(self, x: Tensor) -> Steps | None:
        """The other way through the blocks, where there is one that is worth it for such a batch."""
        return self.steps if self.steps is not None and len(x) <= self.steps.most_rows else None

    def _angles(self, start: int, x: Tensor) -> Angles:
        return self.rotary.at(start, start + x.shape[1], x) if self.rotary else None

    def _blocks(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block


def _norm(config: TransformerConfig) -> nn.Module:
    return UnitRms() if config.norm == "rms" else nn.LayerNorm(config.width)
