"""A trained prior made to learn a little more: low-rank updates of its matrices, names it did not know."""

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from orchestrion.config.training import AdapterConfig
from orchestrion.nn.linear import Linear, linear
from orchestrion.prior.conditioned import ConditionedModel


class LowRank(nn.Module):
    """A frozen linear layer and an update of its weight: `scale · up @ down`, of which only these two are learned.

    LoRA, Hu et al. 2021 (arXiv 2106.09685), section 4.1. `up` begins at zero, so that nothing changes at first.
    """

    def __init__(self, base: Linear, config: AdapterConfig, rng: Generator | None = None) -> None:
        super().__init__()
        self.base = base
        self.scale = config.scale
        out, width = base.weight.shape
        self.down = nn.Parameter(base.weight.new_empty(config.rank, width))
        self.up = nn.Parameter(base.weight.new_zeros(out, config.rank))
        with torch.no_grad():
            self.down.normal_(0, width**-0.5, generator=rng)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        out: Tensor = self.base(x)
        return out + self.scale * linear(linear(x, self.down), self.up)


class GrownTable(nn.Module):
    """A frozen table of embeddings with rows of new names after it, which are learned."""

    def __init__(self, base: nn.Embedding, rows: Float[Tensor, "new width"]) -> None:
        super().__init__()
        self.base = base
        self.added = nn.Parameter(rows.to(base.weight).clone())

    @property
    def num_embeddings(self) -> int:
        return self.base.num_embeddings + len(self.added)

    def forward(self, ids: Tensor) -> Float[Tensor, "*batch width"]:
        known = self.base.num_embeddings
        old: Tensor = self.base(ids.clamp(max=known - 1))
        if not len(self.added):
            return old
        new = self.added[(ids - known).clamp(min=0)]
        return torch.where((ids < known)[..., None], old, new)


def adapt(prior: ConditionedModel, config: AdapterConfig, rng: Generator | None = None) -> None:
    """Freeze `prior` but for a low-rank update of every matrix of its transformer and the rows of `grow`.

    `rng` draws the first numbers of the updates.
    """
    for parameter in prior.parameters():
        parameter.requires_grad_(False)
    if prior.labels is not None:
        for table in (prior.labels.artist, prior.labels.genre):
            if isinstance(table, GrownTable):
                table.added.requires_grad_(len(table.added) > 0)
    for parent in list(prior.tokens.transformer.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Linear):
                setattr(parent, name, LowRank(child, config, rng))


def grow(
    prior: ConditionedModel, artists: Float[Tensor, "new_artist width"], genres: Float[Tensor, "new_genre width"]
) -> None:
    """Give `prior` rows for names it did not know, after those it has; they may be none."""
    assert prior.labels is not None, "a prior without labels has no names"
    for attribute, rows in (("artist", artists), ("genre", genres)):
        table = getattr(prior.labels, attribute)
        assert isinstance(table, nn.Embedding), "grown before"
        setattr(prior.labels, attribute, GrownTable(table, rows))
    known = prior.labels.artist.num_embeddings, prior.labels.genre.num_embeddings
    labels = prior.config.labels
    assert labels is not None
    labels = labels.model_copy(update={"num_artists": known[0], "num_genres": known[1]})
    prior.config = prior.config.model_copy(update={"labels": labels})


@torch.no_grad()
def settle(prior: ConditionedModel) -> None:
    """Make `prior` an ordinary one again, which does what the adapted one did."""
    for parent in list(prior.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LowRank):
                weight = child.base.weight
                weight += (child.scale * (child.up @ child.down)).to(weight)
                setattr(parent, name, child.base)
            elif isinstance(child, GrownTable):
                whole = torch.cat((child.base.weight, child.added))
                table = nn.Embedding(len(whole), whole.shape[1], _weight=whole)
                setattr(parent, name, table)


def learned(prior: ConditionedModel) -> dict[str, Tensor]:
    """What `adapt` and `grow` added, by names."""
    own = {
        f"{name}.{part}"
        for name, module in prior.named_modules()
        for part in {LowRank: ("down", "up"), GrownTable: ("added",)}.get(type(module), ())
    }
    return {name: tensor for name, tensor in prior.state_dict().items() if name in own}
