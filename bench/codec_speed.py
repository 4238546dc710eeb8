"""Seconds to encode and to decode with the published VQ-VAE and with `mini`: writes a table into docs/benchmarks.md.

    python bench/codec_speed.py [--original CHECKOUT] [--seconds 20] [--runs 5]

Weights and sound are random. Operations are those of the convolutions and of the search in the codebook. With a
checkout of github.com/openai/jukebox its own VQ-VAE is measured too, in a process of its own.
"""

import argparse
import copy
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from measure import figures_of, matrix_speed
from orchestrion.codec import Codec
from orchestrion.codec.model import CodecLevel
from orchestrion.codes import Codes
from orchestrion.config import CodecConfig
from orchestrion.presets import published
from orchestrion.presets.mini import mini_codec
from peers.figures import Figure, decoding, encoding, timed
from report import add_output_options, machine, publish, table

Name = Callable[[int | None], str]
"""What encoding all levels (None) or decoding one is called."""


def random_codec(config: CodecConfig) -> Codec:
    torch.manual_seed(0)
    codec = Codec(config).eval()
    for level in range(codec.grid.num_levels):
        codec.entries(level).normal_()
    return codec


def operations(codec: Codec, level: int, act: Callable[[CodecLevel], Tensor]) -> float:
    """Of what `act` does with a level of the codec, counted without doing it."""
    part = copy.deepcopy(codec.levels[level]).to("meta")
    assert isinstance(part, CodecLevel)
    with FlopCounterMode(display=False) as counter:
        act(part)
    return float(counter.get_total_flops())


def figures(config: CodecConfig, name: Name, given: argparse.Namespace) -> Iterator[Figure]:
    codec = random_codec(config)
    grid = codec.grid
    num_frames = int(given.seconds * grid.frame_rate(grid.top))
    audio = torch.randn(1, config.channels, num_frames * grid.hop_lengths[-1]) * 0.2
    unheard = audio.to("meta")
    levels = range(grid.num_levels)
    work = sum(operations(codec, level, lambda part: part.encoder(unheard)) for level in levels)
    distances = sum(config.codebook.size * config.codebook.width * audio.shape[-1] // hop for hop in grid.hop_lengths)
    work += 2.0 * distances  # to the entries: their search asks for autocast, which there is none of on the meta device
    yield Figure(name(None), "float32", timed(lambda: codec.encode(audio), given.runs), operations=work)
    codes = Codes(
        grid, tuple(torch.randint(config.codebook.size, (1, audio.shape[-1] // hop)) for hop in grid.hop_lengths)
    )
    for level in reversed(levels):
        work = operations(codec, level, partial(decoded, codes[level].to("meta")))
        yield Figure(name(level), "float32", timed(partial(codec.decode, codes, level), given.runs), operations=work)


def decoded(codes: Tensor, part: CodecLevel) -> Tensor:
    vectors: Tensor = part.codebook.decode(codes)
    sound: Tensor = part.decoder(vectors)
    return sound


def row(ours: Figure, original: Figure | None, speed: float) -> list[str]:
    seconds, theirs = (statistics.median(one.values) if one else 0.0 for one in (ours, original))
    reached = ours.operations / seconds
    cells = [ours.what, f"{seconds:.2f}", f"{reached / 1e9:.0f}", f"{reached / speed:.0%}"]
    return cells + ([f"{theirs:.2f}", f"{theirs / seconds:.1f}"] if theirs else ["", ""])


@torch.no_grad()
def measured(given: argparse.Namespace) -> tuple[str, list[Figure]]:
    def of_published(level: int | None) -> str:
        return encoding(given.seconds) if level is None else decoding(given.seconds, level)

    def of_mini(level: int | None) -> str:
        return of_published(level).replace("published VQ-VAE", "`mini`")

    speed = matrix_speed("float32", given.runs)
    ours = [*figures(published.codec(), of_published, given), *figures(mini_codec().codec, of_mini, given)]
    theirs: dict[str, Figure] = {}
    if given.original:
        options = ("--runs", given.runs, "--seconds", given.seconds, "--threads", torch.get_num_threads())
        found = figures_of("peers/original.py", "--checkout", given.original, "--parts", "codec", *options)
        theirs = {one.what: one for one in found}
    rows = [row(one, theirs.get(one.what), speed) for one in ours]
    header = ["", "s", "GFLOP/s", "of the matrix speed", "the original, s", "times as fast"]
    text = (
        f"Random weights and sound, float32; medians of {given.runs} runs. Encoding is that of all levels. Square "
        f"matrices are multiplied at {speed / 1e9:.0f} GFLOP/s here.\n\n{table(header, rows)}\n\n"
        f"{machine()} Script: `bench/codec_speed.py`."
    )
    return text, [*ours, *theirs.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--original", type=Path, metavar="CHECKOUT", help="Of github.com/openai/jukebox.")
    parser.add_argument("--seconds", type=float, default=20.0, help="Of audio.")
    parser.add_argument("--runs", type=int, default=5)
    add_output_options(parser)
    given = parser.parse_args()
    publish(given, "codec_speed", *measured(given))


main()
