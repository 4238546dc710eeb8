"""Parts that come back: codes drawn with a leaning towards those of an earlier part.

A model rarely returns to what it played; the published one hardly ever does (Dhariwal et al. 2020, section 6). So it is
led there: the score of the code that stands at the same place of the earlier part is raised, at every level, and the
prior still has its say on each code.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.codes import HIDDEN
from orchestrion.generate.request import Reprise
from orchestrion.grid import Grid

NOTHING = -1
"""In place of a frame that resembles none, or of its code."""


def sources_of(reprises: Sequence[Sequence[Reprise]], grid: Grid, num_frames: int) -> Int[Tensor, "row frame"] | None:
    """For each frame of the top level, one song per row, the earlier frame that it is to resemble, or `NOTHING`.

    None where nothing comes back. Of parts that lie over one another the last one counts.
    """
    if not any(reprises):
        return None
    sources = torch.full((len(reprises), num_frames), NOTHING)
    rate = grid.frame_rate(grid.top)
    for row, parts in enumerate(reprises):
        for part in parts:
            ends = part.start_seconds, part.start_seconds + part.seconds, part.of_seconds
            start, stop, before = (round(min(seconds * rate, num_frames)) for seconds in ends)
            if before < start < stop:
                sources[row, start:stop] = torch.arange(before, before + stop - start)
    return sources


def finer(sources: Int[Tensor, "row frame"], ratio: int) -> Int[Tensor, "row finer_frame"]:
    """The same for a level with so many frames in each."""
    within = torch.arange(ratio).repeat(sources.shape[1])
    coarse = sources.repeat_interleave(ratio, 1)
    return torch.where(coarse == NOTHING, NOTHING, coarse * ratio + within)


def towards(sources: Int[Tensor, "row frame"], codes: Int[Tensor, "row made"]) -> Int[Tensor, "row frame"]:
    """The codes at `sources`, on the device of `codes`; `NOTHING` where there is none or it is not made yet."""
    sources = sources.to(codes.device)
    there = (sources != NOTHING) & (sources < codes.shape[1])
    found = codes.gather(1, sources.where(there, 0)) if codes.shape[1] else sources
    return found.where(there & (found != HIDDEN), NOTHING)


def lean(
    scores: Float[Tensor, "place score"], code: Int[Tensor, " place"], leaning: float
) -> Float[Tensor, "place score"]:
    """Scores that lean by so much towards the one of `code`; where that is `NOTHING` they stay the same."""
    there = code != NOTHING
    return scores.scatter_add(1, code.clamp(min=0)[:, None], (leaning * there[:, None]).to(scores))
