"""Every attention pattern against a slow version that writes out what each token sees."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import tiny
from orchestrion.config.prior import Pattern, TransformerConfig
from orchestrion.nn.attention import Attention

TOKENS, ROWS, SPREAD, PREFIX = 32, 4, 2, 11
ROW = TOKENS // ROWS


def config(pattern: Pattern) -> TransformerConfig:
    return TransformerConfig(
        width=12,
        num_heads=3,
        patterns=(pattern,),
        num_rows=ROWS,
        spread=SPREAD,
        prefix_tokens=PREFIX,
        positions="learned",
        normalize_queries=False,
        biases=True,
    )


def seen(pattern: Pattern, token: int) -> tuple[int, list[int]]:
    """How many zeros, and which tokens, `token` sees."""
    row, column = divmod(token, ROW)
    earlier = range(token + 1)
    match pattern:
        case "full":
            return 0, list(earlier)
        case "sliding":
            return 0, list(earlier)[-ROW:]
        case "row":
            return 0, list(range(row * ROW, token + 1))
        case "column":
            return 0, list(range(column, token + 1, ROW))
        case "previous_row":
            return (0, list(range((row - 1) * ROW, row * ROW))) if row else (1, [])
        case "summary":
            return 1, [end for end in range(ROW - 1, TOKENS - ROW, ROW) if end <= token]
        case "summary_spread":
            return SPREAD, [place for place in earlier if place % ROW >= ROW - SPREAD and place < TOKENS - ROW]
        case "prefix":
            return 0, [place for place in earlier if place < PREFIX]
    raise AssertionError(pattern)


def slow(attention: Attention, pattern: Pattern, x: Tensor) -> Tensor:
    """One token, head and key at a time."""
    queries, keys, values = attention.inputs(x).unflatten(-1, (3, 3, 4)).unbind(2)
    mixed = torch.zeros_like(queries)
    for item in range(x.shape[0]):
        for token in range(x.shape[1]):
            zeros, places = seen(pattern, token)
            for head in range(3):
                scores = keys[item, places, head] @ queries[item, token, head] / math.sqrt(4)
                shares = torch.cat((scores.new_zeros(zeros), scores)).softmax(0)[zeros:]
                mixed[item, token, head] = shares @ values[item, places, head]
    return attention.output(mixed.flatten(2))


PATTERNS = pytest.mark.parametrize("pattern", tiny.CAUSAL_PATTERNS)


@PATTERNS
@pytest.mark.parametrize("length", [TOKENS, 21, 13, 3])
@torch.no_grad()
def test_a_token_sees_what_its_pattern_says(pattern: Pattern, length: int) -> None:
    attention = Attention(config(pattern), pattern, TOKENS)
    x = torch.randn(2, length, 12)
    assert_close(attention(x, None), slow(attention, pattern, x), rtol=1e-5, atol=1e-6)


@PATTERNS
@pytest.mark.parametrize("pieces", [[32], [1] * 32, [3, 4, 1, 9, 2, 13], [8, 24], [5, 27], [22, 10]], ids=str)
@torch.no_grad()
def test_any_chunking_gives_the_same(pattern: Pattern, pieces: list[int]) -> None:
    attention = Attention(config(pattern), pattern, TOKENS)
    x = torch.randn(2, TOKENS, 12)
    cache, start, parts = attention.begin(x, TOKENS), 0, []
    for piece in x.split(pieces, 1):
        parts.append(attention.advance(piece, start, None, cache))
        start += piece.shape[1]
    assert_close(torch.cat(parts, 1), attention(x, None), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_the_shares_of_attention_say_what_was_mixed() -> None:
    attention = Attention(config("prefix"), "prefix", TOKENS)
    x = torch.randn(2, TOKENS, 12)
    values = attention.inputs(x).unflatten(-1, (3, 3, 4))[:, :, 2]
    mixed = torch.einsum("bhqk,bkhw->bqhw", attention.weights(x, None), values)
    assert_close(attention.output(mixed.flatten(2)), attention(x, None), rtol=1e-5, atol=1e-6)
