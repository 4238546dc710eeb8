"""How near a codec comes to what it hears, level by level, beside Opus on the same clips."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.audio.spectral import decibels, distance, mel_distance
from orchestrion.codec import Codec
from orchestrion.codes import counts_of, entropy_bits
from orchestrion.data.encoded import CodeStore
from orchestrion.evaluate.interval import Estimate, bootstrap_tracks
from orchestrion.evaluate.opus import through_opus
from orchestrion.evaluate.report import Section, Table

KILOBITS = (6, 8, 12, 16, 24)
_SMALLEST = 1e-8
_TEXT = (
    "Held-out clips through the codec, each level alone. Log-spectral is the mean over windows of "
    "2048 to 128 samples of the convergence plus half the difference of log magnitudes; mel the difference of log "
    "magnitudes in mel bands; convergence the error of the magnitudes over their norm. Lower is better for these "
    "three, higher for SI-SDR, the energy of what is like the clip over that of all else. Entropy and used entries "
    "are those of {music}, where a level has several codebooks of the least used; they grow with the amount of music "
    "and have no interval, for music drawn again can only use fewer. Intervals hold 95 % of means of clips "
    "whose tracks are drawn again."
)


@dataclass(frozen=True)
class Nearness:
    """How near clips are to what they should be: means over the clips."""

    log_spectral: Estimate
    mel: Estimate
    convergence: Estimate  # decibels
    si_sdr: Estimate  # decibels


@dataclass(frozen=True)
class LevelFigures:
    """A level of a codec: `kilobits` a second, nearness, and how the codebook is used."""

    level: int
    kilobits: float
    near: Nearness
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


def nearness(
    target: Float[Tensor, "clip channel sample"],
    estimate: Float[Tensor, "clip channel sample"],
    tracks: Int[Tensor, " clip"],
    sample_rate: int,
) -> Nearness:
    """All measures of nearness of `estimate` to `target`, clips that were cut from `tracks`."""

    def mean(values: Float[Tensor, " clip"]) -> Estimate:
        exact = values.cpu().double()
        return bootstrap_tracks(tracks, lambda drawn: float(exact[drawn].mean()))

    apart = distance(target, estimate)
    return Nearness(
        log_spectral=mean(apart.convergence + 0.5 * apart.log_difference),
        mel=mean(mel_distance(target, estimate, sample_rate)),
        convergence=mean(decibels(apart.convergence)),
        si_sdr=mean(si_sdr(target, estimate)),
    )


@torch.inference_mode()
def measure_codec(
    codec: Codec,
    clips: Float[Tensor, "clip channel sample"],
    tracks: Int[Tensor, " clip"],
    store: CodeStore | None = None,
) -> Iterator[LevelFigures]:
    """Every level of `codec` from the finest up, on clips of whole frames of the top level, cut from `tracks`.

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
            near=nearness(clips, restored, tracks, grid.sample_rate),
            entropy=min(map(entropy_bits, counts)),
            used_share=float((counts > 0).float().mean(1).min()),
        )


def codec_section(
    codec: Codec,
    clips: Float[Tensor, "clip channel sample"],
    tracks: Int[Tensor, " clip"],
    kilobits: Sequence[int] = KILOBITS,
    store: CodeStore | None = None,
) -> Section:
    """The codec beside Opus at `kilobits` a second, or alone where there are none; the rest as for `measure_codec`."""
    grid, rows = codec.grid, list[tuple[Estimate | float | str | None, ...]]()
    for found in measure_codec(codec, clips, tracks, store):
        name = f"level {found.level} ({grid.hop_lengths[found.level]} samples a code)"
        rows.append((name, found.kilobits, *_cells(found.near), found.entropy, found.used_share))
    for asked in kilobits:
        restored, taken = through_opus(clips, grid.sample_rate, asked)
        near = nearness(clips, restored, tracks, grid.sample_rate)
        rows.append((f"Opus asked for {asked}", taken, *_cells(near), None, None))
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
    beside = (
        " Beside it Opus (opusenc --music --framesize 60), its files counted with the container." if kilobits else ""
    )
    text = f"{len(clips)} clips of {seconds:.1f} s at {grid.sample_rate} Hz.{beside}\n\n{_TEXT.format(music=music)}"
    return Section("The codec", text, tables=(Table(header, tuple(rows)),))


def _cells(near: Nearness) -> tuple[Estimate, ...]:
    return near.log_spectral, near.mel, near.convergence, near.si_sdr
