"""How well a model finds the words of recordings: writes a section into docs/benchmarks.md.

    python bench/alignment.py MODEL MANIFEST [--side validation] [--songs 50] [--picture words.png]

MODEL is a model that sings. Of the tracks in MANIFEST those of one side of the split are taken whose lyrics have times:
the words alone are given, and where the model finds their starts is compared with the times, beside the guess that
all characters of a song take the same time.
"""

import argparse
from pathlib import Path

from orchestrion.align.linear import linear, start_errors, summary
from orchestrion.align.picture import draw_alignment
from orchestrion.audio import io
from orchestrion.data.manifest import Track, read_manifest, split
from orchestrion.errors import UserError
from orchestrion.jukebox import Jukebox
from orchestrion.text.lyric_files import read_lyrics
from orchestrion.text.lyrics import untimed, written
from orchestrion.text.timed import TimedLyrics
from peers.figures import Figure
from report import ERRORS_HEADER, add_output_options, errors_row, machine, publish, table


def timed_tracks(manifest: Path, side: str, most: int) -> list[tuple[Track, TimedLyrics]]:
    """At most so many tracks of one side whose words have times, evenly spread over the manifest."""
    found = []
    for track in read_manifest(manifest):
        if track.lyrics is not None and split(track) == side:
            lyrics = read_lyrics(track.lyrics)
            if any(word.start is not None for word in lyrics.words):
                found.append((track, lyrics))
    if not found:
        raise UserError(f"no {side} track of {manifest} has words with times", "sing some: orchestrion data lieder")
    step = max(1, len(found) // most)
    return found[::step][:most]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--side", choices=("validation", "train"), default="validation")
    parser.add_argument("--songs", type=int, default=50)
    parser.add_argument("--picture", type=Path, help="of the first song")
    add_output_options(parser)
    given = parser.parse_args()
    jukebox = Jukebox.from_pretrained(given.model)
    codec = jukebox.info.codec
    found: list[float] = []
    guessed: list[float] = []
    asked = 0
    tracks = timed_tracks(given.manifest, given.side, given.songs)
    for track, known in tracks:
        words = untimed(written(known))
        aligned = jukebox.align_audio(io.read(track.path, codec.sample_rate, codec.channels), codec.sample_rate, words)
        found += start_errors(aligned.lyrics, known)
        guessed += start_errors(linear(words, track.seconds), known)
        asked += sum(word.start is not None for word in known.words)
        if given.picture and track is tracks[0][0]:
            draw_alignment(given.picture, aligned, title=track.title or track.path.stem)
        print(track.path.stem, summary(found))
    rows = [("the model", *errors_row(found, asked)), ("all characters alike", *errors_row(guessed, asked))]
    about = f"{len(tracks)} {given.side} songs, the model {jukebox.name!r}. {machine()} Script: `bench/alignment.py`."
    figures = [
        Figure("error of a word's start", name, [abs(error) for error in errors])
        for name, errors in (("model", found), ("linear", guessed))
    ]
    publish(given, "alignment", f"{table(('starts of words by', *ERRORS_HEADER), rows)}\n\n{about}", figures)


main()
