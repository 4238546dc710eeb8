"""MaskedPrior: many frames of a level at once, from those around them and from the level above."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Generator, Tensor, nn

from orchestrion.codes import HIDDEN
from orchestrion.config.prior import PriorConfig
from orchestrion.prior.conditioned import ConditionedModel, ToldVectors
from orchestrion.prior.depth import DepthHead
from orchestrion.prior.labels import Conditions
from orchestrion.prior.model import Prior, PriorLoss


class MaskedPrior(ConditionedModel):
    """A transformer that sees a whole window, later frames too, and fills in those that are hidden.

    The same parts as `Prior`, so that it can begin with a trained one's weights (`begin_with`); labels are added to
    every frame. (Chang et al. 2022, arXiv 2202.04200; for music Garcia et al. 2023, arXiv 2307.04686.)

    Where a vector has several codes (`depth`) it is one token: the sum of what is known of it. Its codes are scored one
    after another by a `DepthHead`.
    """

    def __init__(self, config: PriorConfig, rng: Generator | None = None) -> None:
        super().__init__(config)
        assert config.masked, "a masked prior sees what comes later"
        self.depth = config.depth
        self.hidden = nn.Parameter(torch.empty(config.transformer.width))
        self.head = DepthHead(config.transformer, config.codebook_size, config.depth) if config.depth > 1 else None
        self._initialise(rng)

    def tell(self, conditions: Conditions, num_frames: int) -> ToldVectors:
        """What is told about a window, once for all passes over it."""
        return self._tell(conditions, num_frames)

    def read(
        self, codes: Int[Tensor, "batch frame"], told: ToldVectors, *, rng: Generator | None = None
    ) -> Float[Tensor, "hidden around"]:
        """What surrounds every vector of which codes are `HIDDEN`, row by row: `score` makes scores of it."""
        of_vectors = by_vector(codes, self.depth)
        missing = of_vectors == HIDDEN
        hidden = missing.any(2)
        known = self._embedded(of_vectors.clamp(min=0)).masked_fill(missing[..., None], 0).sum(2)
        vectors = known + hidden[..., None] * self.hidden
        encoded = self.tokens.fill(vectors, told.start, told.conditioning, rng=rng)
        if told.conditioning is None or not self.config.condition_output:
            return encoded[hidden]
        return torch.cat((encoded[hidden], told.conditioning[hidden].to(encoded.dtype)), 1)

    def score(
        self, around: Float[Tensor, "hidden around"], before: Int[Tensor, "hidden place"]
    ) -> Float[Tensor, "hidden code"]:
        """Scores of the code of each hidden vector that comes after the codes `before` it in the vector."""
        if self.head is None:
            width = self.config.transformer.width
            return self.tokens.scores_of(around[:, :width], around[:, width:] if around.shape[1] > width else None)
        scores: Tensor = self.head(around, self._embedded(before).sum(1), before.shape[1])
        return scores

    def _embedded(self, codes: Int[Tensor, "*shape place"]) -> Float[Tensor, "*shape place width"]:
        first = torch.arange(codes.shape[-1], device=codes.device) * self.config.codebook_size
        embedded: Tensor = self.tokens.embedding(codes + first)
        return embedded

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
        """Cross-entropy of the codes that are `hidden`, at least one in each window.

        In `bits_per_code` windows count alike, in `total` hidden frames. `taught` are scores of every frame by another
        prior: its probabilities make up `taught_share` of what is to be predicted, the true codes the rest.
        """
        scores = self.hidden_scores(codes, hidden, conditions, rng=rng)
        nats = F.cross_entropy(scores, codes[hidden], reduction="none")
        total = nats.mean()
        if taught is not None:
            theirs = F.cross_entropy(scores, taught[hidden].float().softmax(-1))
            total = (1 - taught_share) * total + taught_share * theirs
        surprise = torch.zeros(codes.shape, device=codes.device).masked_scatter(hidden, nats.detach())
        return PriorLoss(total, (surprise.sum(1) / hidden.sum(1)).mean() / math.log(2))

    def hidden_scores(
        self,
        codes: Int[Tensor, "batch frame"],
        hidden: Bool[Tensor, "batch frame"],
        conditions: Conditions,
        *,
        rng: Generator | None = None,
    ) -> Float[Tensor, "hidden code"]:
        """Scores of the codes that are `hidden`, row by row, each from those before it in its vector."""
        told = self._tell(conditions, codes.shape[1], rng)
        around = self.read(codes.masked_fill(hidden, HIDDEN), told, rng=rng)
        of_vectors = by_vector(hidden, self.depth)
        wanted = of_vectors.any(2)
        true = by_vector(codes, self.depth)[wanted]
        found = torch.stack([self.score(around, true[:, :place]) for place in range(self.depth)], 1)
        return found[of_vectors[wanted]].float()


def by_vector(frames: Shaped[Tensor, "batch frame"], depth: int) -> Shaped[Tensor, "batch token place"]:
    """Frames by the vectors of so many codes that they belong to."""
    return frames.view(len(frames), -1, depth)


def hide(batch: int, frames: int, rng: Generator, depth: int = 1) -> Bool[Tensor, "batch frame"]:
    """Frames to be hidden for a training step: what filling a window in passes will meet.

    In each window one span, often all of it or all after its beginning, loses the share of a random point of the
    schedule that passes follow (`share_hidden`): at least one vector of `depth` codes, which are hidden together.
    """
    rows = []
    vectors = frames // depth
    for _ in range(batch):
        cut_start, cut_stop, done = torch.rand(3, generator=rng).tolist()
        start = int(cut_start * vectors) if cut_start < 0.5 else 0
        stop = vectors - int(cut_stop * vectors) if cut_stop < 0.25 else vectors
        count = max(1, math.ceil(share_hidden(done) * (stop - start)))
        rows.append(_hidden(vectors, torch.randperm(stop - start, generator=rng)[:count] + start))
    return torch.stack(rows).repeat_interleave(depth, 1)


def hide_evenly(batch: int, frames: int, first: int, depth: int = 1) -> Bool[Tensor, "batch frame"]:
    """Random frames to be hidden in windows `first` and following: every number of vectors equally often.

    The mean surprise is then that of filling vectors one by one in random order (Uria et al. 2014, arXiv 1310.1757), to
    be compared with that of a prior that goes from frame to frame. The same for the same window.
    """
    rows = []
    vectors = frames // depth
    for window in range(first, first + batch):
        spread = (window * 0.6180339887) % 1  # every share of the windows has every share of the counts
        count = 1 + min(int(spread * vectors), vectors - 1)
        rows.append(_hidden(vectors, torch.randperm(vectors, generator=torch.Generator().manual_seed(window))[:count]))
    return torch.stack(rows).repeat_interleave(depth, 1)


def _hidden(vectors: int, chosen: Tensor) -> Bool[Tensor, " vector"]:
    row = torch.zeros(vectors, dtype=torch.bool)
    row[chosen] = True
    return row


def share_hidden(done: float) -> float:
    """The share of frames still hidden when `done` of the passes are over: a quarter of a cosine.

    >>> [round(share_hidden(done), 2) for done in (0.0, 0.5, 1.0)]
    [1.0, 0.71, 0.0]
    """
    return math.cos(math.pi / 2 * done)


AnyPrior = Prior | MaskedPrior


def make_prior(config: PriorConfig, rng: Generator | None = None) -> AnyPrior:
    """The prior that `config` describes."""
    return MaskedPrior(config, rng) if config.masked else Prior(config, rng)
