"""What the implementations that descend from the original have in common; their models are given by those who know."""

from typing import Any

import measured
import torch
from torch import Tensor

CHUNK_FRAMES = 32
"""Of a prompt; the default of both."""


class Codec:
    """A VQ-VAE that hears `batch sample channel`."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def encode(self, audio: Tensor) -> list[Tensor]:
        return self.model.encode(audio[:, :, None])

    def decode(self, codes: list[Tensor], level: int) -> Tensor:
        return self.model.decode(codes[level:], start_level=level)[:, :, 0]


class Prior:
    """A top prior told `label`; `names` are its words for the codes that are there and for labels."""

    def __init__(self, model: Any, label: list[int], names: tuple[str, str]) -> None:
        self.model, self.label, self.names = model, label, names

    def logits(self, codes: Tensor) -> Tensor:
        x_cond, y_cond, _ = self.model.get_cond(None, torch.tensor([self.label] * len(codes)))
        return self.model.prior(codes, x_cond, y_cond, get_preds=True)[1]

    def sample(self, prompt: Tensor, num_codes: int) -> tuple[float, list[float]]:
        batch, known = prompt.shape
        told = (prompt if known else None, torch.tensor([self.label] * batch))
        self.model.sample(
            batch,
            **dict(zip(self.names, told, strict=True)),
            chunk_size=CHUNK_FRAMES,
            sample_tokens=known + num_codes,
        )
        return measured.Ticks.taken()
