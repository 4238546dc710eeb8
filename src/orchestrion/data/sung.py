"""The words of encoded tracks: kept beside their codes, and cut out with the windows that they belong to."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from orchestrion.data.manifest import Track
from orchestrion.data.vary import varied_sample
from orchestrion.files import read_json, write_json
from orchestrion.text.alphabet import Alphabet
from orchestrion.text.lyric_files import read_lyrics
from orchestrion.text.lyrics import Spelled, id_times, known_times, spelled, written
from orchestrion.text.timed import SUFFIX, TimedLyrics, TimedWord
from orchestrion.text.window import SeenLyrics

NOTHING_SUNG = (0, 0)
"""The columns of no word."""


@dataclass(frozen=True)
class Listening:
    """How much of the lyrics is seen beside a window, and how that is varied in training (`LyricsTrainingConfig`)."""

    num_characters: int
    dropout: float = 0.0
    jitter: float = 0.0
    pace_dropout: float = 0.0


@dataclass(frozen=True)
class SungWords:
    """The lyrics of a track as ids; `times` of each and `known` times of words, both in samples of what was encoded.

    `known` has the samples from and to which a word is sung, or a rest before a word lasts, and the places of the
    lyrics where that is read (`Spelled`), in order.
    """

    ids: tuple[int, ...]
    times: tuple[float, ...] | None
    known: tuple[tuple[float, float, range], ...]

    @cached_property
    def _starts(self) -> list[float]:
        return [start for start, _, _ in self.known]

    def seen(self, *, total: int, start: int, window: int, num_characters: int, jitter: float, hop: int) -> SeenLyrics:
        """What is seen beside a window, in samples; `jitter` from -1 to 1 moves that by as many windows of lyrics."""
        return SeenLyrics(
            total_samples=total,
            start_samples=start,
            window_samples=window,
            lyrics=self.ids,
            num_characters=num_characters,
            times=self.times,
            shift=round(jitter * num_characters),
            hop_length=hop,
        )

    def sung(self, seen: SeenLyrics, frames: int, hop_length: int) -> list[tuple[int, int]]:
        """For each frame the columns [start, stop), of the ids seen, where what is sung there is read.

        `NOTHING_SUNG` where that is not known or not seen.
        """
        column = {place: column for column, place in enumerate(seen.places)}
        found = []
        for frame in range(frames):
            middle = seen.start_samples + (frame + 0.5) * hop_length
            at = bisect_right(self._starts, middle) - 1
            _, stop, places = self.known[at] if at >= 0 else (0.0, 0.0, range(0))
            sung = middle < stop and len(places) and places[0] in column and places[-1] in column
            found.append((column[places[0]], column[places[-1]] + 1) if sung else NOTHING_SUNG)
        return found


NO_WORDS = SungWords((), None, ())


def keep_lyrics(track: Track, folder: Path) -> str | None:
    """Put the words of a track beside its codes; returns their hash, or None for a track without words.

    Notes and phonemes are left out. UserError for lyrics that cannot be read.
    """
    if track.lyrics is None:
        return None
    lyrics = read_lyrics(track.lyrics)
    bare = tuple(line.model_copy(update={"words": tuple(_bare(word) for word in line.words)}) for line in lyrics.lines)
    if not bare:
        return None
    value = lyrics.model_copy(update={"lines": bare}).to_json()
    write_json(lyrics_file(track, folder), value)
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()


def read_sung(
    track: Track, folder: Path, alphabet: Alphabet, *, variation: int, sample_rate: int, hop_length: int
) -> SungWords:
    """The words kept beside the codes of a variation of a track."""
    path = lyrics_file(track, folder)
    lyrics = TimedLyrics.from_json(read_json(path, "file of timed lyrics"), str(path))
    ids = spelled(written(lyrics), alphabet)

    def sample(seconds: float) -> float:
        return varied_sample(seconds * sample_rate, track.content_hash, variation, hop_length)

    times = id_times(lyrics, ids)
    known = sorted(_known(lyrics, ids), key=lambda part: part[0])
    return SungWords(
        ids.ids,
        None if times is None else tuple(sample(time) for time in times),
        tuple((sample(start), sample(end), places) for start, end, places in known),
    )


def _known(lyrics: TimedLyrics, ids: Spelled) -> Iterator[tuple[float, float, range]]:
    """From and to which second words are sung and rests before them last, and where that is read."""
    before: float | None = 0.0
    for sung, word, read in zip(known_times(lyrics), ids.words, ids.read, strict=True):
        if sung is not None and read:
            if before is not None and before < sung[0]:
                yield before, sung[0], range(word.start, word.start + 1)
            yield sung[0], sung[1], read
        before = None if sung is None else sung[1]


def lyrics_file(track: Track, folder: Path) -> Path:
    return folder / f"{track.content_hash}{SUFFIX}"


def _bare(word: TimedWord) -> TimedWord:
    syllables = tuple(each.model_copy(update={"phonemes": (), "notes": ()}) for each in word.syllables)
    return word.model_copy(update={"syllables": syllables})
