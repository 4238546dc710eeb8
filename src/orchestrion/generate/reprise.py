"""Parts that come back: codes drawn with a leaning towards those of an earlier part.

A model rarely returns to what it played; the published one hardly ever does (Dhariwal et al. 2020, section 6). So it is
led there: the score of the code that stands at the same place of the earlier part is raised, and the prior still has
its say on each code. What is finer than the top level is drawn as ever, from coarser codes that resemble one another.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.generate.request import Reprise
from orchestrion.grid import Grid

_NONE = -1


def sources_of(reprises: Sequence[Sequence[Reprise]], grid: Grid, num_frames: int) -> Int[Tensor, "row frame"] | None:
    """For each frame of the top level, one song per row, the earlier frame that it is to resemble, or -1.

    None where nothing comes back. Of parts that lie over one another the last one counts.
    """
    if not any(reprises):
        return None
    sources = torch.full((len(reprises), num_frames), _NONE)
    rate = grid.frame_rate(grid.top)
    for row, parts in enumerate(reprises):
        for part in parts:
            ends = part.start_seconds, part.start_seconds + part.seconds, part.of_seconds
            start, stop, before = (round(min(seconds * rate, num_frames)) for seconds in ends)
            if before < start < stop:
                sources[row, start:stop] = torch.arange(before, before + stop - start)
    return sources


def lean(
    logits: Float[Tensor, "row score"],
    codes: Int[Tensor, "row made"],
    sources: Int[Tensor, " row"],
    leaning: float,
    first_code: int,
) -> Float[Tensor, "row score"]:
    """Scores that lean by so much towards the codes at the frames `sources`; rows that have -1 there stay the same."""
    there = sources != _NONE
    if not leaning or not there.any():
        return logits
    code = codes.gather(1, sources.clamp(min=0).to(codes.device)[:, None]) + first_code
    return logits.scatter_add(1, code, (leaning * there[:, None]).to(logits))
