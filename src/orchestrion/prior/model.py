"""Prior: the next code of one level, from those before it and from what is asked."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor

from orchestrion.codes import HIDDEN
from orchestrion.config.prior import PriorConfig
from orchestrion.prior.conditioned import ConditionedModel, ToldVectors, given
from orchestrion.prior.labels import Conditions
from orchestrion.prior.tokens import TokenState

_NO_TARGET = -100
_LEAST_SHARE = 1e-4
"""Of attention, that its surprise stays finite."""


@dataclass(frozen=True)
class PriorLoss:
    """How surprised a prior was: `total`, in nats, is to be minimised; the others are in bits."""

    total: Float[Tensor, ""]
    bits_per_code: Float[Tensor, ""]
    bits_per_character: Float[Tensor, ""] | None = None
    unfollowed: Float[Tensor, ""] | None = None
    """Where attention was to follow words: the mean surprise that it went to the word that is sung."""


@dataclass(frozen=True)
class Following:
    """Which attention is to follow the words: of `head` in `layer`; `weight` is that of its loss.

    `sung` has the columns of lyrics, from the first up to the last, where what is sung at each frame is read; 0 to 0
    where that is not known.
    """

    sung: Int[Tensor, "batch frame 2"]
    layer: int
    head: int
    weight: float


@dataclass
class PriorState:
    """A window that is being filled; `num_codes` of `num_frames` are read."""

    tokens: TokenState
    prefix: Int[Tensor, "batch character"] | None
    num_frames: int
    num_codes: int = 0


class Prior(ConditionedModel):
    """A transformer over the codes of one level, each predicted from those before it.

    Output column i scores code i - `first_code`: a prior with lyrics in the same sequence also scores characters, as
    negative codes, which it may be fed. Weights are drawn from `rng`, such that a fresh prior finds every code equally
    likely.
    """

    def __init__(self, config: PriorConfig, rng: Generator | None = None) -> None:
        super().__init__(config)
        self._initialise(rng)

    def forward(
        self,
        codes: Int[Tensor, "batch frame"],
        conditions: Conditions,
        *,
        rng: Generator | None = None,
    ) -> Float[Tensor, "batch frame score"]:
        """Scores of each code from those before it; `rng` draws dropout in training mode."""
        told = self._tell(conditions, codes.shape[1], rng)
        return self._scores(codes, conditions, told, rng)[:, self.config.lyric_tokens :]

    def loss(
        self,
        codes: Int[Tensor, "batch frame"],
        conditions: Conditions,
        *,
        rng: Generator | None = None,
        following: Following | None = None,
    ) -> PriorLoss:
        """Cross-entropy of windows, `HIDDEN` frames at their ends left out; characters count with their own weight.

        Where words are to be followed, so does the surprise that attention goes to the word that is sung (as guided
        attention, Tachibana et al. 2017, arXiv 1710.08969, but towards what is known).
        """
        told = self._tell(conditions, codes.shape[1], rng)
        real = codes != HIDDEN
        targets = (codes + self.first_code).where(real, _NO_TARGET)
        tokens = self._all_tokens(codes, conditions)
        layer = following.layer if following else None
        scores, attention = self.tokens.watched(tokens, told.start, told.conditioning, told.memory, layer, rng=rng)
        lost_nats = _cross_entropy(scores[:, self.config.lyric_tokens :], targets)
        # Over all frames, hidden or not, as attention below: so the mean of parts of a batch is that of the whole.
        nats = lost_nats / codes.numel()
        bits = lost_nats.detach() / real.sum() / math.log(2)
        if self.config.lyrics is None:
            return PriorLoss(nats, bits)
        lyrics = given(conditions.lyrics, "lyrics")
        if self.lyrics is not None:
            assert told.memory is not None
            lyric_nats = self.lyrics.loss(told.memory, lyrics)
        else:
            lyric_nats = _cross_entropy(scores[:, : lyrics.shape[1]], lyrics) / lyrics.numel()
        weight = self.config.lyrics.loss_weight * lyrics.shape[1]
        total = (nats * codes.shape[1] + lyric_nats * weight) / (codes.shape[1] + lyrics.shape[1])
        lost = lyric_nats.detach() / math.log(2)
        if following is None:
            return PriorLoss(total, bits, lost)
        assert attention is not None
        shares = followed(self._to_lyrics(attention, conditions)[:, following.head], following.sung)
        unfollowed = -(shares + _LEAST_SHARE).log().sum()
        total = total + following.weight * unfollowed / codes.numel()
        return PriorLoss(total, bits, lost, unfollowed.detach() / max(1, len(shares)))

    def begin(self, conditions: Conditions, num_frames: int) -> PriorState:
        """A window of `num_frames` with nothing in it: conditioning computed, caches reserved."""
        told = self._tell(conditions, num_frames, None)
        state = self.tokens.begin(
            conditions.artist.shape[0],
            self.config.lyric_tokens + num_frames,
            told.start,
            told.conditioning,
            told.memory,
        )
        prefix = given(conditions.lyrics, "lyrics") if self.config.lyric_tokens else None
        return PriorState(state, prefix, num_frames)

    def advance(self, codes: Int[Tensor, "batch new"], state: PriorState) -> Float[Tensor, "batch score"]:
        """Read the next codes (at first there may be none); returns the scores of the code that follows."""
        assert state.num_codes + codes.shape[1] < state.num_frames, "this window is full"
        tokens = codes + self.first_code
        if state.prefix is not None:
            tokens = torch.cat((state.prefix, tokens), 1)
            state.prefix = None
        state.num_codes += codes.shape[1]
        return self.tokens.advance(tokens, state.tokens)

    def features(
        self, codes: Int[Tensor, "batch frame"], conditions: Conditions, num_layers: int
    ) -> Float[Tensor, "batch frame width"]:
        """What comes out of the first `num_layers` layers at each frame."""
        told = self._tell(conditions, codes.shape[1], None)
        x = self.tokens.read(self._all_tokens(codes, conditions), told.start, told.conditioning)
        return self.tokens.transformer.features(x, told.memory, num_layers)[:, self.config.lyric_tokens :]

    def alignment(
        self, codes: Int[Tensor, "batch frame"], conditions: Conditions, layer: int
    ) -> Float[Tensor, "batch head frame character"]:
        """How much each frame attends to each character of the lyrics in `layer`."""
        told = self._tell(conditions, codes.shape[1], None)
        x = self.tokens.read(self._all_tokens(codes, conditions), told.start, told.conditioning)
        return self._to_lyrics(self.tokens.transformer.weights(x, told.memory, layer), conditions)

    def _to_lyrics(self, weights: Tensor, conditions: Conditions) -> Float[Tensor, "batch head frame character"]:
        """Of the attention of a layer what goes from codes to lyrics."""
        return weights[:, :, self.config.lyric_tokens :, : given(conditions.lyrics, "lyrics").shape[1]]

    def _scores(
        self, codes: Tensor, conditions: Conditions, told: ToldVectors, rng: Generator | None
    ) -> Float[Tensor, "batch token score"]:
        """Scores at every token, lyrics in the same sequence included."""
        tokens = self._all_tokens(codes, conditions)
        scores: Tensor = self.tokens(tokens, told.start, told.conditioning, told.memory, rng=rng)
        return scores

    def _all_tokens(self, codes: Tensor, conditions: Conditions) -> Tensor:
        """Lyrics in the same sequence and then the codes, those after the music's end as code 0: nobody reads them."""
        tokens = codes.where(codes != HIDDEN, 0) + self.first_code
        if self.config.lyric_tokens:
            tokens = torch.cat((given(conditions.lyrics, "lyrics"), tokens), 1)
        return tokens


def followed(
    weights: Float[Tensor, "batch frame character"], sung: Int[Tensor, "batch frame 2"]
) -> Float[Tensor, " sung"]:
    """The share of attention that goes to the word that is sung, for each frame at which one is known to be."""
    upto = F.pad(weights.float().cumsum(-1), (1, 0))
    first, stop = sung.unbind(-1)
    shares = upto.gather(-1, stop[..., None]) - upto.gather(-1, first[..., None])
    return shares[..., 0][stop > first]


def _cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Nats of all targets together, in single precision whatever the scores come in."""
    return F.cross_entropy(scores.flatten(0, 1).float(), targets.flatten(), ignore_index=_NO_TARGET, reduction="sum")
