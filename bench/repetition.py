"""Do songs come back to what they played? Writes a section into docs/benchmarks.md.

    python bench/repetition.py MODEL [MODEL …] --manifest MANIFEST [--songs 24] [--seconds 90]

Of held-out tracks so long stretches are taken, as they are and through the codec of the first model, and songs without
words are composed by each model, asked for by the same labels. All but the music itself is heard by the top level
alone, whose prior decides what is played. How much a piece comes back is the best lag's correlation of stretches of 2 s
of chroma (`evaluate.chroma.repetition`): from 4 s to half the piece, and from `--late` seconds on, which a prior that
sees no more than them cannot remember.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import torch

from orchestrion import Jukebox, Request
from orchestrion.audio import io
from orchestrion.checkpoints.folder import load_codec
from orchestrion.data.chunks import evenly
from orchestrion.data.manifest import read_manifest, split
from orchestrion.errors import UserError
from orchestrion.evaluate.chroma import LEAST_LAG_SECONDS, chroma, repetition
from orchestrion.evaluate.interval import mean
from peers.figures import Figure
from report import add_output_options, estimate, machine, publish, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--songs", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--late", type=float, default=24.0)
    add_output_options(parser)
    given = parser.parse_args()
    shortest = 2 * max(given.late, LEAST_LAG_SECONDS) + 5  # a second more than `repetition` needs
    if given.seconds < shortest:
        raise UserError(f"{given.seconds:g} s are too short to come back after {given.late:g} s", f"give {shortest:g}")
    opened = [Jukebox.from_pretrained(model) for model in given.models]
    codec, top = load_codec(opened[0].folder, opened[0].info), opened[0].info.grid.top
    rate, channels = codec.config.sample_rate, codec.config.channels
    long = [track for track in read_manifest(given.manifest) if track.seconds >= given.seconds]
    held_out = [track for track in long if split(track) == "validation"]
    if not held_out:
        raise UserError(f"no held-out track lasts {given.seconds:g} s", "give more music, or fewer --seconds")
    tracks = [held_out[place] for place in evenly(len(held_out), given.songs)]
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def hear(name: str, audio: torch.Tensor, sample_rate: int) -> None:
        pitches = chroma(audio.mean(0), sample_rate)
        found[name].append((repetition(pitches), repetition(pitches, given.late)))

    for number, track in enumerate(tracks):
        real = io.read(track.path, rate, channels)[:, : round(given.seconds * rate)]
        hear("held-out music", real, rate)
        hear("the same, coded", codec.decode(codec.encode(real[None], [top]), top)[0], rate)
        for model, jukebox in zip(given.models, opened, strict=True):
            request = Request(
                seconds=given.seconds,
                artist=jukebox.info.artist_called(track.artist),
                genres=tuple(known for genre in track.genres[:1] if (known := jukebox.info.genre_called(genre))),
                seed=number + 1,
                finest_level=jukebox.info.grid.top,
            )
            hear(
                f"songs of `{Path(model).name}`",
                jukebox.compose(request).finish().audio,
                jukebox.info.codec.sample_rate,
            )
        print(f"{number + 1} of {len(tracks)}: {track.path.stem}", flush=True)
    lags = [f"from {seconds:g} s on" for seconds in (LEAST_LAG_SECONDS, given.late)]
    rows, figures = [], []
    for name, values in found.items():
        columns = dict(zip(lags, zip(*values, strict=True), strict=True))
        rows.append([name, *(estimate(mean(torch.tensor(column))) for column in columns.values())])
        for lag, column in columns.items():
            figures.append(Figure(f"repetition {lag}", name, list(column), "correlation"))
    text = (
        f"{table(['', *lags], rows)}\n\n{len(tracks)} pieces of "
        f"{given.seconds:g} s, songs without words; all but the music itself by the top level alone. {machine()} "
        "Script: `bench/repetition.py`."
    )
    publish(given, "repetition", text, figures)


if __name__ == "__main__":
    torch.set_grad_enabled(mode=False)
    main()
