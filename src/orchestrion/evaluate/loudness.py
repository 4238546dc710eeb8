"""Loudness as broadcasters measure it (ITU-R BS.1770-5)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK_SECONDS, _STEP_SECONDS = 0.4, 0.1
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0
_OFFSET = -0.691  # so that a sine of 997 Hz at full scale in one channel is at -3.01

# The two filters that the recommendation gives as numbers at 48 kHz, as the analogue filters behind them.
_SHELF_HERTZ, _SHELF_DECIBELS, _SHELF_QUALITY, _SHELF_EXPONENT = 1681.974, 3.99984, 0.7071752, 0.4996668
_PASS_HERTZ, _PASS_QUALITY = 38.13547, 0.5003270


def loudness(audio: Float[Tensor, "channel sample"], sample_rate: int) -> float:
    """Gated loudness in LUFS of audio in [-1, 1], every channel weighing 1; minus infinity where all is silent.

    Blocks of 0.4 s count if they are above -70 LUFS and above 10 LU under the mean of those. Needs 0.4 s.
    """
    heard = _weighted(audio.double(), sample_rate)
    block, step = round(_BLOCK_SECONDS * sample_rate), round(_STEP_SECONDS * sample_rate)
    assert heard.shape[1] >= block, "shorter than a block"
    power = heard.square().unfold(1, block, step).mean(2).sum(0)
    above = power[_lufs(power) > _ABSOLUTE_GATE]
    if not len(above):
        return -math.inf
    above = above[_lufs(above) > _lufs(above.mean()) + _RELATIVE_GATE]
    return float(_lufs(above.mean()))


def _lufs(power: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    level: Tensor = _OFFSET + 10 * power.log10()
    return level


def _weighted(audio: Float[Tensor, "channel sample"], sample_rate: int) -> Float[Tensor, "channel sample"]:
    """K-weighting, in the spectrum: the filters' response at the frequencies of a transform long enough not to wrap."""
    samples = audio.shape[1]
    size = 2 ** math.ceil(math.log2(samples + sample_rate / 2))  # the filters fall silent within half a second
    turn = torch.exp(-2j * math.pi * torch.arange(size // 2 + 1, device=audio.device, dtype=torch.float64) / size)
    response = torch.ones_like(turn)
    for over, under in (_shelf(sample_rate), _high_pass(sample_rate)):
        response = response * _polynomial(over, turn) / _polynomial(under, turn)
    weighted: Tensor = torch.fft.irfft(torch.fft.rfft(audio, size) * response, size)
    return weighted[:, :samples]


def _polynomial(factors: tuple[float, float, float], turn: Tensor) -> Tensor:
    return factors[0] + factors[1] * turn + factors[2] * turn * turn


_Filter = tuple[tuple[float, float, float], tuple[float, float, float]]


def _shelf(sample_rate: int) -> _Filter:
    """Highs are louder around a head."""
    k = math.tan(math.pi * _SHELF_HERTZ / sample_rate)
    high = 10 ** (_SHELF_DECIBELS / 20)
    middle = high**_SHELF_EXPONENT
    over = (high + middle * k / _SHELF_QUALITY + k * k, 2 * (k * k - high), high - middle * k / _SHELF_QUALITY + k * k)
    return over, (1 + k / _SHELF_QUALITY + k * k, 2 * (k * k - 1), 1 - k / _SHELF_QUALITY + k * k)


def _high_pass(sample_rate: int) -> _Filter:
    """Lows are heard less. The recommendation's numerator is 1, -2, 1, not divided by the first factor below."""
    k = math.tan(math.pi * _PASS_HERTZ / sample_rate)
    first = 1 + k / _PASS_QUALITY + k * k
    return (1.0, -2.0, 1.0), (1.0, 2 * (k * k - 1) / first, (1 - k / _PASS_QUALITY + k * k) / first)
