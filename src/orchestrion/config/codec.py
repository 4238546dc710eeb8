"""Settings of the codec: how audio becomes codes and comes back."""

from itertools import pairwise
from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrion.config.base import Settings
from orchestrion.grid import Grid

Window = Annotated[int, Field(ge=16, multiple_of=4)]
"""Of a spectrum, in samples."""


class StageConfig(Settings):
    """One change of rate followed by a residual stack (the decoder mirrors it).

    `project` ends the stage in a convolution to the codebook's width, where the next stage starts again; the
    last stage always does.
    """

    stride: int = Field(ge=1)
    kernel: int = Field(ge=1)
    width: int = Field(ge=1)
    dilations: tuple[int, ...]
    residual_width: int = Field(ge=1)
    project: bool = False

    @model_validator(mode="after")
    def _kernel_fits(self) -> "StageConfig":
        if self.kernel < self.stride or (self.kernel - self.stride) % 2:
            raise ValueError(f"kernel {self.kernel} must be stride {self.stride} plus an even number")
        return self


Bands = tuple[Window, Annotated[int, Field(ge=1)]]
"""Window of a spectrum in samples, and number of mel bands."""


class SpectrumConfig(Settings):
    """A decoder that writes magnitudes, whose phases are found by iteration (`codec.phases`).

    `window` in samples is that of the transform, whose hop is the stride of the level's first stage.
    """

    window: int = Field(default=1024, ge=4)
    iterations: int = Field(default=16, ge=1)
    momentum: float = Field(default=0.99, ge=0)


class LevelConfig(Settings):
    """The autoencoder of one level: its stages from the waveform inwards.

    With `bands` the encoder hears logarithms of mel magnitudes, at the rate behind the first stage, in the place of
    that stage's strided convolution: a level of few codes cannot keep phases, and words are heard in bands. With
    `spectrum` the decoder writes magnitudes at that rate, and phases are found for them: one that is not told phases
    learns slowly to make some that fit one another.

    With a `depth` above 1 each vector has that many codes, one after another, of a codebook each: the first is nearest
    to the vector, every other to what those before leave of it (Zeghidour et al. 2021, arXiv 2107.03312, section
    III-C).
    """

    stages: tuple[StageConfig, ...] = Field(min_length=1)
    bands: tuple[Bands, ...] = ()
    spectrum: SpectrumConfig | None = None
    depth: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _bands_fit(self) -> "LevelConfig":
        stride = self.stages[0].stride
        if any(window < stride or (window - stride) % 2 for window, _ in self.bands):
            raise ValueError(f"windows of bands must be the first stride {stride} plus an even number")
        if self.spectrum and (stride % 2 or self.spectrum.window % stride or self.spectrum.window < 4 * stride):
            raise ValueError(f"spectrum.window must be 4 or more times the first stride, and that ({stride}) even")
        if self.vector_length % self.depth:
            raise ValueError(f"the strides multiply to {self.vector_length}, which depth {self.depth} does not divide")
        return self

    @property
    def vector_length(self) -> int:
        """Audio samples per vector."""
        return prod(stage.stride for stage in self.stages)

    @property
    def hop_length(self) -> int:
        """Audio samples per code."""
        return self.vector_length // self.depth


class CodebookConfig(Settings):
    """The quantizer.

    `kind` "nearest" has entries that follow the data by an exponential moving average (van den Oord et al. 2017),
    "mapped" entries that a learned linear map makes of fixed ones (SimVQ, Zhu et al. 2024), "scalars" rounds a few
    numbers, each to as many values as `scalar_values` says (FSQ, Mentzer et al. 2023); these multiply to `size`.
    `gradient` is what reaches the encoder: the decoder's unchanged, or turned and stretched as the vector is to its
    entry (Fifty et al. 2024). What follows concerns "nearest" alone.

    Entries begin as random vectors of the first music. Where that has at least four for each, they are moved to the
    middle of those nearest to them `first_means` times (k-means); 0 is the published way.

    An entry is revived, put where a random vector of the batch is, when its average count of vectors per step falls
    below `revive_below_count` or below `revive_below_share` of the mean count. It comes back with
    `revived_share` of the mean count; where that is absent its averages stay as they are (the published way).
    """

    size: int = Field(ge=2)
    width: int = Field(ge=1)
    kind: Literal["nearest", "mapped", "scalars"] = "nearest"
    gradient: Literal["straight", "rotation"] = "straight"
    scalar_values: tuple[int, ...] = ()
    first_means: int = Field(default=6, ge=0)
    decay: float = Field(default=0.99, ge=0, lt=1)
    revive_below_count: float = Field(default=0.0, ge=0)
    revive_below_share: float = Field(default=0.03, ge=0)
    revived_share: float | None = Field(default=0.1, gt=0)

    @model_validator(mode="after")
    def _scalars_fit(self) -> "CodebookConfig":
        values = self.scalar_values
        if (self.kind == "scalars") != bool(values):
            raise ValueError("scalar_values belong to kind 'scalars', which needs them")
        if values and (min(values) < 2 or prod(values) != self.size):
            raise ValueError(f"scalar_values {list(values)} must each be 2 or more and multiply to size {self.size}")
        if values and self.gradient == "rotation":
            raise ValueError("gradient 'rotation' is for entries, and kind 'scalars' has none")
        return self


class CodecLossConfig(Settings):
    """Weights of the codec's training losses, and the sizes of its spectra.

    `waveform` weighs the squared error, `largest` the mean of the `num_largest` squared errors of each clip,
    `absolute` the absolute error. `commitment` pulls vectors to their entries, `attraction` entries that are learned by
    gradient (kind "mapped") to their vectors. `spectral_sizes` are (FFT size, hop, window) in samples.

    `relative` divides the waveform and spectral terms by the energy of the target, clip by clip; without it their
    scales do, which `codec.loss.loss_scales` measures in a data set.
    """

    waveform: float = Field(default=0.5, ge=0)
    spectral: float = Field(default=1.0, ge=0)
    log_spectral: float = Field(default=0.5, ge=0)
    commitment: float = Field(default=0.05, ge=0)
    attraction: float = Field(default=0.2, ge=0)
    largest: float = Field(default=0.0, ge=0)
    num_largest: int = Field(default=2048, ge=1)
    absolute: float = Field(default=0.0, ge=0)
    relative: bool = True
    waveform_scale: float = Field(default=1.0, gt=0)
    """Variance of the samples, for squared and largest errors."""
    absolute_scale: float = Field(default=1.0, gt=0)
    """Mean absolute sample, for absolute errors."""
    spectral_scale: float = Field(default=1.0, gt=0)
    """Mean norm of the magnitudes of a clip, for spectral errors."""
    spectral_sizes: tuple[tuple[int, int, int], ...] = Field(
        default=((2048, 512, 2048), (1024, 256, 1024), (512, 128, 512), (256, 64, 256), (128, 32, 128)), min_length=1
    )
    mel: float = Field(default=0.0, ge=0)
    """Difference of log magnitudes in mel bands."""
    mel_sizes: tuple[Bands, ...] = Field(
        default=((2048, 160), (1024, 80), (512, 40), (256, 20), (128, 10)), min_length=1
    )

    @property
    def longest_window(self) -> int:
        """In samples: of all the spectra that are taken."""
        spectra = max(n_fft for n_fft, _, _ in self.spectral_sizes)
        return max(spectra, *(window for window, _ in self.mel_sizes)) if self.mel else spectra


class CodecConfig(Settings):
    """A hierarchical VQ-VAE: one separate autoencoder per level, level 0 the finest."""

    sample_rate: int = Field(ge=1)
    channels: int = Field(default=1, ge=1)
    levels: tuple[LevelConfig, ...] = Field(min_length=1)
    codebook: CodebookConfig
    loss: CodecLossConfig = CodecLossConfig()
    final_convolution: bool = False
    """End the decoder in a convolution at the sample rate (published) instead of in the last transposed one."""
    reverse_dilations: bool = True
    """Dilate the decoder's stacks from wide to narrow."""
    activation: Literal["relu", "snake"] = "relu"
    """Of the residual blocks: "snake" is periodic, x + sin²(a x) / a with a learned a (Ziyin et al. 2020)."""

    @model_validator(mode="after")
    def _levels_nest(self) -> "CodecConfig":
        hops = [level.hop_length for level in self.levels]
        if any(coarse % fine or coarse <= fine for fine, coarse in pairwise(hops)):
            raise ValueError(f"hop lengths {hops} must each be a multiple of the one before")
        if self.codebook.kind != "nearest" and any(level.depth > 1 for level in self.levels):
            raise ValueError("a depth above 1 is for codebooks of kind 'nearest'")
        if any(level.depth > 1 for level in self.levels[1:]):
            raise ValueError("a depth above 1 is for level 0: what is below a level is told one code a frame")
        if self.final_convolution and any(level.spectrum for level in self.levels):
            raise ValueError("a final convolution writes samples, and a level with a spectrum magnitudes")
        return self

    @property
    def grid(self) -> Grid:
        return Grid(self.sample_rate, tuple(level.hop_length for level in self.levels))
