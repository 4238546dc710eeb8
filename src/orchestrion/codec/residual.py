"""Several codes for each vector, each of what those before it leave over."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from orchestrion.codec.codebook import Codebook
from orchestrion.codec.quantizer import Quantizer
from orchestrion.config import CodebookConfig


class ResidualCodebook(Quantizer):
    """`depth` codebooks after one another, each on the rest of the vector (residual vector quantization).

    A vector is the sum of its entries, so that few entries tell many vectors apart. Zeghidour et al. 2021 (arXiv
    2107.03312), section III-C. The commitment is that to the sum.
    """

    def __init__(self, config: CodebookConfig, depth: int) -> None:
        super().__init__(config)
        self.depth = depth
        self.books = nn.ModuleList(Codebook(config) for _ in range(depth))

    @property
    def filled(self) -> Tensor:  # type: ignore[override]
        return torch.stack([book.filled for book in self._each()]).all()

    def _each(self) -> Iterator[Codebook]:
        for book in self.books:
            assert isinstance(book, Codebook)
            yield book

    def table(self) -> Float[Tensor, "entry width"]:
        return torch.cat([book.table() for book in self._each()])

    def nearest(self, vectors: Float[Tensor, "vector width"]) -> Int[Tensor, " code"]:
        codes, rest = [], vectors
        for book in self._each():
            chosen = book.nearest(rest)
            codes.append(chosen)
            rest = rest - book.table()[chosen].to(rest.dtype)
        return torch.stack(codes, 1).flatten()

    @torch.no_grad()
    def fill(self, vectors: Float[Tensor, "batch width frame"], rng: Generator) -> None:
        """Make random vectors of the data the entries of the first codebook, and of what is left those of the next.

        Those of a codebook that is filled already stay.
        """
        rest = vectors
        for book in self._each():
            book.fill(rest, rng)
            rest = rest - book.decode(book.encode(rest))

    @torch.no_grad()
    def update(
        self,
        vectors: Float[Tensor, "batch width frame"],
        codes: Int[Tensor, "batch code"],
        rng: Generator,
    ) -> int:
        """Move the entries of each codebook towards the mean of the rests that chose them; returns all revived."""
        revived, rest = 0, vectors
        for place, book in enumerate(self._each()):
            own = codes[:, place :: self.depth]
            left = rest - book.decode(own)  # by the entries that were chosen from
            revived += book.update(rest, own, rng)
            rest = left
        return revived
