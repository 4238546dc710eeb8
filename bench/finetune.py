"""What fine-tuning is worth: writes a section of docs/benchmarks.md.

    python bench/finetune.py MODEL RUN [--songs 24] [--seconds 15] [--no-page]

RUN is the folder of `orchestrion train finetune MODEL`, finished, of music by one artist that MODEL does not know, five
tracks or more of it held out. Bits per code of the held-out windows: the model, which is told of nobody, beside the
model with its adapter, which is told of the artist. Songs by both, as many and with the same seeds, beside the
held-out music.
"""

import argparse
from pathlib import Path

import torch

from orchestrion import Jukebox, Request
from orchestrion.checkpoints import zoo
from orchestrion.checkpoints.adapter import Adapter
from orchestrion.checkpoints.folder import load_prior, read_model
from orchestrion.data.encoded import CodeStore
from orchestrion.data.tracks import TrackStore
from orchestrion.evaluate.distance import LEAST_TRACKS, distance, frechet_distance, kernel_distance
from orchestrion.evaluate.musicnn import embed, open_musicnn
from orchestrion.evaluate.priors import code_bits, held_out_windows, mean_bits
from orchestrion.evaluate.songs import Piece, Vectors, pieces_of, vectors
from orchestrion.prior import Conditions
from orchestrion.prior.masked import MaskedPrior
from peers.figures import Figure
from report import add_output_options, estimate, machine, publish, table

WINDOWS = 96


def songs(jukebox: Jukebox, artist: str | None, count: int, seconds: float) -> list[Piece]:
    asked = Request(seconds=seconds, artist=artist, seed=1)
    made = []
    for first in range(0, count, 8):
        requests = asked.changed(seed=1 + first).takes(min(8, count - first))
        made += [song.audio for song in jukebox.compose_all(requests).finish()]
    return [Piece(audio, number, artist, None) for number, audio in enumerate(made)]


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("run", type=Path)
    parser.add_argument("--songs", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=15.0)
    add_output_options(parser)
    given = parser.parse_args()
    folder, adapter = zoo.locate(given.model), Adapter(given.run / "adapter")
    info = read_model(folder)
    grown = adapter.grown(folder, info)
    (artist,) = grown.vocabulary.artists[len(info.vocabulary.artists) :]
    store = CodeStore(given.run / "codes", grown.vocabulary)
    samples = round(given.seconds * info.codec.sample_rate)
    held_out = pieces_of(TrackStore(given.run / "audio"), "validation", samples, given.songs)
    if len({piece.track for piece in held_out}) < LEAST_TRACKS:
        parser.error(f"fewer than {LEAST_TRACKS} tracks of {given.seconds:g} s are held out, too few to judge songs by")
    rows: list[list[object]] = []
    figures: list[Figure] = []
    for level in adapter.info.levels:
        before, after = load_prior(folder, info, level).eval(), load_prior(folder, info, level).eval()
        adapter.fit(after, level)
        windows, tracks = held_out_windows(info.prior(level), store, level, WINDOWS)
        one, other = code_bits(before, windows, Conditions.unlabelled), code_bits(after, windows)
        found = [
            mean_bits(each, tracks, of_windows=isinstance(after, MaskedPrior)) for each in (one, other, one - other)
        ]
        saved = found.pop()
        rows.append([f"bits per code, level {level}", *map(estimate, found)])
        rows.append([f"saved, level {level}", "", estimate(saved)])
        figures.append(Figure(f"bits saved at level {level}", "finetune", [saved.value], "bits"))
    network = open_musicnn()

    def heard(pieces: list[Piece]) -> Vectors:
        return vectors(pieces, lambda sound: embed(network, sound, info.codec.sample_rate))

    real = heard(held_out)
    plain = heard(songs(Jukebox(folder), None, given.songs, given.seconds))
    tuned = heard(songs(Jukebox(folder, adapter=adapter.folder), artist, given.songs, given.seconds))
    for name, measure in (("Frechet distance", frechet_distance), ("kernel distance", kernel_distance)):
        found = [distance(measure, made.described, real.described) for made in (plain, tuned)]
        rows.append([f"{name} of songs to the held-out music", *(estimate(each) for each in found)])
        figures.append(Figure(f"{name} after fine-tuning", "finetune", [found[1].value], ""))
    learned = sum(store.shards[index].track.seconds for index in store.indices("train"))
    header = ["", f"`{info.name}`, told of nobody", f"with its adapter, told of {artist}"]
    text = (
        f"`{info.name}` learned from {learned / 60:.1f} minutes of {artist}, whom it did not know, as an adapter of "
        f"rank {adapter.info.update.rank}; levels {', '.join(map(str, adapter.info.levels))}. {given.songs} songs of "
        f"{given.seconds:g} s each, not picked; intervals are of tracks and songs drawn again.\n\n"
        f"{table(header, rows)}\n\n{machine()} Script: `bench/finetune.py`."
    )
    publish(given, "finetune", text, figures)


if __name__ == "__main__":
    main()
