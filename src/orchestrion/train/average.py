"""The mean of the weights of several priors: often better than each, where they went on from one another."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch

from orchestrion.codec import Codec
from orchestrion.config import plain
from orchestrion.config.prior import PriorConfig
from orchestrion.config.training import TrainingConfig
from orchestrion.data.encoded import CodeStore
from orchestrion.errors import UserError
from orchestrion.nn.precision import doubled
from orchestrion.train.assemble import Trained
from orchestrion.train.masked import MaskedRecipe
from orchestrion.train.prior import PriorRecipe, learning_like
from orchestrion.train.run import weights_digest

_MAY_DIFFER = ("labels", "context_frames", "lyrics", "patterns", "num_rows", "dropout")
"""Of a prior's settings: how much of the music and of its words it sees, and how much is dropped in training."""


class Averaged(NamedTuple):
    """A prior that is averaged: what it was called, a fingerprint, bits per code on held-out windows."""

    name: str
    weights: str
    bits: float


def recipe_like(first: Trained, store: CodeStore, level: int, codec: Codec, device: torch.device) -> PriorRecipe:
    """What judges and writes a prior of the settings of `first`."""
    config = first.prior.config
    training = TrainingConfig(steps=1, batch_size=1, precision="float32")
    kind = MaskedRecipe if config.masked else PriorRecipe
    return kind(learning_like(config, training), store, level, codec, device, prior=first.prior)


@torch.no_grad()
def average(recipe: PriorRecipe, parts: Iterable[tuple[str, Trained]]) -> Iterator[Averaged]:
    """Give the prior of `recipe` the mean of the weights of `parts`, by their names; one given twice counts twice.

    Yields each of them as it is judged; when the last is taken the mean is there. Contexts and lyrics may be of another
    length than those of `recipe` (`PriorRecipe.begin_with`). UserError for a prior of another kind, or with other names
    than the codes have.

    (Wortsman et al. 2022, arXiv 2203.05482; along one training Izmailov et al. 2018, arXiv 1803.05407.)
    """
    recipe.prior.eval()
    total: dict[str, torch.Tensor] = {}
    kind, count = _kind(recipe.prior.config), 0
    for name, trained in parts:
        if _kind(trained.prior.config) != kind:
            raise UserError(f"the prior of {name} is of another kind than the first", "give some that went on from it")
        if trained.vocabulary != recipe.store.vocabulary:
            raise UserError(f"the prior of {name} knows other names than the codes have", "give one trained on them")
        recipe.begin_with(trained)
        count += 1
        for key, value in recipe.prior.state_dict().items():
            total[key] = total.get(key, 0) + doubled(value.cpu())
        yield Averaged(name, weights_digest(trained.prior), recipe.bits())
    own = recipe.prior.state_dict()
    recipe.prior.load_state_dict({key: (value / count).to(own[key].dtype) for key, value in total.items()})


def _kind(config: PriorConfig) -> dict[str, Any]:
    """What has to be the same, so that weights mean the same."""
    said = plain(config)
    said |= {"masked": config.masked, "sings": config.lyrics is not None} | said.pop("transformer")
    return {name: value for name, value in said.items() if name not in _MAY_DIFFER}
