"""Linear layers against torch's own."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from orchestrion.nn import linear as module
from orchestrion.nn.linear import Linear, linear
from orchestrion.nn.precision import _multiplies_well

ROWS = pytest.mark.parametrize("shape", [(1,), (1, 1), (2, 1), (4,), (5, 1), (8, 2), (17,), (2, 3, 4)], ids=str)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@ROWS
@pytest.mark.parametrize("out", [24, 7])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.usefixtures("two_threads")
def test_few_rows_are_multiplied_in_parts_with_the_same_outcome(
    shape: tuple[int, ...], out: int, bias: bool, rng: torch.Generator
) -> None:
    layer, x = Linear(10, out, bias=bias), torch.randn(*shape, 10, generator=rng)
    found = layer(x)
    assert found.is_contiguous()
    assert_close(found, F.linear(x, layer.weight, layer.bias), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("two_threads")
def test_the_gradient_of_few_rows_is_that_of_many(rng: torch.Generator) -> None:
    layer, x = Linear(10, 8).double().float(), torch.randn(3, 10, generator=rng)
    layer(x).square().sum().backward()
    found = layer.weight.grad
    layer.weight.grad = None
    F.linear(x, layer.weight, layer.bias).square().sum().backward()
    assert_close(found, layer.weight.grad)


@ROWS
@pytest.mark.parametrize("held", [torch.bfloat16, torch.float16])
def test_narrower_weights_are_widened(shape: tuple[int, ...], held: torch.dtype, rng: torch.Generator) -> None:
    x, weight, bias = torch.randn(*shape, 10, generator=rng), torch.randn(6, 10, generator=rng).to(held), torch.ones(6)
    assert_close(linear(x, weight, bias), F.linear(x, weight.float(), bias), rtol=1e-5, atol=1e-6)


@ROWS
@pytest.mark.parametrize("well", [True, False])
def test_the_outcome_is_in_the_dtype_of_what_comes_in(
    shape: tuple[int, ...], well: bool, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "multiplies_well", lambda dtype, device: well or dtype == torch.float32)
    x, weight = torch.randn(*shape, 10, generator=rng).bfloat16(), torch.randn(6, 10, generator=rng).bfloat16()
    found = linear(x, weight)
    assert found.dtype == torch.bfloat16
    assert_close(found.float(), F.linear(x.float(), weight.float()), rtol=1e-2, atol=1e-2)


def test_a_slow_type_is_never_multiplied_in(monkeypatch: pytest.MonkeyPatch) -> None:
    multiplied: list[torch.dtype] = []

    def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        multiplied.append(x.dtype)
        return x @ weight.T

    monkeypatch.setattr(module, "multiplies_well", lambda dtype, device: dtype == torch.float32)
    monkeypatch.setattr(module.F, "linear", product)
    linear(torch.ones(20, 4).bfloat16(), torch.ones(3, 4).bfloat16())
    assert multiplied == [torch.float32]


def test_a_type_that_is_only_emulated_does_not_multiply_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not _multiplies_well.__wrapped__(torch.bfloat16, "cuda")
