"""Pictures of what a run has learned so far."""

import math
from pathlib import Path

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from orchestrion.audio.spectral import magnitudes
from orchestrion.files import replacing

Sound = Float[Tensor, "channel sample"]


def compare_spectrograms(path: Path, sounds: dict[str, list[Sound]], sample_rate: int) -> None:
    """One row of log spectrograms for each named list of sounds; the same scale everywhere."""
    columns = max(len(row) for row in sounds.values())
    figure = Figure(figsize=(6 * columns, 2 * len(sounds)), layout="constrained")
    axes = figure.subplots(len(sounds), columns, squeeze=False)
    for row, (name, clips) in zip(axes, sounds.items(), strict=True):
        for axis, clip in zip(row, clips, strict=True):
            size = min(1024, 2 ** int(math.log2(clip.shape[-1])))
            spectrum = 20 * torch.log10(magnitudes(clip.mean(0), size, size // 4, size) + 1e-3)
            seconds = clip.shape[-1] / sample_rate
            axis.imshow(
                spectrum.numpy(),
                origin="lower",
                aspect="auto",
                extent=(0, seconds, 0, sample_rate / 2000),
                vmin=-40,
                vmax=40,
                cmap="magma",
            )
            axis.set_title(name, fontsize=9)
            axis.set_ylabel("kHz")
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    with replacing(path) as part:
        figure.savefig(part, dpi=80)
