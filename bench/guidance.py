"""What guidance is worth at the top level: writes a table into docs/benchmarks.md.

    python bench/guidance.py MANIFEST --run FOLDER [--model mini] [--strengths 1 1.5 2 3 5] [--songs 64] [--seconds 20]

For each strength songs are composed with the seeds 1, 2, 3 … for the artists of the training music in turn, and judged:
how often a classifier that learned from as many pieces of the training music names the artist and the genre that were
asked for, and how far the songs are from held-out music. (`orchestrion evaluate` asks by the labels of held-out pieces,
and its classifier learns from more: its figures are others.) MANIFEST is the music that the
model learned from, as it was scanned. Songs are kept in FOLDER: the same command goes on where it was stopped. Needs
the weights of musicnn.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from orchestrion import Jukebox, Request
from orchestrion.cli.encode import prepared
from orchestrion.evaluate import songs
from orchestrion.evaluate.distance import distance, frechet_distance, kernel_distance
from orchestrion.evaluate.interval import Estimate
from orchestrion.evaluate.musicnn import embed, open_musicnn
from peers.figures import Figure
from report import add_output_options, estimate, machine, publish, table


def composed(
    jukebox: Jukebox, asked: list[tuple[str | None, str | None]], strength: float, given: argparse.Namespace
) -> tuple[list[songs.Piece], list[float]]:
    """The songs of a strength, and the seconds that each of those that were not there yet took."""
    top = jukebox.info.grid.top
    sampling = list(jukebox.info.sampling)
    sampling[top] = sampling[top].model_copy(update={"guidance": strength})
    pieces, took = [], []
    for number in range(given.songs):
        artist, genre = asked[number % len(asked)]
        request = Request(
            seconds=given.seconds,
            artist=artist,
            genres=(genre,) if genre else (),
            seed=number + 1,
            sampling=tuple(sampling),
        )
        folder = given.run / f"guidance-{strength:g}" / f"song-{number + 1}.song"
        made_before, started = folder.exists(), time.perf_counter()
        song = jukebox.compose(request, folder).finish()
        if not made_before:
            took.append(time.perf_counter() - started)
        pieces.append(songs.Piece(song.audio, number, artist, genre))
    return pieces, took


def measured(given: argparse.Namespace) -> tuple[str, list[Figure]]:
    jukebox, network = Jukebox.from_pretrained(given.model), open_musicnn()
    rate = jukebox.info.grid.sample_rate
    heard = prepared(given.manifest, None, rate, jukebox.info.codec.channels)

    def embedded(audio: Tensor) -> Tensor:
        with torch.inference_mode():
            return embed(network, audio, rate)

    pieces = [songs.pieces_of(heard, side, round(given.seconds * rate), given.pieces) for side in songs.SIDES]
    asked = sorted({(piece.artist, piece.genre) for piece in pieces[0]}, key=str)
    learned, real = (songs.vectors(part, embedded) for part in pieces)
    rows, figures = [], []

    def add(name: str, judged: songs.Vectors, subject: str) -> None:
        ours, theirs = judged.beside(learned), real.beside(learned)
        told = {str(row[0]): row for row in songs.control_section(learned, {subject: judged}, learned).tables[0].rows}
        cells = [told[f"{what}, {subject}"] for what in ("artist", "genre") if f"{what}, {subject}" in told]
        apart = [] if judged is real else [distance(one, ours.described, theirs.described) for one in MEASURES]
        rows.append(
            [
                name,
                *(f"{_shown(cell[3])}, chance {cell[4]:.2f}" for cell in cells),
                *[""] * (2 - len(cells)),
                *(_shown(one) for one in apart),
                *[""] * (2 - len(apart)),
            ]
        )
        print(*rows[-1], sep=" | ", flush=True)

    for strength in given.strengths:
        made, took = composed(jukebox, asked, strength, given)
        add(f"guidance {strength:g}", songs.vectors(made, embedded), "the songs")
        if took:
            figures.append(Figure(f"a song of {given.seconds:g} s", f"guidance {strength:g}", took, "s"))
    add("held-out music", real, "held-out music")
    header = ["", "artist named", "genre named", "Frechet distance", "kernel distance"]
    text = (
        f"{given.songs} songs of {given.seconds:g} s by `{given.model}` for each strength, {real.num_tracks} held-out "
        f"and {learned.num_tracks} training tracks.\n\n{table(header, rows)}\n\n{machine()} Script: "
        "`bench/guidance.py`, which says what is measured."
    )
    return text, figures


MEASURES = (frechet_distance, kernel_distance)


def _shown(cell: object) -> str:
    assert isinstance(cell, Estimate)
    return estimate(cell, ".2f")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--run", type=Path, required=True, help="Folder for the songs.")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--strengths", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0, 5.0])
    parser.add_argument("--songs", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pieces", type=int, default=64, help="Of real music on each side, to judge by.")
    add_output_options(parser)
    given = parser.parse_args()
    publish(given, "guidance", *measured(given))


if __name__ == "__main__":  # tracks are decoded in processes that read this file again
    main()
