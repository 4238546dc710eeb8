"""A prior's attention to lyrics, over a whole song."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.generate.level import LevelShape
from orchestrion.generate.told import Told
from orchestrion.generate.windows import stride_frames, windows
from orchestrion.prior.labels import Conditions


@runtime_checkable
class Attentive(Protocol):
    """What a prior can do that alignment needs; `prior.model.Prior` says what it means."""

    def alignment(
        self, codes: Int[Tensor, "batch frame"], conditions: Conditions, layer: int
    ) -> Float[Tensor, "batch head frame character"]: ...


@dataclass(frozen=True)
class Alignment:
    """How much each frame of a song attends to each id of its lyrics; `text` is what the model read.

    The published models have an id for each character of the text.
    """

    text: str
    weights: Float[Tensor, "frame character"]
    frame_rate: float
    """Frames a second."""


@torch.no_grad()
def lyric_attention(
    prior: Attentive,
    codes: Int[Tensor, "batch frame"],
    told: Told,
    *,
    shape: LevelShape,
    hop_fraction: float,
    layer: int,
    head: int,
) -> tuple[Float[Tensor, "frame character"], ...]:
    """For each song a map of the attention of one layer and head, over all frames and the whole lyrics, on the CPU.

    Each window sees a part of the lyrics; where windows overlap, the earliest has the say on the characters that it
    sees (published code, `get_alignment`). Songs are read one at a time.
    """
    songs, frames = codes.shape
    stride = stride_frames(shape.context, hop_fraction, shape.ratio)
    laid = list(windows(frames, context=shape.context, stride=stride))
    maps = []
    for row in range(songs):
        own = told.rows(row, row + 1)
        assert own.lyrics is not None
        length = len(own.lyrics[0].lyrics)
        # One more character takes what falls on the filling of short lyrics.
        whole = torch.zeros(frames, length + 1)
        for window in reversed(laid):
            start = window.start * shape.hop_length
            weights = prior.alignment(codes[row : row + 1, window.start : window.stop], own.window(start), layer)
            (seen,) = own.sung(start)
            whole[window.start : window.stop, list(seen.places)] = weights[0, head].float().cpu()
        maps.append(whole[:, :length])
    return tuple(maps)
