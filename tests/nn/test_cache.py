"""What a cache holds, and that drawing with it gives the numbers of the whole pass."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import tiny
from orchestrion.config.prior import Pattern, TransformerConfig
from orchestrion.nn.attention import Attention
from orchestrion.nn.cache import Layout
from orchestrion.nn.transformer import Block, Transformer

ROW, ROWS, SPREAD, PREFIX = 6, 5, 2, 9
TOKENS = ROW * ROWS
EVERY = pytest.mark.parametrize("pattern", tiny.CAUSAL_PATTERNS)


def config(patterns: tuple[Pattern, ...], *, published: bool = False, num_rows: int = ROWS) -> TransformerConfig:
    return TransformerConfig(
        width=12,
        num_heads=3,
        patterns=patterns,
        num_rows=num_rows,
        spread=SPREAD,
        prefix_tokens=PREFIX,
        positions="learned" if published else "rotary",
        norm="layer" if published else "rms",
        normalize_queries=not published,
        biases=published,
    )


def layout(pattern: Pattern, num_tokens: int = TOKENS) -> Layout:
    spread = 1 if pattern == "summary" else SPREAD
    return Layout(pattern, num_tokens, ROW, ROWS - 1, spread, PREFIX)


@EVERY
@pytest.mark.parametrize("piece", [1, 2, 5, ROW])
@pytest.mark.parametrize("num_tokens", [TOKENS, 20, 4])
def test_a_token_finds_what_it_sees_and_nothing_else(pattern: Pattern, piece: int, num_tokens: int) -> None:
    attention = Attention(config((pattern,)), pattern, TOKENS)
    plan, everyone = layout(pattern, num_tokens), torch.arange(num_tokens)
    held: list[int | None] = [None] * plan.num_slots
    zeros = plan.spread if pattern.startswith("summary") else 0
    for row in range(0, num_tokens, ROW):
        for start in range(row, min(row + ROW, num_tokens), piece):
            tokens = range(start, min(start + piece, row + ROW, num_tokens))
            kept, slots = plan.places(start, tokens.stop)
            held[slots] = tokens[kept]  # a slice with a step takes as many as it has places
            latest = plan.seen(tokens[-1])
            visible = attention.visible(everyone[tokens[-1] : tokens.stop], everyone)[0]
            found = held[latest][zeros:]
            if pattern == "sliding":  # each takes the place of the one that is no longer seen
                found = sorted(place for place in found if place is not None)
            assert found == everyone[visible].tolist()
            assert held[:zeros] == [None] * zeros


@EVERY
@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize(
    "pieces", [[1] * TOKENS, [TOKENS], [7, 8, 1, 1, 13], [6, 12, 12], [5, 2, 23], [1, 29]], ids=str
)
@torch.no_grad()
def test_drawing_gives_the_numbers_of_the_whole_pass(
    pattern: Pattern, published: bool, pieces: list[int], rng: torch.Generator
) -> None:
    stack = Transformer(config((pattern, "full", pattern), published=published), TOKENS)
    x = torch.randn(3, TOKENS, 12, generator=rng)
    assert_close(drawn(stack, x, pieces), stack(x), rtol=1e-5, atol=1e-5)


@EVERY
@pytest.mark.parametrize("others", [("full",), ("row",), ("column", "previous_row"), ("prefix", "prefix")], ids=str)
@pytest.mark.parametrize("pieces", [[TOKENS], [6, 12, 12], [5, 1, 9, 15], [13, 13, 1, 1, 1, 1]], ids=str)
@torch.no_grad()
def test_what_nothing_needs_is_left_out(
    pattern: Pattern, others: tuple[Pattern, ...], pieces: list[int], rng: torch.Generator
) -> None:
    stack = Transformer(config((pattern, *others, pattern)), TOKENS).double()
    x = torch.randn(3, TOKENS, 12, generator=rng).double()
    whole, cache = stack(x), stack.begin(x[:, :1], TOKENS)
    for piece in x.split(pieces, 1):
        out = stack.advance(piece, cache, last=True)
        assert_close(out, whole[:, cache.length - 1 : cache.length], rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_the_last_layers_read_the_end_alone(rng: torch.Generator) -> None:
    stack = Transformer(config(("row", "column", "previous_row")), TOKENS)
    x = torch.randn(1, TOKENS, 12, generator=rng)
    cache, tokens = stack.begin(x[:, :1], TOKENS), []
    for block in stack.blocks:
        assert isinstance(block, Block)
        block.mlp.wide.register_forward_pre_hook(lambda _, given: tokens.append(given[0].shape[1]))
    stack.advance(x, cache, last=True)
    assert tokens == [TOKENS, 2 * ROW, 1]


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@torch.no_grad()
def test_drawing_works_in_other_precisions(pattern: Pattern, dtype: torch.dtype, rng: torch.Generator) -> None:
    stack = Transformer(config((pattern,)), TOKENS).to(dtype)
    x = torch.randn(2, TOKENS, 12, generator=rng).to(dtype)
    stepped = drawn(stack, x, [4] + [1] * 10 + [16])
    assert stepped.dtype == dtype
    share = 1e-10 if dtype == torch.float64 else 3e-2
    assert_close(stepped, stack(x), rtol=share, atol=share)


@torch.no_grad()
def test_lyrics_are_read_once(rng: torch.Generator) -> None:
    stack = Transformer(config(("row", "lyrics")), TOKENS, memory_width=8)
    x, memory = torch.randn(2, TOKENS, 12, generator=rng), torch.randn(2, 7, 8, generator=rng)
    cache = stack.begin(x[:, :1], TOKENS, memory)
    assert cache.layers[1].memory.shape[3] == 7
    parts = [stack.advance(piece, cache) for piece in x.split([3, 1, 1, 20, 5], 1)]
    assert_close(torch.cat(parts, 1), stack(x, memory), rtol=1e-5, atol=1e-5)
    cache = stack.begin(x[:, :1], TOKENS, memory)
    assert_close(stack.advance(x, cache, last=True), stack(x, memory)[:, -1:], rtol=1e-5, atol=1e-5)


def test_what_is_drawn_can_be_worked_with_outside(rng: torch.Generator) -> None:
    stack = Transformer(config(("full",)), TOKENS)
    x = torch.randn(1, 4, 12, generator=rng)
    out = stack.advance(x, stack.begin(x[:, :1], TOKENS))
    weight = torch.ones(12, requires_grad=True)
    (out * weight).sum().backward()
    out.add_(1)
    assert weight.grad is not None and not out.requires_grad


def test_only_what_can_still_be_seen_is_held() -> None:
    def slots(pattern: Pattern, num_rows: int) -> int:
        attention = Attention(config((pattern,), num_rows=num_rows), pattern, ROW * num_rows)
        cache = attention.begin(torch.zeros(2, 1, 12), ROW * num_rows)
        assert cache.memory.shape[:3] == (2, 2, 3)
        return cache.memory.shape[3]

    assert slots("sliding", 5) == slots("sliding", 500) == ROW
    assert slots("row", 5) == slots("row", 500) == ROW
    assert slots("previous_row", 5) == slots("previous_row", 500) == 2 * ROW
    assert slots("prefix", 500) == PREFIX
    assert slots("summary", 500) == 1 + 499
    assert slots("summary_spread", 500) == SPREAD + 499 * SPREAD
    assert slots("column", 500) == slots("full", 500) == 500 * ROW


@EVERY
def test_what_a_step_reads_lies_together(pattern: Pattern) -> None:
    assert all(layout(pattern).seen(position).step is None for position in range(TOKENS))


def drawn(stack: Transformer, x: Tensor, pieces: list[int]) -> Tensor:
    cache = stack.begin(x[:, :1], x.shape[1])
    return torch.cat([stack.advance(piece, cache) for piece in x.split(pieces, 1)], 1)
