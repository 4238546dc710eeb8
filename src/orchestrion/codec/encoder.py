"""From the waveform to one vector per frame of a level."""

from jaxtyping import Float
from torch import Tensor, nn

from orchestrion.config import LevelConfig
from orchestrion.nn.conv import ResidualStack, downsample


class Encoder(nn.Module):
    """The encoder of one level: strided convolutions, each followed by a residual dilated stack."""

    def __init__(self, config: LevelConfig, channels: int, out_width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        halo, rate = 0, 1  # halo in samples; rate is samples per frame so far
        in_width = channels
        for index, stage in enumerate(config.stages):
            down = downsample(in_width, stage.width, stage.kernel, stage.stride)
            halo += rate * (stage.kernel - 1)
            rate *= stage.stride
            stack = ResidualStack(stage.width, stage.residual_width, stage.dilations)
            halo += rate * stack.halo
            layers += [down, stack]
            in_width = stage.width
            if stage.project or index == len(config.stages) - 1:
                layers.append(nn.Conv1d(stage.width, out_width, 3, padding=1))
                halo += rate
                in_width = out_width
        self.layers = nn.Sequential(*layers)
        self.hop_length = rate
        self.halo = -(-halo // rate)
        """Frames on each side whose samples can reach a frame's vector, rounded up."""

    def forward(self, audio: Float[Tensor, "batch channel sample"]) -> Float[Tensor, "batch width frame"]:
        vectors: Tensor = self.layers(audio)
        return vectors
