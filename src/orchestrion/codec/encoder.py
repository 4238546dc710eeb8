"""From the waveform to one vector per frame of a level."""

from jaxtyping import Float
from torch import Tensor, nn

from orchestrion.codec.bands import LogBands
from orchestrion.config import LevelConfig
from orchestrion.nn.conv import ResidualStack, downsample


class Encoder(nn.Module):
    """The encoder of one level: strided convolutions, each followed by a residual dilated stack.

    Where the level has `bands`, these are heard in the place of the first convolution.
    """

    def __init__(self, config: LevelConfig, channels: int, out_width: int, *, sample_rate: int, periodic: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_width = channels
        for index, stage in enumerate(config.stages):
            if index == 0 and config.bands:
                down: nn.Module = LogBands(config.bands, channels, stage.stride, sample_rate, stage.width)
            else:
                down = downsample(in_width, stage.width, stage.kernel, stage.stride)
            stack = ResidualStack(stage.width, stage.residual_width, stage.dilations, periodic=periodic)
            layers += [down, stack]
            in_width = stage.width
            if stage.project or index == len(config.stages) - 1:
                layers.append(nn.Conv1d(stage.width, out_width, 3, padding=1))
                in_width = out_width
        self.layers = nn.Sequential(*layers)

    def forward(self, audio: Float[Tensor, "batch channel sample"]) -> Float[Tensor, "batch width frame"]:
        vectors: Tensor = self.layers(audio)
        return vectors
