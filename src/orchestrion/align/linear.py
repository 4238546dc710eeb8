"""Words sung evenly from the first moment to the last: a guess that an alignment is to be compared with."""

from statistics import median

from orchestrion.align.words import with_times
from orchestrion.text.alphabet import Alphabet
from orchestrion.text.lyrics import spelled, written
from orchestrion.text.timed import TimedLyrics, TimedWord


def linear(lyrics: TimedLyrics, seconds: float) -> TimedLyrics:
    """The times of words if every character of the lyrics took as long as any other, over so many seconds.

    That is how the published models find the lyrics of a window (paper, section 5.1). There is no confidence in it.
    """
    ids = spelled(written(lyrics), Alphabet())
    each = seconds / max(len(ids.ids), 1)
    return with_times(
        lyrics, [TimedWord(text="-", start=word.start * each, end=word.stop * each) for word in ids.words]
    )


def start_errors(found: TimedLyrics, known: TimedLyrics) -> list[float]:
    """By how many seconds each word begins too late, where both times are there; the words are the same."""
    pairs = zip(found.words, known.words, strict=True)
    return [one.start - other.start for one, other in pairs if one.start is not None and other.start is not None]


def summary(errors: list[float]) -> dict[str, float]:
    """The median of absolute errors in seconds, and the shares of words within a quarter of a second and a second."""
    sizes = [abs(error) for error in errors]
    return {
        "words": float(len(sizes)),
        "median_seconds": median(sizes),
        "within_quarter_second": sum(size <= 0.25 for size in sizes) / len(sizes),
        "within_second": sum(size <= 1.0 for size in sizes) / len(sizes),
    }
