"""How well a prior expects held-out music, beside what is known without one."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.codes import HIDDEN
from orchestrion.config.prior import PriorConfig
from orchestrion.data.encoded import CodeBatch, CodeStore
from orchestrion.errors import UserError
from orchestrion.evaluate.interval import Estimate, bootstrap_tracks
from orchestrion.evaluate.report import Plot, Section, Table
from orchestrion.generate.told import told_of
from orchestrion.prior import Conditions, Prior
from orchestrion.prior.masked import AnyPrior, MaskedPrior, hide_evenly

NUM_PLACES = 16
"""Stretches of a window in which bits are given by position."""
_HELD_OUT_ONE_IN = 10
_MIXTURES = tuple(10.0**power for power in range(-1, 5))
_TEXT = (
    "Bits per code on held-out tracks. A single code costs what its share of the training codes says, and one after "
    "another what their pairs there say: the chance of a code after another is (pairs + m x its share) / (all pairs of "
    "the first + m), with the m that suits a tenth of the training tracks best, which are left out for that. A masked "
    "prior is measured on frames that are filled one by one in random order, with as many windows at each number of "
    "hidden frames; it has no bits by position. A prior is told artist, genre and timing and, if it reads lyrics, the "
    "words and when each is sung; without words and without labels it is told the rest. A short track weighs as little "
    "as it has codes. Intervals hold 95 % of the means of windows whose tracks are drawn again, or of windows drawn "
    "again where there is one track only."
)
Tell = Callable[[Conditions], Conditions]
"""What a prior is told of a window, of all there is to tell."""


class HeldOut(NamedTuple):
    """Windows of held-out music, one a batch, and the track that each was cut from."""

    batches: list[CodeBatch]
    tracks: Int[Tensor, " window"]


@dataclass(frozen=True)
class PriorFigures:
    """Bits per code of a level on held-out tracks.

    `wordless` is there for priors that read lyrics. `places` are those of equal stretches of a window, in order, as far
    as held-out music goes; a masked prior has none.
    """

    level: int
    num_windows: int
    single: Estimate
    pairs: Estimate
    bits: Estimate
    unlabelled: Estimate
    wordless: Estimate | None
    places: tuple[Estimate, ...]


def held_out_windows(config: PriorConfig, store: CodeStore, level: int, max_windows: int | None = None) -> HeldOut:
    """What a prior with this `config` is measured on, evenly spread over the validation side of `store`.

    UserError where no track is held out, or none as long as a window for a prior that needs whole ones.
    """
    frames, short = config.context_frames, config.takes_short_tracks
    batches = list(
        store.validation_batches(
            1, level, frames, max_windows=max_windows, num_characters=config.num_characters, short_tracks=short
        )
    )
    if not batches:
        raise UserError(
            f"no track is held out, or none as long as a window of level {level}, {frames} codes",
            "encode longer or more tracks",
        )
    tracks = torch.tensor(store.validation_tracks(level, frames, max_windows=max_windows, short_tracks=short))
    assert len(tracks) == len(batches)
    return HeldOut(batches, tracks)


@torch.inference_mode()
def measure_prior(prior: AnyPrior, store: CodeStore, level: int, max_windows: int | None = None) -> PriorFigures:
    """`prior` on the validation side of `store`, whose vocabulary is the model's.

    UserError where no track is held out, or none as long as a window for a prior that needs whole ones.
    """
    config = prior.config
    frames, size, depth = config.context_frames, config.codebook_size, config.depth
    windows, tracks = held_out_windows(config, store, level, max_windows)
    shares, chances = single_chances(store, level, depth), pair_chances(store, level, depth)
    codes = torch.cat([window.codes for window in windows])
    labelled = code_bits(prior, windows)
    unlabelled = code_bits(prior, windows, Conditions.unlabelled)
    wordless = code_bits(prior, windows, Conditions.wordless) if config.num_characters else None
    ended = codes == HIDDEN
    longest = int((~ended).sum(1).max())
    edges = torch.linspace(0, longest, min(NUM_PLACES, longest) + 1).round().long().tolist()
    codes = codes.where(~ended, 0)

    def over_tracks(values: Float[Tensor, "window frame"]) -> Estimate:
        return mean_bits(values, tracks, of_windows=isinstance(prior, MaskedPrior))

    def of_music(bits: Float[Tensor, "window frame"]) -> Float[Tensor, "window frame"]:
        return bits.masked_fill(ended[:, -bits.shape[1] :], torch.nan)

    assert shares.shape == (depth, size)
    places = torch.arange(frames) % depth
    return PriorFigures(
        level=level,
        num_windows=len(windows),
        single=over_tracks(of_music(-shares.log2()[places, codes])),
        pairs=over_tracks(of_music(-chances[places[1:], codes[:, :-1], codes[:, 1:]].log2())),
        bits=over_tracks(labelled),
        unlabelled=over_tracks(unlabelled),
        wordless=None if wordless is None else over_tracks(wordless),
        places=()
        if isinstance(prior, MaskedPrior)
        else tuple(over_tracks(labelled[:, low:high]) for low, high in pairwise(edges)),
    )


def mean_bits(
    values: Float[Tensor, "window frame"], tracks: Int[Tensor, " window"], *, of_windows: bool = False
) -> Estimate:
    """The mean over codes of `code_bits`, what is nan left out; whole tracks are drawn again.

    `of_windows` weighs all windows alike: those of a masked prior, which hide few codes in one and many in another.
    """
    there = ~values.isnan().all(1)
    sums, counts = values[there].double().nansum(1), (~values[there].isnan()).sum(1).double()
    if of_windows:
        sums, counts = sums / counts, torch.ones_like(counts)
    return bootstrap_tracks(tracks[there], lambda drawn: float(sums[drawn].sum() / counts[drawn].sum()))


def single_chances(store: CodeStore, level: int, depth: int = 1) -> Float[Tensor, "place code"]:
    """The share of each code at its place among those of training tracks, each counted once more than it occurs."""
    return _shares(store.counts(level, "train", depth))


def _shares(counts: Int[Tensor, "*row code"]) -> Float[Tensor, "*row code"]:
    more = counts.double() + 1
    return more / more.sum(-1, keepdim=True)


def pair_chances(store: CodeStore, level: int, depth: int = 1) -> Float[Tensor, "place before code"]:
    """The chance of each code at its place after each other, from pairs in training tracks mixed with single codes."""
    indices = store.indices("train")
    kept_apart = indices[::_HELD_OUT_ONE_IN] if len(indices) > 1 else []
    counts = _pairs(store, level, [index for index in indices if index not in kept_apart], depth)
    apart = _pairs(store, level, kept_apart, depth)
    return torch.stack([_mixed(*tables) for tables in zip(counts, apart, strict=True)])


def _mixed(counts: Int[Tensor, "before code"], apart: Int[Tensor, "before code"]) -> Float[Tensor, "before code"]:
    """Chances from `counts` with as much of single codes as `apart` is told best with, then from both."""

    def chances(pairs: Tensor, mixture: float) -> Tensor:
        return (pairs + mixture * _shares(pairs.sum(0))) / (pairs.sum(1, keepdim=True) + mixture)

    best = min(_MIXTURES, key=lambda mixture: float(-(apart * chances(counts, mixture).log2()).sum()))
    return chances(counts + apart, best)


def _pairs(store: CodeStore, level: int, indices: list[int], depth: int) -> Int[Tensor, "place before code"]:
    """How often each code is at each place of a vector after each other, at the place before."""
    size = store.codebook_size
    found: list[list[Tensor]] = [[] for _ in range(depth)]
    for index in indices:
        codes = store.codes(index, level)
        pairs = codes[:-1] * size + codes[1:]
        for place in range(depth):
            found[place].append(pairs[(place - 1) % depth :: depth])
    none = torch.zeros(0, dtype=torch.long)
    counts = [torch.bincount(torch.cat([none, *place]), minlength=size * size) for place in found]
    return torch.stack(counts).view(depth, size, size)


@torch.inference_mode()
def code_bits(
    prior: AnyPrior, windows: list[CodeBatch], tell: Tell = lambda told: told
) -> Float[Tensor, "window frame"]:
    """Bits of every code, of a masked prior of the hidden ones; nothing (nan) for the rest, and after a track's end."""
    device = next(prior.parameters()).device
    found = []
    for number, window in enumerate(windows):
        codes = window.codes.to(device)
        told = tell(told_of(window)).to(device)
        if isinstance(prior, MaskedPrior):
            hidden = hide_evenly(1, codes.shape[1], number, prior.depth).to(device)
            nats = F.cross_entropy(prior.hidden_scores(codes, hidden, told), codes[hidden], reduction="none")
            bits = torch.full(codes.shape, torch.nan, device=device).masked_scatter(hidden, nats / math.log(2))
        else:
            assert isinstance(prior, Prior)
            scores, targets = prior(codes, told), codes[0].clamp(min=0) + prior.first_code
            nats = F.cross_entropy(scores[0].float(), targets, reduction="none")
            bits = (nats[None] / math.log(2)).masked_fill(codes == HIDDEN, torch.nan)
        found.append(bits.cpu())
    return torch.cat(found)


def priors_section(found: Iterator[PriorFigures] | list[PriorFigures], rates: dict[int, float]) -> Section:
    """Figures of priors, a row for each level; `rates` are codes a second by level."""
    rows: list[tuple[Estimate | float | int | str | None, ...]] = []
    lines = []
    for one in found:
        figures = (one.single, one.pairs, one.bits, one.unlabelled, one.wordless)
        rows.append((f"level {one.level}", rates[one.level], one.num_windows, *figures))
        at = tuple((place + 0.5) / len(one.places) for place in range(len(one.places)))
        if one.places:
            lines.append((f"level {one.level}", at, one.places))
    header = (
        "",
        "codes/s",
        "windows",
        "single codes",
        "pairs of codes",
        "the prior",
        "without labels",
        "without words",
    )
    plot = Plot("Bits per code by position", "place in the window", "bits per code", tuple(lines))
    return Section("The priors", _TEXT, tables=(Table(header, tuple(rows)),), plots=(plot,) if lines else ())
