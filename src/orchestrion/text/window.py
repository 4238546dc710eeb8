"""Which characters of a song's lyrics a published prior sees beside a stretch of its music: integers only."""

import struct
from collections.abc import Sequence

NO_CHARACTER = -1  # the place in the lyrics of what fills short lyrics up
FILLING = 0  # its id


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


def _single(number: int | float) -> float:
    """`number` rounded to single precision; rounding each sum, product and quotient of such numbers so is exact."""
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded
