"""MaskedPrior: many frames of a level at once, from those around them and from the level above."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
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

    Where a vector has several codes (`depth`) it is one token: the sum of what is known of it. The first codes of all
    vectors are filled before the second ones, and so on, as codes hang on those before them more than on their
    neighbours (Borsos et al. 2023, arXiv 2305.09636, section 3.2).
    """

    def __init__(self, config: PriorConfig, rng: Generator | None = None) -> None:
        super().__init__(config)
        assert config.masked, "a masked prior sees what comes later"
        self.depth = config.depth
        width = config.transformer.width
        self.hidden = nn.Parameter(torch.empty(self.depth, width) if self.depth > 1 else torch.empty(width))
        self._initialise(rng)

    def tell(self, conditions: Conditions, num_frames: int) -> Told:
        """What is told about a window, once for all passes over it."""
        return self._tell(conditions, num_frames)

    def score(
        self, codes: Int[Tensor, "batch frame"], told: Told, place: int = 0, *, rng: Generator | None = None
    ) -> Float[Tensor, "hidden code"]:
        """Scores of every frame that is `HIDDEN` in `codes`, row by row: of those at one `place` in their vectors."""
        wanted = self._of_vectors(codes == HIDDEN)[..., place]
        return self.tokens.scores_at(self._read(codes, told, rng), told.conditioning, wanted, place)

    def _of_vectors(self, frames: Tensor) -> Shaped[Tensor, "batch token place"]:
        return frames.unflatten(1, (-1, self.depth))  # type: ignore[no-untyped-call, no-any-return]

    def _read(self, codes: Tensor, told: Told, rng: Generator | None) -> Float[Tensor, "batch token width"]:
        of_vectors = self._of_vectors(codes)
        first = torch.arange(self.depth, device=codes.device) * self.config.codebook_size
        known = self.tokens.embedding(of_vectors.clamp(min=0) + first)
        vectors = torch.where((of_vectors == HIDDEN)[..., None], self.hidden, known).sum(2)
        return self.tokens.fill(vectors, told.start, told.conditioning, rng=rng)

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
        """Cross-entropy of the codes that are to be filled next (`next_hidden`), at least one in each window.

        In `bits_per_code` windows count alike, in `total` hidden frames. `taught` are scores of every frame by another
        prior: its probabilities make up `taught_share` of what is to be predicted, the true codes the rest.
        """
        scores, wanted = self.next_scores(codes, hidden, conditions, rng=rng)
        nats = F.cross_entropy(scores, codes[wanted], reduction="none")
        total = nats.mean()
        if taught is not None:
            theirs = F.cross_entropy(scores, taught[wanted].float().softmax(-1))
            total = (1 - taught_share) * total + taught_share * theirs
        surprise = torch.zeros(codes.shape, device=codes.device).masked_scatter(wanted, nats.detach())
        return PriorLoss(total, (surprise.sum(1) / wanted.sum(1)).mean() / math.log(2))

    def next_scores(
        self,
        codes: Int[Tensor, "batch frame"],
        hidden: Bool[Tensor, "batch frame"],
        conditions: Conditions,
        *,
        rng: Generator | None = None,
    ) -> tuple[Float[Tensor, "wanted code"], Bool[Tensor, "batch frame"]]:
        """Scores of the codes that are to be filled next where some are `hidden`, row by row, and which these are."""
        told = self._tell(conditions, codes.shape[1], rng)
        encoded = self._read(codes.masked_fill(hidden, HIDDEN), told, rng)
        wanted = next_hidden(hidden, self.depth)
        if self.depth == 1:
            return self.tokens.scores_at(encoded, told.conditioning, wanted).float(), wanted
        of_vectors = self._of_vectors(wanted)
        found = []
        for row, places in enumerate(of_vectors):  # each row has one place
            place = int(places.any(0).nonzero()[0])
            part = None if told.conditioning is None else told.conditioning[row : row + 1]
            found.append(self.tokens.scores_at(encoded[row : row + 1], part, places[None, :, place], place).float())
        return torch.cat(found), wanted


def next_hidden(hidden: Bool[Tensor, "batch frame"], depth: int) -> Bool[Tensor, "batch frame"]:
    """Of the hidden frames those at the first place of their vectors at which any of the row is hidden."""
    of_vectors = hidden.unflatten(1, (-1, depth))  # type: ignore[no-untyped-call]
    at = of_vectors.any(1).int().argmax(1)
    first = torch.arange(depth, device=hidden.device) == at[:, None]
    found: Tensor = (of_vectors & first[:, None]).flatten(1)
    return found


def hide(batch: int, frames: int, rng: Generator, depth: int = 1) -> Bool[Tensor, "batch frame"]:
    """Frames to be hidden for a training step: what filling a window in passes will meet.

    In each window one span, often all of it or all after its beginning, loses the share of a random point of the
    schedule that passes follow (`share_hidden`): at least one frame. Where vectors have several codes, those at a
    random place in them are so hidden, all at later places, and none before.
    """
    rows = []
    vectors = frames // depth
    for _ in range(batch):
        cut_start, cut_stop, done = torch.rand(3, generator=rng).tolist()
        start = int(cut_start * vectors) if cut_start < 0.5 else 0
        stop = vectors - int(cut_stop * vectors) if cut_stop < 0.25 else vectors
        count = max(1, math.ceil(share_hidden(done) * (stop - start)))
        chosen = torch.randperm(stop - start, generator=rng)[:count] + start
        place = int(torch.randint(depth, (), generator=rng)) if depth > 1 else 0
        rows.append(_hidden(vectors, depth, place, chosen, slice(start, stop)))
    return torch.stack(rows)


def hide_evenly(batch: int, frames: int, first: int, depth: int = 1) -> Bool[Tensor, "batch frame"]:
    """Random frames to be hidden in windows `first` and following: every number of frames equally often.

    The mean surprise is then that of filling frames one by one in random order (Uria et al. 2014, arXiv 1310.1757), to
    be compared with that of a prior that goes from frame to frame; where vectors have several codes, at all first
    places before the second ones. The same for the same window.
    """
    rows = []
    vectors = frames // depth
    for window in range(first, first + batch):
        spread = (window * 0.6180339887) % 1  # every share of the windows has every share of the counts
        count = 1 + min(int(spread * vectors), vectors - 1)
        chosen = torch.randperm(vectors, generator=torch.Generator().manual_seed(window))[:count]
        rows.append(_hidden(vectors, depth, window % depth, chosen, slice(0, vectors)))
    return torch.stack(rows)


def _hidden(vectors: int, depth: int, place: int, chosen: Tensor, span: slice) -> Bool[Tensor, " frame"]:
    """The `chosen` vectors hidden at a place, and all of a span at the places behind it."""
    row = torch.zeros(vectors, depth, dtype=torch.bool)
    row[chosen, place] = True
    row[span, place + 1 :] = True
    return row.flatten()


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
