"""From attention to the time of each word."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from orchestrion.align.monotonic import follow
from orchestrion.text.lyrics import Spelled
from orchestrion.text.timed import TimedLyrics, TimedWord

_SMOOTHED_SECONDS = 0.1
_EDGE = 0.5
"""A word begins and ends where it has this share of the most attention that it gets."""
_HEARD = 0.05
"""A word that never has more of the attention than this is not heard."""


@dataclass(frozen=True)
class Aligned:
    """Lyrics with the times that were found, and what that rests on: how much of each frame belongs to each word.

    Found by attention, `shares` are those that words have of it, and the confidence of a word is its share while it is
    sung; by a recogniser, both are how sure that is (`measure`). A word that is not heard has the
    confidence 0, its times lie evenly between those of its neighbours, or are unknown before the first and after the
    last word that is heard.
    """

    lyrics: TimedLyrics
    shares: Float[Tensor, "frame word"]
    frame_rate: float
    measure: str = "share of attention"


@dataclass(frozen=True)
class Stretch:
    """Where a word is sung, in frames."""

    start: int
    stop: int
    confidence: float


def align_words(
    lyrics: TimedLyrics, ids: Spelled, weights: Float[Tensor, "frame character"], frame_rate: float
) -> Aligned:
    """The times of `lyrics`, spelled as `ids`, from the attention of each frame to each of the ids."""
    assert len(lyrics.words) == len(ids.words), (len(lyrics.words), len(ids.words))
    shares = read_shares(weights, ids.read)
    smooth = _smoothed(shares, frame_rate)
    stretches = [(word, stretch) for word, stretch in enumerate(ids.stretches, -1) if stretch]
    around = _smoothed(read_shares(weights, [stretch for _, stretch in stretches]), frame_rate)
    found: list[Stretch | None] = [None] * len(ids.words)
    first = 0
    for at, run in groupby(follow(around).tolist()):
        stop = first + len(list(run))
        word = stretches[at][0]
        if word >= 0:
            found[word] = _trimmed(smooth[first:stop, word], shares[first:stop, word], first)
        first = stop
    times = times_of(found, frame_rate)
    return Aligned(with_times(lyrics, times), shares, frame_rate)


def with_times(lyrics: TimedLyrics, words: Sequence[TimedWord]) -> TimedLyrics:
    """The same lines with the times and confidences of `words`, one for each word."""
    left = iter(words)
    lines = tuple(
        line.model_copy(
            update={
                "words": tuple(
                    TimedWord(text=word.text, start=timed.start, end=timed.end, confidence=timed.confidence)
                    for word, timed in zip(line.words, left, strict=False)
                )
            }
        )
        for line in lyrics.lines
    )
    return lyrics.model_copy(update={"lines": lines})


def read_shares(
    weights: Float[Tensor, "frame character"], stretches: Sequence[range]
) -> Float[Tensor, "frame stretch"]:
    """How much of its attention each frame has for each stretch of lyrics."""
    upto = F.pad(weights.cumsum(1), (1, 0))
    starts = torch.tensor([stretch.start for stretch in stretches], dtype=torch.long)
    stops = torch.tensor([stretch.stop for stretch in stretches], dtype=torch.long)
    return (upto[:, stops] - upto[:, starts]).clamp(min=0.0)


def _smoothed(shares: Tensor, frame_rate: float) -> Tensor:
    """Averaged over a moment around each frame."""
    reach = round(_SMOOTHED_SECONDS * frame_rate / 2)
    padded = F.pad(shares.T[None], (reach, reach), mode="replicate")
    return F.avg_pool1d(padded, 2 * reach + 1, stride=1)[0].T


def _trimmed(smooth: Tensor, shares: Tensor, first: int) -> Stretch | None:
    """The part of a stretch of frames, the first of them number `first`, in which the word is heard."""
    most = float(smooth.max())
    if most < _HEARD:
        return None
    strong = (smooth >= _EDGE * most).nonzero()[:, 0].tolist()
    start, stop = strong[0], strong[-1] + 1
    return Stretch(first + start, first + stop, min(float(shares[start:stop].mean()), 1.0))


def times_of(found: Sequence[Stretch | None], frame_rate: float) -> list[TimedWord]:
    """Words without a text; those that are not heard share the time between their neighbours."""
    heard = [place for place, stretch in enumerate(found) if stretch is not None]
    timed: list[TimedWord] = []
    for place, stretch in enumerate(found):
        if stretch is not None:
            start, end, confidence = stretch.start / frame_rate, stretch.stop / frame_rate, stretch.confidence
            timed.append(TimedWord(text="-", start=start, end=end, confidence=confidence))
            continue
        before = max((one for one in heard if one < place), default=None)
        after = min((one for one in heard if one > place), default=None)
        if before is None or after is None:
            timed.append(TimedWord(text="-", confidence=0.0))
            continue
        left, right = found[before], found[after]
        assert left is not None and right is not None
        step = (right.start - left.stop) / (after - before - 1)
        start = (left.stop + (place - before - 1) * step) / frame_rate
        timed.append(TimedWord(text="-", start=start, end=start + step / frame_rate, confidence=0.0))
    return timed
