"""Chance for a part of a batch, such that it does not depend on how the batch was cut."""

import torch
from jaxtyping import Float
from torch import Generator, Tensor


class RowGenerator(Generator):
    """A generator for the rows from `first` on of a batch of `total`: a row gets what it would get in all of it."""

    first: int
    total: int


def rows_of_batch(seed: int, first: int, total: int) -> RowGenerator:
    """A fresh generator for the rows from `first` on of a batch of `total`."""
    made = RowGenerator()
    made.manual_seed(seed)
    made.first, made.total = first, total
    return made


def kept_channels(
    update: Float[Tensor, "batch token width"], share: float, rng: Generator
) -> Float[Tensor, "batch 1 width"]:
    """For a whole sequence at once: 1 / `share` for channels to be kept, with the chance `share`, else 0."""
    batch, _, width = update.shape
    first, total = (rng.first, rng.total) if isinstance(rng, RowGenerator) else (0, batch)
    drawn = torch.empty(total, 1, width, dtype=update.dtype, device=rng.device).bernoulli_(share, generator=rng)
    return drawn[first : first + batch].to(update.device) / share
