"""The nearest of a set of entries: of such as follow the data, or as a learned map makes of fixed ones."""

import math

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from orchestrion.codec.quantizer import Quantizer, rows_of, spread_of
from orchestrion.config import CodebookConfig
from orchestrion.nn.pieces import rows_at_once
from orchestrion.nn.ranks import all_rows, num_ranks, summed

_MANY = 4  # vectors for each entry that k-means is worth it for


class Codebook(Quantizer):
    """Entries learned by an exponential moving average, with random revival of unused ones.

    Ranks that train together count all of their vectors, and draw the same revived entries.

    See van den Oord et al. 2017 (arXiv 1711.00937), appendix A.1, and the Jukebox paper, section 3.1.
    """

    entries: Float[Tensor, "code width"]
    sums: Float[Tensor, "code width"]
    counts: Float[Tensor, " code"]

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__(config)
        self.register_buffer("entries", torch.zeros(config.size, config.width))
        self.register_buffer("sums", torch.zeros(config.size, config.width))
        self.register_buffer("counts", torch.ones(config.size))
        self.register_buffer("filled", torch.zeros((), dtype=torch.bool))

    def table(self) -> Float[Tensor, "code width"]:
        return self.entries

    def nearest(self, vectors: Float[Tensor, "vector width"]) -> Int[Tensor, " vector"]:
        return nearest(self.entries, vectors)

    @torch.no_grad()
    def fill(self, vectors: Float[Tensor, "batch width frame"], rng: Generator) -> None:
        """Make random vectors of the data the first entries, once; later calls change nothing.

        Where there are many, entries move to the middle of what is nearest to them a few times (k-means), and count as
        often as they are chosen.
        """
        if self.filled:
            return
        size, rows = self.config.size, rows_of(vectors)
        self.entries.copy_(_drawn(rows, size, rng))
        self.counts.fill_(1)
        total = len(rows) * num_ranks()
        for _ in range(self.config.first_means if total >= _MANY * size else 0):
            chosen = nearest(self.entries, rows)
            counts = summed(torch.bincount(chosen, minlength=size).to(self.counts.dtype))
            sums = summed(torch.zeros_like(self.sums).index_add_(0, chosen, rows.to(self.sums.dtype)))
            self.entries.copy_(torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), self.entries))
            self.counts.copy_(counts * size / total)
        self.sums.copy_(self.entries * self.counts[:, None])
        self.filled.fill_(True)

    @torch.no_grad()
    def update(
        self,
        vectors: Float[Tensor, "batch width frame"],
        codes: Int[Tensor, "batch frame"],
        rng: Generator,
    ) -> int:
        """Move each entry towards the mean of the vectors that chose it; returns how many were revived.

        Too low a threshold leaves dead entries, too high one keeps the codebook from settling.
        """
        config = self.config
        rows, chosen = rows_of(vectors).to(self.sums.dtype), codes.flatten()
        sums = summed(torch.zeros_like(self.sums).index_add_(0, chosen, rows))
        counts = summed(torch.bincount(chosen, minlength=config.size).to(self.counts.dtype))
        self.sums.mul_(config.decay).add_(sums, alpha=1 - config.decay)
        self.counts.mul_(config.decay).add_(counts, alpha=1 - config.decay)
        mean = self.counts.mean()
        dead = self.counts < torch.clamp(config.revive_below_share * mean, min=config.revive_below_count)
        fresh = _drawn(rows, config.size, rng)
        self.entries.copy_(torch.where(dead[:, None], fresh, self.sums / self.counts[:, None].clamp_min(1e-9)))
        if config.revived_share is not None:
            self.counts[dead] = config.revived_share * mean
            self.sums.copy_(torch.where(dead[:, None], fresh * self.counts[:, None], self.sums))
        return int(dead.sum())


class MappedCodebook(Quantizer):
    """Entries that are one learned linear map of fixed random ones, so that all of them move at every step.

    SimVQ, Zhu et al. 2024 (arXiv 2411.02038), section 3.
    """

    fixed: Float[Tensor, "code width"]

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__(config)
        self.register_buffer("fixed", torch.empty(config.size, config.width).normal_())
        self.register_buffer("filled", torch.zeros((), dtype=torch.bool))
        self.map = nn.Linear(config.width, config.width)

    def table(self) -> Float[Tensor, "code width"]:
        entries: Tensor = self.map(self.fixed.to(self.map.weight.dtype))
        return entries

    def nearest(self, vectors: Float[Tensor, "vector width"]) -> Int[Tensor, " vector"]:
        return nearest(self.table().detach(), vectors)

    @torch.no_grad()
    def fill(self, vectors: Float[Tensor, "batch width frame"], rng: Generator) -> None:
        """Give the entries the mean and the covariance of the data, once; later calls change nothing."""
        if not self.filled:
            mean, triangle = spread_of(rows_of(vectors))
            self.map.weight.copy_(triangle)
            self.map.bias.copy_(mean)
            self.filled.fill_(True)


def nearest(entries: Float[Tensor, "code width"], vectors: Float[Tensor, "vector width"]) -> Int[Tensor, " vector"]:
    """The index of the entry closest to each vector."""
    entries = entries.to(vectors.dtype)
    norms = entries.square().sum(-1)
    rows = torch.split(vectors, rows_at_once(len(entries), vectors.device))
    with torch.autocast(vectors.device.type, enabled=False):  # rounded, another entry would be the closest
        # |v - e|² = |v|² - 2 v·e + |e|²; |v|² is the same for every entry, so it cannot change the winner.
        return torch.cat([_first_least(torch.addmm(norms, some, entries.T, beta=1, alpha=-2)) for some in rows])


def _first_least(numbers: Float[Tensor, "row column"]) -> Int[Tensor, " row"]:
    """`numbers.argmin(-1)`, several times faster: the least of each group is found without its place."""
    size = math.gcd(numbers.shape[1], 64)
    groups = numbers.view(len(numbers), numbers.shape[1] // size, size)
    group = groups.amin(2).argmin(1, keepdim=True)
    within = groups.take_along_dim(group[:, :, None], 1).squeeze(1).argmin(1)
    return group.squeeze(1) * size + within


def _drawn(rows: Float[Tensor, "vector width"], num: int, rng: Generator) -> Float[Tensor, "drawn width"]:
    """`num` random rows of those of all ranks; where there are too few, they come again with a little noise."""
    total = len(rows) * num_ranks()
    copies = -(-num // total)
    noise = torch.randn(copies * total, rows.shape[1], generator=rng).to(rows) if copies > 1 else None
    chosen = torch.randperm(copies * total, generator=rng)[:num].to(rows.device)
    drawn = all_rows(rows, chosen % total)
    return drawn if noise is None else drawn + 0.01 / rows.shape[1] ** 0.5 * noise[chosen]
