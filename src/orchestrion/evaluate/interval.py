"""Figures with their uncertainty: what another draw of clips, windows or songs might have given."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

DRAWS = 1000
_SHARE = 0.95
_NORMAL_QUANTILE = 1.959964  # that 2.5 % of a normal distribution pass


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval that holds 95 % of its bootstrap draws."""

    value: float
    low: float
    high: float


def bootstrap(
    count: int,
    statistic: Callable[[Int[Tensor, " drawn"]], float],
    *,
    centred: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """`statistic` of the items numbered 0 to `count` - 1, and its percentile interval (Efron 1979).

    It is given the numbers of the items to be used: all of them once for the value, then `draws` times as many drawn
    with replacement. `centred` shifts the draws so that their mean is the value, for a statistic that is another one
    of draws in which some items are missing.
    """
    assert count > 0, "a statistic of nothing"
    rng = torch.Generator().manual_seed(seed)
    found = torch.tensor(
        [statistic(torch.randint(count, (count,), generator=rng)) for _ in range(draws)], dtype=torch.float64
    )
    value = statistic(torch.arange(count))
    return around(value, found - found.mean() + value if centred else found)


def bootstrap_tracks(
    tracks: Int[Tensor, " item"],
    statistic: Callable[[Int[Tensor, " drawn"]], float],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """As `bootstrap`, of pieces that were cut from `tracks`, one number each.

    Pieces of one track resemble one another, so whole tracks are drawn, or the pieces of the only one.
    """
    members = by_track(tracks)
    if len(members) == 1:
        return bootstrap(len(tracks), statistic, draws=draws, seed=seed)
    return bootstrap(
        len(members),
        lambda drawn: statistic(torch.cat([members[place] for place in drawn.tolist()])),
        draws=draws,
        seed=seed,
    )


def by_track(tracks: Int[Tensor, " item"]) -> list[Int[Tensor, " member"]]:
    """The items of each track, in the order of the tracks' numbers."""
    return [(tracks == track).nonzero()[:, 0] for track in torch.unique(tracks)]


def bootstrap_two(
    count: int,
    other_count: int,
    statistic: Callable[[Int[Tensor, " drawn"], Int[Tensor, " other_drawn"]], float],
    *,
    paired: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """As `bootstrap`, of two sets that are drawn from independently, for how far they are apart.

    Of `paired` sets, two versions of the same items, the same are drawn of both. Items that are drawn twice make sets
    look further apart than they are. The draws are therefore shifted so that their mean is the value; the lower end of
    a distance may then be below 0.
    """
    assert count > 0 and other_count > 0, "a distance from nothing"
    assert count == other_count or not paired, "a version of each item"
    rng = torch.Generator().manual_seed(seed)
    figures = []
    for _ in range(draws):
        drawn = torch.randint(count, (count,), generator=rng)
        figures.append(statistic(drawn, drawn if paired else torch.randint(other_count, (other_count,), generator=rng)))
    found = torch.tensor(figures, dtype=torch.float64)
    value = statistic(torch.arange(count), torch.arange(other_count))
    return around(value, found - found.mean() + value)


def around(value: float, found: Float[Tensor, " draw"]) -> Estimate:
    """`value` with the interval that holds 95 % of what was `found`."""
    tail = (1 - _SHARE) / 2
    low, high = torch.quantile(found, torch.tensor([tail, 1 - tail], dtype=found.dtype)).tolist()
    return Estimate(float(value), low, high)


def share(found: Bool[Tensor, " item"]) -> Estimate:
    """The share of independent items that something is found of, with its score interval (Wilson 1927, 95 %).

    A bootstrap has none where it is found of no item, or of all.
    """
    count, value = len(found), float(found.double().mean())
    squared = _NORMAL_QUANTILE**2 / count
    middle = (value + squared / 2) / (1 + squared)
    reach = (value * (1 - value) * squared + squared**2 / 4) ** 0.5 / (1 + squared)
    return Estimate(value, max(0.0, middle - reach), min(1.0, middle + reach))


def mean(values: Float[Tensor, " item"], *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """The mean of `values` with its interval."""
    exact = values.cpu().double()
    return bootstrap(len(exact), lambda drawn: float(exact[drawn].mean()), draws=draws, seed=seed)


def mean_of_tracks(tracks: Int[Tensor, " item"], values: Float[Tensor, " item"], *, seed: int = 0) -> Estimate:
    """The mean of `values` with its interval, of pieces that were cut from `tracks`, which are drawn again whole."""
    exact = values.cpu().double()
    return bootstrap_tracks(tracks, lambda drawn: float(exact[drawn].mean()), seed=seed)
