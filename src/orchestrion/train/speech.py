"""What keeps the words of singing in a codec's top level: its codes are to tell which speech sound is sung."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from orchestrion.align.recognizer import BLANK
from orchestrion.config.training import SpeechConfig
from orchestrion.nn.ranks import num_ranks, summed
from orchestrion.train.side import Side

UNKNOWN = -100
"""Of a frame of a track whose sounds have no times."""


class Told(NamedTuple):
    """The cross-entropy of a batch in nats, and the share of its frames with a sound that are right."""

    loss: Float[Tensor, ""]
    right: float


class Speech:
    """One convolution from the top level's vectors to speech sounds, and its optimizer."""

    def __init__(self, config: SpeechConfig, *, width: int, num_symbols: int, steps: int, device: torch.device) -> None:
        """Weights are drawn from torch's own chance; a symbol is an id from 1 on, `BLANK` none."""
        self.config = config
        self.head = nn.Conv1d(width, num_symbols + 1, config.kernel, padding=config.kernel // 2).to(device)
        self.side = Side(self.head, config.optimizer, steps)

    def told(self, vectors: Float[Tensor, "batch width frame"], true: Int[Tensor, "batch frame"]) -> Told:
        """How well the vectors tell the sounds; frames that are `UNKNOWN` do not count.

        The mean of the losses of all ranks is that on the whole batch.
        """
        scores = self.head(vectors.float())
        known = true != UNKNOWN
        asked = summed(known.sum().float()).clamp_min(1) / num_ranks()
        loss = F.cross_entropy(scores, true, ignore_index=UNKNOWN, reduction="sum") / asked
        sounding = known & (true != BLANK)
        right = (scores.argmax(1) == true)[sounding].float()
        return Told(loss, float(right.mean()) if len(right) else 0.0)

    def loss(
        self, vectors: Float[Tensor, "batch width frame"], true: Int[Tensor, "batch frame"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor | float]]:
        """The weighted loss, whose gradient reaches the vectors alone, and numbers for the log; `follow` takes the
        convolution's own step."""
        seen = vectors.detach().requires_grad_()
        with torch.autocast(vectors.device.type, enabled=False):
            told = self.told(seen, true)
            own = list(self.head.parameters())
            wanted, *gradients = torch.autograd.grad(told.loss, [seen, *own])
            self.side.take(own, gradients)
            felt = (wanted * vectors).sum()
            loss = self.config.weight * (told.loss.detach() + felt - felt.detach())
        return loss, {"speech/train_loss": told.loss.detach(), "speech/train_right": told.right}

    def follow(self, step: int) -> None:
        """Let the convolution take the step that `loss` prepared."""
        self.side.follow(step)

    def tensors(self) -> dict[str, Tensor]:
        """All state, by names."""
        return self.side.tensors()

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over the state that `tensors` gave."""
        self.side.load(tensors)
