"""How fast songs are sung, and how well in tune: writes a section into docs/benchmarks.md.

    python bench/lieder.py SCORES [--songs 50] [--seconds 30] [--render 8] [--seed 0]

SCORES is what `orchestrion data lieder --scores` takes. `--songs` of them, drawn by chance, are sung without their
accompaniment, and Praat's autocorrelation (praat-parselmouth, which is under the GPL and no part of this project)
finds the pitch. A frame counts if it has a voice and the score has a note there; it is in tune within 50 cents of
that note, glides and vibrato included. `--render` of them are made into files by one process, for the speed.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import parselmouth
from numpy.typing import NDArray

from orchestrion.errors import UserError
from orchestrion.recipes.lieder import Song, plan, render_songs, sing_song
from orchestrion.recipes.singing import Sung
from orchestrion.recipes.speech_sounds import FRAME_SECONDS, SAMPLE_RATE
from orchestrion.recipes.tools import find_soundfont
from peers.figures import Figure
from report import add_output_options, machine, publish, table

IN_TUNE_CENTS = 50
FLOOR_HERTZ, CEILING_HERTZ = 70.0, 1200.0
OCTAVE = 12


@dataclass(frozen=True)
class Heard:
    """Of a song: cents that each voiced frame is off its note, and the share of the notes' frames with a voice."""

    song: Song
    cents: NDArray[np.float64]
    voiced: float
    syllables: int
    untimed: int

    @property
    def in_tune(self) -> float:
        return float((np.abs(self.cents) < IN_TUNE_CENTS).mean())


def beginning(song: Song, seconds: float) -> Song:
    """What is sung until so many seconds after the singer's first note."""
    voice = song.score.voice
    stop = song.when(voice.notes[0].start) + seconds
    notes = tuple(note for note in voice.notes if song.when(note.start) < stop)
    return replace(song, score=replace(song.score, voice=replace(voice, notes=notes)))


def heard(song: Song) -> Heard:
    sung = sing_song(song)
    lowest = float(np.nanmin(sung.pitch))
    floor = max(FLOOR_HERTZ, 440 * 2 ** ((lowest - 69 - 4) / 12))  # a third below what is written
    sound = parselmouth.Sound(sung.audio / np.abs(sung.audio).max(), SAMPLE_RATE)
    track = sound.to_pitch_ac(time_step=FRAME_SECONDS, pitch_floor=floor, pitch_ceiling=CEILING_HERTZ)
    hertz = track.selected_array["frequency"]
    frames = np.clip(np.round(track.xs() / FRAME_SECONDS).astype(int), 0, len(sung.pitch) - 1)
    wanted = sung.pitch[frames]
    known = (hertz > 0) & ~np.isnan(wanted)
    cents = 100 * (69 + 12 * np.log2(hertz[known] / 440) - wanted[known])
    return Heard(song, cents, float(known.sum() / (~np.isnan(wanted)).sum()), *counted(sung))


def counted(sung: Sung) -> tuple[int, int]:
    """Syllables, and those without a start, an end, or the times of their speech sounds."""
    syllables = [syllable for word in sung.words for syllable in word.syllables]
    times = [[syllable, *syllable.phonemes] for syllable in syllables]
    untimed = [row for row in times if len(row) < 2 or any(each.start is None or each.end is None for each in row)]
    return len(syllables), len(untimed)


def seconds_per_second(songs: list[Song]) -> tuple[float, float]:
    """Processor's seconds and the clock's to make files of songs in one process, for each second of music."""
    with tempfile.TemporaryDirectory() as folder:
        started, worked = time.perf_counter(), processor()
        problems = [problem for _, problem in render_songs(songs, Path(folder), find_soundfont(), workers=1) if problem]
        taken, used = time.perf_counter() - started, processor() - worked
    assert not problems, problems
    seconds = sum(song.seconds for song in songs)
    return used / seconds, taken / seconds


def processor() -> float:
    """Seconds of it that this process and its children have had."""
    return sum(os.times()[:4])


def planned(scores: Path, number: int, seed: int) -> Iterator[Song]:
    for song in plan(scores, seed):
        if isinstance(song, Song):
            yield song
            number -= 1
        if not number:
            return


def measured(given: argparse.Namespace) -> tuple[str, list[Figure]]:
    find_soundfont()
    songs = list(planned(given.scores, given.songs, given.seed))
    if not songs:
        raise UserError(f"there is no song in {given.scores}", "check the path")
    found = [heard(beginning(song, given.seconds)) for song in songs]
    cents = np.concatenate([each.cents for each in found])
    shares = [each.in_tune for each in found]
    used, taken = seconds_per_second(songs[: given.render])
    octaves = float((np.abs(cents) > 100 * OCTAVE / 2).mean())
    rows: list[list[object]] = [
        ["songs", len(songs)],
        ["minutes of music", f"{sum(song.seconds for song in songs) / 60:.0f}"],
        ["of them heard", f"{sum(len(each.cents) for each in found) * FRAME_SECONDS / 60:.0f} with voice and note"],
        ["languages", ", ".join(sorted({song.language for song in songs}))],
        ["voiced frames within 50 cents of the score", f"{(np.abs(cents) < IN_TUNE_CENTS).mean():.1%}"],
        ["the same of the median song, and of the worst", f"{statistics.median(shares):.1%}, {min(shares):.1%}"],
        ["songs with 95 % or more", f"{sum(share >= 0.95 for share in shares)} of {len(shares)}"],
        ["frames more than half an octave off", f"{octaves:.2%}"],
        ["median deviation, cents", f"{np.median(cents):.1f}"],
        ["frames of notes that have a voice", f"{statistics.mean(each.voiced for each in found):.0%}"],
        [
            "syllables, and those without all their times",
            f"{sum(e.syllables for e in found)}, {sum(e.untimed for e in found)}",
        ],
        [
            f"seconds of a core for a second of music ({len(songs[: given.render])} songs)",
            f"{used:.3f} (by the clock {taken:.3f})",
        ],
        ["hours for 10 hours on two free cores", f"{10 * used / 2:.2f}"],
    ]
    text = f"{table(['sung from scores', ''], rows)}\n\n{machine()} Script: `bench/lieder.py`."
    return text, [
        Figure("sing a second of music", "one process", [used]),
        Figure("in tune", "50 cents", shares, unit=""),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path, metavar="SCORES")
    parser.add_argument("--songs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="Of each, from the first sung note.")
    parser.add_argument("--render", type=int, default=8, help="How many of them are made into files.")
    parser.add_argument("--seed", type=int, default=0)
    add_output_options(parser)
    given = parser.parse_args()
    publish(given, "lieder", *measured(given))


main()
