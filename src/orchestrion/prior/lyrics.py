"""Lyrics, read by an encoder of their own."""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from orchestrion.config.prior import LyricsConfig
from orchestrion.prior.tokens import TokenModel


class LyricEncoder(nn.Module):
    """Characters to vectors that the music's transformer attends to.

    The encoder predicts each character from those before it, which trains it together with the music.
    """

    def __init__(self, config: LyricsConfig, width: int) -> None:
        super().__init__()
        assert config.encoder is not None
        self.tokens = TokenModel(
            config.encoder, config.alphabet_size, config.num_characters, own_start=True, predicts=False
        )
        self.project = nn.Linear(config.encoder.width, width)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, config.alphabet_size, bias=False)

    def forward(
        self, lyrics: Int[Tensor, "batch character"], *, rng: Generator | None = None
    ) -> Float[Tensor, "batch character width"]:
        encoded: Tensor = self.norm(self.project(self.tokens.encode(lyrics, rng=rng)))
        return encoded

    def loss(
        self, encoded: Float[Tensor, "batch character width"], lyrics: Int[Tensor, "batch character"]
    ) -> Float[Tensor, ""]:
        """Mean nats per character, of what `forward` made of `lyrics`."""
        return F.cross_entropy(self.output(encoded).float().flatten(0, 1), lyrics.flatten())
