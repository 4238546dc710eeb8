"""Drawing the frames of a window one after another, each from those before it."""

from collections.abc import Generator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.config.sampling import LevelSampling
from orchestrion.generate.pick import chances, pick
from orchestrion.generate.reprise import NOTHING, lean, towards
from orchestrion.generate.windows import Window
from orchestrion.prior.labels import Conditions

PREFILL_FRAMES = 2048
"""How many known codes a prior is given at once: bounds the memory of a long context."""


@runtime_checkable
class Predictor(Protocol):
    """What a prior can do that drawing needs; `prior.model.Prior` says what each means."""

    first_code: int

    def begin(self, conditions: Conditions, num_frames: int) -> Any: ...
    def advance(self, codes: Int[Tensor, "batch new"], state: Any) -> Float[Tensor, "batch score"]: ...


@torch.no_grad()
def draw_window(
    prior: Predictor,
    codes: Int[Tensor, "row frame"],
    window: Window,
    conditions: Conditions,
    seeds: Sequence[int],
    level: int,
    sampling: LevelSampling,
    sources: Int[Tensor, "row frame_of_song"] | None = None,
) -> Generator[tuple[int, Tensor | None], None, Int[Tensor, "row frame"]]:
    """The frames that `window` invents after `codes`; yields how many there are so far, and the latest.

    Each leans towards the code of the earlier frame that it has in `sources`, if any.
    """
    count = window.stop - window.known
    chance = chances(seeds, level, window.known, window.stop).to(codes.device)
    state, logits = _begin(prior, codes, window, conditions)
    made = torch.cat((codes[:, : window.known], codes.new_zeros(len(codes), count)), 1)
    for frame in range(window.known, window.stop):
        if sources is not None and (sources[:, frame] != NOTHING).any():
            earlier = towards(sources[:, frame, None], made)[:, 0]
            logits = lean(logits, (earlier + prior.first_code).where(earlier != NOTHING, NOTHING), sampling.leant)
        code = pick(logits, chance[:, frame - window.known], sampling) - prior.first_code
        # A character drawn where a code belongs is read on as it is, and kept as code 0 (the published way).
        made[:, frame] = code.clamp(min=0)
        if frame + 1 < window.stop:
            yield frame + 1 - window.known, made[:, frame]
            logits = prior.advance(code[:, None], state)
    return made[:, window.known :]


@torch.no_grad()
def likelihood(
    prior: Predictor, codes: Int[Tensor, "row frame"], window: Window, conditions: Conditions
) -> Float[Tensor, " row"]:
    """How likely a prior finds the codes of `window` from its first unknown frame on: the sum of their logarithms."""
    state, logits = _begin(prior, codes, window, conditions)
    total = logits.new_zeros(len(codes), dtype=torch.float32)
    for frame in range(window.known, window.stop):
        total += logits.float().log_softmax(-1).gather(1, codes[:, frame, None] + prior.first_code)[:, 0]
        if frame + 1 < window.stop:
            logits = prior.advance(codes[:, frame, None], state)
    return total


def _begin(
    prior: Predictor, codes: Int[Tensor, "row frame"], window: Window, conditions: Conditions
) -> tuple[Any, Float[Tensor, "row score"]]:
    """The state after the window's known codes, and the logits of the first frame to invent."""
    state = prior.begin(conditions, window.stop - window.start)
    given = codes[:, window.start : window.known]
    # At the very start there is nothing to read: one empty piece asks for the first logits.
    for piece in torch.split(given, PREFILL_FRAMES, 1):
        logits = prior.advance(piece, state)
    return state, logits
