"""Convolutions over frames that arrive in pieces: the numbers of the whole, in memory that does not grow with it.

Frames are rows, so that every convolution is a few products of matrices in place, and pieces are small enough to stay
in a processor's cache from one layer to the next: layers near the sample rate are narrow, and otherwise wait for
memory. Nothing here can be differentiated; training goes through the layers themselves.
"""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from orchestrion.nn.conv import ResidualBlock, ResidualStack, Snake, snake

ELEMENTS = 1 << 17
"""Numbers in a matrix that stays in the cache of a processor between one operation and the next."""
ELEMENTS_ELSEWHERE = 1 << 23
"""Likewise on accelerators, which need larger ones to be busy."""
PIECE = 4
"""How many times as many a piece may have: the fewer pieces there are, the less is copied from one to the next."""


def rows_at_once(width: int, device: torch.device) -> int:
    """How many rows of `width` numbers an operation takes."""
    return max(1, (ELEMENTS if device.type == "cpu" else ELEMENTS_ELSEWHERE) // width)


def rows_of_piece(width: int, device: torch.device) -> int:
    """How many rows of `width` numbers a piece should have in the longest layer it goes through."""
    return PIECE * rows_at_once(width, device)


class InPieces(nn.Module):
    """A layer of another kind, which says itself what it makes of pieces."""

    def through(self, pieces: Iterator[Float[Tensor, "_ width"]]) -> Iterator[Float[Tensor, "_ made_width"]]:
        """What `forward` makes of the joined pieces; in pieces of other lengths."""
        raise NotImplementedError


def through(
    layers: Iterable[nn.Module], pieces: Iterable[Float[Tensor, "_ width"]]
) -> Iterator[Float[Tensor, "_ made_width"]]:
    """What `layers`, one after another, make of the joined pieces; in pieces of other lengths.

    Layers are convolutions, transposed convolutions, residual stacks and `InPieces`, each with zeros beyond the ends.
    Weights and pieces narrower than single precision count as the same numbers in single precision.
    """
    made: Iterator[Tensor] = (_single(piece) for piece in pieces)
    for layer in layers:
        match layer:
            case ResidualStack():
                made = _through_stack(layer, made)
            case nn.ConvTranspose1d():
                made = _through_transposed(layer, made)
            case nn.Conv1d():
                made = _through_convolution(layer, made)
            case InPieces():
                made = layer.through(made)
            case _:
                raise AssertionError(layer)
    while True:
        with torch.no_grad():
            piece = next(made, None)
        if piece is None:
            return
        yield piece


def overlapping(
    pieces: Iterator[Tensor], before: int, after: int, reach: int, step: int = 1
) -> Iterator[tuple[Tensor, bool]]:
    """The pieces, each beginning with the last `reach` frames of the one before, and whether it is the last.

    Each has `reach` frames and a multiple of `step`. `before` and `after` are numbers of zeros at the ends.
    """
    held: Tensor | None = None
    for piece, ended in _ending(pieces):
        if held is None:
            held = piece.new_zeros(before, piece.shape[1])
        held = torch.cat((held, piece, piece.new_zeros(after if ended else 0, piece.shape[1])))
        count = (len(held) - reach) // step * step
        if count > 0:
            yield held[: count + reach], ended
            held = held[count:]


def _through_convolution(layer: nn.Conv1d, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
    """With a stride, rows are groups of that many frames, and the kernel is cut into taps as long as a group."""
    (kernel,), (stride,), (dilation,), padding = layer.kernel_size, layer.stride, layer.dilation, layer.padding[0]
    assert isinstance(padding, int) and 1 in (stride, dilation), layer
    num_taps = -(-kernel // stride)
    missing = num_taps * stride - kernel
    out_width, width, _ = layer.weight.shape
    weight = F.pad(_single(layer.weight), (0, missing)).view(out_width, width, num_taps, stride)
    taps = weight.permute(2, 3, 1, 0).reshape(num_taps, stride * width, out_width)
    reach = (num_taps - 1) * stride * dilation
    for held, _ in overlapping(pieces, padding, padding + missing, reach, stride):
        made = held.new_empty((len(held) - reach) // stride, out_width)
        _products(held.view(-1, stride * width), taps, layer.bias, dilation, out=made)
        yield made


def _through_transposed(layer: nn.ConvTranspose1d, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
    """A row makes a group of `stride` frames with each tap, and groups of neighbours add up."""
    (kernel,), (stride,), padding = layer.kernel_size, layer.stride, layer.padding[0]
    assert isinstance(padding, int) and kernel >= stride, layer
    num_taps = -(-kernel // stride)
    missing = num_taps * stride - kernel
    width, out_width, _ = layer.weight.shape
    weight = F.pad(_single(layer.weight), (0, missing)).view(width, out_width, num_taps, stride)
    taps = weight.permute(2, 0, 3, 1).reshape(num_taps, width, stride * out_width).flip(0)
    bias = None if layer.bias is None else layer.bias.repeat(stride)
    reach, skipped = num_taps - 1, padding
    for held, ended in overlapping(pieces, reach, reach, reach):
        groups = held.new_empty(len(held) - reach, stride * out_width)
        _products(held, taps, bias, 1, out=groups)
        made = groups.view(-1, out_width)
        yield made[skipped : len(made) - (padding + missing if ended else 0)]
        skipped = max(0, skipped - len(made))


def _through_stack(stack: ResidualStack, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
    waves: list[_Wave] | None = None
    x = torch.empty(0)
    start = 0
    for piece, ended in _ending(pieces):
        if waves is None:
            waves, x = _waves(stack, piece), piece[:0]
        x = torch.cat((x, piece))
        ready = start + len(x)
        for wave in waves:
            ready = wave.advance(x, start, ready, ended=ended)
        if ready > start:
            made, x = x[: ready - start], x[ready - start :]
            start = ready
            yield made.add_(waves[-1].offset) if waves else made


class _Wave:
    """A residual block that follows the one before it, as far behind as its convolution sees ahead.

    Biases are not added but kept aside: with `offset`, what x lacks so far, relu(x + offset) is
    max(x, -offset) + offset, and a convolution makes one vector of every such offset. That leaves two passes over the
    numbers of a block beside its products.
    """

    def __init__(
        self, block: ResidualBlock, offset: Float[Tensor, " width"], hidden: Float[Tensor, "row hidden_width"]
    ) -> None:
        assert block.wide.bias is not None and block.narrow.bias is not None
        (self.dilation,) = block.wide.dilation
        self.taps = _single(block.wide.weight).permute(2, 1, 0).contiguous()
        self.narrow = block.scale * _single(block.narrow.weight)[:, :, 0].T
        inner = _single(block.wide.bias) + offset @ self.taps.sum(0)
        self.floor, self.inner_floor = -offset, -inner
        self.offset = offset + inner @ self.narrow + block.scale * _single(block.narrow.bias)
        """What x lacks after this block."""
        self.hidden = hidden
        """Room for what is between the convolutions: as many rows as an operation takes."""
        self.done = 0
        """Frames that have been through this block."""
        self.active = self.floor.expand(self.dilation, -1)
        """After the first relu, what the next frame reads: from `dilation` frames before it on."""

    def advance(self, x: Float[Tensor, "frame width"], start: int, ready: int, *, ended: bool) -> int:
        """Bring frames of `x`, which begins with frame `start`, through the block where they can be; returns `done`.

        Frames before `ready` have been through the block before; `ended` says that none follow.
        """
        reach, held = 2 * self.dilation, len(self.active)
        new = x[self.done + held - self.dilation - start : ready - start]
        active = x.new_empty(held + len(new) + (self.dilation if ended else 0), x.shape[1])
        active[:held] = self.active
        self._activate(new, active[held : held + len(new)])
        active[held + len(new) :] = self.floor
        count = max(0, len(active) - reach)
        rows = x[self.done - start : self.done - start + count]
        for first in range(0, count, len(self.hidden)):
            some = rows[first : first + len(self.hidden)]
            hidden = self.hidden[: len(some)]
            _products(active[first : first + len(some) + reach], self.taps, None, self.dilation, out=hidden)
            self._update(some, hidden)
        self.active = active[count:]
        self.done += count
        return self.done

    def _activate(self, x: Float[Tensor, "row width"], out: Float[Tensor, "row width"]) -> None:
        torch.maximum(x, self.floor, out=out)

    def _update(self, x: Float[Tensor, "row width"], hidden: Float[Tensor, "row hidden_width"]) -> None:
        """Add to `x` what the second convolution makes of `hidden`."""
        torch.maximum(hidden, self.inner_floor, out=hidden)
        x.addmm_(hidden, self.narrow)


class _PeriodicWave(_Wave):
    """Likewise with snakes, behind which no bias can be moved: each is added in its place and x lacks nothing."""

    def __init__(self, block: ResidualBlock, offset: Tensor, hidden: Tensor) -> None:
        super().__init__(block, offset, hidden)
        assert isinstance(block.outer, Snake) and isinstance(block.inner, Snake)
        assert block.wide.bias is not None and block.narrow.bias is not None
        self.outer, self.inner = (_single(each.log_frequency).exp() for each in (block.outer, block.inner))
        self.bias, self.narrow_bias = _single(block.wide.bias), block.scale * _single(block.narrow.bias)
        self.offset = offset

    def _activate(self, x: Tensor, out: Tensor) -> None:
        out.copy_(snake(x, self.outer))

    def _update(self, x: Tensor, hidden: Tensor) -> None:
        x.addmm_(snake(hidden.add_(self.bias), self.inner), self.narrow).add_(self.narrow_bias)


def _waves(stack: ResidualStack, like: Tensor) -> list[_Wave]:
    waves: list[_Wave] = []
    offset, hidden = like.new_zeros(like.shape[1]), like[:0]
    for block in stack.blocks:
        assert isinstance(block, ResidualBlock)
        if not waves:
            width = block.wide.out_channels
            hidden = like.new_empty(rows_at_once(width, like.device), width)
        kind = _PeriodicWave if isinstance(block.outer, Snake) else _Wave
        waves.append(kind(block, offset, hidden))
        offset = waves[-1].offset
    return waves


def _products(
    rows: Float[Tensor, "row width"],
    taps: Float[Tensor, "tap width made_width"],
    bias: Float[Tensor, " made_width"] | None,
    dilation: int,
    out: Float[Tensor, "made_row made_width"],
) -> None:
    """Into each row of `out`: that row and those `dilation`, 2 · `dilation`, … after it, each times its tap."""
    first, *others = taps.unbind()
    if bias is None:
        torch.mm(rows[: len(out)], first, out=out)
    else:
        torch.addmm(_single(bias), rows[: len(out)], first, out=out)
    for index, tap in enumerate(others, 1):
        out.addmm_(rows[index * dilation : index * dilation + len(out)], tap)


def _ending(pieces: Iterator[Tensor]) -> Iterator[tuple[Tensor, bool]]:
    """The pieces, and an empty one that is marked as the end."""
    piece: Tensor | None = None
    for piece in pieces:
        yield piece, False
    if piece is not None:
        yield piece[:0], True


def _single(numbers: Tensor) -> Tensor:
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))
