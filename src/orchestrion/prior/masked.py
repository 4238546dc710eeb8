"""MaskedPrior: many frames of a level at once, from those around them and from the level above."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from orchestrion.codes import HIDDEN
from orchestrion.config.prior import PriorConfig
from orchestrion.prior.conditioned import ConditionedModel, Told
from orchestrion.prior.labels import Conditions
from orchestrion.prior.model import Prior, PriorLoss


class MaskedPrior(ConditionedModel):
    """A transformer that sees a whole window, later frames too, and fills in those that are hidden.

    The same parts as `Prior`, so that it can begin with a trained one's weights (`begin_with`); labels are added to
    every frame. (Chang et al. 2022, arXiv 2202.04200; for music Garcia et al. 2023, arXiv 2307.04686.)
    """

    def __init__(self, config: PriorConfig, rng: Generator | None = None) -> None:
        super().__init__(config)
        assert config.masked, "a masked prior sees what comes later"
        self.hidden = nn.Parameter(torch.empty(config.transformer.width))
        self._initialise(rng)

    def tell(self, conditions: Conditions, num_frames: int) -> Told:
        """What is told about a window, once for all passes over it."""
        return self._tell(conditions, num_frames)

    def score(
        self, codes: Int[Tensor, "batch frame"], told: Told, *, rng: Generator | None = None
    ) -> Float[Tensor, "hidden code"]:
        """Scores of every frame that is `HIDDEN` in `codes`, row by row."""
        hidden = codes == HIDDEN
        vectors = torch.where(hidden[..., None], self.hidden, self.tokens.embedding(codes.clamp(min=0)))
        return self.tokens.fill(vectors, told.start, told.conditioning, hidden, rng=rng)

    def loss(
        self,
        codes: Int[Tensor, "batch frame"],
        hidden: Bool[Tensor, "batch frame"],
        conditions: Conditions,
        *,
        rng: Generator | None = None,
        taught: Float[Tensor, "batch frame code"] | None = None,
        taught_share: float = 0.0,
    ) -> PriorLoss:
        """Cross-entropy of the codes at `hidden` frames, at least one in each window, from the others.

        In `bits_per_code` windows count alike, in `total` hidden frames. `taught` are scores of every frame by another
        prior: its probabilities make up `taught_share` of what is to be predicted, the true codes the rest.
        """
        told = self._tell(conditions, codes.shape[1], rng)
        scores = self.score(codes.masked_fill(hidden, HIDDEN), told, rng=rng).float()
        nats = F.cross_entropy(scores, codes[hidden], reduction="none")
        total = nats.mean()
        if taught is not None:
            theirs = F.cross_entropy(scores, taught[hidden].float().softmax(-1))
            total = (1 - taught_share) * total + taught_share * theirs
        surprise = torch.zeros(codes.shape, device=codes.device).masked_scatter(hidden, nats.detach())
        return PriorLoss(total, (surprise.sum(1) / hidden.sum(1)).mean() / math.log(2))


def hide(batch: int, frames: int, rng: Generator) -> Bool[Tensor, "batch frame"]:
    """Frames to be hidden for a training step: what filling a window in passes will meet.

    In each window one span, often all of it or all after its beginning, loses the share of a random point of the
    schedule that passes follow (`share_hidden`): at least one frame.
    """
    rows = []
    for _ in range(batch):
        cut_start, cut_stop, place = torch.rand(3, generator=rng).tolist()
        start = int(cut_start * frames) if cut_start < 0.5 else 0
        stop = frames - int(cut_stop * frames) if cut_stop < 0.25 else frames
        count = max(1, math.ceil(share_hidden(place) * (stop - start)))
        chosen = torch.randperm(stop - start, generator=rng)[:count] + start
        rows.append(torch.zeros(frames, dtype=torch.bool).index_fill(0, chosen, value=True))
    return torch.stack(rows)


def hide_evenly(batch: int, frames: int, first: int) -> Bool[Tensor, "batch frame"]:
    """Random frames to be hidden in windows `first` and following: every number of frames equally often.

    The mean surprise is then that of filling frames one by one in random order (Uria et al. 2014, arXiv 1310.1757), to
    be compared with that of a prior that goes from frame to frame. The same for the same window.
    """
    rows = []
    for window in range(first, first + batch):
        spread = (window * 0.6180339887) % 1  # every share of the windows has every share of the counts
        count = 1 + min(int(spread * frames), frames - 1)
        chosen = torch.randperm(frames, generator=torch.Generator().manual_seed(window))[:count]
        rows.append(torch.zeros(frames, dtype=torch.bool).index_fill(0, chosen, value=True))
    return torch.stack(rows)


def share_hidden(done: float) -> float:
    """The share of frames still hidden when `done` of the passes are over: a quarter of a cosine.

    >>> [round(share_hidden(done), 2) for done in (0, 0.5, 1)]
    [1.0, 0.71, 0.0]
    """
    return math.cos(math.pi / 2 * done)


AnyPrior = Prior | MaskedPrior


def make_prior(config: PriorConfig, rng: Generator | None = None) -> AnyPrior:
    """The prior that `config` describes."""
    return MaskedPrior(config, rng) if config.masked else Prior(config, rng)
