"""Variations of a recording that keep its labels true, so that a prior cannot learn the recording by heart."""

import struct
from math import modf, sqrt

from jaxtyping import Float
from torch import Tensor

from orchestrion.audio.waveform import change_speed
from orchestrion.data.chunks import chance

SEMITONES = 2.0  # most by which a variation is higher or lower: a piece in a near key, 12 % faster or slower
_GOLDEN = (sqrt(5) - 1) / 2

_SPEED, _SHIFT = 0, 1  # last part of a chance's key


def semitones(content_hash: str, variation: int) -> float:
    """How much higher variation number `variation` of a recording is; its tempo rises alike.

    The variations of one recording are spread evenly however many there are (multiples of the golden section),
    those of different recordings differ.
    """
    place, _ = modf(chance(_key(content_hash), _SPEED) + variation * _GOLDEN)
    return SEMITONES * (2 * place - 1)


def vary(
    audio: Float[Tensor, "channel sample"], content_hash: str, variation: int, hop_length: int
) -> Float[Tensor, "channel varied"]:
    """Variation number `variation` of a recording, a function of the numbers; 0 is the recording as it is.

    Pitch and tempo change together, by at most `SEMITONES`, and up to one frame of `hop_length` samples is cut off
    the beginning, so that even what sounds alike falls into other codes.
    """
    if variation == 0:
        return audio
    return change_speed(audio, _speed(content_hash, variation))[:, _shift(content_hash, variation, hop_length) :]


def varied_sample(sample: float, content_hash: str, variation: int, hop_length: int) -> float:
    """Where in that variation the sample of a recording is."""
    if variation == 0:
        return sample
    return sample / _speed(content_hash, variation) - _shift(content_hash, variation, hop_length)


def recorded_sample(varied: float, content_hash: str, variation: int, hop_length: int) -> float:
    """Where in the recording a sample of that variation is: `varied_sample` undone."""
    if variation == 0:
        return varied
    return (varied + _shift(content_hash, variation, hop_length)) * _speed(content_hash, variation)


def fills_a_frame(num_samples: int, content_hash: str, variation: int, hop_length: int) -> bool:
    """Whether so much is left of a recording of `num_samples` in that variation: a very short one may lose all."""
    return varied_sample(float(num_samples), content_hash, variation, hop_length) >= hop_length


def _speed(content_hash: str, variation: int) -> float:
    return float(2 ** (semitones(content_hash, variation) / 12))


def _shift(content_hash: str, variation: int, hop_length: int) -> int:
    """Samples cut off the beginning."""
    return int(chance(_key(content_hash), variation, _SHIFT) * hop_length)


def _key(content_hash: str) -> int:
    """A number that stands for a recording."""
    (key,) = struct.unpack("<q", bytes.fromhex(content_hash)[:8])
    return int(key)
