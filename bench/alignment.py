"""How well the words of recordings are found: writes a section into docs/benchmarks.md.

    python bench/alignment.py MANIFEST [--recognizer RUN] [--model MODEL] [--side validation] [--songs 50]
        [--picture words.png]

Of the tracks in MANIFEST those of one side of the split are taken whose lyrics have times: the words alone are given,
and where a recogniser of letters (the one that ships) finds their starts is compared with the times, beside the guess
that all characters of a song take the same time, and what the attention of MODEL, one that sings, finds.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import torch

from orchestrion.align.linear import linear, start_errors, summary
from orchestrion.align.listening import SHIPPED, listen
from orchestrion.align.picture import draw_alignment
from orchestrion.align.recognizer import Recognizer, load_recognizer
from orchestrion.audio import io
from orchestrion.data.chunks import evenly
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
    return [found[place] for place in evenly(len(found), most)]


def starts_by_each(
    tracks: list[tuple[Track, TimedLyrics]], recognizer: Recognizer, model: Jukebox | None, picture: Path | None
) -> dict[str, list[float]]:
    """By how many seconds words begin too late, for each way of finding them; `picture` is of the first track."""
    late: dict[str, list[float]] = defaultdict(list)
    for track, known in tracks:
        words = untimed(written(known))
        sound = io.read(track.path, recognizer.config.sample_rate, 1)
        heard = listen(recognizer, sound[0], words)
        late["the recogniser"] += start_errors(heard.lyrics, known)
        late["all characters alike"] += start_errors(linear(words, track.seconds), known)
        if model is not None:
            codec = model.info.codec
            attended = model.align_audio(
                io.read(track.path, codec.sample_rate, codec.channels), codec.sample_rate, words
            )
            late[f"the attention of {model.name}"] += start_errors(attended.lyrics, known)
        if picture is not None and track is tracks[0][0]:
            draw_alignment(picture, heard, title=track.title or track.path.stem)
        print(
            track.path.stem,
            {name: round(summary(errors)["median_seconds"], 3) for name, errors in late.items() if errors},
        )
    return late


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--recognizer", type=Path, default=SHIPPED)
    parser.add_argument("--model")
    parser.add_argument("--side", choices=("validation", "train"), default="validation")
    parser.add_argument("--songs", type=int, default=50)
    parser.add_argument("--picture", type=Path, help="of the first song")
    add_output_options(parser)
    given = parser.parse_args()
    tracks = timed_tracks(given.manifest, given.side, given.songs)
    model = None if given.model is None else Jukebox.from_pretrained(given.model)
    late = starts_by_each(tracks, load_recognizer(given.recognizer), model, given.picture)
    asked = sum(word.start is not None for _, known in tracks for word in known.words)
    rows = [(name, *errors_row(errors, asked)) for name, errors in late.items() if errors]
    about = f"{len(tracks)} {given.side} songs. {machine()} Script: `bench/alignment.py`."
    figures = [
        Figure("error of a word's start", name, [abs(error) for error in errors]) for name, errors in late.items()
    ]
    publish(given, "alignment", f"{table(('starts of words by', *ERRORS_HEADER), rows)}\n\n{about}", figures)


if __name__ == "__main__":
    torch.set_grad_enabled(mode=False)
    main()
