"""Coarser codes brought up to the frames of a finer level, one vector each."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from orchestrion.config.prior import ConditionerConfig
from orchestrion.nn.conv import ResidualStack, upsample


class Conditioner(nn.Module):
    """Embed coarser codes, then alternate residual stacks with strides until every frame has a vector."""

    def __init__(self, config: ConditionerConfig, codebook_size: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codebook_size, width)
        self.enter = nn.Conv1d(width, config.width, 3, padding=1)
        self.stacks = nn.ModuleList(
            ResidualStack(config.width, config.width, config.dilations, config.scale) for _ in config.strides
        )
        last = len(config.strides) - 1
        self.rises = nn.ModuleList(
            upsample(config.width, width if stage == last else config.width, max(3, 2 * stride), stride)
            for stage, stride in enumerate(config.strides)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, coarser: Int[Tensor, "batch frame_above"]) -> Float[Tensor, "batch frame width"]:
        """One vector for each frame under the coarser ones."""
        x: Tensor = self.enter(self.embedding(coarser).transpose(1, 2))
        for stack, rise in zip(self.stacks, self.rises, strict=True):
            x = rise(stack(x))
        vectors: Tensor = self.norm(x.transpose(1, 2))
        return vectors
