"""Filling one level with codes, window by window."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.config.sampling import LevelSampling
from orchestrion.generate.pick import chances, pick
from orchestrion.generate.windows import Window, stride_frames, windows
from orchestrion.prior.labels import Conditions

PREFILL_FRAMES = 512
"""How many known codes a prior is given at once: bounds the memory of a long context."""


@runtime_checkable
class Predictor(Protocol):
    """What a prior can do that generation needs; `prior.model.Prior` says what each means."""

    first_code: int

    def begin(self, conditions: Conditions, num_frames: int) -> Any: ...
    def advance(self, codes: Int[Tensor, "batch new"], state: Any) -> Float[Tensor, "batch score"]: ...


class LevelShape(NamedTuple):
    """The numbers of a level that its windows are laid by."""

    level: int
    context: int  # frames that the prior can see
    hop_length: int  # audio samples per frame
    ratio: int  # frames under one of the level above; 1 at the top


@dataclass(frozen=True)
class Filled:
    """How far a level is. `codes` holds all of it so far after each window, and nothing in between."""

    level: int
    frames_done: int
    frames_total: int
    codes: Int[Tensor, "batch frame"] | None = None


def fill_level(
    prior: Predictor,
    known: Int[Tensor, "batch frame"],
    total: int,
    *,
    shape: LevelShape,
    conditions: Conditions,
    seeds: Sequence[int],
    sampling: LevelSampling,
) -> Iterator[Filled]:
    """Extend the codes `known` to `total` frames, a song in each row.

    `conditions` are the song's: `start_samples` is where frame 0 is, and `coarser` holds the whole level
    above. There is one seed for each row, and a row comes out the same whatever the others are.
    """
    codes = known
    stride = stride_frames(shape.context, sampling.hop_fraction, shape.ratio)
    for window in windows(total, context=shape.context, stride=stride, known=known.shape[1]):
        chance = chances(seeds, shape.level, window.known, window.stop).to(codes.device)
        state, logits = _begin(prior, codes, window, _narrowed(conditions, window, shape))
        drawn = [pick(logits, chance[:, 0], sampling) - prior.first_code]
        for frame in range(window.known + 1, window.stop):
            yield Filled(shape.level, frame, total)
            logits = _advance(prior, drawn[-1][:, None], state)
            drawn.append(pick(logits, chance[:, frame - window.known], sampling) - prior.first_code)
        # A character drawn where a code belongs is read on as it is, and kept as code 0 (the published way).
        codes = torch.cat([codes, torch.stack(drawn, 1).clamp(min=0)], 1)
        yield Filled(shape.level, window.stop, total, codes)


def _narrowed(conditions: Conditions, window: Window, shape: LevelShape) -> Conditions:
    """The conditions of one window."""
    assert window.start % shape.ratio == 0, (window, shape)
    coarser = conditions.coarser
    if coarser is not None:
        first, last = window.start // shape.ratio, -(-window.stop // shape.ratio)
        assert last <= coarser.shape[1], (window, coarser.shape)
        coarser = coarser[:, first:last]
    start_samples = conditions.start_samples + window.start * shape.hop_length
    return replace(conditions, start_samples=start_samples, coarser=coarser)


@torch.no_grad()
def _begin(
    prior: Predictor, codes: Int[Tensor, "batch frame"], window: Window, conditions: Conditions
) -> tuple[Any, Float[Tensor, "batch score"]]:
    """The state after the window's known codes, and the logits of the first frame to invent."""
    state = prior.begin(conditions, window.stop - window.start)
    given = codes[:, window.start : window.known]
    # At the very start there is nothing to read: one empty piece asks for the first logits.
    for start in range(0, max(given.shape[1], 1), PREFILL_FRAMES):
        logits = prior.advance(given[:, start : start + PREFILL_FRAMES], state)
    return state, logits


@torch.no_grad()
def _advance(prior: Predictor, codes: Int[Tensor, "batch new"], state: Any) -> Float[Tensor, "batch score"]:
    return prior.advance(codes, state)
