"""Weights in fewer bits: nearly the same numbers, the same laws, and a way back."""

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from orchestrion.config.prior import TransformerConfig
from orchestrion.nn import fast
from orchestrion.nn.fast import Int8Linear, Weights, quantized
from orchestrion.nn.linear import Linear
from orchestrion.nn.transformer import Transformer

TOKENS = 24
EVERY: Any = [
    pytest.param(
        weights, marks=pytest.mark.skipif(fast._problem(weights, {"cpu"}) is not None, reason="no such products here")
    )
    for weights in ("bfloat16", "float16", "int8")
]
each = pytest.mark.parametrize("weights", EVERY)
packed = pytest.mark.parametrize("weights", EVERY[1:])


@pytest.fixture
def stack() -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(width=64, num_heads=2, patterns=("row", "column", "full"), num_rows=4)
    return Transformer(config, TOKENS).eval()


@pytest.fixture
def x(rng: torch.Generator) -> Tensor:
    return torch.randn(3, TOKENS, 64, generator=rng)


@each
@torch.no_grad()
def test_the_numbers_are_nearly_the_same(weights: Weights, stack: Transformer, x: Tensor) -> None:
    exact, found = stack(x), quantized(stack, weights)(x)
    share = (found - exact).norm() / exact.norm()
    assert 0 < share < {"bfloat16": 5e-3, "float16": 1e-3, "int8": 5e-2}[weights]


@each
@torch.no_grad()
def test_drawing_gives_the_numbers_of_the_whole_pass(weights: Weights, stack: Transformer, x: Tensor) -> None:
    drawing = quantized(stack, weights)
    cache = drawing.begin(x[:, :1], TOKENS)
    parts = [drawing.advance(piece, cache) for piece in x.split([5, 1, 1, 1, 7] + [1] * 9, 1)]
    # A number may fall to the other side of a step of int8, for the sums before it differ in their last bits.
    assert_close(torch.cat(parts, 1), drawing(x), rtol=1e-4, atol=2e-2 if weights == "int8" else 1e-4)


@each
@torch.no_grad()
def test_the_original_stays_as_it_is_and_shares_the_rest(weights: Weights, stack: Transformer, x: Tensor) -> None:
    before = stack(x)
    made = quantized(stack, weights)
    assert torch.equal(stack(x), before)
    assert all(layer.weight.dtype == torch.float32 for layer in stack.modules() if isinstance(layer, Linear))
    assert made.rotary.cosine is stack.rotary.cosine  # type: ignore[union-attr]


@packed
def test_no_weight_is_held_twice(weights: Weights, stack: Transformer) -> None:
    assert not list(quantized(stack, weights).parameters())


@packed
@torch.no_grad()
def test_a_row_is_the_same_whatever_others_are_there(weights: Weights, rng: torch.Generator) -> None:
    layer = fast._PACKED[weights](nn.Linear(64, 32))
    x = torch.randn(5, 64, generator=rng) * torch.tensor([[1.0], [100.0], [0.01], [1.0], [1.0]])
    assert_close(layer(x)[2:3], layer(x[2:3]), rtol=1e-5, atol=1e-7)


@packed
@torch.no_grad()
def test_nothing_stays_nothing(weights: Weights) -> None:
    assert not fast._PACKED[weights](nn.Linear(64, 32, bias=False))(torch.zeros(2, 64)).any()


def test_without_such_products_the_weights_stay_with_a_warning(
    stack: Transformer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fast, "_failure", lambda weights: "no kernel")
    with caplog.at_level(logging.WARNING):
        assert quantized(stack, "int8") is stack
    assert "int8" in caplog.text and "no kernel" in caplog.text


def test_products_that_overflow_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Int8Linear, "forward", lambda self, x: torch.full((*x.shape[:-1], 40), 500.0))
    assert "off by" in str(fast._failure.__wrapped__("int8"))


def test_products_that_are_missing_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Int8Linear, layer: nn.Linear) -> None:
        raise RuntimeError("no engine\nstack of C++")

    monkeypatch.setattr(Int8Linear, "__init__", missing)
    assert fast._failure.__wrapped__("int8") == "no engine"
