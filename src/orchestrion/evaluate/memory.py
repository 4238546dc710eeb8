"""Whether a song was remembered rather than invented: its nearest passage in the music that was learned from.

Twice: by the codes themselves, which finds what was copied exactly, and by chroma, which finds the same notes in
another sound, at another loudness or in another key.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.data.encoded import CodeStore
from orchestrion.evaluate.chroma import FRAMES_PER_SECOND
from orchestrion.evaluate.interval import Estimate, bootstrap, mean

WINDOW_SECONDS = 4
"""Passages that are compared by chroma last so long."""

_LEAST_MOVED = 0.25  # of the energy of a stretch of chroma
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


def learned(store: CodeStore, level: int) -> tuple[CodeIndex, list[int]]:
    """The training tracks' codes at a level; and, in the order of their numbers, the shards they come from."""
    shards = store.indices("train")
    return CodeIndex([store.codes(shard, level) for shard in shards], store.codebook_size), shards


@dataclass(frozen=True)
class Passage:
    """A stretch of a song that sounds like one of a track, `semitones` higher in the song than in the track.

    `likeness` is at most 1.
    """

    likeness: float
    song_seconds: float
    track: int
    seconds: float
    semitones: int


def nearest_passage(
    song: Float[Tensor, "frame 12"], tracks: Sequence[Float[Tensor, "_ 12"]], *, seconds: float = WINDOW_SECONDS
) -> Passage:
    """The likest pair of stretches in a song and any track, over all places and twelve transpositions.

    Takes what `chroma.chroma` gives; the likeness is the correlation of how the two move around their means. Stretches
    that hardly move, held chords and silence, resemble nothing. Tracks shorter than a stretch are left out.
    """
    window = round(seconds * FRAMES_PER_SECOND)
    assert len(song) >= window, "the song is shorter than a passage"
    asked = torch.cat([_stretches(song.roll(-semitones, 1), window) for semitones in range(12)])
    places = len(asked) // 12
    best = Passage(0.0, 0.0, 0, 0.0, 0)
    for number, track in enumerate(tracks):
        if len(track) < window:
            continue
        alike = asked @ _stretches(track, window).T
        likeness, at = alike.flatten().max(0)
        if float(likeness) > best.likeness:
            row, start = divmod(int(at), alike.shape[1])
            semitones, song_start = divmod(row, places)
            best = Passage(
                float(likeness), song_start / FRAMES_PER_SECOND, number, start / FRAMES_PER_SECOND, semitones
            )
    return best


def _stretches(frames: Float[Tensor, "frame 12"], window: int) -> Float[Tensor, "place value"]:
    """Every stretch as one row: how its chroma moves around its mean, of length 1; or 0 where it hardly moves."""
    rows = frames.unfold(0, window, 1)
    moved = (rows - rows.mean(2, keepdim=True)).flatten(1)
    size = moved.norm(dim=1, keepdim=True)
    least = (_LEAST_MOVED * window) ** 0.5
    return torch.where(size >= least, moved / size.clamp_min(least), torch.zeros_like(moved))


@dataclass(frozen=True)
class Remembered:
    """Songs beside held-out music in how much they share with what was learned.

    `limit` is the largest figure of held-out pieces; `over` the share of songs above it and `which` they are;
    `percentile` is the 99th of the held-out, for which 100 pieces or more are wanted.
    """

    held_out: Estimate
    songs: Estimate
    percentile: Estimate
    limit: float
    over: Estimate
    which: tuple[int, ...]


def remembered(held_out: Float[Tensor, " piece"], songs: Float[Tensor, " song"], *, seed: int = 0) -> Remembered:
    """Judge the figures of songs (lengths of runs, or likenesses) by those of held-out pieces of the same length.

    Longer pieces share longer runs by chance alone: cut the held-out music as long as the songs.
    """
    limit = float(held_out.max())
    above = songs > limit
    return Remembered(
        held_out=mean(held_out, seed=seed),
        songs=mean(songs, seed=seed),
        percentile=bootstrap(
            len(held_out), lambda drawn: float(torch.quantile(held_out[drawn].double(), 0.99)), seed=seed
        ),
        limit=limit,
        over=mean(above.double(), seed=seed),
        which=tuple(above.nonzero()[:, 0].tolist()),
    )
