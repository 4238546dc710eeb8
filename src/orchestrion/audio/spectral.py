"""Magnitudes of the short-time Fourier transform at several sizes, and distances between them."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

LOG_FLOOR = 1e-3
"""Added to a magnitude before its logarithm; audio is within [-1, 1] and the transform is not normalised."""

SIZES: tuple[tuple[int, int, int], ...] = tuple((n, n // 4, n) for n in (2048, 1024, 512, 256, 128))
"""(FFT size, hop, window) in samples, of the distances that are reported."""


def magnitudes(
    audio: Float[Tensor, "*batch sample"], n_fft: int, hop: int, window: int
) -> Float[Tensor, "*batch bin frame"]:
    """|STFT| with a Hann window of `window` samples, reflected at the ends, in float32, not normalised."""
    flat = audio.reshape(-1, audio.shape[-1]).float()
    shape = torch.hann_window(window, device=audio.device)
    with torch.autocast(audio.device.type, enabled=False):
        spectrum = torch.stft(flat, n_fft, hop, window, window=shape, return_complex=True, pad_mode="reflect")
        # The small number keeps the gradient of the square root finite where the spectrum is zero.
        power = spectrum.real.square() + spectrum.imag.square() + 1e-12
        return power.sqrt().reshape(*audio.shape[:-1], *power.shape[-2:])


def convergence(
    true: Float[Tensor, "batch bin_frame"], made: Float[Tensor, "batch bin_frame"], floor: float
) -> Float[Tensor, " batch"]:
    """‖T-E‖/‖T‖ of magnitudes (Arik, Jun and Diamos 2018, arXiv 1808.06719); a smaller ‖T‖ counts as `floor`."""
    ratio: Tensor = (true - made).norm(dim=1) / true.norm(dim=1).clamp_min(floor)
    return ratio


def log_difference(
    true: Float[Tensor, "batch bin_frame"], made: Float[Tensor, "batch bin_frame"]
) -> Float[Tensor, " batch"]:
    """The mean of |log T - log E| of magnitudes."""
    return ((true + LOG_FLOOR).log() - (made + LOG_FLOOR).log()).abs().mean(1)


class SpectralDistance(NamedTuple):
    """`convergence` and `log_difference` per item, each averaged over all sizes."""

    convergence: Float[Tensor, " batch"]
    log_difference: Float[Tensor, " batch"]


def _pairs(target: Tensor, estimate: Tensor, sizes: Sequence[tuple[int, int, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    for n_fft, hop, window in sizes:
        if target.shape[-1] > n_fft // 2:  # reflection needs more samples than it mirrors
            true, made = magnitudes(target, n_fft, hop, window), magnitudes(estimate, n_fft, hop, window)
            yield true.flatten(1), made.flatten(1)


def distance(
    target: Float[Tensor, "batch channel sample"],
    estimate: Float[Tensor, "batch channel sample"],
    sizes: Sequence[tuple[int, int, int]] = SIZES,
) -> SpectralDistance:
    """How far two sounds are apart in magnitude, averaged over `sizes`; differentiable.

    Sizes that the sounds are too short for are left out.
    """
    convergences, logs = [], []
    for true, made in _pairs(target, estimate, sizes):
        convergences.append(convergence(true, made, floor=1e-3))
        logs.append(log_difference(true, made))
    assert convergences, "audio is shorter than half the smallest window"
    return SpectralDistance(torch.stack(convergences).mean(0), torch.stack(logs).mean(0))


def decibels(ratio: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """20·log10 of a ratio of amplitudes."""
    return 20 / math.log(10) * ratio.clamp_min(1e-10).log()


def signal_to_noise(
    target: Float[Tensor, "batch channel sample"], estimate: Float[Tensor, "batch channel sample"]
) -> Float[Tensor, " batch"]:
    """Energy of the target over energy of the difference, in decibels."""
    noise = (target - estimate).flatten(1).norm(dim=1).clamp_min(1e-8)
    return decibels(target.flatten(1).norm(dim=1) / noise)
