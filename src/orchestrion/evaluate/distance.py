"""How far apart two sets of music are, by vectors that describe pieces of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from orchestrion.evaluate.interval import Estimate, around, bootstrap_two, by_track, mean_of_tracks

NEIGHBOURS = 3
"""Kynkäänniemi et al. 2019 use 3 for 50,000 items; few items leave gaps that no number of neighbours closes."""


@dataclass(frozen=True)
class Described:
    """Pieces of music as vectors, and the number of the track or song that each was cut from.

    Pieces of one track resemble one another, so tracks, not pieces, are what is drawn for an interval.
    """

    features: Float[Tensor, "item feature"]
    tracks: Int[Tensor, " item"]

    @cached_property
    def of_tracks(self) -> list[Int[Tensor, " member"]]:
        """The items of each track, in the order of the tracks' numbers."""
        return by_track(self.tracks)

    def part(self, drawn: Int[Tensor, " drawn"]) -> "Described":
        """Only the tracks at these places of `of_tracks`, as often as they are named."""
        items = torch.cat([self.of_tracks[place] for place in drawn.tolist()])
        return Described(self.features[items], self.tracks[items])


LEAST_TRACKS = 5
"""Of fewer tracks, too many draws hold a single one over and over."""

Measure = Callable[[Described, Described], float]
"""A distance of two sets."""


def frechet(one: Float[Tensor, "item feature"], other: Float[Tensor, "other_item feature"]) -> float:
    """The Frechet distance of two normal distributions fitted to rows (Dowson & Landau 1982; for sound Kilgour 2019).

    ‖m − n‖² + tr C + tr D − 2 tr (C D)^½. With C = XᵀX and D = YᵀY of the centred rows the last trace is the sum of
    the singular values of X Yᵀ: no root of a nearly singular matrix is taken, and fewer rows than features do no harm
    to the arithmetic. They do make the distance larger: compare only between sets of the same size.
    """
    exact, other_exact = one.double(), other.double()
    first, second = _root(exact), _root(other_exact)
    overlap = torch.linalg.svdvals(first @ second.T).sum()
    shift = (exact.mean(0) - other_exact.mean(0)).square().sum()
    return max(0.0, float(shift + first.square().sum() + second.square().sum() - 2 * overlap))


def frechet_distance(one: Described, other: Described) -> float:
    """`frechet` of all pieces of two sets."""
    return frechet(one.features, other.features)


def kernel_distance(one: Described, other: Described, *, paired: bool = False) -> float:
    """The squared maximum mean discrepancy under the kernel (x·y/d + 1)³, without bias (Binkowski et al. 2018).

    Within a set only pieces of different tracks are paired, so that neither a piece drawn twice nor the likeness of
    the pieces of one track counts. Around 0, on either side, for two draws of the same music. The features are taken
    as they are: bring them to a scale of about 1 first. A set of a single track counts as one that never varies.
    Where both sets are of the same tracks, `paired`, those do not meet between the sets either: two versions of a piece
    are nearer to each other than two draws of music can be.
    """
    between = _apart(one, other) if paired else _kernel(one.features, other.features).mean()
    return float(_apart(one, one) + _apart(other, other) - 2 * between)


def distance(
    measure: Measure, one: Described, other: Described, *, paired: bool = False, draws: int = 200, seed: int = 0
) -> Estimate:
    """`measure` with the interval of other draws of the tracks of either set, five or more in each.

    Of `paired` sets, two versions of the same tracks, the same are drawn of both.
    """
    assert min(len(one.of_tracks), len(other.of_tracks)) >= LEAST_TRACKS, "an interval needs more tracks"
    return bootstrap_two(
        len(one.of_tracks),
        len(other.of_tracks),
        lambda drawn, other_drawn: measure(one.part(drawn), other.part(other_drawn)),
        paired=paired,
        draws=draws,
        seed=seed,
    )


@dataclass(frozen=True)
class Coverage:
    """`precision`: the share of made pieces that lie among the real; `recall`: of real pieces among the made."""

    precision: Estimate
    recall: Estimate


def coverage(real: Described, made: Described, *, neighbours: int = NEIGHBOURS, seed: int = 0) -> Coverage:
    """Precision and recall by nearest neighbours (Kynkäänniemi et al. 2019, section 2).

    A set covers what is within the distance to its `neighbours`-th nearest item of another track around any of its
    items: the pieces of one track would make the reach that of a piece, not of the music. The intervals are of other
    draws of the tracks that are judged; what covers them is kept.
    """
    return Coverage(
        _share(made, _covered(made, real, neighbours), seed), _share(real, _covered(real, made, neighbours), seed)
    )


def halves(
    real: Described, versions: Sequence[Described], measure: Measure, *, splits: int = 50, seed: int = 0
) -> Float[Tensor, "version split"]:
    """`measure` between a random half of the tracks of `real` and the other half of the tracks of each of `versions`.

    Versions have the tracks of `real`, by their numbers; all are cut alike. So no piece meets its own version, and
    what was done to music can be told from what music differs by anyway.
    """
    count = len(real.of_tracks)
    assert all(len(each.of_tracks) == count for each in versions), "versions of the same tracks"
    rng = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(splits):
        order = torch.randperm(count, generator=rng)
        one, other = real.part(order[: count // 2]), order[count // 2 : count // 2 * 2]
        found.append([measure(one, each.part(other)) for each in versions])
    return torch.tensor(found, dtype=torch.float64).T


def floor(real: Described, measure: Measure) -> Estimate:
    """`measure` between random halves of the same tracks: what no model can be below at half the number of tracks.

    The value is the mean, the interval holds 95 % of the splits.
    """
    return mean_of_splits(halves(real, [real], measure)[0])


def mean_of_splits(found: Float[Tensor, " split"]) -> Estimate:
    """The mean of a row of `halves`, with the interval that holds 95 % of the splits."""
    return around(float(found.mean()), found)


def with_noise(
    audio: Float[Tensor, "channel sample"], decibels: float, rng: torch.Generator
) -> Float[Tensor, "channel sample"]:
    """`audio` with white noise so many decibels below its power: a ceiling for distances."""
    noise = torch.randn(audio.shape, generator=rng).to(audio)
    power = audio.square().mean() * 10 ** (-decibels / 10)
    return audio + noise * power.sqrt()


def _root(rows: Float[Tensor, "item feature"]) -> Float[Tensor, "rank feature"]:
    """X with XᵀX the covariance of the rows, in as few rows as there are items or features."""
    assert len(rows) > 1, "the covariance of one item"
    centred = (rows - rows.mean(0)) / math.sqrt(len(rows) - 1)
    return torch.linalg.qr(centred, mode="r").R if len(rows) > rows.shape[1] else centred


def _kernel(
    one: Float[Tensor, "item feature"], other: Float[Tensor, "other_item feature"]
) -> Float[Tensor, "item other_item"]:
    return (one.double() @ other.double().T / one.shape[1] + 1) ** 3


def _apart(one: Described, other: Described) -> Tensor:
    """The mean kernel of pieces of different tracks."""
    kernel, apart = _kernel(one.features, other.features), one.tracks[:, None] != other.tracks
    return kernel[apart].mean() if apart.any() else kernel.mean()  # of a single track otherwise


def _covered(judged: Described, by: Described, neighbours: int) -> Bool[Tensor, " item"]:
    own = torch.cdist(by.features.double(), by.features.double(), compute_mode="donot_use_mm_for_euclid_dist")
    own = own.masked_fill(by.tracks[:, None] == by.tracks, math.inf)
    radius = own.kthvalue(neighbours, dim=1).values
    assert radius.isfinite().all(), "fewer items of other tracks than neighbours"
    apart = torch.cdist(judged.features.double(), by.features.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return (apart <= radius).any(1)


def _share(judged: Described, inside: Bool[Tensor, " item"], seed: int) -> Estimate:
    return mean_of_tracks(judged.tracks, inside.double(), seed=seed)
