"""Lyrics, read by an encoder of their own, and what of them is sung when."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from orchestrion.config.prior import SUNG_AROUND, SUNG_WIDTH, LyricsConfig
from orchestrion.prior.tokens import TokenModel
from orchestrion.text.window import NOTHING_SUNG_YET


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


class SungCharacter(nn.Module):
    """A vector for each frame: the character that is sung there, with those around it; zeros where that is not known.

    Duration is told, not learned, as where speech is made frame by frame (Ren et al. 2019, arXiv 1905.09263), and what
    is attended to besides is free.
    """

    def __init__(self, alphabet_size: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(alphabet_size, SUNG_WIDTH)
        self.around = nn.Conv1d(SUNG_WIDTH, width, SUNG_AROUND, padding=SUNG_AROUND // 2)
        self.nothing = nn.Parameter(torch.zeros(width))
        """Of a frame before the first word."""

    def forward(
        self, lyrics: Int[Tensor, "batch character"], sung: Int[Tensor, "batch frame"]
    ) -> Float[Tensor, "batch frame width"]:
        characters = self.around(self.embedding(lyrics).transpose(1, 2)).transpose(1, 2)
        places = sung.clamp(min=0)[..., None].expand(-1, -1, characters.shape[-1])
        vectors: Tensor = characters.gather(1, places) * (sung >= 0)[..., None]
        return vectors + (sung == NOTHING_SUNG_YET)[..., None] * self.nothing
