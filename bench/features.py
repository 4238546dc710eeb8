"""What a model's features are worth: labels told by a linear classifier. Writes a section into docs/benchmarks.md.

    python bench/features.py MODEL --manifest MANIFEST [--layers 1 3 7] [--seconds 20] [--pieces 2]

Pieces of all tracks are heard by the first layers of the top prior (`Jukebox.listener`, the mean of all frames), by
musicnn (the mean of its patches of 3 s) and as what any of them has to beat: means and deviations of log mel bands. A
logistic regression (`evaluate.control.learn`) learns the labels that at least two training tracks have and tells those
of held-out tracks. The model learned from the training tracks, and nothing from the others.
"""

import argparse
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from orchestrion import Jukebox
from orchestrion.audio import io, waveform
from orchestrion.data.manifest import Track, read_manifest, split
from orchestrion.errors import UserError
from orchestrion.evaluate.control import PENALTY, Accuracy, accuracy, learn
from orchestrion.evaluate.distance import Described
from orchestrion.evaluate.musicnn import SAMPLE_RATE, embed, log_mel, open_musicnn
from peers.figures import Figure
from report import add_output_options, estimate, machine, publish, table

PENALTIES = (PENALTY, 10 * PENALTY, 100 * PENALTY, 1000 * PENALTY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--layers", type=int, nargs="+")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pieces", type=int, default=2)
    add_output_options(parser)
    given = parser.parse_args()
    jukebox = Jukebox.from_pretrained(given.model)
    listeners = [jukebox.listener(layer) for layer in given.layers or [None]]
    network = open_musicnn()
    tracks = [track for track in read_manifest(given.manifest) if track.seconds >= given.seconds]
    found: dict[str, list[Tensor]] = {}
    of: list[int] = []
    for number, track in enumerate(tracks):
        for audio, rate in _pieces(track, given.seconds, given.pieces):
            of.append(number)
            mono = waveform.resample(waveform.mix(audio, 1), rate, SAMPLE_RATE)[0]
            mel = log_mel(mono)
            found.setdefault("log mel bands, mean and deviation", []).append(torch.cat((mel.mean(0), mel.std(0))))
            found.setdefault("musicnn", []).append(embed(network, audio, rate).mean(0))
            for listener in listeners:
                name = f"{Path(given.model).name}, layer {listener.layer} of {_layers(jukebox)}"
                found.setdefault(name, []).append(listener.features(audio, rate))
        print(f"{number + 1} of {len(tracks)}", end="\r", flush=True)
    rows, figures = [], []
    for what, label_of in (("artist", _artist), ("genre", _genre)):
        labels = [label_of(track) for track in tracks]
        learned = [number for number, track in enumerate(tracks) if split(track) == "train"]
        judged = [number for number, track in enumerate(tracks) if split(track) != "train"]
        common = {
            label for label, count in Counter(labels[number] for number in learned).items() if label and count > 1
        }
        learned = [number for number in learned if labels[number] in common]
        judged = [number for number in judged if labels[number] in common]
        if len(common) < 2 or not judged:
            raise UserError(f"nobody can tell each {what} here", "give music with labels, some of it held out")
        for name, vectors in found.items():
            penalty = _best_penalty(vectors, of, labels, learned)
            told = _accuracy(vectors, of, labels, learned, judged, penalty)
            size = (len(vectors[0]), f"{penalty:g}", len(common), len(judged))
            shares = (estimate(told.found, ".2f"), f"{told.chance:.2f}")
            balanced = (estimate(told.balanced, ".2f"), f"{told.balanced_chance:.2f}")
            rows.append((what, name, *size, *shares, *balanced))
            figures.append(Figure(f"{what} told", name, [told.found.value, told.balanced.value], unit="share"))
    tried = ", ".join(f"{one:g}" for one in PENALTIES)
    header = (
        "",
        "by",
        "numbers",
        "penalty",
        "labels",
        "held-out tracks",
        "accuracy",
        "chance",
        "balanced",
        "its chance",
    )
    text = f"""`{Path(given.model).name}`: {given.pieces} pieces of {given.seconds:g} s of {len(tracks)} tracks each.
The penalty of the regression is the best of {tried} on a third of the training tracks.

{table(header, rows)}

{machine()} Script: `bench/features.py`."""
    publish(given, "features", text, figures)


def _pieces(track: Track, seconds: float, count: int) -> list[tuple[Tensor, int]]:
    """Stretches of a track, evenly over it, as many as there is room for."""
    room = track.seconds - seconds
    count = min(count, 1 + int(room / seconds))
    starts = [room * (place + 1) / (count + 1) for place in range(count)]
    return [
        (
            io.read(track.path, track.sample_rate, track.channels, start_seconds=start, seconds=seconds),
            track.sample_rate,
        )
        for start in starts
    ]


def _artist(track: Track) -> str:
    return track.artist or ""


def _genre(track: Track) -> str:
    return track.genres[0] if track.genres else ""


def _layers(jukebox: Jukebox) -> int:
    return jukebox.info.prior(jukebox.info.grid.top).transformer.num_layers


def _best_penalty(vectors: list[Tensor], of: list[int], labels: list[str], learned: list[int]) -> float:
    """Of all penalties the one that tells most of every third training track, learned from the others."""
    judged, rest = learned[::3], [number for place, number in enumerate(learned) if place % 3]
    return max(
        PENALTIES, key=lambda one: _accuracy(vectors, of, labels, rest, judged, one).balanced.value
    )  # of equals the smallest


def _accuracy(
    vectors: list[Tensor], of: list[int], labels: list[str], learned: list[int], judged: list[int], penalty: float
) -> Accuracy:
    """How often the labels of the tracks `judged` are told by what was learned from those of `learned`."""
    every = torch.stack(vectors)
    numbers = torch.tensor(of)
    known, asked = (torch.isin(numbers, torch.tensor(some)).nonzero()[:, 0] for some in (learned, judged))
    classifier = learn(every[known], [labels[number] for number in numbers[known].tolist()], penalty=penalty)
    part = Described(every[asked], numbers[asked])
    return accuracy(classifier, part, [labels[number] for number in numbers[asked].tolist()])


if __name__ == "__main__":
    main()
