"""Classifier-free guidance: what a prior expects of an artist, exaggerated against what it expects of nobody.

Scores are `u + g · (t - u)`, with t those of what is told and u those of unknown artist and genres and no words, which
priors learn by dropping them (Ho & Salimans 2022, arXiv 2207.12598; for codes Gafni et al. 2022, arXiv 2203.13131).
Both are worked out side by side, as a batch of twice as many.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.generate.draw import Predictor
from orchestrion.generate.parallel import Filler
from orchestrion.prior.labels import Conditions


def guided(prior: Predictor | Filler, guidance: float) -> Predictor | Filler:
    """A prior whose scores are guided so much; the prior itself where that is 1, which is no guidance."""
    if guidance == 1:
        return prior
    return GuidedFiller(prior, guidance) if isinstance(prior, Filler) else GuidedPredictor(prior, guidance)


class GuidedPredictor:
    """A prior that draws frame after frame, guided."""

    def __init__(self, prior: Predictor, guidance: float) -> None:
        self.prior = prior
        self.guidance = guidance
        self.first_code = prior.first_code

    def begin(self, conditions: Conditions, num_frames: int) -> Any:
        return self.prior.begin(_both(conditions), num_frames)

    def advance(self, codes: Int[Tensor, "batch new"], state: Any) -> Float[Tensor, "batch score"]:
        return _guide(self.prior.advance(torch.cat((codes, codes)), state), self.guidance)


class GuidedFiller:
    """A prior that fills in hidden frames, guided."""

    def __init__(self, prior: Filler, guidance: float) -> None:
        self.prior = prior
        self.guidance = guidance
        self.depth = prior.depth

    def tell(self, conditions: Conditions, num_frames: int) -> Any:
        return self.prior.tell(_both(conditions), num_frames)

    def read(self, codes: Int[Tensor, "row frame"], told: Any) -> Float[Tensor, "both around"]:
        return self.prior.read(torch.cat((codes, codes)), told)

    def score(
        self, around: Float[Tensor, "both around"], before: Int[Tensor, "hidden place"]
    ) -> Float[Tensor, "hidden code"]:
        return _guide(self.prior.score(around, torch.cat((before, before))), self.guidance)


def _both(conditions: Conditions) -> Conditions:
    return conditions.followed_by(conditions.unlabelled().wordless())


def _guide(scores: Float[Tensor, "both code"], guidance: float) -> Float[Tensor, "item code"]:
    told, untold = scores.float().chunk(2)
    return torch.lerp(untold, told, guidance)
