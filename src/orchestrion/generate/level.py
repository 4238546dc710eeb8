"""Filling one level with codes, window by window."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.config.sampling import LevelSampling
from orchestrion.generate.pick import chances, pick
from orchestrion.generate.told import Told
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
    told: Told,
    seeds: Sequence[int],
    sampling: LevelSampling,
    most_rows: int | None = None,
) -> Iterator[Filled]:
    """Extend the codes `known` to `total` frames, a song in each row.

    There is one seed for each row, and a row comes out the same whatever the others are. `most_rows` bounds the
    memory: so many songs, or all, are drawn together in each window.
    """
    codes, songs = known, len(seeds)
    at_once = most_rows or songs
    stride = stride_frames(shape.context, sampling.hop_fraction, shape.ratio)
    for window in windows(total, context=shape.context, stride=stride, known=known.shape[1]):
        invented: list[Int[Tensor, "row frame"]] = []
        for first in range(0, songs, at_once):
            rows = slice(first, min(first + at_once, songs))
            here = told.rows(rows.start, rows.stop)
            drawn: list[Int[Tensor, " row"]] = []
            for code in _draw(prior, codes[rows], window, _narrowed(here, window, shape), seeds[rows], shape, sampling):
                done = window.known * songs + first * (window.stop - window.known) + len(drawn) * len(code)
                if drawn and done // songs > window.known:
                    yield Filled(shape.level, done // songs, total)
                drawn.append(code)
            invented.append(torch.stack(drawn, 1))
        # A character drawn where a code belongs is read on as it is, and kept as code 0 (the published way).
        codes = torch.cat([codes, torch.cat(invented).clamp(min=0)], 1)
        yield Filled(shape.level, window.stop, total, codes)


def _draw(
    prior: Predictor,
    codes: Int[Tensor, "row frame"],
    window: Window,
    conditions: Conditions,
    seeds: Sequence[int],
    shape: LevelShape,
    sampling: LevelSampling,
) -> Iterator[Int[Tensor, " row"]]:
    """The frames that `window` invents, one after another."""
    chance = chances(seeds, shape.level, window.known, window.stop).to(codes.device)
    state, logits = _begin(prior, codes, window, conditions)
    for column in range(window.stop - window.known):
        code = pick(logits, chance[:, column], sampling) - prior.first_code
        yield code
        if window.known + column + 1 < window.stop:
            logits = _advance(prior, code[:, None], state)


def _narrowed(told: Told, window: Window, shape: LevelShape) -> Conditions:
    """What is told about one window."""
    assert window.start % shape.ratio == 0, (window, shape)
    above = slice(window.start // shape.ratio, -(-window.stop // shape.ratio))
    coarser = told.conditions.coarser
    assert coarser is None or above.stop <= coarser.shape[1], (window, coarser.shape)
    return told.window(window.start * shape.hop_length, above)


@torch.no_grad()
def _begin(
    prior: Predictor, codes: Int[Tensor, "batch frame"], window: Window, conditions: Conditions
) -> tuple[Any, Float[Tensor, "batch score"]]:
    """The state after the window's known codes, and the logits of the first frame to invent."""
    state = prior.begin(conditions, window.stop - window.start)
    given = codes[:, window.start : window.known]
    # At the very start there is nothing to read: one empty piece asks for the first logits.
    for piece in torch.split(given, PREFILL_FRAMES, 1):
        logits = prior.advance(piece, state)
    return state, logits


@torch.no_grad()
def _advance(prior: Predictor, codes: Int[Tensor, "batch new"], state: Any) -> Float[Tensor, "batch score"]:
    return prior.advance(codes, state)
