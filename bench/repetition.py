"""Do songs come back to what they played, by themselves and by a form? Writes a section into docs/benchmarks.md.

    python bench/repetition.py MODEL [MODEL …] --manifest MANIFEST [--songs 24] [--seconds 90]
        [--form ABAB] [--leanings 4 8 12] [--picture form.png]

Of held-out tracks so long stretches are taken, as they are and through the codec of the first model, and songs without
words are composed by each model, asked for by the same labels; with `--form` also so that their parts come back. They
are heard whole and by the top level alone. How much a piece comes back is the best lag's correlation of stretches of
2 s of chroma (`evaluate.chroma.repetition`): from 4 s to half the piece, and from `--late` seconds on, which a prior
that sees no more than them cannot remember. What a form costs is told by how many bits a code takes the prior that drew
it, without guidance and leaning.
"""

import argparse
import math
from collections import defaultdict
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from orchestrion import Jukebox, Request, Song
from orchestrion.audio import io
from orchestrion.checkpoints.folder import load_codec, load_prior
from orchestrion.config.sampling import LevelSampling
from orchestrion.data.chunks import evenly
from orchestrion.data.manifest import read_manifest, split
from orchestrion.errors import UserError
from orchestrion.evaluate.chroma import FRAMES_PER_SECOND, LEAST_LAG_SECONDS, chroma, repetition, self_similarity
from orchestrion.evaluate.interval import mean
from orchestrion.generate.reprise import NOTHING, finer, sources_of
from orchestrion.jukebox.asked import tell
from orchestrion.prior.masked import AnyPrior
from peers.figures import Figure
from report import add_output_options, estimate, machine, publish, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--songs", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--form", help="Also compose songs of this form, such as ABAB.")
    parser.add_argument("--leanings", type=float, nargs="+", default=[LevelSampling().leaning])
    parser.add_argument("--picture", type=Path, help="What resembles what in the songs that are asked for first.")
    parser.add_argument("--late", type=float, default=24.0)
    add_output_options(parser)
    given = parser.parse_args()
    shortest = 2 * max(given.late, LEAST_LAG_SECONDS) + 5  # a second more than `repetition` needs
    if given.seconds < shortest:
        raise UserError(f"{given.seconds:g} s are too short to come back after {given.late:g} s", f"give {shortest:g}")
    names = [Path(model).name for model in given.models]
    opened = [Jukebox.from_pretrained(model) for model in given.models]
    codec, top = load_codec(opened[0].folder, opened[0].info), opened[0].info.grid.top
    rate, channels = codec.config.sample_rate, codec.config.channels
    long = [track for track in read_manifest(given.manifest) if track.seconds >= given.seconds]
    held_out = [track for track in long if split(track) == "validation"]
    if not held_out:
        raise UserError(f"no held-out track lasts {given.seconds:g} s", "give more music, or fewer --seconds")
    tracks = [held_out[place] for place in evenly(len(held_out), given.songs)]
    heard: dict[str, torch.Tensor] = {}
    priors = [load_prior(jukebox.folder, jukebox.info, top) for jukebox in opened]
    found: dict[str, list[tuple[float, ...]]] = defaultdict(list)

    def hear(name: str, audio: torch.Tensor, sample_rate: int, *more: float) -> None:
        pitches = chroma(audio.mean(0), sample_rate)
        found[name].append((repetition(pitches), repetition(pitches, given.late), *more))

    for number, track in enumerate(tracks):
        real = io.read(track.path, rate, channels)[:, : round(given.seconds * rate)]
        hear("held-out music", real, rate)
        codes = codec.encode(real[None])
        for what, level in (("the same, coded", 0), ("the same, coded at the top level", top)):
            hear(what, codec.decode(codes, level)[0], rate)
        for name, jukebox, prior in zip(names, opened, priors, strict=True):
            request = Request(
                seconds=given.seconds,
                artist=jukebox.info.artist_called(track.artist),
                genres=tuple(known for genre in track.genres[:1] if (known := jukebox.info.genre_called(genre))),
                seed=number + 1,
            )
            asked = {f"songs of `{name}`": request}
            for leaning in given.leanings if given.form else ():
                drawing = [level.model_copy(update={"leaning": leaning}) for level in jukebox.info.drawing("")]
                of_form = request.changed(form=given.form, sampling=drawing)
                asked[f"songs of `{name}`, {given.form}, leaning {leaning:g}"] = of_form
            for what, one in asked.items():
                song = jukebox.compose(one).finish()
                hear(what, song.audio, song.sample_rate, *_of_codes(jukebox, prior, song))
                hear(f"{what}; by the top level", jukebox.decode(song.codes, jukebox.info.grid.top), song.sample_rate)
                heard.setdefault(what, chroma(song.audio.mean(0), song.sample_rate))
        print(f"{number + 1} of {len(tracks)}: {track.path.stem}", flush=True)
    if given.picture:
        _draw(given.picture, heard)
    told = [f"from {seconds:g} s on" for seconds in (LEAST_LAG_SECONDS, given.late)]
    told += ["bits per code of the top level", "codes that are as before: top", "finest"]
    rows, figures = [], []
    for name, values in found.items():
        columns = dict(zip(told, zip(*values, strict=True), strict=False))
        cells = [estimate(mean(torch.tensor(column))) for column in columns.values()]
        rows.append([name, *cells, *[""] * (len(told) - len(cells))])
        for what, column in columns.items():
            figures.append(Figure(f"repetition {what}", name, list(column), ""))
    text = (
        f"{table(['', *told], rows)}\n\n{len(tracks)} pieces of "
        f"{given.seconds:g} s, songs without words. {machine()} "
        "Script: `bench/repetition.py`."
    )
    publish(given, "repetition", text, figures)


def _draw(path: Path, heard: dict[str, torch.Tensor]) -> None:
    """A PNG with a square for each song: how much what is played at one moment resembles what is played at another."""
    figure = Picture(figsize=(4 * len(heard), 4.6), dpi=75, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, pitches) in zip(figure.subplots(1, len(heard), squeeze=False)[0], heard.items(), strict=True):
        seconds = len(pitches) / FRAMES_PER_SECOND
        alike = self_similarity(pitches).numpy()
        axes.imshow(alike, origin="lower", extent=(0, seconds, 0, seconds), cmap="magma", vmin=0, vmax=1)
        axes.set_title(name.replace("`", ""), fontsize=10)
        axes.set_xlabel("seconds")
    figure.savefig(path, format="png", metadata={"Software": "orchestrion"})


def _of_codes(jukebox: Jukebox, prior: AnyPrior, song: Song) -> tuple[float, ...]:
    """Bits that a code of the top level takes, and of parts that come back the share at both ends that is as before."""
    info, top = jukebox.info, jukebox.info.grid.top
    (codes,) = song.codes[top]
    window = codes[None, : info.prior(top).context_frames]
    scores = prior(window, tell([song.request], info, top).window(0)).float()
    bits = -scores.log_softmax(-1).gather(-1, window[..., None]).mean() / math.log(2)
    sources = sources_of([song.request.reprises or ()], info.grid, len(codes))
    if sources is None:
        return (float(bits),)
    finest = finer(sources, song.codes[0].shape[1] // len(codes))
    alike = []
    for level, before in ((top, sources[0]), (0, finest[0])):
        (made,) = song.codes[level]
        again = before != NOTHING
        alike.append(float((made[again] == made[before[again]]).float().mean()))
    return float(bits), *alike


if __name__ == "__main__":
    torch.set_grad_enabled(mode=False)
    main()
