"""Does a model sing the words? Writes a section into docs/benchmarks.md.

    python bench/singing.py MODEL MANIFEST [--recogniser RUN] [--songs 32] [--seconds 20] [--others 8]

MANIFEST is sung music whose words have times, RUN one of `orchestrion train recognizer`, of letters or of speech
sounds; without it the recogniser of letters that ships listens. Of each held-out track a stretch is taken in which
somebody sings. The recogniser listens to it as it is, coded and decoded by the model's codec, and to a song that the
model composes with those words, by all levels and by the top level alone. What it hears is compared with the words and
with those of other tracks: the share of letters (or sounds) that are missing, too many or wrong. Where it hears the
words begin is compared with where they do, and, in composed songs, with where the model says that they do.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion import Jukebox, Request
from orchestrion.align.linear import linear
from orchestrion.align.listening import SHIPPED, place
from orchestrion.align.recognizer import Recognizer, edits, letters, load_recognizer
from orchestrion.audio import io
from orchestrion.data.chunks import evenly
from orchestrion.data.manifest import Track, read_manifest, split
from orchestrion.errors import UserError
from orchestrion.evaluate.interval import bootstrap
from orchestrion.text.lyric_files import read_lyrics
from orchestrion.text.lyrics import untimed
from orchestrion.text.timed import TimedLyrics, TimedWord
from peers.figures import Figure
from report import ERRORS_HEADER, add_output_options, errors_row, estimate, machine, publish, table

LEAD_SECONDS = 1.0


class SungWord(NamedTuple):
    """From which second it is sung, and what a recogniser is to hear: the word itself or its sounds."""

    start: float
    sounds: tuple[str, ...]


class Stretch(NamedTuple):
    """A part of a track in which somebody sings: where it begins, and its words, one by one and as lines of text."""

    track: Track
    start: float
    text: str
    words: tuple[SungWord, ...]

    @property
    def sounds(self) -> tuple[str, ...]:
        return tuple(sound for word in self.words for sound in word.sounds)


class Error(NamedTuple):
    """Sounds that are wrong, of so many."""

    wrong: int
    asked: int


def stretches(manifest: Path, side: str, hears: str, seconds: float, most: int) -> list[Stretch]:
    """One of each track of a side whose words have times, at most so many, evenly spread over the manifest."""
    found = []
    for track in read_manifest(manifest):
        if track.lyrics is None or split(track) != side:
            continue
        lyrics = read_lyrics(track.lyrics)
        starts = [word.start for word in lyrics.words if word.start is not None]
        if not starts or starts[0] - LEAD_SECONDS + seconds > track.seconds:
            continue
        first = max(0.0, starts[0] - LEAD_SECONDS)
        lines, sung = [], []
        for line in lyrics.lines:
            timed = [(word, word.start, word.end) for word in line.words]
            words = [
                (word, start) for word, start, end in timed if start is not None and end and end <= first + seconds
            ]
            sung += [SungWord(start - first, sounds_of(word, hears)) for word, start in words]
            lines += [" ".join(word.text for word, _ in words)] if words else []
        if any(word.sounds for word in sung):
            found.append(Stretch(track, first, "\n".join(lines), tuple(sung)))
    if len(found) < 2:
        raise UserError(f"{manifest} has too few {side} tracks with sounds", "sing some: orchestrion data lieder")
    return [found[place] for place in evenly(len(found), most)]


def sounds_of(word: TimedWord, hears: str) -> tuple[str, ...]:
    """What a recogniser that hears "letters" or "phonemes" hears of it."""
    if hears == "letters":
        return (word.text,)
    phonemes = (phoneme for syllable in word.syllables for phoneme in syllable.phonemes)
    return tuple(letter for phoneme in phonemes for letter in letters(phoneme.text))


def heard_starts(model: Recognizer, sound: Float[Tensor, " sample"], words: Sequence[SungWord]) -> list[float | None]:
    """At which second the recogniser hears each word begin; None of all where they do not fit into the sound."""
    placed = place(model.listen(sound), [model.ids(word.sounds) for word in words])
    if placed is None:
        return [None] * len(words)
    return [word[0].start / model.frame_rate if word else None for word in placed]


def apart(found: Sequence[float | None], true: Sequence[float | None]) -> list[float]:
    """By how many seconds starts differ, where both are known."""
    return [one - other for one, other in zip(found, true, strict=True) if one is not None and other is not None]


def starts(lyrics: TimedLyrics) -> list[float | None]:
    return [word.start for word in lyrics.words]


def error_of(found: Sequence[int], true: Sequence[int]) -> Error:
    return Error(edits(found, true), len(true))


def shown(errors: Sequence[Error]) -> str:
    """The share that is wrong of all, with its interval over songs."""
    return estimate(bootstrap(len(errors), lambda drawn: _share(errors, drawn.tolist())), ".1%")


def lower(own: Sequence[Error], other: Sequence[Error]) -> str:
    """How much lower, relatively, the error against a song's own words is, with its interval over songs."""

    def saved(drawn: Tensor) -> float:
        return 1 - _share(own, drawn.tolist()) / _share(other, drawn.tolist())

    return estimate(bootstrap(len(own), saved), ".1%")


def _share(errors: Sequence[Error], drawn: list[int]) -> float:
    return sum(errors[index].wrong for index in drawn) / sum(errors[index].asked for index in drawn)


def judged(
    model: Recognizer, sounds: Sequence[Float[Tensor, " sample"]], asked: Sequence[Stretch], others: int
) -> tuple[list[Error], list[Error]]:
    """Errors of what is heard against its own words, and against those of so many other tracks together."""
    true = [model.ids(one.sounds) for one in asked]
    own, other = [], []
    for number, sound in enumerate(sounds):
        found = model.heard(sound)
        own.append(error_of(found, true[number]))
        strange = [true[(number + step) % len(true)] for step in range(1, min(others, len(true) - 1) + 1)]
        each = [error_of(found, one) for one in strange]
        other.append(Error(sum(one.wrong for one in each), sum(one.asked for one in each)))
    return own, other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--recogniser", type=Path, default=SHIPPED, help="Instead of the one that ships.")
    parser.add_argument("--songs", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--others", type=int, default=8)
    add_output_options(parser)
    given = parser.parse_args()
    jukebox, model = Jukebox.from_pretrained(given.model), load_recognizer(given.recogniser)
    rate, channels = jukebox.info.codec.sample_rate, jukebox.info.codec.channels
    if rate != model.config.sample_rate:
        raise UserError(f"the recogniser hears {model.config.sample_rate} Hz, the model makes {rate}", "train another")
    asked = stretches(given.manifest, "validation", model.config.hears, given.seconds, given.songs)
    top = jukebox.info.grid.top
    kinds: dict[str, list[Tensor]] = defaultdict(list)
    late: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number, one in enumerate(asked):
        first = round(one.start * rate)
        real = io.read(one.track.path, rate, channels)[:, first : first + round(given.seconds * rate)]
        coded = jukebox.encode(real, rate)
        artist = jukebox.info.artist_called(one.track.artist)
        request = Request(seconds=given.seconds, artist=artist, lyrics=one.text, seed=number + 1)
        if not jukebox.info.sings:
            request = request.changed(lyrics="")
        song = jukebox.compose(request).finish()
        kinds["sung, as it is"].append(real.mean(0))
        again = jukebox.decode(coded)
        for name, codes, sound in (("sung, coded and decoded", coded, again), ("composed", song.codes, song.audio)):
            kinds[name].append(sound.mean(0))
            if top:
                kinds[f"{name}, by the top level alone"].append(jukebox.decode(codes, top).mean(0))
        known = [word.start for word in one.words]
        late["sung, as it is", "the recogniser"] += apart(heard_starts(model, real.mean(0), one.words), known)
        if song.lyrics is not None:
            heard = heard_starts(model, song.audio.mean(0), one.words)
            late["composed", "the model"] += apart(starts(song.lyrics), heard)
            late["composed", "all characters alike"] += apart(starts(linear(untimed(one.text), given.seconds)), heard)
        print(f"{number + 1} of {len(asked)}: {one.track.path.stem}", flush=True)
    rows, figures = [], []
    unit = "letters" if model.config.hears == "letters" else "sounds"
    for name, sounds in kinds.items():
        own, other = judged(model, sounds, asked, given.others)
        rows.append([name, shown(own), shown(other), lower(own, other)])
        wrong = [one.wrong / one.asked for one in own]
        figures.append(Figure(f"{unit} that are wrong, {name}", "own words", wrong, "share"))
    asked_words = sum(len(one.words) for one in asked)
    begun = [(*name, *errors_row(errors, asked_words)) for name, errors in late.items() if errors]
    text = (
        f"{table([f'{unit} that are wrong', 'its own words', 'words of others', 'lower by'], rows)}\n\n"
        "Where words begin, in sung music against the times of its making, in composed songs against the recogniser:"
        f"\n\n{table(('', 'by', *ERRORS_HEADER), begun)}\n\n{len(asked)} held-out songs, "
        f"{given.seconds:g} s of each, the model `{jukebox.name}`"
        + ("" if jukebox.info.sings else ", which does not sing and was told no words")
        + f". Intervals are of songs drawn again. {machine()} Script: `bench/singing.py`."
    )
    publish(given, "singing", text, figures)


if __name__ == "__main__":
    torch.set_grad_enabled(mode=False)
    main()
