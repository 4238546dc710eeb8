"""The mean of the weights of several priors: often better than each, where they went on from one another."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from orchestrion.errors import UserError
from orchestrion.train.assemble import Trained
from orchestrion.train.prior import PriorRecipe


class Judged(NamedTuple):
    """A prior and what held-out music costs it."""

    name: str
    bits: float


@torch.no_grad()
def mean_of(recipe: PriorRecipe, parts: Sequence[tuple[str, Trained]]) -> Iterator[Judged]:
    """Give the prior of `recipe` the mean of the weights of `parts`, by their names; one given twice counts twice.

    Yields what held-out windows cost each of them, in bits per code, and then their mean. They are taken over as by
    `PriorRecipe.begin_with`, so contexts and lyrics may be of another length.

    (Wortsman et al. 2022, arXiv 2203.05482; along one training Izmailov et al. 2018, arXiv 1803.05407.)
    """
    if len(parts) < 2:
        raise UserError("a mean is of two priors or more", "give several")
    recipe.prior.eval()
    total: dict[str, torch.Tensor] = {}
    for name, trained in parts:
        recipe.begin_with(trained)
        for key, value in recipe.prior.state_dict().items():
            total[key] = total[key] + value.double() if key in total else value.double()
        yield Judged(name, recipe.bits())
    own = recipe.prior.state_dict()
    recipe.prior.load_state_dict({key: (value / len(parts)).to(own[key].dtype) for key, value in total.items()})
    yield Judged("their mean", recipe.bits())
