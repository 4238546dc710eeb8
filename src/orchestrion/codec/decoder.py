"""From one vector per frame of a level back to the waveform."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from orchestrion.codec.phases import Phases
from orchestrion.config import LevelConfig
from orchestrion.nn.conv import ResidualStack, upsample


class Decoder(nn.Module):
    """The encoder mirrored: residual stacks, each followed by a transposed convolution.

    Without `final_convolution` the last transposed convolution writes the samples itself, from a learned basis of
    overlapping waveforms. Where the level has a `spectrum`, a convolution over three frames writes logarithms of
    magnitudes in its place, and `phases` makes the samples.
    """

    def __init__(
        self,
        config: LevelConfig,
        channels: int,
        in_width: int,
        *,
        final_convolution: bool,
        reverse_dilations: bool,
        periodic: bool,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        stages, spectrum = config.stages, config.spectrum
        self.phases: Phases | None = None
        if spectrum is not None:
            self.phases = Phases(
                channels=channels,
                window=spectrum.window,
                hop=stages[0].stride,
                iterations=spectrum.iterations,
                momentum=spectrum.momentum,
            )
        for index in reversed(range(len(stages))):
            stage = stages[index]
            if stage.project or index == len(stages) - 1:
                layers.append(nn.Conv1d(in_width, stage.width, 3, padding=1))
            dilations = stage.dilations[::-1] if reverse_dilations else stage.dilations
            stack = ResidualStack(stage.width, stage.residual_width, dilations, periodic=periodic)
            writes_samples = index == 0 and not final_convolution
            if index > 0 and not stages[index - 1].project:
                out_width = stages[index - 1].width
            else:
                out_width = channels if writes_samples else in_width
            if index == 0 and self.phases is not None:
                outwards: nn.Module = nn.Conv1d(stage.width, channels * self.phases.num_bins, 3, padding=1)
            else:
                outwards = upsample(stage.width, out_width, stage.kernel, stage.stride, bias=not writes_samples)
            layers += [stack, outwards]
        if final_convolution:
            layers.append(nn.Conv1d(in_width, channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    @property
    def whole(self) -> Sequence[nn.Module]:
        """The layers from vectors to samples."""
        return [*self.layers, *([] if self.phases is None else [self.phases])]

    def forward(self, vectors: Float[Tensor, "batch width frame"]) -> Float[Tensor, "batch made_width made_frame"]:
        """What is learned: samples, or numbers that stand for magnitudes, `batch channel·bin frame`."""
        made: Tensor = self.layers(vectors)
        return made
