"""Runs of codes that two pieces of music have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

_SEED = 1  # of the numbers that stand for codes in hashes
_LENGTHS_KEPT = 16  # sorted hashes take 16 bytes for each code and length; songs ask for much the same lengths
_BASE = 6_364_136_223_846_793_005  # odd, so that its powers do not vanish modulo 2**64


@dataclass(frozen=True)
class Run:
    """`length` codes from frame `song_start` on in a song are those from frame `start` on in the track of this number.

    A code that is held counts once, however long: silences and drones are no memory.
    """

    length: int
    song_start: int
    track: int
    start: int


class CodeIndex:
    """Tracks of codes, in which the longest run that a song shares with any of them is found."""

    def __init__(self, tracks: Sequence[Int[Tensor, " _"]], codebook_size: int) -> None:
        """`tracks` without codes are allowed; not all may be empty."""
        told = [_changes(track) for track in tracks]
        self._codes, self._frames = torch.cat([codes for codes, _ in told]), torch.cat([frames for _, frames in told])
        assert len(self._codes), "no codes to look in"
        lengths = torch.tensor([len(codes) for codes, _ in told], device=self._codes.device)
        self._ends = lengths.cumsum(0)
        track = torch.arange(len(told), device=self._codes.device).repeat_interleave(lengths)
        self._left = self._ends[track] - torch.arange(len(self._codes), device=self._codes.device)
        rng = torch.Generator().manual_seed(_SEED)
        self._numbers = torch.randint(-(2**62), 2**62, (codebook_size,), generator=rng).to(self._codes)
        self._sorted: dict[int, tuple[Tensor, Tensor]] = {}

    def longest_run(self, song: Int[Tensor, " frame"]) -> Run:
        """The longest run of codes that is also in a track; the first of several. Length 0: not one code is.

        A run of n holds runs of every shorter length, so its length is found by bisection: runs of one length are
        looked up by a hash of 64 bits among all of that length.
        """
        best = Run(0, 0, 0, 0)
        codes, frames = _changes(song)
        low, high = 0, min(len(codes), int(self._left.max()))
        length = min(high, 8)
        while low < high:
            found = self._shared(codes, frames, length)
            if found is None:
                high = length - 1
            else:
                best, low = found, length
            # Runs are mostly short: reach further only by doubling what was found.
            length = min(2 * low, high) if found is not None and 2 * low <= high else (low + high + 1) // 2
        return best

    def _shared(self, song: Int[Tensor, " change"], frames: Int[Tensor, " change"], length: int) -> Run | None:
        """A run of exactly this length."""
        known, places = self._hashes_of(length)
        asked = _hashes(self._numbers[song], length)
        at = torch.searchsorted(known, asked).clamp_max(len(known) - 1)
        hits = (known[at] == asked).nonzero()[:, 0]
        if not len(hits):
            return None
        song_start = int(hits[0])
        place = int(places[at[song_start]])
        same = torch.equal(self._codes[place : place + length], song[song_start : song_start + length])
        assert same, "two runs of codes have the same hash of 64 bits"
        track = int(torch.searchsorted(self._ends, place, right=True))
        return Run(length, int(frames[song_start]), track, int(self._frames[place]))

    def _hashes_of(self, length: int) -> tuple[Tensor, Tensor]:
        """Sorted hashes of all runs of a length within a track, and where the runs begin."""
        if length not in self._sorted:
            if len(self._sorted) == _LENGTHS_KEPT:
                del self._sorted[next(iter(self._sorted))]
            inside = (self._left[: len(self._codes) - length + 1] >= length).nonzero()[:, 0]
            known, order = _hashes(self._numbers[self._codes], length)[inside].sort(stable=True)
            self._sorted[length] = known, inside[order]
        return self._sorted[length]


def _changes(codes: Int[Tensor, " frame"]) -> tuple[Int[Tensor, " change"], Int[Tensor, " change"]]:
    """Codes that differ from the one before, and the frames at which they begin."""
    values, held = torch.unique_consecutive(codes, return_counts=True)
    return values, held.cumsum(0) - held


def _hashes(numbers: Int[Tensor, " frame"], length: int) -> Int[Tensor, " place"]:
    """Σ numbers[i + j] · base^j modulo 2⁶⁴ for every run of `length`, put together from runs of powers of two."""
    count = len(numbers) - length + 1
    total, done, power = numbers.new_zeros(count), 0, 1
    part, factor, total_factor = numbers, _BASE, 1
    while True:
        if length & power:
            total = total + part[done : done + count] * _signed(total_factor)
            done += power
            total_factor = total_factor * factor % 2**64
        power *= 2
        if power > length:
            return total
        part = part[: -(power // 2)] + part[power // 2 :] * _signed(factor)
        factor = factor * factor % 2**64


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number
