"""The second phase of a codec's training: against a discriminator for each level."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orchestrion.codec.discriminator import Discriminator, feature_distance, fooling_loss, telling_loss, told_apart
from orchestrion.codec.model import LevelOutput
from orchestrion.config.training import AdversarialConfig
from orchestrion.nn.ranks import summed
from orchestrion.train.side import Side

_FIRST = "first"


class Adversary:
    """Discriminators and their optimizer, from step `first` of `steps` on.

    Levels do not share one, as they share nothing else. A run whose end was moved keeps its `first`.
    """

    def __init__(
        self,
        config: AdversarialConfig,
        *,
        channels: int,
        levels: Sequence[int],
        magnitudes: Collection[int] = (),
        steps: int,
        device: torch.device,
    ) -> None:
        """Of `levels`, those in `magnitudes` write magnitudes. Weights are drawn from torch's own chance."""
        self.names = levels
        self.config = config
        self.steps = steps
        self.first = round(config.start_share * steps)
        self.levels = nn.ModuleList(
            Discriminator(config, channels, magnitudes=level in magnitudes) for level in levels
        ).to(device)
        self.side = Side(self.levels, config.optimizer, max(1, steps - self.first))

    def losses(
        self, outputs: list[LevelOutput], step: int
    ) -> tuple[list[Float[Tensor, ""]], dict[str, Tensor | float]]:
        """Each level's loss at a step of the training, to be used in the place of its own, and numbers for the log;
        `follow` takes their step.

        A loss is as large as the level's own. Its gradient has beside that of the reconstruction what the
        discriminators, as they were, say of what was made, `weight` times as long (as Défossez et al. 2022, section
        3.4, balance theirs). Both are taken here, so the reconstruction of `outputs` has no gradient afterwards.
        """
        grown = min(1.0, (step - self.first + 1) / max(1, self.config.ramp_steps))
        losses: list[Tensor] = []
        metrics: dict[str, Tensor | float] = {}
        for level, discriminator, output in zip(self.names, self.levels, outputs, strict=True):
            shown = output.made.detach().requires_grad_()
            true, made = discriminator(output.true), discriminator(shown)
            with torch.autocast(shown.device.type, enabled=False):
                fooling = fooling_loss(made, self.config.loss)
                features = feature_distance(true, made)
                telling = telling_loss(true, made, self.config.loss)
                (wanted,) = torch.autograd.grad(fooling + self.config.features * features, shown, retain_graph=True)
                (other,) = torch.autograd.grad(output.reconstruction.total, output.made)
                balance = grown * self.config.weight * _length(other) / _length(wanted).clamp_min(1e-12)
                felt = ((other + balance * wanted) * output.made).sum()
                losses.append(output.quantizer_loss + output.reconstruction.total.detach() + felt - felt.detach())
                own = list(discriminator.parameters())
                self.side.take(own, torch.autograd.grad(telling, own))
            metrics |= {
                f"level_{level}/telling_loss": telling.detach(),
                f"level_{level}/fooling_loss": fooling.detach(),
                f"level_{level}/feature_distance": features.detach(),
                f"level_{level}/told_apart": told_apart(true, made),
            }
        return losses, metrics

    def follow(self, step: int) -> None:
        """Let the discriminators take the step that `losses` prepared."""
        self.side.follow(step - self.first)

    def tensors(self) -> dict[str, Tensor]:
        """All state, by names."""
        return self.side.tensors() | {_FIRST: torch.tensor(self.first)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over the state that `tensors` gave; before 2026-11-30 it had no `first`."""
        self.side.load(tensors)
        if _FIRST in tensors:
            self.first = int(tensors[_FIRST])
            self.side.optimizer.steps = max(1, self.steps - self.first)


def _length(gradient: Tensor) -> Tensor:
    """That of the gradient on what all ranks made."""
    return summed(gradient.square().sum()).sqrt()
