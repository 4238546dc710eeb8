"""From one vector per frame of a level back to the waveform."""

from jaxtyping import Float
from torch import Tensor, nn

from orchestrion.config import LevelConfig
from orchestrion.nn.conv import ResidualStack, upsample


class Decoder(nn.Module):
    """The encoder mirrored: residual stacks, each followed by a transposed convolution.

    Without `final_convolution` the last transposed convolution writes the samples itself, from a learned basis of
    overlapping waveforms.
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
        stages = config.stages
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
            layers += [stack, upsample(stage.width, out_width, stage.kernel, stage.stride, bias=not writes_samples)]
        if final_convolution:
            layers.append(nn.Conv1d(in_width, channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, vectors: Float[Tensor, "batch width frame"]) -> Float[Tensor, "batch channel sample"]:
        audio: Tensor = self.layers(vectors)
        return audio
