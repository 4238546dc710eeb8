"""The codes of one vector, one after another."""

from jaxtyping import Float
from torch import Tensor, nn

from orchestrion.config.prior import TransformerConfig
from orchestrion.nn.linear import Linear
from orchestrion.nn.norm import UnitRms
from orchestrion.nn.transformer import Mlp


class DepthHead(nn.Module):
    """Scores of each code of a vector, from what surrounds the vector and the codes that come before in it.

    A code hangs on those before it in the vector more than on the vector's neighbours. (Lee et al. 2022, arXiv
    2203.01941, section 3.2, has a small transformer here; a layer for each place is enough for few places.)
    """

    def __init__(self, config: TransformerConfig, num_codes: int, depth: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_Step(config) for _ in range(depth - 1))
        self.outputs = nn.ModuleList(Linear(config.width, num_codes, bias=False) for _ in range(depth))

    def forward(
        self, around: Float[Tensor, "vector width"], known: Float[Tensor, "vector width"], place: int
    ) -> Float[Tensor, "vector code"]:
        """Scores at `place`; `known` are the embeddings of the codes before it, added up."""
        scores: Tensor = self.outputs[place](self.steps[place - 1](around, known) if place else around)
        return scores


class _Step(nn.Module):
    """From what surrounds a vector to that and some of its codes."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm = UnitRms()
        self.known = Linear(config.width, config.width, bias=False)
        self.mlp = Mlp(config)

    def forward(self, around: Tensor, known: Tensor) -> Tensor:
        x = around + self.known(known)
        made: Tensor = self.norm(x + self.mlp(self.norm(x)[:, None])[:, 0])
        return made
