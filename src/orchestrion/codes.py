"""Codes: the language that the codec, the priors and the files speak with one another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.errors import UserError
from orchestrion.grid import Grid

HIDDEN = -1
"""Stands for a frame that is to be made while those after it are there already, or that comes after the music's end."""


def frames_made(codes: Int[Tensor, "batch frame"]) -> int:
    """Frames of a level before the first that is hidden, in every row the same."""
    hidden = (codes[0] == HIDDEN).nonzero()
    return int(hidden[0]) if len(hidden) else codes.shape[1]


def num_made(codes: Int[Tensor, "batch frame"]) -> int:
    """Frames of a level that are not hidden, in every row as many."""
    return int((codes[0] != HIDDEN).sum())


@dataclass(frozen=True)
class Codes:
    """Music as integers: one row of codes per item at each level, level 0 the finest.

    `levels[l]` has shape `batch frame` and dtype int64, or is None while that level is not made yet. All levels
    start at the same sample; a level may be shorter than the music while it is being made, and have `HIDDEN` frames
    where a part of it is made again.
    """

    grid: Grid
    levels: tuple[Int[Tensor, "_ _"] | None, ...]  # levels differ in length, so their axes have no common name

    def __post_init__(self) -> None:
        if len(self.levels) != self.grid.num_levels:
            raise UserError(
                f"codes of {len(self.levels)} levels do not fit a grid of {self.grid.num_levels}",
                "use the model that made them",
            )
        sizes = {level.shape[0] for level in self.levels if level is not None}
        if len(sizes) > 1:
            raise UserError(f"levels hold different numbers of items {sorted(sizes)}", "give the same to each")

    def __getitem__(self, level: int) -> Int[Tensor, "batch frame"]:
        """The codes of `level`; UserError if they are not made yet."""
        codes = self.levels[level]
        if codes is None:
            raise UserError(f"level {level} of these codes is not made yet", "upsample to it first")
        return codes

    def has(self, level: int) -> bool:
        return self.levels[level] is not None

    @property
    def finest(self) -> int:
        """The finest level that is there."""
        for level, codes in enumerate(self.levels):
            if codes is not None:
                return level
        raise UserError("these codes are empty at every level", "encode or compose something first")

    def replace(self, level: int, codes: Int[Tensor, "batch frame"] | None) -> "Codes":
        """The same with another `level`."""
        return Codes(self.grid, (*self.levels[:level], codes, *self.levels[level + 1 :]))

    def num_frames(self, level: int) -> int:
        """How many frames `level` holds so far, those that are to be made between others included."""
        codes = self.levels[level]
        return 0 if codes is None else codes.shape[1]

    def num_made(self, level: int) -> int:
        """How many of them are made."""
        codes = self.levels[level]
        return 0 if codes is None else num_made(codes)

    def seconds(self, level: int) -> float:
        """How much music `level` holds so far."""
        return self.grid.seconds(self.num_frames(level) * self.grid.hop_lengths[level])

    def until(self, seconds: float) -> "Codes":
        """What begins before `seconds`, rounded to a frame of the top level, at each level as far as it is there."""
        frames = round(seconds * self.grid.frame_rate(self.grid.top))
        longest = [frames * self.grid.hop_lengths[self.grid.top] // hop for hop in self.grid.hop_lengths]
        parts = zip(self.levels, longest, strict=True)
        return Codes(self.grid, tuple(None if part is None else part[:, :stop] for part, stop in parts))

    def repeated(self, times: int) -> "Codes":
        """The only item, so many times."""
        return self.each(lambda part: part.expand(times, -1))

    def row(self, row: int) -> "Codes":
        """The codes of one item."""
        return self.rows([row])

    def rows(self, rows: Sequence[int]) -> "Codes":
        """The codes of some items."""
        return self.each(lambda part: part[list(rows)])

    def to(self, device: torch.device | str) -> "Codes":
        """The same on another device."""
        return self.each(lambda part: part.to(device))

    def each(self, act: Callable[[Tensor], Tensor]) -> "Codes":
        """What `act` makes of every level that is there."""
        return Codes(self.grid, tuple(None if part is None else act(part) for part in self.levels))

    @staticmethod
    def empty(grid: Grid) -> "Codes":
        return Codes(grid, (None,) * grid.num_levels)


def counts_of(codes: Int[Tensor, "*shape"], size: int, depth: int = 1) -> Int[Tensor, "place code"]:
    """How often each of `size` codes is at each of the `depth` places of a vector."""
    places = codes.reshape(-1, depth).T
    return torch.stack([torch.bincount(place, minlength=size) for place in places])


def entropy_bits(counts: Float[Tensor, " code"] | Int[Tensor, " code"]) -> float:
    """The entropy of a distribution given by counts, in bits."""
    exact = counts.cpu().double()
    shares = exact / exact.sum().clamp_min(1)
    return float(-(shares * shares.clamp_min(1e-300).log2()).sum())
