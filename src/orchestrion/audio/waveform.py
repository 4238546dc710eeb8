"""Small acts on waveforms, `channel sample` or `batch channel sample`."""

import soxr
import torch
from jaxtyping import Float
from torch import Tensor

SILENCE = 1e-3  # a waveform that never reaches this amplitude (-60 dB of full scale) is called silent


def mix(audio: Float[Tensor, "*batch channel sample"], channels: int) -> Float[Tensor, "*batch mixed sample"]:
    """`audio` with `channels` channels.

    As many as there are: untouched. Otherwise every output channel is the mean of all inputs, so that mono
    becomes identical channels and nothing grows louder.
    """
    if audio.shape[-2] == channels:
        return audio
    mono = audio.mean(-2, keepdim=True)
    return mono.expand(*mono.shape[:-2], channels, mono.shape[-1]).contiguous()


def resample(
    audio: Float[Tensor, "channel sample"], from_rate: int, to_rate: int
) -> Float[Tensor, "channel resampled"]:
    """`audio` at another sample rate, band-limited (soxr, high quality); computed on the CPU."""
    if from_rate == to_rate:
        return audio
    return _at_another_rate(audio, from_rate, to_rate)


def change_speed(audio: Float[Tensor, "channel sample"], factor: float) -> Float[Tensor, "channel changed"]:
    """`audio` as a tape that runs `factor` times as fast: shorter, and higher by `12 * log2(factor)` semitones."""
    return _at_another_rate(audio, factor, 1.0)


def _at_another_rate(audio: Tensor, from_rate: int | float, to_rate: int | float) -> Tensor:
    changed = soxr.resample(audio.T.contiguous().cpu().numpy(), from_rate, to_rate)
    return torch.from_numpy(changed).reshape(-1, audio.shape[0]).T.contiguous().to(audio)


def peak(audio: Float[Tensor, "*batch channel sample"]) -> float:
    """The largest amplitude anywhere; 0 for an empty waveform."""
    return float(audio.abs().max()) if audio.numel() else 0.0


def pad_to(audio: Float[Tensor, "*batch channel sample"], num_samples: int) -> Float[Tensor, "*batch channel padded"]:
    """`audio` with silence after it until it lasts `num_samples`; longer audio stays as it is."""
    missing = max(0, num_samples - audio.shape[-1])
    return torch.nn.functional.pad(audio, (0, missing)) if missing else audio
