"""What the codec is trained to make small."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion.audio.spectral import convergence, filters_on, log_difference, magnitudes, mel_distance
from orchestrion.config import CodecLossConfig

QUIET = 0.01
"""Root mean square below which a clip counts as if it were this loud, so that near-silence does not rule a batch."""

SCALE_SIZE = (2048, 256, 1536)
"""FFT size, hop and window, in samples, of the spectra that the published spectral scale is measured with."""


class ReconstructionLoss(NamedTuple):
    """The weighted sum, and its parts before they were weighted."""

    total: Float[Tensor, ""]
    waveform: Float[Tensor, ""]
    spectral: Float[Tensor, ""]
    log_spectral: Float[Tensor, ""]
    mel: Float[Tensor, ""]


def reconstruction_loss(
    target: Float[Tensor, "batch channel sample"],
    estimate: Float[Tensor, "batch channel sample"],
    config: CodecLossConfig,
    sample_rate: int,
) -> ReconstructionLoss:
    """Error of the waveform and of its spectra at several sizes (paper, section 3.2), and of its mel bands."""
    estimate = estimate.float()
    difference = (target - estimate).flatten(1)
    squares = difference.square()
    if config.relative:
        energy = target.flatten(1).square().mean(1).clamp_min(QUIET**2)
        waveform = (squares.mean(1) / energy).mean()
    else:
        waveform = squares.mean() / config.waveform_scale
    total = config.waveform * waveform
    if config.absolute:
        total = total + config.absolute * difference.abs().mean() / config.absolute_scale
    if config.largest:
        largest = squares.topk(config.num_largest, dim=1).values.mean()
        total = total + config.largest * largest / config.waveform_scale
    spectral = log_spectral = target.new_zeros(())
    if config.spectral or config.log_spectral:
        spectral, log_spectral = _spectral_terms(target, estimate, config)
        total = total + config.spectral * spectral + config.log_spectral * log_spectral
    mel = target.new_zeros(())
    if config.mel:
        mel = mel_distance(target, estimate, sample_rate, config.mel_sizes).mean()
        total = total + config.mel * mel
    return ReconstructionLoss(total, waveform, spectral, log_spectral, mel)


def _spectral_terms(
    target: Float[Tensor, "batch channel sample"],
    estimate: Float[Tensor, "batch channel sample"],
    config: CodecLossConfig,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    from_spectra, from_logs = [], []
    for n_fft, hop, window in config.spectral_sizes:
        true = magnitudes(target, n_fft, hop, window).flatten(1)
        made = magnitudes(estimate, n_fft, hop, window).flatten(1)
        if config.relative:
            from_spectra.append(convergence(true, made, _quiet_norm(window, true.shape[1])).mean())
        else:
            from_spectra.append((true - made).norm(dim=1).mean() / config.spectral_scale)
        if config.log_spectral:
            from_logs.append(log_difference(true, made).mean())
    logs = torch.stack(from_logs).mean() if from_logs else target.new_zeros(())
    return torch.stack(from_spectra).mean(), logs


def _quiet_norm(window: int, count: int) -> float:
    """The norm of so many magnitudes of white noise that is as loud as `QUIET`.

    A Hann window of n samples gives white noise of variance v magnitudes of mean square 3/8·n·v.
    """
    return QUIET * math.sqrt(0.375 * window * count)


def magnitude_loss(
    target: Float[Tensor, "batch channel frame bin"],
    estimate: Float[Tensor, "batch channel frame bin"],
    config: CodecLossConfig,
    sample_rate: int,
) -> ReconstructionLoss:
    """The error of a spectrum whose phases nobody has made yet: of what `config` compares, its spectra and mel bands.

    There is one size of spectrum, the given one, in the place of all; of `mel_sizes` the numbers of bands count.
    """
    true, made = target.flatten(1), estimate.flatten(1)
    num_bins = target.shape[-1]
    window = 2 * (num_bins - 1)
    spectral = convergence(true, made, _quiet_norm(window, true.shape[1])).mean()
    log_spectral = log_difference(true, made).mean()
    differences = []
    for _, num_bands in config.mel_sizes:
        filters = filters_on(num_bands, num_bins, sample_rate, target.device)
        bands = [(magnitudes @ filters.T).flatten(1) for magnitudes in (target, estimate)]
        differences.append(log_difference(*bands).mean())
    mel = torch.stack(differences).mean()
    total = config.spectral * spectral + config.log_spectral * log_spectral + config.mel * mel
    return ReconstructionLoss(total, target.new_zeros(()), spectral, log_spectral, mel)


class LossScales(NamedTuple):
    """How large each error is where silence stands for the music; names as in `CodecLossConfig`."""

    waveform_scale: float
    absolute_scale: float
    spectral_scale: float


def loss_scales(
    clips: Iterable[Float[Tensor, "channel sample"]], size: tuple[int, int, int] = SCALE_SIZE
) -> LossScales:
    """What errors that are not relative are divided by, from clips of a data set.

    Variance of the samples, their mean absolute value, and the mean norm of a clip's magnitudes, its channels mixed.
    `size` is FFT size, hop and window in samples. The norm grows with the length: use clips as long as those of
    training.
    """
    num_samples = num_clips = 0
    total = squares = absolute = norms = 0.0
    for clip in clips:
        samples = clip.double()
        num_samples += samples.numel()
        num_clips += 1
        total += float(samples.sum())
        squares += float(samples.square().sum())
        absolute += float(samples.abs().sum())
        norms += float(magnitudes(clip.mean(0), *size).double().norm())
    assert num_samples, "no clips"
    mean = total / num_samples
    return LossScales(squares / num_samples - mean**2, absolute / num_samples, norms / num_clips)
