"""Which part of which track: pure arithmetic, so that a run that was stopped goes on exactly where it was."""

import hashlib
import itertools
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from orchestrion.text.vocab import UNKNOWN, folded


class Chunk(NamedTuple):
    """A stretch of a track that begins at `start`, counted in whatever the lengths are counted in."""

    track: int
    start: int


def chance(*key: int) -> float:
    """A number in [0, 1) that looks random and is a function of `key` alone, everywhere and always."""
    packed = struct.pack(f"<{len(key)}q", *key)
    (number,) = struct.unpack("<Q", hashlib.blake2b(packed, digest_size=8).digest())
    return float(number >> 11) / 2**53


def track_weights(lengths: Sequence[int], artists: Sequence[str | None], balance: float) -> list[float]:
    """How often each track is drawn from, summing to 1.

    An artist's share is `total length ** (1 - balance)`: 0 hears every second equally often, 1 every artist.
    Within an artist, however it is spelt, tracks share by length. Tracks without an artist count as one artist
    together.
    """
    names = [folded(artist or UNKNOWN) for artist in artists]
    totals: Counter[str] = Counter()
    for length, name in zip(lengths, names, strict=True):
        totals[name] += length
    weights = [
        length * totals[name] ** -balance if length else 0.0 for length, name in zip(lengths, names, strict=True)
    ]
    whole = sum(weights)
    return [weight / whole for weight in weights] if whole else weights


class Draw:
    """Draws chunks by chance: the same key gives the same chunk."""

    def __init__(self, lengths: Sequence[int], weights: Sequence[float]) -> None:
        self._lengths = lengths
        self._upto = list(itertools.accumulate(weights))
        # Rounding may leave the sum short of 1; the last track with any weight takes what is left.
        self._last = max((index for index, weight in enumerate(weights) if weight > 0), default=0)

    def chunk(self, length: int, *key: int, ratio: int = 1) -> Chunk:
        """A chunk of `length` starting at a multiple of `ratio`, or at the beginning of a shorter track."""
        track = min(bisect_right(self._upto, chance(*key, 0) * self._upto[-1]), self._last)
        places = max(0, self._lengths[track] - length) // ratio + 1
        return Chunk(track, int(chance(*key, 1) * places) * ratio)


def spread(lengths: Sequence[int], length: int, num_chunks: int) -> list[Chunk]:
    """`num_chunks` chunks of `length` at even distances through all tracks one after another.

    Chunks do not overlap, so there may be fewer; the rest of a track that does not fill a chunk is left out,
    and a track shorter than a chunk counts as one.
    """
    slots = [
        Chunk(track, start)
        for track, total in enumerate(lengths)
        if total
        for start in range(0, max(0, total - length) + 1, length)
    ]
    return [slots[place] for place in evenly(len(slots), num_chunks)]


def evenly(total: int, most: int) -> list[int]:
    """At most so many numbers below `total`, at even distances."""
    count = min(most, total)
    return [(2 * index + 1) * total // (2 * count) for index in range(count)]
