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


class Heard(NamedTuple):
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

    def heard(self, vectors: Float[Tensor, "batch width frame"], true: Int[Tensor, "batch frame"]) -> Heard:
        """How well the vectors tell the sounds, on this process alone; frames that are `UNKNOWN` do not count."""
        scores = self.head(vectors.float())
        known = true != UNKNOWN
        loss = F.cross_entropy(scores, true, ignore_index=UNKNOWN, reduction="sum") / known.sum().clamp_min(1)
        sounding = known & (true != BLANK)
        right = (scores.argmax(1) == true)[sounding].float()
        return Heard(loss, float(right.mean()) if len(right) else 0.0)

    def loss(
        self, vectors: Float[Tensor, "batch width frame"], true: Int[Tensor, "batch frame"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor | float]]:
        """The weighted loss, whose gradient reaches the vectors alone, and numbers for the log; `follow` takes the
        convolution's own step. The mean of the losses of all ranks is that on the whole batch."""
        seen = vectors.detach().requires_grad_()
        known = (true != UNKNOWN).sum().float()
        share = known * num_ranks() / summed(known).clamp_min(1)
        with torch.autocast(vectors.device.type, enabled=False):
            heard = self.heard(seen, true)
            own = list(self.head.parameters())
            wanted, *gradients = torch.autograd.grad(heard.loss * share, [seen, *own])
            self.side.take(own, gradients)
            felt = (wanted * vectors).sum()
            loss = self.config.weight * (heard.loss.detach() * share + felt - felt.detach())
        return loss, {"speech/train_loss": heard.loss.detach() * share, "speech/train_right": heard.right}

    def follow(self, step: int) -> None:
        """Let the convolution take the step that `loss` prepared."""
        self.side.follow(step)

    def tensors(self) -> dict[str, Tensor]:
        """All state, by names."""
        return self.side.tensors()

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over the state that `tensors` gave."""
        self.side.load(tensors)
