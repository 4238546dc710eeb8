"""Chroma, the energy of the twelve pitch classes over time, and what it tells of key and repetition."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion.audio.spectral import magnitudes

FRAMES_PER_SECOND = 5

_LOWEST_HERTZ, _HIGHEST_HERTZ = 65.0, 2_100.0  # C2 to C7
_C2_HERTZ = 65.406
_RESOLUTION_SECONDS = 0.37  # tells semitones apart from 130 Hz on, and their fundamentals' overtones below
_SMALL = 1e-6

_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
"""How well each pitch class fits a key from its tonic on (Krumhansl & Kessler 1982)."""

LEAST_LAG_SECONDS = 4.0
"""What comes back sooner is a beat or a bar."""
_STRETCH_SECONDS = 2


def chroma(mono: Float[Tensor, " sample"], sample_rate: int) -> Float[Tensor, "frame 12"]:
    """Energy of the pitch classes C to B, `FRAMES_PER_SECOND` to a second, each frame of mean 0 and length 1.

    Magnitudes between 65 and 2,100 Hz; a bin goes to the two nearest pitches. Frames without sound are 0, and
    loudness changes nothing.
    """
    n_fft = 2 ** math.ceil(math.log2(_RESOLUTION_SECONDS * sample_rate))
    hop = round(sample_rate / FRAMES_PER_SECOND)
    spectrum = magnitudes(mono, n_fft, hop, n_fft)
    hertz = torch.arange(spectrum.shape[0], dtype=torch.float64) * sample_rate / n_fft
    heard = (hertz >= _LOWEST_HERTZ) & (hertz <= _HIGHEST_HERTZ)
    pitch = 12 * (hertz[heard] / _C2_HERTZ).log2()
    away = (pitch[None] - torch.arange(12)[:, None] + 6).remainder(12) - 6
    share = (1 - away.abs()).clamp_min(0).to(spectrum)
    energy = (share @ spectrum[heard]).T
    loudest = energy.amax().clamp_min(_SMALL)
    centred = energy - energy.mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-3 * loudest, centred / length.clamp_min(_SMALL), torch.zeros_like(centred))


def key_clarity(pitches: Float[Tensor, "frame 12"]) -> float:
    """How well the best of the 24 keys explains a piece: the correlation of its mean chroma with the key's profile."""
    average = pitches.double().mean(0)
    profiles = torch.tensor([_MAJOR, _MINOR], dtype=torch.float64, device=pitches.device)
    profiles = profiles - profiles.mean(1, keepdim=True)
    profiles = profiles / profiles.norm(dim=1, keepdim=True)
    keys = torch.cat([profiles.roll(tonic, 1) for tonic in range(12)])
    return float((keys @ average).max() / average.norm().clamp_min(1e-12))


def self_similarity(pitches: Float[Tensor, "frame 12"]) -> Float[Tensor, "stretch stretch"]:
    """How much what is played from each frame on, for 2 s, resembles what is played from each other: correlations.

    The piece's mean chroma is taken away: staying in one key is no resemblance. (Foote 1999)
    """
    moved = pitches - pitches.mean(0)
    rows = moved.unfold(0, _STRETCH_SECONDS * FRAMES_PER_SECOND, 1).flatten(1)
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(_SMALL)
    alike: Tensor = rows @ rows.T
    return alike


def repetition(pitches: Float[Tensor, "frame 12"], least_seconds: float = LEAST_LAG_SECONDS) -> float:
    """How much a piece comes back to what it played: the best lag's mean of `self_similarity`.

    Of the lags from `least_seconds` to half its length. 1 is a loop; a piece that always goes on is near 0.
    """
    least, longest = round(least_seconds * FRAMES_PER_SECOND), len(pitches) // 2
    assert longest > least + _STRETCH_SECONDS * FRAMES_PER_SECOND, "too short to repeat anything"
    alike = self_similarity(pitches)
    return float(torch.stack([alike.diagonal(lag).mean() for lag in range(least, longest + 1)]).max())
