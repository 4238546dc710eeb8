"""Weights in fewer bits: nearly the same numbers, the same laws, and a way back."""

import copy
import gc
import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from orchestrion.config.prior import TransformerConfig
from orchestrion.nn import fast
from orchestrion.nn.fast import HalfLinear, Int8Linear, Weights, quantized, whole_numbers
from orchestrion.nn.linear import Linear, Tied
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


def made(weights: Weights, layer: nn.Linear) -> nn.Module:
    return fast._PACKED[weights](layer.weight, layer.bias)


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
    layer = made(weights, nn.Linear(64, 32))
    x = torch.randn(5, 64, generator=rng) * torch.tensor([[1.0], [100.0], [0.01], [1.0], [1.0]])
    assert_close(layer(x)[2:3], layer(x[2:3]), rtol=1e-5, atol=1e-7)


@packed
@torch.no_grad()
def test_nothing_stays_nothing(weights: Weights) -> None:
    assert not made(weights, nn.Linear(64, 32, bias=False))(torch.zeros(2, 64)).any()


@packed
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_a_layer_is_near_its_original_whether_small_or_large(
    weights: Weights, bias: bool, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = nn.Linear(64, 32, bias=bias), torch.randn(4, 64, generator=rng)
    for small in (0, 64 * 32):
        monkeypatch.setattr(fast, "_SMALL", small)
        share = (made(weights, layer)(x) - layer(x)).norm() / layer(x).norm()
        assert 0 < share < fast._ERROR[weights]


@packed
def test_int8_is_for_large_matrices_and_for_many_rows(
    weights: Weights, stack: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "_SMALL", 64 * 64)
    kind = Int8Linear if weights == "int8" else HalfLinear
    for many_rows in (False, True):
        block = quantized(stack, weights, many_rows=many_rows).blocks[0]
        assert isinstance(block.attention.output, kind if many_rows else HalfLinear)
        assert isinstance(block.mlp.wide, kind)


@packed
@torch.no_grad()
def test_a_tied_output_is_packed_and_its_table_stays(weights: Weights, rng: torch.Generator) -> None:
    model, encoded = nn.Sequential(nn.Embedding(32, 64)), torch.randn(2, 64, generator=rng)
    model.append(Tied(model[0]))
    drawing = quantized(model, weights)
    assert list(drawing.state_dict()) == list(model.state_dict()) == ["0.weight"]
    assert drawing[0].weight is model[0].weight
    assert_close(drawing[1](encoded), model[1](encoded), rtol=1e-2, atol=1e-2)


@packed
@torch.no_grad()
def test_a_copy_of_packed_weights_works_when_the_first_is_gone(weights: Weights, rng: torch.Generator) -> None:
    x = torch.randn(2, 64, generator=rng)
    first = made(weights, nn.Linear(64, 32))
    expected, second = first(x), copy.deepcopy(first)
    del first
    gc.collect()
    assert torch.equal(second(x), expected)


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
    def missing(self: Int8Linear, weight: Tensor, bias: Tensor | None) -> None:
        raise RuntimeError("no engine\nstack of C++")

    monkeypatch.setattr(Int8Linear, "__init__", missing)
    assert fast._failure.__wrapped__("int8") == "no engine"


@torch.no_grad()
def test_whole_numbers_of_weights_in_few_bits_keep_their_signs(rng: torch.Generator) -> None:
    weight = torch.randn(2000, 16, generator=rng).bfloat16()
    whole, scale = whole_numbers(weight)
    assert scale.dtype == torch.float32
    assert ((whole * scale[:, None] - weight.float()).abs() <= 0.501 * scale[:, None]).all()
