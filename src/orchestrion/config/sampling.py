"""Settings of drawing: how codes are chosen from what a prior expects."""

from typing import Literal

from pydantic import Field

from orchestrion.config.base import Settings


class LevelSampling(Settings):
    """How the codes of one level are drawn.

    `temperature` 0 takes the likeliest code every time. `top_k` keeps that many of the likeliest codes,
    `top_p` the fewest of the likeliest that hold this share of probability. `guidance` above 1 exaggerates what artist,
    genres and lyrics make of the music, against music of nobody in particular, at twice the work. `hop_fraction` is how
    much of its context each window invents, after the first: the rest is overlap with what is there already.

    `leaning` is how much a part that comes back resembles what it was: each code that was there is likelier by so many
    nats, at any temperature, before all are made to add up to 1.

    A masked prior fills a window in `passes`. Each keeps the codes that it is surest of, or random ones, and leaves the
    others to the next; `order_temperature` mixes the two, the more the earlier the pass.
    """

    temperature: float = Field(default=1.0, ge=0, le=10)
    top_k: int | None = Field(default=None, ge=1)
    top_p: float = Field(default=1.0, gt=0, le=1)
    guidance: float = Field(default=1.0, ge=0, le=100)
    hop_fraction: float = Field(default=0.5, gt=0, le=1)
    leaning: float = Field(default=10.0, ge=0, le=1000)
    passes: int = Field(default=4, ge=1, le=1000)
    order: Literal["confidence", "random"] = "confidence"
    order_temperature: float = Field(default=12.0, ge=0, le=100)

    @property
    def leant(self) -> float:
        """What is added to the score of a code that was there, before scores are divided by the temperature."""
        return self.leaning * (self.temperature or 1)
