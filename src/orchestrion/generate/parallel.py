"""Filling the hidden frames of a window a few passes, many frames in each."""

from collections.abc import Generator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.codes import HIDDEN
from orchestrion.config.sampling import LevelSampling
from orchestrion.generate.pick import chances, pick_many
from orchestrion.prior.labels import Conditions
from orchestrion.prior.masked import share_hidden

_SMALLEST = 1e-20


@runtime_checkable
class Filler(Protocol):
    """What a prior can do that filling needs; `prior.masked.MaskedPrior` says what each means."""

    depth: int

    def tell(self, conditions: Conditions, num_frames: int) -> Any: ...
    def score(self, codes: Int[Tensor, "row frame"], told: Any, place: int = 0) -> Float[Tensor, "hidden code"]: ...


@torch.no_grad()
def fill_window(
    prior: Filler,
    codes: Int[Tensor, "row frame"],
    conditions: Conditions,
    seeds: Sequence[int],
    *,
    level: int,
    start: int,
    sampling: LevelSampling,
) -> Generator[tuple[int, Tensor | None], None, Int[Tensor, "row frame"]]:
    """The codes of a window whose first frame is `start`, with its hidden frames filled, as many in each row.

    Each pass draws all that is hidden and keeps the codes it is surest of, or random ones; how many stay hidden falls
    along a quarter of a cosine. (Chang et al. 2022, arXiv 2202.04200, section 3.2; order by confidence with noise.)
    Where vectors have several codes, first all first ones are filled so, then the others in half as many passes each.
    Yields how many frames are kept after each pass but the last.
    """
    told = prior.tell(conditions, codes.shape[1])
    rows, stop, depth = len(codes), start + codes.shape[1], prior.depth
    kept = 0
    for place in range(depth):
        at_place = torch.arange(codes.shape[1], device=codes.device) % depth == place
        whole = num_hidden = int(((codes[0] == HIDDEN) & at_place).sum())
        passes = min(max(1, sampling.passes >> place), whole)
        for number in range(passes):
            hidden = (codes == HIDDEN) & at_place
            chance = chances(seeds, level, start, stop, f"pass {number}").to(codes.device)[hidden]
            drawn, share = pick_many(prior.score(codes, told, place), chance, sampling)
            done = (number + 1) / passes
            stay = min(int(whole * share_hidden(done)), num_hidden - 1) if number + 1 < passes else 0
            if stay:
                noise = chances(seeds, level, start, stop, f"order {number}").to(codes.device)[hidden]
                sureness = _sureness(share, noise, sampling, 1 - done).view(rows, num_hidden)
                left = sureness.argsort(dim=1, stable=True)[:, :stay]
                drawn = drawn.view(rows, num_hidden).scatter(1, left, HIDDEN).flatten()
            codes = codes.masked_scatter(hidden, drawn)
            num_hidden = stay
            if stay or place < depth - 1:
                yield kept + whole - stay, None
        kept += whole
    return codes


def _sureness(
    share: Float[Tensor, " hidden"], noise: Float[Tensor, " hidden"], sampling: LevelSampling, to_go: float
) -> Float[Tensor, " hidden"]:
    """What codes are kept by, the largest first: their probability and chance, mixed; or chance alone."""
    if sampling.order == "random":
        return noise
    gumbel = -torch.log(-torch.log(noise.clamp(_SMALLEST, 1 - 1e-7)))
    return share.clamp(min=_SMALLEST).log() + sampling.order_temperature * to_go * gumbel
