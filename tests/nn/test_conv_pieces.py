"""Frames that arrive in pieces: what the layers make of the whole, in memory of a piece."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from orchestrion.nn import pieces
from orchestrion.nn.conv import ResidualStack, downsample, upsample
from orchestrion.nn.pieces import through


def drawn(stack: ResidualStack) -> ResidualStack:
    """With frequencies that differ from channel to channel."""
    with torch.no_grad():
        for name, parameter in stack.named_parameters():
            if name.endswith("log_frequency"):
                parameter.normal_()
    return stack


LAYERS = {
    "kernel 3": lambda: [nn.Conv1d(3, 5, 3, padding=1)],
    "dilated": lambda: [nn.Conv1d(3, 5, 3, padding=4, dilation=4)],
    "without a bias": lambda: [nn.Conv1d(3, 5, 3, padding=1, bias=False)],
    "halves": lambda: [downsample(3, 5, 4, 2)],
    "quarters": lambda: [downsample(3, 5, 16, 4)],
    "kernel of no whole strides, down": lambda: [downsample(3, 5, 7, 3)],
    "kernel of one stride, down": lambda: [downsample(3, 5, 2, 2)],
    "doubles": lambda: [upsample(3, 5, 4, 2)],
    "writes a basis": lambda: [upsample(3, 1, 32, 8, bias=False)],
    "kernel of no whole strides, up": lambda: [upsample(3, 5, 7, 3)],
    "kernel of one stride, up": lambda: [upsample(3, 5, 2, 2)],
    "stack": lambda: [ResidualStack(3, 4, (1, 3, 9, 27))],
    "stack from wide to narrow, scaled": lambda: [ResidualStack(3, 4, (9, 3, 1), scale=0.3)],
    "periodic stack": lambda: [drawn(ResidualStack(3, 4, (1, 9, 3), scale=0.7, periodic=True))],
    "empty stack": lambda: [ResidualStack(3, 4, ())],
    "there and back": lambda: [
        downsample(3, 4, 4, 2),
        ResidualStack(4, 4, (1, 3)),
        downsample(4, 4, 4, 2),
        ResidualStack(4, 6, (3, 1)),
        upsample(4, 5, 4, 2),
        drawn(ResidualStack(5, 3, (5, 2), periodic=True)),
        upsample(5, 2, 4, 2),
        nn.Conv1d(2, 1, 3, padding=1),
    ],
}


def made(name: str) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(*LAYERS[name]())


def in_pieces(layers: nn.Module, x: Tensor, *lengths: int) -> Tensor:
    """Of one item, as `layers` give it."""
    assert isinstance(layers, nn.Sequential)
    return torch.cat(list(through(layers, x[0].T.split(list(lengths))))).T[None]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("length", [4, 7, 30, 101])
def test_pieces_of_any_length_give_the_frames_of_the_whole(name: str, length: int, rng: torch.Generator) -> None:
    layers, x = made(name), torch.randn(1, 3, length, generator=rng)
    whole = layers(x).detach()
    for size in (1, 4, 17, length):
        full, rest = divmod(length, size)
        lengths = [size] * full + [rest] * (rest > 0)
        torch.testing.assert_close(in_pieces(layers, x, *lengths), whole, atol=2e-6, rtol=0)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_stack_hears_only_zeros_beyond_both_ends(length: int, rng: torch.Generator) -> None:
    layers, x = made("stack"), torch.randn(1, 3, length, generator=rng)
    torch.testing.assert_close(in_pieces(layers, x, length), layers(x).detach(), atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", ["stack", "periodic stack", "there and back"])
def test_operations_on_few_rows_at_once_change_nothing(
    name: str, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, x = made(name), torch.randn(1, 3, 96, generator=rng)
    monkeypatch.setattr(pieces, "ELEMENTS", 20)
    torch.testing.assert_close(in_pieces(layers, x, 50, 46), layers(x).detach(), atol=2e-6, rtol=0)


def test_uneven_pieces_of_which_some_are_empty_join(rng: torch.Generator) -> None:
    layers, x = made("there and back"), torch.randn(1, 3, 64, generator=rng)
    lengths = (0, 1, 30, 0, 2, 31, 0)
    torch.testing.assert_close(in_pieces(layers, x, *lengths), layers(x).detach(), atol=2e-6, rtol=0)


def test_nothing_makes_nothing() -> None:
    assert list(through(made("there and back"), [])) == []


def test_frames_are_given_as_soon_as_those_they_need_are_there(rng: torch.Generator) -> None:
    """The stack reaches 13 frames ahead."""
    stack, asked = nn.Sequential(ResidualStack(3, 4, (1, 3, 9))), []

    def arriving() -> Iterator[Tensor]:
        for index in range(10):
            asked.append(index)
            yield torch.randn(5, 3, generator=rng)

    given = 0
    for frames in through(stack, arriving()):
        assert given <= 5 * len(asked) - 13 or len(asked) == 10
        given += len(frames)
        assert given == 50 or given == 5 * len(asked) - 13
    assert given == 50


def test_pieces_given_are_not_written_to(rng: torch.Generator) -> None:
    x = torch.randn(1, 3, 40, generator=rng)
    before = x.clone()
    in_pieces(made("stack"), x, 40)
    assert torch.equal(x, before)


def test_no_gradient_is_kept_and_the_layers_keep_theirs(rng: torch.Generator) -> None:
    layers, x = made("there and back"), torch.randn(1, 3, 40, generator=rng)
    assert not in_pieces(layers, x, 20, 20).requires_grad
    layers(x).square().sum().backward()
    assert all(weight.grad is not None for weight in layers.parameters())


def test_half_precision_counts_as_the_same_numbers_in_single(rng: torch.Generator) -> None:
    layers, x = made("there and back").bfloat16(), torch.randn(1, 3, 40, generator=rng).bfloat16()
    narrow = in_pieces(layers, x, 24, 16)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, layers.float()(x.float()).detach(), atol=2e-6, rtol=0)


class Largest(TorchDispatchMode):
    """Notes the most numbers that a tensor had."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.most = max(self.most, out.numel())
        return out


def test_memory_does_not_grow_with_the_number_of_pieces() -> None:
    layers = made("there and back")

    def most(num_pieces: int) -> int:
        with Largest() as seen:
            for _ in through(layers, (torch.zeros(64, 3) for _ in range(num_pieces))):
                pass
        return seen.most

    assert most(3) == most(12)
