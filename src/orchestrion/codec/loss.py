"""What the codec is trained to make small."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion.audio.spectral import magnitudes
from orchestrion.config import CodecLossConfig

QUIET = 0.01
"""Root mean square below which a clip counts as if it were this loud, so that near-silence does not rule a batch."""


class ReconstructionLoss(NamedTuple):
    """The weighted sum, and its parts before they were weighted."""

    total: Float[Tensor, ""]
    waveform: Float[Tensor, ""]
    spectral: Float[Tensor, ""]
    log_spectral: Float[Tensor, ""]


def reconstruction_loss(
    target: Float[Tensor, "batch channel sample"],
    estimate: Float[Tensor, "batch channel sample"],
    config: CodecLossConfig,
) -> ReconstructionLoss:
    """Squared error of the waveform and error of its spectra at several sizes (paper, section 3.2)."""
    estimate = estimate.float()
    zero = target.new_zeros(())
    difference = (target - estimate).flatten(1)
    floor = QUIET**2 * difference.shape[1]
    energy = target.flatten(1).square().sum(1).clamp_min(floor) if config.relative else None
    waveform = _scaled(difference.square(), energy, config.waveform_scale)
    total = config.waveform * waveform
    if config.absolute:
        total = total + config.absolute * difference.abs().mean() / config.waveform_scale
    if config.largest:
        largest = difference.square().topk(config.num_largest, dim=1).values.mean()
        total = total + config.largest * largest / config.waveform_scale
    spectral = log_spectral = zero
    if config.spectral or config.log_spectral:
        spectral, log_spectral = _spectral_terms(target, estimate, config)
        total = total + config.spectral * spectral + config.log_spectral * log_spectral
    return ReconstructionLoss(total, waveform, spectral, log_spectral)


def _scaled(squares: Tensor, energy: Tensor | None, scale: float) -> Tensor:
    return squares.mean() / scale if energy is None else (squares.sum(1) / energy).mean()


def _spectral_terms(target: Tensor, estimate: Tensor, config: CodecLossConfig) -> tuple[Tensor, Tensor]:
    from_spectra, from_logs = [], []
    for n_fft, hop, window in config.spectral_sizes:
        true = magnitudes(target, n_fft, hop, window).flatten(1)
        made = magnitudes(estimate, n_fft, hop, window).flatten(1)
        norm = (true - made).norm(dim=1)
        if config.relative:
            # A Hann window of n samples gives white noise of variance v magnitudes of mean square 3/8·n·v.
            floor = QUIET * math.sqrt(0.375 * window * true.shape[1])
            from_spectra.append((norm / true.norm(dim=1).clamp_min(floor)).mean())
        else:
            from_spectra.append((norm / config.spectral_scale).mean())
        if config.log_spectral:
            from_logs.append(((true + 1e-3).log() - (made + 1e-3).log()).abs().mean())
    logs = torch.stack(from_logs).mean() if from_logs else target.new_zeros(())
    return torch.stack(from_spectra).mean(), logs
