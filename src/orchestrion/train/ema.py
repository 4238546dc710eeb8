"""Averaged weights: slower than the trained ones, and better."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from orchestrion.train.state import learned_state, load_learned


class AveragedWeights:
    """An exponential moving average of a model's learned parameters and floating-point buffers.

    Early on the average is short, so that it does not remember the random start: after n updates the decay is
    at most (1 + n) / (10 + n).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = _copied(model)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Follow the model after its `step`-th update, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in learned_state(model).items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Let `model` wear the average, in evaluation mode, inside the block; then give all back."""
        own = _copied(model)
        training = model.training
        load_learned(model, self.weights)
        model.eval()
        try:
            yield
        finally:
            load_learned(model, own)
            model.train(training)


def _copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in learned_state(model).items()}
