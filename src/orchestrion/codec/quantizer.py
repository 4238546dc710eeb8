"""What all quantizers have in common, and how gradients get through a choice that has none."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int
from torch import Generator, Tensor, nn

from orchestrion.config import CodebookConfig
from orchestrion.nn.precision import doubled
from orchestrion.nn.ranks import num_ranks, summed


class Quantized(NamedTuple):
    """What quantizing a batch of vectors gives; through `vectors` a gradient reaches the input.

    `commitment` pulls the input to its entries, `attraction` entries that are learned by gradient to the input.
    """

    codes: Int[Tensor, "batch code"]
    vectors: Float[Tensor, "batch width frame"]
    commitment: Float[Tensor, ""]
    attraction: Float[Tensor, ""]


class Quantizer(nn.Module):
    """Vectors to codes and back: `encode`, `decode`, and `forward` for training.

    A kind of quantizer says what its entries are (`table`) and which are chosen (`nearest`): `depth` codes for each
    vector, one after another.
    """

    filled: Tensor
    depth = 1

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__()
        self.config = config

    def table(self) -> Float[Tensor, "entry width"]:
        """What each code stands for; where the depth is above 1, the entries of the first codes before the others."""
        raise NotImplementedError

    def nearest(self, vectors: Float[Tensor, "vector width"]) -> Int[Tensor, " code"]:
        """The codes of each vector."""
        raise NotImplementedError

    @torch.no_grad()
    def encode(self, vectors: Float[Tensor, "batch width frame"]) -> Int[Tensor, "batch code"]:
        return self.nearest(rows_of(vectors)).reshape(vectors.shape[0], -1)

    def decode(self, codes: Int[Tensor, "batch code"]) -> Float[Tensor, "batch width frame"]:
        batch, num = codes.shape
        rows = vectors_of(self.table(), codes.flatten(), self.depth)
        return rows.reshape(batch, num // self.depth, -1).transpose(1, 2)

    def forward(self, vectors: Float[Tensor, "batch width frame"]) -> Quantized:
        """Quantize with the entries as they are; `update` moves those that are not learned by gradient afterwards."""
        codes = self.encode(vectors)
        chosen = self.decode(codes)
        commitment = (chosen.detach() - vectors).square().mean()
        attraction = (chosen - vectors.detach()).square().mean() if chosen.requires_grad else vectors.new_zeros(())
        through = rotated(vectors, chosen.detach()) if self.config.gradient == "rotation" else vectors
        return Quantized(codes, through + (chosen - through).detach(), commitment, attraction)

    def fill(self, vectors: Float[Tensor, "batch width frame"], rng: Generator) -> None:
        """Begin where the data is, once; later calls change nothing."""

    def update(
        self,
        vectors: Float[Tensor, "batch width frame"],
        codes: Int[Tensor, "batch code"],
        rng: Generator,
    ) -> int:
        """Follow the vectors that chose each entry, where gradients do not; returns how many entries were revived."""
        return 0


def rows_of(vectors: Float[Tensor, "batch width frame"]) -> Float[Tensor, "vector width"]:
    return vectors.transpose(1, 2).reshape(-1, vectors.shape[1])


def vectors_of(
    table: Float[Tensor, "entry width"], codes: Int[Tensor, " code"], depth: int
) -> Float[Tensor, "vector width"]:
    """What `depth` codes after one another add up to, each by its own part of the table."""
    if depth == 1:
        return table[codes]
    first = torch.arange(depth, device=codes.device) * (len(table) // depth)
    return table[codes.reshape(-1, depth) + first].sum(1)


def spread_of(
    rows: Float[Tensor, "vector width"],
) -> tuple[Float64[Tensor, " width"], Float64[Tensor, "width width"]]:
    """The mean of the vectors of all ranks, and the lower triangle that makes their covariance from white noise."""
    exact = doubled(rows)
    total = len(exact) * num_ranks()
    mean = summed(exact.sum(0)) / total
    covariance = summed((exact - mean).T @ (exact - mean)) / total
    # A little in every direction, as a small batch may leave some out.
    some = 1e-4 * covariance.trace() / len(mean) + 1e-12
    return mean, torch.linalg.cholesky(covariance + some * torch.eye(len(mean), dtype=mean.dtype, device=mean.device))


def rotated(
    vectors: Float[Tensor, "batch width frame"], chosen: Float[Tensor, "batch width frame"]
) -> Float[Tensor, "batch width frame"]:
    """`chosen`, as vectors that were turned and stretched: gradients are turned back and stretched alike.

    The turn is that within the plane of both (Fifty et al. 2024, arXiv 2410.06424, section 4): with e and q of length
    one and r = (e + q) / |e + q| it is 1 - 2·r·rᵀ + 2·q·eᵀ, the stretch |chosen| / |vector|; both are constants to
    the gradient. Where a vector or the sum is too short to have a direction, gradients are no longer exact.
    """
    with torch.no_grad():
        length = vectors.norm(dim=1, keepdim=True).clamp_min(1e-6)
        stretch = chosen.norm(dim=1, keepdim=True) / length
        e, q = vectors / length, F.normalize(chosen, dim=1)
        r = F.normalize(e + q, dim=1)
    along_r, along_e = (r * vectors).sum(1, keepdim=True), (e * vectors).sum(1, keepdim=True)
    turned: Tensor = stretch * (vectors - 2 * r * along_r + 2 * q * along_e)
    return turned
