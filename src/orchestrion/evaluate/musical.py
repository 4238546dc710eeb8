"""What can be told of a piece of music by simple means: tempo, key, loudness, repetition, noise."""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion.audio.spectral import magnitudes
from orchestrion.audio.waveform import SILENCE, mix, peak, resample
from orchestrion.errors import UserError
from orchestrion.evaluate.chroma import chroma, key_clarity, repetition
from orchestrion.evaluate.interval import Estimate, bootstrap_two, mean
from orchestrion.evaluate.loudness import loudness

SAMPLE_RATE = 22_050
"""Everything but the loudness is measured at this rate, so that pieces compare."""

LEAST_SECONDS = 13
"""Less has no room for a repetition."""

HIGH_HERTZ = 6_000.0

_ONSET_FFT, _ONSET_HOP = 1024, 256
_SLOWEST, _FASTEST, _USUAL_TEMPO, _OCTAVES = 40.0, 240.0, 120.0, 1.0
_NOISE_FFT, _NOISE_HOP, _NEIGHBOURHOOD = 4096, 2048, 41  # bins: 220 Hz at 22,050 Hz


@dataclass(frozen=True)
class Musical:
    """One piece of music.

    `tempo` in beats a minute; `key_clarity` and `repetition` at most 1; `loudness` in LUFS; `noise_share` and
    `high_share` as shares of the energy.
    """

    tempo: float
    key_clarity: float
    loudness: float
    repetition: float
    noise_share: float
    high_share: float


def sounds(audio: Float[Tensor, "channel sample"], sample_rate: int) -> bool:
    """Whether there is anything to hear."""
    return peak(audio) >= SILENCE and math.isfinite(loudness(audio, sample_rate))


def pitches_of(audio: Float[Tensor, "channel sample"], sample_rate: int) -> Float[Tensor, "frame 12"]:
    """The chroma of a piece, at the rate that all pieces are compared at."""
    return chroma(_mono(audio, sample_rate), SAMPLE_RATE)


def _mono(audio: Float[Tensor, "channel sample"], sample_rate: int) -> Float[Tensor, " heard_sample"]:
    return resample(mix(audio, 1), sample_rate, SAMPLE_RATE)[0]


def musical(audio: Float[Tensor, "channel sample"], sample_rate: int) -> Musical:
    """All figures of a piece; UserError for one that is silent or shorter than `LEAST_SECONDS`."""
    if audio.shape[1] < LEAST_SECONDS * sample_rate or not sounds(audio, sample_rate):
        raise UserError(
            f"a piece of {audio.shape[1] / sample_rate:.1f} s is too short or silent: nothing can be told of it",
            f"give {LEAST_SECONDS} seconds of music or more",
        )
    mono = _mono(audio, sample_rate)
    pitches = chroma(mono, SAMPLE_RATE)
    return Musical(
        tempo=tempo(mono, SAMPLE_RATE),
        key_clarity=key_clarity(pitches),
        loudness=loudness(audio, sample_rate),
        repetition=repetition(pitches),
        noise_share=noise_share(mono),
        high_share=high_share(mono, SAMPLE_RATE),
    )


def tempo(mono: Float[Tensor, " sample"], sample_rate: int) -> float:
    """Beats a minute: where the strength of onsets resembles itself most, tempi near 120 preferred (Ellis 2007).

    Half and double tempi are often taken for one another.
    """
    onsets = _onsets(mono)
    centred = onsets - onsets.mean()
    size = 2 ** math.ceil(math.log2(2 * len(centred)))
    alike = torch.fft.irfft(torch.fft.rfft(centred, size).abs().square())
    rate = sample_rate / _ONSET_HOP
    lags = torch.arange(math.floor(60 * rate / _FASTEST), math.ceil(60 * rate / _SLOWEST) + 1, device=mono.device)
    assert len(centred) > lags[-1] + 1, "too short for a slow beat"
    beats = 60 * rate / lags
    preferred = (-0.5 * ((beats / _USUAL_TEMPO).log2() / _OCTAVES).square()).exp()
    best = int(lags[(alike[lags].clamp_min(0) * preferred).argmax()])
    before, here, after = alike[best - 1 : best + 2].tolist()
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0  # the top of the parabola through three points
    return 60 * rate / (best + max(-0.5, min(0.5, shift)))


def noise_share(mono: Float[Tensor, " sample"]) -> float:
    """The share of energy in what lies between the partials: near 0 for held tones, near 1 for noise.

    The floor of a frame at a frequency is the median of the power around it, divided by ln 2, for the power of noise
    is distributed exponentially; partials are few among those bins and hardly move it. Drums and consonants are noise
    as well.
    """
    power = magnitudes(mono, _NOISE_FFT, _NOISE_HOP, _NOISE_FFT).square()
    around = torch.nn.functional.pad(power.T[:, None], (_NEIGHBOURHOOD // 2,) * 2, mode="reflect")[:, 0]
    floor = around.unfold(1, _NEIGHBOURHOOD, 1).median(2).values / math.log(2)
    return min(1.0, float(floor.sum() / power.sum()))


def high_share(mono: Float[Tensor, " sample"], sample_rate: int) -> float:
    """The share of energy above 6 kHz."""
    power = magnitudes(mono, _ONSET_FFT, _ONSET_HOP, _ONSET_FFT).square().sum(1)
    places = torch.linspace(0, sample_rate / 2, len(power), device=mono.device)
    return float(power[places >= HIGH_HERTZ].sum() / power.sum())


@dataclass(frozen=True)
class Compared:
    """One figure of two sets of pieces: their means, and how far the distributions are apart in the figure's unit."""

    name: str
    one: Estimate
    other: Estimate
    apart: Estimate


def compare(one: Sequence[Musical], other: Sequence[Musical], *, seed: int = 0) -> list[Compared]:
    """Every figure of two sets of pieces, one piece per track: pieces of one track are not independent."""
    first, second = (torch.tensor([astuple(each) for each in pieces], dtype=torch.float64) for pieces in (one, other))
    return [
        Compared(
            field.name,
            mean(first[:, column], seed=seed),
            mean(second[:, column], seed=seed),
            wasserstein(first[:, column], second[:, column], seed=seed),
        )
        for column, field in enumerate(fields(Musical))
    ]


def wasserstein(one: Float[Tensor, " item"], other: Float[Tensor, " other_item"], *, seed: int = 0) -> Estimate:
    """The Wasserstein-1 distance of two sets of numbers: how far values must be moved on average, in their unit."""
    return bootstrap_two(
        len(one), len(other), lambda drawn, other_drawn: _moved(one[drawn], other[other_drawn]), seed=seed
    )


def _moved(one: Float[Tensor, " item"], other: Float[Tensor, " other_item"]) -> float:
    """The area between the two distribution functions."""
    first, second = one.sort().values, other.sort().values
    places = torch.cat([first, second]).sort().values
    below = torch.searchsorted(first, places[:-1], right=True) / len(first)
    other_below = torch.searchsorted(second, places[:-1], right=True) / len(second)
    return float(((below - other_below).abs() * places.diff()).sum())


def _onsets(mono: Float[Tensor, " sample"]) -> Float[Tensor, " frame"]:
    """How much louder each frame is than the one before, summed over the bins that grew, in logarithms.

    The floor below which nothing counts goes with the loudest bin: the gain of a recording changes nothing.
    """
    spectrum = magnitudes(mono, _ONSET_FFT, _ONSET_HOP, _ONSET_FFT)
    loud = (spectrum / spectrum.max() + 1e-3).log()
    grown = loud.diff(dim=1).clamp_min(0).sum(0)
    # A little blurred, so that a beat of 34.5 frames resembles itself after 34 frames as after 69.
    blur = grown.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    return torch.nn.functional.conv1d(grown[None, None], blur[None, None], padding=2)[0, 0]
