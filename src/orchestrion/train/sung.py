"""What is sung when in a data set: speech sounds or letters with times, and as the ids of a chunk's frames."""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from orchestrion.align.recognizer import BLANK, latin_letters, letters
from orchestrion.data.chunks import Chunk
from orchestrion.data.manifest import split
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.text.lyric_files import read_lyrics
from orchestrion.text.timed import TimedPhoneme, TimedWord


class Sung(NamedTuple):
    """A symbol of a track, and from and to which second it is sung."""

    symbol: str
    start: float
    end: float


def sung_sounds(path: Path) -> list[Sung]:
    """The sounds with times of a file of timed lyrics, in their order; each half of a diphthong is half as long."""
    words = read_lyrics(path).words
    return sorted((sound for word in words for sound in _sounds(word)), key=lambda sound: sound.start)


def sung_letters(path: Path) -> list[Sung]:
    """The letters of the words of a file of timed lyrics whose sounds have times, in their order.

    A syllable of n letters is taken to be sung such that each letter has an n-th of its sounds.
    """
    found: list[Sung] = []
    for word in read_lyrics(path).words:
        own: list[Sung] = []
        for syllable in word.syllables:
            spelled = latin_letters(syllable.text)
            bounds = _bounds([sound for sound in map(_timed, syllable.phonemes) if sound is not None], len(spelled))
            own += [Sung(letter, *times) for letter, times in zip(spelled, pairwise(bounds), strict=False)]
        for sound in own:
            if found and found[-1].symbol == sound.symbol and sound is not own[0]:
                found[-1] = found[-1]._replace(end=sound.end)
            else:
                found.append(sound)
    return sorted(found, key=lambda sound: sound.start)


def _timed(phoneme: TimedPhoneme) -> tuple[float, float] | None:
    return None if phoneme.start is None or phoneme.end is None else (phoneme.start, phoneme.end)


def _bounds(sounds: Sequence[tuple[float, float]], count: int) -> list[float]:
    """Where `count` parts with as many of the sounds each begin and end; nothing where there are no sounds or parts."""
    if not sounds or not count:
        return []
    edges = [start for start, _ in sounds] + [sounds[-1][1]]
    found = []
    for part in range(count + 1):
        place = part * len(sounds) / count
        whole = min(int(place), len(sounds) - 1)
        found.append(edges[whole] + (place - whole) * (edges[whole + 1] - edges[whole]))
    return found


def _sounds(word: TimedWord) -> Iterator[Sung]:
    for phoneme in (each for syllable in word.syllables for each in syllable.phonemes):
        times, parts = _timed(phoneme), letters(phoneme.text)
        if times is None:
            continue
        share = (times[1] - times[0]) / max(1, len(parts))
        for at, letter in enumerate(parts):
            yield Sung(letter, times[0] + share * at, times[0] + share * (at + 1))


class SungTracks:
    """What is sung in the tracks of a store, which `read` reads of the files of timed lyrics.

    UserError where the training tracks or those that are held out have no sounds with times.
    """

    def __init__(self, tracks: TrackStore, read: Callable[[Path], list[Sung]]) -> None:
        self.tracks = tracks
        self.sounds = [read(each.track.lyrics) if each.track.lyrics is not None else [] for each in tracks.tracks]
        sides = {"train": 0, "validation": 0}
        for each, sounds in zip(tracks.tracks, self.sounds, strict=True):
            sides[split(each.track)] += len(sounds)
        for side, count in sides.items():
            if not count:
                raise UserError(
                    f"no {side} track has speech sounds with times",
                    "sing some (orchestrion data lieder); a codec learns without by speech = false",
                )
        self.symbols = tuple(sorted({sound.symbol for sounds in self.sounds for sound in sounds}))
        self._ids = {symbol: number for number, symbol in enumerate(self.symbols, BLANK + 1)}

    @property
    def digest(self) -> str:
        """A hash of what is learned of the tracks besides their sound: what is sung when, and which are held out."""
        hasher = hashlib.blake2b(digest_size=8)
        for each, sounds in zip(self.tracks.tracks, self.sounds, strict=True):
            hasher.update(repr((split(each.track), sounds)).encode())
        return hasher.hexdigest()

    def begun(self, chunk: Chunk, num_samples: int) -> list[int]:
        """The sounds that begin within a chunk, in their order."""
        sounds, rate = self.sounds[chunk.track], self.tracks.sample_rate
        first = bisect_left(sounds, chunk.start / rate, key=lambda sound: sound.start)
        last = bisect_left(sounds, (chunk.start + num_samples) / rate, key=lambda sound: sound.start)
        return [self._ids[sound.symbol] for sound in sounds[first:last]]

    def frames(self, chunk: Chunk, num_samples: int, hop: int, *, centre: float) -> Int[Tensor, " frame"]:
        """The sound of each frame of a chunk: the one that is sung at its sample (n + centre) · hop."""
        rate = self.tracks.sample_rate
        found = torch.full((num_samples // hop,), BLANK)
        start, stop = chunk.start / rate, (chunk.start + num_samples) / rate
        for sound in self.sounds[chunk.track]:
            if sound.start < stop and sound.end > start:
                first, last = ((time * rate - chunk.start) / hop - centre for time in (sound.start, sound.end))
                found[max(0, ceil(first)) : max(0, ceil(last))] = self._ids[sound.symbol]
        return found
