"""Which characters of a song's lyrics a prior sees beside a stretch of its music."""

import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

NO_CHARACTER = -1  # the place in the lyrics of what fills short lyrics up
FILLING = 0  # its id
UNKNOWN_PLACE = -1  # the column of what is sung at a frame where that is not known, or not seen
NOTHING_SUNG_YET = -2  # the same before the first word

Seen = TypeVar("Seen", bound="SeenLyrics")


def lyric_window(
    num_lyrics: int,
    num_characters: int,
    *,
    total_samples: int,
    start_samples: int,
    window_samples: int,
    single: bool = False,
) -> range:
    """The places in the lyrics of the `num_characters` that lie around the middle of the window of music.

    Lyrics are taken to be sung evenly from the first sample of the song to the last. Lyrics that fit are
    seen whole: the range then is shorter than `num_characters`. With `single` the middle is computed in
    single precision, which moves the window by one at times: the published code does so when a window
    moves through a song, and computes in double precision when a label is made.

    >>> lyric_window(100, 10, total_samples=1000, start_samples=500, window_samples=100)
    range(50, 60)
    >>> lyric_window(7, 10, total_samples=1000, start_samples=500, window_samples=100)
    range(0, 7)
    """
    assert num_lyrics >= 0 and num_characters >= 0 and total_samples > 0, (num_lyrics, num_characters, total_samples)
    if num_lyrics <= num_characters:
        return range(num_lyrics)
    rounded = _single if single else float
    middle = rounded(rounded(start_samples) + window_samples / 2)
    centre = int(rounded(rounded(num_lyrics * middle) / rounded(total_samples)))
    return around(centre, num_lyrics, num_characters)


def around(centre: int, num_lyrics: int, num_characters: int) -> range:
    """The `num_characters` places that lie around `centre` as far as there are, of lyrics of `num_lyrics`.

    >>> around(7, 100, 10), around(99, 100, 10), around(3, 5, 10)
    (range(2, 12), range(90, 100), range(0, 5))
    """
    if num_lyrics <= num_characters:
        return range(num_lyrics)
    first = min(max(centre - num_characters // 2, 0), num_lyrics - num_characters)
    return range(first, first + num_characters)


def padded(window: range, num_characters: int) -> tuple[int, ...]:
    """The places that `window` holds, `NO_CHARACTER` before them until there are `num_characters`.

    >>> padded(range(3), 5)
    (-1, -1, 0, 1, 2)
    """
    return (NO_CHARACTER,) * (num_characters - len(window)) + tuple(window)


def window_ids(ids: Sequence[int], places: Sequence[int]) -> tuple[int, ...]:
    """The character ids at these places of the lyrics, `FILLING` at `NO_CHARACTER`."""
    return tuple(FILLING if place == NO_CHARACTER else ids[place] for place in places)


@dataclass(frozen=True, kw_only=True)
class SeenLyrics:
    """The ids of a song's whole lyrics, and which of them a prior sees beside one window of the song.

    Lengths and positions are in samples. `times`, where they are known, say at which sample of the song each id begins
    to be sung, in order: then the ids around what is sung at `middle_samples` of the song are seen, if that is left out
    in the middle of what the window has of the song. `shift` moves what is seen on by so many ids. `hop_length` is that
    of the frames at which a prior is told what is sung, 0 for one that is not.
    """

    total_samples: int
    start_samples: int
    window_samples: int
    lyrics: tuple[int, ...] = ()
    num_characters: int = 0  # of lyrics that the prior sees; 0 for one that sees none
    moved: bool = False  # moved windows are computed in single precision, see `lyric_window`
    times: tuple[float, ...] | None = None
    shift: int = 0
    hop_length: int = 0
    middle_samples: float | None = None

    @property
    def columns(self) -> tuple[int, ...]:
        """For each frame of the window which of the ids that are seen is sung at its middle.

        `UNKNOWN_PLACE` where times are not known or the id is not seen, `NOTHING_SUNG_YET` before the first.
        """
        frames = self.window_samples // self.hop_length
        if self.times is None:
            return (UNKNOWN_PLACE,) * frames
        column = {place: column for column, place in enumerate(self.places)}
        found = []
        for frame in range(frames):
            place = bisect_right(self.times, self.start_samples + (frame + 0.5) * self.hop_length) - 1
            found.append(NOTHING_SUNG_YET if place < 0 else column.get(place, UNKNOWN_PLACE))
        return tuple(found)

    @property
    def places(self) -> tuple[int, ...]:
        """Where in the lyrics the ids come from that the prior sees, `NO_CHARACTER` for filling."""
        return padded(self._window, self.num_characters)

    @property
    def characters(self) -> tuple[int, ...]:
        """The ids that the prior sees."""
        return window_ids(self.lyrics, self.places) if self.num_characters else ()

    def at(self: Seen, start_samples: int, middle_samples: float | None = None) -> Seen:
        """The same for another window of the song, its lyrics found as the published code moves them."""
        return replace(self, start_samples=start_samples, moved=True, middle_samples=middle_samples)

    @property
    def _window(self) -> range:
        if self.times is not None:
            stop = min(self.start_samples + self.window_samples, self.total_samples)
            middle = (self.start_samples + stop) / 2 if self.middle_samples is None else self.middle_samples
            centre = bisect_right(self.times, middle) - 1
            return around(centre + self.shift, len(self.lyrics), self.num_characters)
        window = lyric_window(
            len(self.lyrics),
            self.num_characters,
            total_samples=self.total_samples,
            start_samples=self.start_samples,
            window_samples=self.window_samples,
            single=self.moved,
        )
        return around(window.start + self.num_characters // 2 + self.shift, len(self.lyrics), self.num_characters)


def _single(number: int | float) -> float:
    """`number` rounded to single precision; rounding each sum, product and quotient of such numbers so is exact."""
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded
