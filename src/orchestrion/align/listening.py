"""The times of words in a recording, by a recogniser of letters that listens to it (forced alignment)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion.align.recognizer import Heard, Recognizer, Segment, aligned
from orchestrion.align.words import Aligned, Stretch, times_of, with_times
from orchestrion.errors import UserError
from orchestrion.text.lyrics import sectioned
from orchestrion.text.timed import TimedLyrics

SHIPPED = Path(__file__).resolve().parents[1] / "models" / "listener"
"""The recogniser of letters that comes with the package."""
_MOST_STEPS = 1_000_000_000  # of letters times frames: about 2 GB


def listen(recognizer: Recognizer, audio: Float[Tensor, " sample"], lyrics: TimedLyrics) -> Aligned:
    """When each word of `lyrics` is sung in `audio`, at the recogniser's rate: all of them, in their order.

    Each letter is given the frames that it has on the likeliest path through both of the recogniser's scores; the
    confidence of a word is the mean probability of its letters there. A word without letters, such as "&", is not
    heard. UserError for a recogniser of something else, and for words that do not fit into the recording.
    """
    if recognizer.config.hears != "letters":
        raise UserError("this recogniser hears speech sounds, not letters", "train one with --hears letters")
    lyrics = sectioned(lyrics)
    spelled = [recognizer.ids([word.text]) for word in lyrics.words]
    if not any(spelled):
        raise UserError("there is no word of letters in these lyrics", "give the words that are sung")
    num_letters = sum(map(len, spelled))
    seconds = audio.shape[-1] / recognizer.config.sample_rate
    if num_letters * recognizer.frame_rate * seconds > _MOST_STEPS:
        raise UserError(
            f"{seconds / 60:.0f} minutes with {num_letters} letters are too much at once", "cut it in parts"
        )
    heard = recognizer.listen(audio)
    placed = place(heard, spelled)
    if placed is None:
        raise UserError(
            f"{len(lyrics.words)} words do not fit into {seconds:.0f} seconds", "give the words of this recording alone"
        )
    chances = heard.sequence.exp().maximum(heard.frame.exp())
    found: list[Stretch | None] = []
    shares = torch.zeros(len(chances), len(spelled))
    for word, letters in enumerate(placed):
        stretch = _stretch(letters, chances)
        if stretch is not None:
            shares[stretch.start : stretch.stop, word] = stretch.confidence
        found.append(stretch)
    times = times_of(found, recognizer.frame_rate)
    return Aligned(with_times(lyrics, times), shares, recognizer.frame_rate, "confidence")


def place(heard: Heard, words: Sequence[Sequence[int]]) -> list[list[Segment]] | None:
    """Where each symbol of each word is; None if they do not fit.

    The path goes through both scores: one knows what comes after what, the other when.
    """
    segments = aligned(heard.sequence + heard.frame, [symbol for word in words for symbol in word])
    if segments is None:
        return None
    left = iter(segments)
    return [[next(left) for _ in word] for word in words]


def _stretch(letters: Sequence[Segment], chances: Float[Tensor, "frame symbol"]) -> Stretch | None:
    if not letters:
        return None
    sure = torch.cat([chances[letter.start : letter.stop, letter.symbol] for letter in letters])
    return Stretch(letters[0].start, letters[-1].stop, min(float(sure.mean()), 1.0))
