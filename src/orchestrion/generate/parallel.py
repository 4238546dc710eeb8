"""Filling the hidden frames of a window a few passes, many frames in each."""

from collections.abc import Generator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from orchestrion.codes import HIDDEN
from orchestrion.config.sampling import LevelSampling
from orchestrion.generate.pick import chances, pick_many
from orchestrion.generate.reprise import NOTHING, lean
from orchestrion.prior.labels import Conditions
from orchestrion.prior.masked import by_vector, share_hidden

_SMALLEST = 1e-20


@runtime_checkable
class Filler(Protocol):
    """What a prior can do that filling needs; `prior.masked.MaskedPrior` says what each means."""

    depth: int

    def tell(self, conditions: Conditions, num_frames: int) -> Any: ...
    def read(self, codes: Int[Tensor, "row frame"], told: Any) -> Float[Tensor, "hidden around"]: ...
    def score(
        self, around: Float[Tensor, "hidden around"], before: Int[Tensor, "hidden place"]
    ) -> Float[Tensor, "hidden code"]: ...


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
    earlier: Int[Tensor, "row frame"] | None = None,
) -> Generator[tuple[int, Tensor | None], None, Int[Tensor, "row frame"]]:
    """The codes of a window whose first frame is `start`, with its hidden frames filled, as many in each row.

    Each pass draws all that is hidden and keeps the vectors it is surest of, or random ones; how many stay hidden falls
    along a quarter of a cosine. (Chang et al. 2022, arXiv 2202.04200, section 3.2; order by confidence with noise.)
    Codes of a vector are drawn one after another, and kept together. Hidden frames lean towards the codes `earlier`,
    where there are such, each as long as the codes before it in its vector are those. Yields how many frames are kept
    after each pass but the last.
    """
    told = prior.tell(conditions, codes.shape[1])
    rows, stop, depth = len(codes), start + codes.shape[1], prior.depth
    of_vectors = by_vector(codes, depth)
    whole = num_hidden = int((of_vectors[0] == HIDDEN).any(1).sum())

    def chance_of(what: str, hidden: Bool[Tensor, "row token"]) -> Float[Tensor, "hidden place"]:
        return by_vector(chances(seeds, level, start, stop, what).to(codes.device), depth)[hidden]

    passes = min(sampling.passes, whole)
    for number in range(passes):
        hidden = (of_vectors == HIDDEN).any(2)
        given, chance = of_vectors[hidden], chance_of(f"pass {number}", hidden)
        around = prior.read(of_vectors.flatten(1), told)
        before = None if earlier is None else by_vector(earlier, depth)[hidden]
        drawn, sureness = given[:, :0], torch.zeros(len(given), device=codes.device)
        for place in range(depth):
            scores = prior.score(around, drawn)
            if before is not None:
                follows = (drawn == before[:, :place]).all(1)
                scores = lean(scores, before[:, place].where(follows, NOTHING), sampling.leant)
            code, share = pick_many(scores, chance[:, place], sampling)
            known = given[:, place] != HIDDEN
            drawn = torch.cat((drawn, torch.where(known, given[:, place], code)[:, None]), 1)
            sureness = sureness + share.clamp(min=_SMALLEST).log()
        done = (number + 1) / passes
        stay = min(int(whole * share_hidden(done)), num_hidden - 1) if number + 1 < passes else 0
        if stay:
            noise = chance_of(f"order {number}", hidden)[:, 0]
            order = _order(sureness, noise, sampling, 1 - done).view(rows, num_hidden)
            left = torch.zeros_like(order, dtype=torch.bool)
            left.scatter_(1, order.argsort(dim=1, stable=True)[:, :stay], value=True)
            drawn = torch.where(left.flatten()[:, None], given, drawn)
        of_vectors = of_vectors.masked_scatter(hidden[..., None], drawn)
        num_hidden = stay
        if stay:
            yield (whole - stay) * depth, None
    return of_vectors.flatten(1)


def _order(
    sureness: Float[Tensor, " hidden"], noise: Float[Tensor, " hidden"], sampling: LevelSampling, to_go: float
) -> Float[Tensor, " hidden"]:
    """What vectors are kept by, the largest first: their log-probability and chance, mixed; or chance alone."""
    if sampling.order == "random":
        return noise
    gumbel = -torch.log(-torch.log(noise.clamp(_SMALLEST, 1 - 1e-7)))
    return sureness + sampling.order_temperature * to_go * gumbel
