"""Compiled steps give the numbers of the plain ones, at every position, for every pattern."""

import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import tiny
from orchestrion.config.prior import Pattern, TransformerConfig
from orchestrion.errors import UserError
from orchestrion.nn.compiled import CompiledSteps, Product, _multiply, check_compiler
from orchestrion.nn.fast import Weights, whole_numbers
from orchestrion.nn.transformer import Transformer

ROW, ROWS, WIDTH = 6, 5, 12
TOKENS = ROW * ROWS


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """The same code without the compiler: quick, and without one at hand."""
    with torch.compiler.set_stance("force_eager"):
        yield


def stack(patterns: tuple[Pattern, ...], *, published: bool = False) -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(
        width=WIDTH,
        num_heads=3,
        patterns=patterns,
        num_rows=ROWS,
        spread=2,
        prefix_tokens=9,
        positions="learned" if published else "rotary",
        norm="layer" if published else "rms",
        normalize_queries=not published,
        activation="quick_gelu" if published else "squared_relu",
        biases=published,
        residual_scale=0.5 if published else 1.0,
    )
    return Transformer(config, TOKENS, WIDTH).eval()


def drawn(transformer: Transformer, x: Tensor, pieces: list[int], memory: Tensor | None = None) -> Tensor:
    cache = transformer.begin(x[:, :1], sum(pieces), memory)
    return torch.cat([transformer.advance(piece, cache) for piece in x[:, : sum(pieces)].split(pieces, 1)], 1)


def compiled(transformer: Transformer, weights: Weights | None = None) -> Transformer:
    steps = CompiledSteps(transformer, weights)
    steps.most_rows = 3
    transformer.steps = steps
    return transformer


@pytest.mark.parametrize("pattern", tiny.CAUSAL_PATTERNS)
@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("pieces", [[1] * TOKENS, [7, *[1] * 16, 7], [6, 6, *[1] * 8], [1] * 4], ids=str)
@torch.no_grad()
def test_steps_give_the_numbers_of_the_plain_ones(
    pattern: Pattern, published: bool, pieces: list[int], rng: torch.Generator, uncompiled: None
) -> None:
    made = stack((pattern, "full"), published=published)
    x = torch.randn(3, TOKENS, WIDTH, generator=rng)
    expected = drawn(made, x, pieces)
    assert_close(drawn(compiled(made), x, pieces), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_steps_read_lyrics(rng: torch.Generator, uncompiled: None) -> None:
    made = stack(("row", "lyrics"))
    x, memory = torch.randn(2, TOKENS, WIDTH, generator=rng), torch.randn(2, 11, WIDTH, generator=rng)
    expected = drawn(made, x, [4] + [1] * 20, memory)
    assert_close(drawn(compiled(made), x, [4] + [1] * 20, memory), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weights", ["bfloat16", "float16", "int8"])
@torch.no_grad()
def test_fewer_bits_are_nearly_the_same(weights: Weights, rng: torch.Generator, uncompiled: None) -> None:
    made = stack(("row", "column", "previous_row"), published=True)
    x = torch.randn(2, TOKENS, WIDTH, generator=rng)
    expected = drawn(made, x, [1] * TOKENS)
    error = (drawn(compiled(made, weights), x, [1] * TOKENS) - expected).norm() / expected.norm()
    assert 0 < error < {"bfloat16": 5e-3, "float16": 1e-3, "int8": 2e-2}[weights]


@pytest.mark.parametrize(
    "patterns, period",
    [
        (("full",) * 4, 1),
        (("row", "column", "previous_row") * 3, 3),
        (("row", "column", "previous_row", "row"), 4),
        (("row", "row", "column", "row", "row", "column"), 3),
    ],
)
def test_layers_are_compiled_by_the_shortest_run_that_repeats(patterns: tuple[Pattern, ...], period: int) -> None:
    assert CompiledSteps(stack(patterns)).period == period


def test_a_window_has_one_shape_however_long_it_is(rng: torch.Generator, uncompiled: None) -> None:
    made = compiled(stack(("row", "column")))
    x = torch.randn(1, 1, WIDTH, generator=rng)
    short, whole = made.begin(x, 3), made.begin(x, TOKENS)
    assert [layer.memory.shape for layer in short.layers] == [layer.memory.shape for layer in whole.layers]


COMPILE = """
import torch
from orchestrion.config.prior import TransformerConfig
from orchestrion.errors import UserError
from orchestrion.nn.compiled import CompiledSteps, check_compiler
from orchestrion.nn.transformer import Transformer

torch.set_num_threads(1)
torch.manual_seed(0)
patterns = ("row", "column", "previous_row")
made = Transformer(TransformerConfig(width=32, num_heads=2, patterns=patterns, num_rows=4), 24).eval()
x, pieces = torch.randn(2, 24, 32), [4, *[1] * 20]

def drawn(x):
    cache = made.begin(x[:, :1], 24)
    return torch.cat([made.advance(piece, cache) for piece in x.split(pieces, 1)], 1)

with torch.no_grad():
    expected = drawn(x)
    made.steps = CompiledSteps(made)
    made.steps.most_rows = 2
    for rows in (2, 1, 2):  # another batch compiles anew, and each cache lies elsewhere
        torch.testing.assert_close(drawn(x[:rows]), expected[:rows], rtol=1e-5, atol=1e-5)
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2, torch._dynamo.utils.counters
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="compiling needs the C++ compiler g++")
def test_compiled_code_gives_the_same_numbers() -> None:
    # In a process of its own: the compiler cannot read the checks that annotations are here.
    ended = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@torch.no_grad()
def test_more_rows_than_are_worth_it_take_the_plain_way(rng: torch.Generator) -> None:
    made = stack(("row", "column"))
    x = torch.randn(2, TOKENS, WIDTH, generator=rng)
    expected = drawn(made, x, [1] * TOKENS)
    steps = CompiledSteps(made)
    made.steps = steps
    assert torch.equal(drawn(made, x, [1] * TOKENS), expected)
    assert steps.most_rows == 1 and not steps.batches
    plain, whole = made.begin(x[:, :1], 3), made.begin(x[:1, :1], 3)
    assert plain.layers[0].memory.shape[3] == 3 < whole.layers[0].memory.shape[3]


def test_without_a_compiler_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"C\+\+ compiler, and there is none: install g\+\+"):
        check_compiler(torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_replayed_graphs_give_the_same_numbers(rng: torch.Generator) -> None:
    made = stack(("row", "column", "previous_row", "full")).cuda()
    x, pieces = torch.randn(2, TOKENS, WIDTH, generator=rng).cuda(), [4] + [1] * 20
    expected = drawn(made, x, pieces)
    compiled(made)
    for _ in range(3):  # each cache lies elsewhere
        assert_close(drawn(made, x, pieces), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_sums_of_whole_numbers_do_not_overflow_in_half_precision(rng: torch.Generator) -> None:
    layer, x = torch.randn(8, 4096, generator=rng) / 64, 20 * torch.randn(2, 4096, generator=rng).half()
    whole, scale = whole_numbers(layer)
    assert ((x.float() @ whole.float().T).abs() > torch.finfo(torch.float16).max).any()
    found = _multiply(x, Product(whole, scale, None))
    assert found.dtype == torch.float16
    assert_close(found.float(), x.float() @ (whole * scale[:, None]).T, rtol=2e-3, atol=0.02)
