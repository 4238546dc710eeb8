"""Music as vectors by musicnn (Pons & Serra 2019, arXiv 1909.06654): a tagger whose last hidden layer describes sound.

Its weights (ISC licence) lie in the Python package `musicnn`. They are read from there, and none of its code is run:
that needs TensorFlow.
"""

import importlib.metadata
import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from orchestrion.audio.waveform import mix, resample
from orchestrion.errors import UserError
from orchestrion.evaluate.tensorflow import read_checkpoint

SAMPLE_RATE = 16_000
N_FFT, HOP, NUM_BANDS = 512, 256, 96
PATCH_FRAMES = 187
"""What the network hears at once: 3 s."""

INSTALL = "pip install --no-deps musicnn"
"""Without what it asks for, which is TensorFlow and a NumPy of 2019."""

MODEL = "MTT_musicnn"
"""Trained on MagnaTagATune."""

_EPSILON = 1e-3  # of TensorFlow's batch normalisation
_FRONT, _MIDDLE = range(5), range(5, 8)  # convolutions of timbre and of time side by side; then one after another


def installed(model: str = MODEL) -> Path:
    """The folder of a model's checkpoint in the installed package `musicnn`, which is not imported.

    Raises UserError where it is not installed.
    """
    try:
        found = importlib.metadata.files("musicnn") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError("the weights of musicnn are not installed", INSTALL) from error
    folders = [Path(str(file.locate())).parent for file in found if file.parts[-2:] == (model, ".index")]
    if not folders:
        raise UserError(f"the installed musicnn holds no {model}", INSTALL)
    return folders[0]


class MusiCNN(nn.Module):
    """The tagger up to its last hidden layer: patches of log-mel spectra to `width` numbers."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        """`weights` by their names in the checkpoint."""
        super().__init__()
        self.front = nn.ModuleList(_convolution(weights, number) for number in _FRONT)
        self.middle = nn.ModuleList(_convolution(weights, number) for number in _MIDDLE)
        self.norms = nn.ModuleList(_norm(weights, number) for number in range(11))
        kernel = weights["dense/kernel"]
        self.hidden = nn.Linear(*kernel.shape)
        self.hidden.weight = nn.Parameter(kernel.T.contiguous())
        self.hidden.bias = nn.Parameter(weights["dense/bias"])
        self.width = kernel.shape[1]
        self.eval().requires_grad_(False)

    def forward(self, mel: Float[Tensor, "patch frame band"]) -> Float[Tensor, "patch width"]:
        """The last hidden layer, after its normalisation."""
        heard = self.norms[0](mel[:, None])
        here = torch.cat([self.norms[number + 1](_heard_by(self.front[number], heard)).amax(3) for number in _FRONT], 1)
        kept = [here]
        for number, layer in zip(_MIDDLE, self.middle, strict=True):
            found = self.norms[number + 1](_heard_by(layer, here.mT[:, None])).squeeze(3)
            here = found if len(kept) == 1 else found + here
            kept.append(here)
        whole = torch.cat(kept, 1)
        pooled = torch.stack([whole.amax(2), whole.mean(2)], 2).flatten(1)
        described: Tensor = self.norms[10](functional.relu(self.hidden(self.norms[9](pooled))))
        return described


def open_musicnn(folder: Path | None = None) -> MusiCNN:
    """The network with the weights in `folder`, by default of the installed package; UserError without them."""
    place = installed() if folder is None else folder
    return MusiCNN(read_checkpoint(place))


def embed(network: MusiCNN, audio: Float[Tensor, "channel sample"], sample_rate: int) -> Float[Tensor, "patch width"]:
    """A vector for every 3 s of `audio`, one patch after another; the rest that fills none is left out.

    Raises UserError for audio shorter than a patch.
    """
    mono = resample(mix(audio, 1), sample_rate, SAMPLE_RATE)[0]
    mel = log_mel(mono)
    count = len(mel) // PATCH_FRAMES
    if not count:
        raise UserError("the audio is shorter than 3 seconds", "give longer music")
    found: Tensor = network(mel[: count * PATCH_FRAMES].reshape(count, PATCH_FRAMES, NUM_BANDS))
    return found


def log_mel(mono: Float[Tensor, " sample"]) -> Float[Tensor, "frame band"]:
    """What the network reads of audio at 16 kHz: log10(10⁴ · power in mel bands + 1), padded with silence."""
    window = torch.hann_window(N_FFT, device=mono.device)
    spectrum = torch.stft(mono, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True)
    return (1e4 * (mel_bands().to(mono) @ spectrum.abs().square()).T + 1).log10()


def mel_bands() -> Float[Tensor, "band bin"]:
    """Triangles of equal area on the scale of Slaney's Auditory Toolbox: linear below 1 kHz, then logarithmic."""
    last = _to_mel(SAMPLE_RATE / 2)
    edges = _from_mel(torch.linspace(0, last, NUM_BANDS + 2, dtype=torch.float64))
    bins = torch.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1, dtype=torch.float64)
    up = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = torch.minimum(up, down).clamp(min=0)
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).float()


_LINEAR_HERTZ = 200 / 3  # per mel below the break
_BREAK_HERTZ = 1000.0
_BREAK_MEL = _BREAK_HERTZ / _LINEAR_HERTZ
_LOG_STEP = math.log(6.4) / 27  # per mel above it


def _to_mel(hertz: float) -> float:
    return _BREAK_MEL + math.log(hertz / _BREAK_HERTZ) / _LOG_STEP


def _from_mel(mel: Float[Tensor, " edge"]) -> Float[Tensor, " edge"]:
    above = _BREAK_HERTZ * ((mel - _BREAK_MEL) * _LOG_STEP).exp()
    return torch.where(mel < _BREAK_MEL, mel * _LINEAR_HERTZ, above)


def _heard_by(layer: nn.Module, image: Float[Tensor, "patch 1 frame band"]) -> Float[Tensor, "patch channel frame _"]:
    """A convolution and its threshold, with silence around so that there are as many frames after it as before."""
    assert isinstance(layer, nn.Conv2d)
    frames = layer.kernel_size[0]
    before = (frames - 1) // 2
    return functional.relu(layer(functional.pad(image, (0, 0, before, frames - 1 - before))))


def _named(kind: str, number: int) -> str:
    """TensorFlow counts layers of a kind from the second on."""
    return f"{kind}_{number}" if number else kind


def _convolution(weights: dict[str, Tensor], number: int) -> nn.Conv2d:
    name = _named("conv2d", number)
    kernel = weights[f"{name}/kernel"].permute(3, 2, 0, 1).contiguous()
    layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], (kernel.shape[2], kernel.shape[3]))
    layer.weight, layer.bias = nn.Parameter(kernel), nn.Parameter(weights[f"{name}/bias"])
    return layer


class _Norm(nn.Module):
    """Batch normalisation with kept means, of axis 1."""

    def __init__(self, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.scale, self.offset = nn.Buffer(scale), nn.Buffer(offset)

    def forward(self, values: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (values.dim() - 2))
        return values * self.scale.view(shape) + self.offset.view(shape)


def _norm(weights: dict[str, Tensor], number: int) -> _Norm:
    name = _named("batch_normalization", number)
    part = {key: weights[f"{name}/{key}"] for key in ("gamma", "beta", "moving_mean", "moving_variance")}
    scale = part["gamma"] / (part["moving_variance"] + _EPSILON).sqrt()
    return _Norm(scale, part["beta"] - part["moving_mean"] * scale)
