"""Known tokens read in whole numbers are nearly the numbers of the plain way, whatever comes before and after."""

from collections.abc import Iterator

import pytest
import torch
from test_compiled import TOKENS, WIDTH, drawn, stack
from torch import Tensor

import tiny
from orchestrion.config.prior import Pattern
from orchestrion.nn import reading
from orchestrion.nn.compiled import CompiledSteps
from orchestrion.nn.reading import CompiledReading, compile_into, exact_products
from orchestrion.nn.transformer import Transformer

pytestmark = pytest.mark.skipif(not exact_products(), reason="products of int8 overflow on this processor")


@pytest.fixture(autouse=True)
def uncompiled() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):
        yield


def reads(made: Transformer, num_rows: int) -> CompiledReading:
    made.reading = CompiledReading(made, CompiledSteps(made, "int8").layers, num_rows)
    return made.reading


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("pattern", tiny.CAUSAL_PATTERNS)
@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("pieces", [[12, 12, 6], [13, 12, *[1] * 5], [3, 27]], ids=str)
@torch.no_grad()
def test_reading_is_nearly_the_same(pattern: Pattern, published: bool, pieces: list[int], rng: torch.Generator) -> None:
    made = stack((pattern, "full"), published=published)
    x = torch.randn(1, TOKENS, WIDTH, generator=rng)
    expected = drawn(made, x, pieces)
    reads(made, 12)
    assert 0 < error(drawn(made, x, pieces), expected) < 0.04


@pytest.mark.parametrize(
    "patterns", [("row", "column", "previous_row"), ("full", "row", "summary"), ("sliding", "full", "sliding")], ids=str
)
@pytest.mark.parametrize("pieces", [[24], [13, 12], [1, 24]], ids=str)
@torch.no_grad()
def test_the_last_token_alone(patterns: tuple[Pattern, ...], pieces: list[int], rng: torch.Generator) -> None:
    made = stack(patterns)
    x = torch.randn(1, TOKENS, WIDTH, generator=rng)
    expected = drawn(made, x, pieces)[:, -1:]
    reads(made, 12)
    cache = made.begin(x[:, :1], TOKENS)
    for piece in x[:, : sum(pieces)].split(pieces, 1):
        out = made.advance(piece, cache, last=True)
    assert out.shape == expected.shape and 0 < error(out, expected) < 0.04


@torch.no_grad()
def test_reading_reads_lyrics(rng: torch.Generator) -> None:
    made = stack(("row", "lyrics"))
    x, memory = torch.randn(1, TOKENS, WIDTH, generator=rng), torch.randn(1, 11, WIDTH, generator=rng)
    expected = drawn(made, x, [12, 12], memory)
    reads(made, 12)
    assert 0 < error(drawn(made, x, [12, 12], memory), expected) < 0.04


@torch.no_grad()
def test_other_batches_and_types_take_the_plain_way(rng: torch.Generator) -> None:
    made = stack(("row", "column"))
    for x in (torch.randn(2, 12, WIDTH, generator=rng), torch.randn(1, 12, WIDTH, generator=rng).double()):
        made = made.to(x.dtype)
        made.reading = None
        expected = drawn(made, x, [12])
        made.reading = CompiledReading(made, CompiledSteps(made.float(), "int8").layers, 12)
        assert torch.equal(drawn(made.to(x.dtype), x, [12]), expected)


@pytest.mark.parametrize("capabilities, used", [({"avx512_vnni": True}, True), ({"avx512_vnni": False}, False)])
def test_a_processor_without_fast_products_reads_as_before(
    capabilities: dict[str, bool], used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    made = stack(("row",))
    compile_into(made, made, "int8")
    assert (made.reading is not None) == used
    other = stack(("row",))
    compile_into(other, other, "float16")
    assert other.reading is None and other.steps is not None


def test_products_that_overflow_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "exact_products", lambda: False)
    made = stack(("row",))
    compile_into(made, made, "int8")
    assert made.reading is None
