"""Telling what a codec writes from the truth: its sound by complex spectra at several resolutions, or magnitudes."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from orchestrion.audio.spectral import spectrum
from orchestrion.codec.phases import LEAST_LOG
from orchestrion.config.training import AdversarialConfig

Scores = Float[Tensor, "batch 1 frame bin"]
Features = Float[Tensor, "batch map frame bin"]


class Judgement(NamedTuple):
    """What one resolution says of a sound: a score at each place, the higher the truer, and what led to it."""

    scores: Scores
    features: list[Features]


class _Judge(nn.Module):
    """Convolutions over frames and bins, three of which halve the number of bins.

    Where `halves_frames`, the later two of these halve that of frames too.
    """

    def __init__(self, maps: int, width: int, *, halves_frames: bool) -> None:
        super().__init__()
        later = (2 if halves_frames else 1, 2)
        sizes = [(maps, (3, 9), (1, 2)), *[(width, (3, 9), later)] * 2, (width, (3, 3), (1, 1))]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(maps, width, kernel, stride, padding=(kernel[0] // 2, kernel[1] // 2)))
            for maps, kernel, stride in sizes
        )
        self.score = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def _judged(self, x: Float[Tensor, "batch map frame bin"]) -> Judgement:
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return Judgement(self.score(x), features)


class SpectrumJudge(_Judge):
    """Sees real and imaginary parts of a sound's spectrum. Its hop is half the window: half the work of a quarter."""

    def __init__(self, window: int, width: int, channels: int) -> None:
        super().__init__(2 * channels, width, halves_frames=False)
        self.window = window

    def forward(self, audio: Float[Tensor, "batch channel sample"]) -> Judgement:
        # A Hann window of n samples gives white noise of variance v a spectrum of mean square 3/8·n·v.
        found = spectrum(audio, self.window, self.window // 2, self.window) / (0.375 * self.window) ** 0.5
        return self._judged(torch.cat((found.real, found.imag), 1).transpose(2, 3))


class MagnitudeJudge(_Judge):
    """Sees the numbers that stand for magnitudes (`codec.phases.logs_of`), whose windows overlap by far more."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__(channels, width, halves_frames=True)
        self.channels = channels

    def forward(self, logs: Float[Tensor, "batch channel_bin frame"]) -> Judgement:
        heard = logs.clamp_min(LEAST_LOG)  # what lies below is as silent, and none of what is true does
        return self._judged(heard.view(len(logs), self.channels, -1, logs.shape[-1]).transpose(2, 3))


class Discriminator(nn.Module):
    """A judge for each window (Défossez et al. 2022, arXiv 2210.13438, section 3.4), or one of magnitudes."""

    def __init__(self, config: AdversarialConfig, channels: int, *, magnitudes: bool = False) -> None:
        super().__init__()
        self.judges = nn.ModuleList(
            [MagnitudeJudge(config.width, channels)]
            if magnitudes
            else [SpectrumJudge(window, config.width, channels) for window in config.windows]
        )

    def forward(self, seen: Float[Tensor, "batch width frame"]) -> list[Judgement]:
        """Of samples `batch channel sample`, or of numbers for magnitudes `batch channel·bin frame`."""
        return [judge(seen) for judge in self.judges]


def telling_loss(true: list[Judgement], made: list[Judgement], kind: str) -> Float[Tensor, ""]:
    """What the discriminator makes small: "hinge" (Lim and Ye 2017) or "least_squares" (Mao et al. 2016)."""
    losses = []
    for real, fake in zip(true, made, strict=True):
        right, wrong = real.scores.float(), fake.scores.float()
        if kind == "hinge":
            losses.append(F.relu(1 - right).mean() + F.relu(1 + wrong).mean())
        else:
            losses.append((1 - right).square().mean() + (1 + wrong).square().mean())
    return torch.stack(losses).mean()


def fooling_loss(made: list[Judgement], kind: str) -> Float[Tensor, ""]:
    """What the codec makes small: the same question from the other side."""
    scores = [fake.scores.float() for fake in made]
    losses = [-one.mean() if kind == "hinge" else (1 - one).square().mean() for one in scores]
    return torch.stack(losses).mean()


def feature_distance(true: list[Judgement], made: list[Judgement]) -> Float[Tensor, ""]:
    """How far the features of two sounds are apart, each layer in parts of how large the true ones are."""
    distances = [
        (right.detach().float() - wrong.float()).abs().mean() / right.detach().float().abs().mean().clamp_min(1e-6)
        for real, fake in zip(true, made, strict=True)
        for right, wrong in zip(real.features, fake.features, strict=True)
    ]
    return torch.stack(distances).mean()


def told_apart(true: list[Judgement], made: list[Judgement]) -> Float[Tensor, ""]:
    """The share of places that are judged rightly; a half where nothing is known."""
    rights = [(real.scores > 0).float().mean() for real in true] + [(fake.scores < 0).float().mean() for fake in made]
    return torch.stack(rights).mean()
