"""Finite scalar quantization: a few numbers, each rounded by itself."""

import math

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from orchestrion.codec.quantizer import Quantized, Quantizer, rows_of, spread_of
from orchestrion.config import CodebookConfig
from orchestrion.nn.precision import doubled


class ScalarGrid(Quantizer):
    """Vectors are projected to a few numbers, and each takes one of its values; nothing has to be kept in use.

    FSQ, Mentzer et al. 2023 (arXiv 2309.15505), section 3. The grid is fixed; the projections to it and back are
    learned by gradient, which passes a rounding unchanged.
    """

    points: Float[Tensor, "code number"]
    places: Int[Tensor, " number"]

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__(config)
        values = config.scalar_values
        self.inward = nn.Linear(config.width, len(values))
        self.outward = nn.Linear(len(values), config.width)
        places = [math.prod(values[:index]) for index in range(len(values))]
        self.register_buffer("filled", torch.zeros((), dtype=torch.bool))
        self.register_buffer("places", torch.tensor(places), persistent=False)
        digits = torch.arange(config.size)[:, None] // self.places % torch.tensor(values)
        self.register_buffer("points", self._spread(digits.float()), persistent=False)

    def _spread(self, digits: Float[Tensor, "*shape number"]) -> Float[Tensor, "*shape number"]:
        """From 0, 1, …, n - 1 to equal distances from -1 to 1."""
        most = digits.new_tensor(self.config.scalar_values) - 1
        return 2 * digits / most - 1

    def _projected(self, vectors: Float[Tensor, "vector width"]) -> Float[Tensor, "vector number"]:
        inward = self.inward
        return nn.functional.linear(vectors, inward.weight.to(vectors.dtype), inward.bias.to(vectors.dtype))

    def _digits(self, vectors: Float[Tensor, "vector width"]) -> Float[Tensor, "vector number"]:
        """Numbers between the first and the last digit of each scalar, not rounded yet."""
        numbers = self._projected(vectors)
        most = numbers.new_tensor(self.config.scalar_values) - 1
        return most * (numbers.tanh() + 1) / 2

    def table(self) -> Float[Tensor, "code width"]:
        entries: Tensor = self.outward(self.points.to(self.outward.weight.dtype))
        return entries

    def nearest(self, vectors: Float[Tensor, "vector width"]) -> Int[Tensor, " vector"]:
        return (self._digits(vectors).round().long() * self.places).sum(-1)

    @torch.no_grad()
    def fill(self, vectors: Float[Tensor, "batch width frame"], rng: Generator) -> None:
        """Make the data white in front of the grid, so that it spreads over all of it; only the first time."""
        if not self.filled:
            mean, triangle = spread_of(self._projected(rows_of(vectors)))
            weight, bias = doubled(self.inward.weight), doubled(self.inward.bias) - mean
            white = torch.linalg.solve_triangular(triangle, torch.cat((weight, bias[:, None]), 1), upper=False)
            self.inward.weight.copy_(white[:, :-1])
            self.inward.bias.copy_(white[:, -1])
            self.filled.fill_(True)

    def forward(self, vectors: Float[Tensor, "batch width frame"]) -> Quantized:
        """Quantize; there is nothing to commit to, as the grid bounds what is rounded."""
        batch, _, frames = vectors.shape
        digits = self._digits(rows_of(vectors))
        rounded = digits.round()
        codes = (rounded.long() * self.places).sum(-1).reshape(batch, frames)
        restored = self.outward(self._spread(digits + (rounded - digits).detach()))
        none = vectors.new_zeros(())
        return Quantized(codes, restored.reshape(batch, frames, -1).transpose(1, 2), none, none)
