"""Does a model sing the words? Writes a section into docs/benchmarks.md.

    python bench/singing.py MODEL RECOGNISER MANIFEST [--songs 32] [--seconds 20] [--others 8]

RECOGNISER is the run of `orchestrion train phonemes`, MANIFEST sung music whose sounds have times. Of each held-out
track a stretch is taken in which somebody sings. The recogniser listens to it as it is, coded and decoded by the
model's codec, and to a song that the model composes with those words. What it hears is compared with the sounds of the
words and with those of other tracks' words: the share of sounds that are missing, too many or wrong (phoneme error).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion import Jukebox, Request
from orchestrion.align.phonemes import PhonemeRecognizer, edits, letters, load_recognizer
from orchestrion.audio import io
from orchestrion.data.manifest import Track, read_manifest, split
from orchestrion.errors import UserError
from orchestrion.evaluate.interval import Estimate, bootstrap
from orchestrion.text.lyric_files import read_lyrics
from peers.figures import Figure
from report import add_output_options, machine, publish, table

LEAD_SECONDS = 1.0


class Stretch(NamedTuple):
    """A part of a track in which somebody sings: where it begins, its words and their sounds."""

    track: Track
    start: float
    text: str
    sounds: tuple[str, ...]


class Error(NamedTuple):
    """Sounds that are wrong, of so many."""

    wrong: int
    asked: int


def stretches(manifest: Path, side: str, seconds: float, most: int) -> list[Stretch]:
    """One of each track of a side whose sounds have times, at most so many, evenly spread over the manifest."""
    found = []
    for track in read_manifest(manifest):
        if track.lyrics is None or split(track) != side:
            continue
        lyrics = read_lyrics(track.lyrics)
        starts = [word.start for word in lyrics.words if word.start is not None]
        if not starts or starts[0] - LEAD_SECONDS + seconds > track.seconds:
            continue
        first = max(0.0, starts[0] - LEAD_SECONDS)
        lines, sounds = [], []
        for line in lyrics.lines:
            words = [word for word in line.words if word.end is not None and word.end <= first + seconds]
            sounds += [
                letter
                for word in words
                for syllable in word.syllables
                for phoneme in syllable.phonemes
                for letter in letters(phoneme.text)
            ]
            lines += [" ".join(word.text for word in words)] if words else []
        if sounds:
            found.append(Stretch(track, first, "\n".join(lines), tuple(sounds)))
    if len(found) < 2:
        raise UserError(f"{manifest} has too few {side} tracks with sounds", "sing some: orchestrion data lieder")
    return found[:: max(1, len(found) // most)][:most]


def error_of(found: Sequence[int], true: Sequence[int]) -> Error:
    return Error(edits(found, true), len(true))


def shown(errors: Sequence[Error]) -> str:
    """The share that is wrong of all, with its interval over songs."""

    estimate = bootstrap(len(errors), lambda drawn: _share(errors, drawn.tolist()))
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def lower(own: Sequence[Error], other: Sequence[Error]) -> str:
    """How much lower, relatively, the error against a song's own words is, with its interval over songs."""

    def saved(drawn: Tensor) -> float:
        return 1 - _share(own, drawn.tolist()) / _share(other, drawn.tolist())

    return _percent(bootstrap(len(own), saved))


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _share(errors: Sequence[Error], drawn: list[int]) -> float:
    return sum(errors[index].wrong for index in drawn) / sum(errors[index].asked for index in drawn)


def judged(
    model: PhonemeRecognizer, sounds: Sequence[Float[Tensor, " sample"]], asked: Sequence[Stretch], others: int
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
    parser.add_argument("recogniser", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--songs", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--others", type=int, default=8)
    add_output_options(parser)
    given = parser.parse_args()
    jukebox, model = Jukebox.from_pretrained(given.model), load_recognizer(given.recogniser)
    rate, channels = jukebox.info.codec.sample_rate, jukebox.info.codec.channels
    if rate != model.config.sample_rate:
        raise UserError(f"the recogniser hears {model.config.sample_rate} Hz, the model makes {rate}", "train another")
    asked = stretches(given.manifest, "validation", given.seconds, given.songs)
    kinds: dict[str, list[Tensor]] = {"sung, as it is": [], "sung, coded and decoded": [], "composed": []}
    for number, one in enumerate(asked):
        first = round(one.start * rate)
        real = io.read(one.track.path, rate, channels)[:, first : first + round(given.seconds * rate)]
        again = jukebox.decode(jukebox.encode(real, rate))
        request = Request(seconds=given.seconds, artist=one.track.artist, lyrics=one.text, seed=number + 1)
        if not jukebox.info.sings:
            request = request.changed(lyrics="")
        song = jukebox.compose(request).finish()
        for name, sound in zip(kinds, (real, again, song.audio), strict=True):
            kinds[name].append(sound.mean(0))
        print(f"{number + 1} of {len(asked)}: {one.track.path.stem}", flush=True)
    rows, figures = [], []
    for name, sounds in kinds.items():
        own, other = judged(model, sounds, asked, given.others)
        rows.append([name, shown(own), shown(other), lower(own, other)])
        figures.append(Figure(f"phoneme error, {name}", "own words", [one.wrong / one.asked for one in own], "share"))
    text = (
        f"{table(['', 'its own words', 'words of others', 'lower by'], rows)}\n\n{len(asked)} held-out songs, "
        f"{given.seconds:g} s of each, the model `{jukebox.name}`"
        + ("" if jukebox.info.sings else ", which does not sing and was told no words")
        + f". Intervals are of songs drawn again. {machine()} Script: `bench/singing.py`."
    )
    publish(given, "singing", text, figures)


if __name__ == "__main__":
    torch.set_grad_enabled(mode=False)
    main()
