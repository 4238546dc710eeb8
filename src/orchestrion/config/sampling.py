"""Settings of drawing: how codes are chosen from what a prior expects."""

from pydantic import Field

from orchestrion.config.base import Settings


class LevelSampling(Settings):
    """How the codes of one level are drawn.

    `temperature` 0 takes the likeliest code every time. `top_k` keeps that many of the likeliest codes,
    `top_p` the fewest of the likeliest that hold this share of probability. `hop_fraction` is how much of
    its context each window invents, after the first: the rest is overlap with what is there already.
    """

    temperature: float = Field(default=1.0, ge=0, le=10)
    top_k: int | None = Field(default=None, ge=1)
    top_p: float = Field(default=1.0, gt=0, le=1)
    hop_fraction: float = Field(default=0.5, gt=0, le=1)
