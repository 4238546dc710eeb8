"""How near a codec comes to what it hears, level by level, beside Opus on the same clips."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.audio.spectral import decibels, distance, mel_distance
from orchestrion.codec import Codec
from orchestrion.codes import counts_of, entropy_bits
from orchestrion.data.encoded import CodeStore
from orchestrion.evaluate.interval import Estimate, mean_of_tracks
from orchestrion.evaluate.opus import AS_MUSIC, through_opus, within
from orchestrion.evaluate.report import Cell, Section, Table

KILOBITS = (6.0, 8.0, 12.0, 16.0, 24.0)
"""What Opus is asked for."""

MOST_KILOBITS = 12.0
"""What files of Opus may take at most, on average, where what they take is compared."""

_OPUS = {"": (), ", as music": AS_MUSIC}
_SMALLEST = 1e-8
_TEXT = (
    "Held-out clips through the codec, each level alone. Log-spectral is the difference of log magnitudes in single "
    "bins, mel that in mel bands, convergence the error of the magnitudes over their norm, each the mean over windows "
    "of 2048 to 128 samples. Lower is better for these three, higher for SI-SDR, the energy of what is like the clip "
    "over that of all else. Entropy and used entries are those of {music}, where a level has several codebooks of the "
    "least used; they grow with the amount of music and have no interval, for music drawn again can only use fewer. "
    "Intervals hold 95 % of means of clips whose tracks are drawn again."
)
_OPUS_TEXT = (
    " Beside it Opus, its files counted with the container: as opusenc makes it of a bitrate, and told that it hears "
    "music (opusenc {options}). Files may take more than was asked for, so also such as take at most {most:g} kbit/s "
    "on average. The second table has the distances of level 0 less those of Opus, clip by clip: below zero it is "
    "nearer to the music than Opus is."
)


class Distances(NamedTuple):
    """How near each clip is to what it should be."""

    log_spectral: Float[Tensor, " clip"]
    mel: Float[Tensor, " clip"]
    convergence: Float[Tensor, " clip"]  # decibels
    si_sdr: Float[Tensor, " clip"]  # decibels


@dataclass(frozen=True)
class LevelFigures:
    """A level of a codec: `kilobits` a second, how near its sound is, and how the codebook is used."""

    level: int
    kilobits: float
    apart: Distances
    entropy: float  # bits; of the least used of several codebooks, as `used_share`
    used_share: float


def si_sdr(
    target: Float[Tensor, "clip channel sample"], estimate: Float[Tensor, "clip channel sample"]
) -> Float[Tensor, " clip"]:
    """Energy of the target, scaled to be nearest the estimate, over that of the rest, in decibels.

    (Le Roux et al. 2019, arXiv 1811.02508, equation 5, without removing means.)
    """
    true, made = target.flatten(1).cpu().double(), estimate.flatten(1).cpu().double()
    scale = (true * made).sum(1, keepdim=True) / true.square().sum(1, keepdim=True).clamp_min(_SMALLEST)
    part = scale * true
    rest = (made - part).norm(dim=1).clamp_min(_SMALLEST)
    return decibels(part.norm(dim=1).clamp_min(_SMALLEST) / rest)


def distances(
    target: Float[Tensor, "clip channel sample"], estimate: Float[Tensor, "clip channel sample"], sample_rate: int
) -> Distances:
    """How near each clip of `estimate` is to that of `target`."""
    apart = distance(target, estimate)
    found = (
        apart.log_difference,
        mel_distance(target, estimate, sample_rate),
        decibels(apart.convergence),
        si_sdr(target, estimate),
    )
    return Distances(*(values.cpu().double() for values in found))


@torch.inference_mode()
def measure_codec(
    codec: Codec, clips: Float[Tensor, "clip channel sample"], store: CodeStore | None = None
) -> Iterator[LevelFigures]:
    """Every level of `codec` from the finest up, on clips of whole frames of the top level.

    How the codebooks are used is counted in the clips, or else in all the music of `store`.
    """
    grid, size = codec.grid, codec.config.codebook.size
    codes = codec.encode(clips)
    for level in range(grid.num_levels):
        restored = codec.decode(codes, level)
        depth = codec.config.levels[level].depth
        if store is None:
            counts = counts_of(codes[level], size, depth).float()
        else:
            counts = (store.counts(level, "train", depth) + store.counts(level, "validation", depth)).float()
        yield LevelFigures(
            level=level,
            kilobits=grid.frame_rate(level) * log2(size) / 1000,
            apart=distances(clips, restored, grid.sample_rate),
            entropy=min(map(entropy_bits, counts)),
            used_share=float((counts > 0).float().mean(1).min()),
        )


def codec_section(
    codec: Codec,
    clips: Float[Tensor, "clip channel sample"],
    tracks: Int[Tensor, " clip"],
    kilobits: Sequence[float] = KILOBITS,
    store: CodeStore | None = None,
) -> Section:
    """The codec beside Opus at `kilobits` a second and in at most `MOST_KILOBITS`, or alone where there are none.

    The rest is as for `measure_codec`; `tracks` are those that the clips were cut from. A second table has how much
    nearer or further the finest level is than Opus.
    """
    grid, rows = codec.grid, list[tuple[Cell, ...]]()
    levels = list(measure_codec(codec, clips, store))
    for found in levels:
        name = f"level {found.level} ({grid.hop_lengths[found.level]} samples a code)"
        rows.append((name, found.kilobits, *_means(found.apart, tracks), found.entropy, found.used_share))
    beside: list[tuple[Cell, ...]] = []
    for how, told in _OPUS.items() if kilobits else ():
        made = {
            f"Opus asked for {asked:g}{how}": through_opus(clips, grid.sample_rate, asked, told) for asked in kilobits
        }
        restored, taken, asked = within(clips, grid.sample_rate, MOST_KILOBITS, told)
        made[f"Opus in at most {MOST_KILOBITS:g}{how} (asked for {asked:g})"] = restored, taken
        for name, (restored, taken) in made.items():
            theirs = distances(clips, restored, grid.sample_rate)
            rows.append((name, taken, *_means(theirs, tracks), None, None))
            less = Distances(*(own - other for own, other in zip(levels[0].apart, theirs, strict=True)))
            beside.append((name, taken, *_means(less, tracks)[:2]))
    bits = log2(codec.config.codebook.size)
    music = "all clips together" if store is None else "all music, learned from and held out"
    header = (
        "",
        "kbit/s",
        "log-spectral",
        "mel",
        "convergence, dB",
        "SI-SDR, dB",
        f"entropy, of {bits:g} bits",
        "used",
    )
    seconds = clips.shape[-1] / grid.sample_rate
    opus = _OPUS_TEXT.format(options=" ".join(AS_MUSIC), most=MOST_KILOBITS) if beside else ""
    text = f"{len(clips)} clips of {seconds:.1f} s at {grid.sample_rate} Hz.{opus}\n\n{_TEXT.format(music=music)}"
    tables = [Table(header, tuple(rows))]
    if beside:
        tables.append(Table(("level 0 less this", "kbit/s", "log-spectral", "mel"), tuple(beside)))
    return Section("The codec", text, tables=tuple(tables))


def _means(apart: Distances, tracks: Int[Tensor, " clip"]) -> tuple[Estimate, ...]:
    """Over the clips; the intervals are of tracks drawn again."""
    return tuple(mean_of_tracks(tracks, values) for values in apart)
