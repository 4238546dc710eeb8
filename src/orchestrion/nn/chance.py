"""Chance for a part of a batch, such that it does not depend on how the batch was cut."""

from collections.abc import Sequence

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
    first, total = _place(rng, batch)
    drawn = torch.empty(total, 1, width, dtype=update.dtype, device=rng.device).bernoulli_(share, generator=rng)
    own = drawn[first : first + batch]
    if update.is_cuda and not own.is_cuda:
        own = own.pin_memory()  # so that the copy does not wait for all that the GPU was asked for before
    return own.to(update.device, non_blocking=True) / share


def uniform_rows(batch: int, shape: Sequence[int], rng: Generator) -> Tensor:
    """`batch *shape` numbers from 0 to 1, each row with its own."""
    first, total = _place(rng, batch)
    return torch.rand(total, *shape, generator=rng, device=rng.device)[first : first + batch]


def normal_rows(batch: int, shape: Sequence[int], rng: Generator) -> Tensor:
    """`batch *shape` numbers of a normal distribution, each row with its own."""
    first, total = _place(rng, batch)
    return torch.randn(total, *shape, generator=rng, device=rng.device)[first : first + batch]


def _place(rng: Generator, batch: int) -> tuple[int, int]:
    """The first row of this part, and how many there are in all."""
    return (rng.first, rng.total) if isinstance(rng, RowGenerator) else (0, batch)
