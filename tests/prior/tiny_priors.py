"""Priors that run in milliseconds."""

import torch
from torch import Generator

from orchestrion.config import (
    ConditionerConfig,
    LabelConfig,
    LyricsConfig,
    PriorConfig,
    TimingConfig,
    TransformerConfig,
)
from orchestrion.presets import published
from orchestrion.prior import Conditions, Prior

FACTORED = ("row", "column", "previous_row", "full", "summary", "summary_spread", "sliding")


def top(**changes: object) -> PriorConfig:
    """Labels and timing, our dialect."""
    settings = dict(  # noqa: C408
        sample_rate=1000,
        hop_length=20,
        codebook_size=11,
        context_frames=24,
        transformer=TransformerConfig(width=16, num_heads=2, patterns=("full",) * 3, num_rows=4),
        labels=LabelConfig(num_artists=4, num_genres=5),
        timing=TimingConfig(num_bins=16, min_total_seconds=1.0, max_total_seconds=20.0),
    )
    return PriorConfig(**{**settings, **changes})  # type: ignore[arg-type]


def upsampler(**changes: object) -> PriorConfig:
    """Coarser codes and labels, our dialect."""
    conditioner = ConditionerConfig(width=8, strides=(2, 4), dilations=(1, 3))
    return top(conditioner=conditioner, hop_length=5, **changes)


def published_stack(**changes: object) -> TransformerConfig:
    thirds = published.attention_patterns(2, 3)
    stack = published.stack(width=16, num_heads=2, patterns=thirds, num_rows=4, attention_ratio=0.5)
    return TransformerConfig(**{**dict(stack), **changes})  # type: ignore[arg-type]


def with_encoder() -> PriorConfig:
    """A separate lyric encoder, the published dialect."""
    return top(
        transformer=published_stack(patterns=("row", "column", "lyrics", "previous_row")),
        lyrics=LyricsConfig(alphabet_size=7, num_characters=8, encoder=published_stack(width=12, num_heads=1)),
    )


def paced() -> PriorConfig:
    """A separate lyric encoder, and what is sung at each frame; our dialect."""
    encoder = TransformerConfig(width=12, num_heads=1, patterns=("full",))
    return top(
        transformer=TransformerConfig(width=16, num_heads=2, patterns=("full", "lyrics", "full")),
        lyrics=LyricsConfig(alphabet_size=7, num_characters=8, encoder=encoder, paced=True),
    )


def with_lyrics_in_sequence() -> PriorConfig:
    """Lyrics and codes in one sequence, the published dialect."""
    return top(
        transformer=published_stack(patterns=("row", "prefix", "previous_row", "column"), prefix_tokens=14),
        lyrics=LyricsConfig(alphabet_size=7, num_characters=8),
        tied_output=True,
        condition_output=True,
    )


CONFIGS = {
    "top": top(),
    "upsampler": upsampler(),
    "factored": top(transformer=TransformerConfig(width=16, num_heads=2, patterns=FACTORED, num_rows=4, spread=2)),
    "unlabelled": top(labels=None, timing=None),
    "published": top(transformer=published_stack(), tied_output=True, condition_output=True),
    "encoder": with_encoder(),
    "paced": paced(),
    "one_sequence": with_lyrics_in_sequence(),
}


def prior(config: PriorConfig, rng: Generator) -> Prior:
    """With every weight drawn, so that a term left out shows."""
    model = Prior(config, rng)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=rng)
    return model.eval()


def conditions(config: PriorConfig, rng: Generator, batch: int = 2) -> Conditions:
    def draw(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, (batch, *shape), generator=rng)

    return Conditions(
        artist=draw(4),
        genres=draw(6, 5) - 1,
        total_samples=2000 + draw(1000),
        start_samples=draw(1000),
        coarser=draw(config.codebook_size, config.context_frames // config.conditioner.ratio)
        if config.conditioner
        else None,
        lyrics=draw(config.lyrics.alphabet_size, config.lyrics.num_characters) if config.lyrics else None,
        sung=draw(config.lyrics.num_characters + 2, config.context_frames) - 2
        if config.lyrics and config.paced
        else None,
    )


def codes(config: PriorConfig, rng: Generator, batch: int = 2, frames: int | None = None) -> torch.Tensor:
    shape = (batch, frames or config.context_frames)
    return torch.randint(config.codebook_size, shape, generator=rng)
