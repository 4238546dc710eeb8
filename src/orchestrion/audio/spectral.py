"""Magnitudes of the short-time Fourier transform, in bins or in mel bands, and distances between them."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

LOG_FLOOR = 1e-3
"""Added to a magnitude before its logarithm; audio is within [-1, 1] and the transform is not normalised."""

LOG_MIDDLE, LOG_SPREAD = -2.0, 2.0
"""Of logarithms of music's magnitudes, about: what a network reads and writes is what remains of them."""

SIZES: tuple[tuple[int, int, int], ...] = tuple((n, n // 4, n) for n in (2048, 1024, 512, 256, 128))
"""(FFT size, hop, window) in samples, of the distances that are reported."""

MEL_SIZES: tuple[tuple[int, int], ...] = ((2048, 160), (1024, 80), (512, 40), (256, 20), (128, 10))
"""(window in samples, number of bands), of the mel distances that are reported; the hop is a quarter of the window."""


def spectrum(
    audio: Float[Tensor, "*batch sample"], n_fft: int, hop: int, window: int
) -> Complex[Tensor, "*batch bin frame"]:
    """STFT with a Hann window of `window` samples, reflected at the ends, of float32, not normalised."""
    flat = audio.reshape(-1, audio.shape[-1]).float()
    shape = torch.hann_window(window, device=audio.device)
    with torch.autocast(audio.device.type, enabled=False):
        found = torch.stft(flat, n_fft, hop, window, window=shape, return_complex=True, pad_mode="reflect")
    return found.reshape(*audio.shape[:-1], *found.shape[-2:])


def magnitudes(
    audio: Float[Tensor, "*batch sample"], n_fft: int, hop: int, window: int
) -> Float[Tensor, "*batch bin frame"]:
    """|`spectrum`|, in float32."""
    with torch.autocast(audio.device.type, enabled=False):
        found = spectrum(audio, n_fft, hop, window)
        # The small number keeps the gradient of the square root finite where the spectrum is zero.
        power = found.real.square() + found.imag.square() + 1e-12
        return power.sqrt()


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


@lru_cache(maxsize=32)
def filters_on(num_bands: int, num_bins: int, sample_rate: int, device: torch.device) -> Tensor:
    """`mel_filters` on a device, made once."""
    with torch.inference_mode(False):  # what is kept may be asked for again where gradients are wanted
        return mel_filters(num_bands, num_bins, sample_rate).to(device)


def mel_filters(num_bands: int, num_bins: int, sample_rate: int) -> Float[Tensor, "band bin"]:
    """Triangles at equal distances in mel from 0 Hz to half the sample rate, each adding up to one.

    `num_bins` are those of a transform, from 0 Hz to half the sample rate too. A mel is 2595·log10(1 + f / 700 Hz)
    (O'Shaughnessy 1987). Each band reaches from the peak of the one before it to that of the one after it; one that
    is too narrow to reach a bin is all zeros.
    """
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    peaks = 700 * (10 ** (torch.linspace(0, top, num_bands + 2, dtype=torch.float64) / 2595) - 1)
    bins = torch.linspace(0, sample_rate / 2, num_bins, dtype=torch.float64)
    before, peak, after = (peaks[start : start + num_bands, None] for start in range(3))
    rising, falling = (bins - before) / (peak - before), (after - bins) / (after - peak)
    triangles = torch.minimum(rising, falling).clamp_min(0)
    return (triangles / triangles.sum(1, keepdim=True).clamp_min(1e-9)).float()


def mel_magnitudes(
    audio: Float[Tensor, "*batch sample"], window: int, num_bands: int, sample_rate: int
) -> Float[Tensor, "*batch band frame"]:
    """Means of `magnitudes` within mel bands, with a hop of a quarter of the window."""
    filters = filters_on(num_bands, window // 2 + 1, sample_rate, audio.device)
    with torch.autocast(audio.device.type, enabled=False):
        return filters @ magnitudes(audio, window, window // 4, window)


def mel_distance(
    target: Float[Tensor, "batch channel sample"],
    estimate: Float[Tensor, "batch channel sample"],
    sample_rate: int,
    sizes: Sequence[tuple[int, int]] = MEL_SIZES,
) -> Float[Tensor, " batch"]:
    """`log_difference` of mel magnitudes per item, averaged over `sizes`; differentiable.

    Small windows with few bands hear when something sounds, large ones with many what it is (Kumar et al. 2023,
    arXiv 2306.06546, section 3.5). Sizes that the sounds are too short for are left out.
    """
    differences = [
        log_difference(
            mel_magnitudes(target, window, num_bands, sample_rate).flatten(1),
            mel_magnitudes(estimate, window, num_bands, sample_rate).flatten(1),
        )
        for window, num_bands in sizes
        if target.shape[-1] > window // 2
    ]
    assert differences, "audio is shorter than half the smallest window"
    return torch.stack(differences).mean(0)


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
