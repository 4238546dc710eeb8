"""A network that is trained beside the model and is no part of it, with its own optimizer."""

from collections.abc import Iterable

from torch import Tensor, nn

from orchestrion.config.training import OptimizerConfig
from orchestrion.nn.ranks import num_ranks, summed
from orchestrion.train.optim import Optimizer


class Side:
    """The network and its optimizer; gradients are the mean over all ranks."""

    def __init__(self, network: nn.Module, config: OptimizerConfig, steps: int) -> None:
        self.network = network
        self.optimizer = Optimizer(network, config, steps)

    def take(self, weights: Iterable[nn.Parameter], gradients: Iterable[Tensor]) -> None:
        """Keep the gradients that this rank has found for `follow`."""
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = summed(gradient) / num_ranks()

    def follow(self, step: int) -> None:
        """Take the optimizer's step, by its own count."""
        self.optimizer.step(step)

    def tensors(self) -> dict[str, Tensor]:
        """All state, by names."""
        weights = {f"weights.{name}": value for name, value in self.network.state_dict().items()}
        return weights | {f"optimizer.{name}": value for name, value in self.optimizer.tensors().items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over the state that `tensors` gave."""
        self.network.load_state_dict(under(tensors, "weights."))
        self.optimizer.load(under(tensors, "optimizer."))


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
