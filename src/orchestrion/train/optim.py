"""Optimizers and the schedule of their learning rates."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from orchestrion.config.training import OptimizerConfig
from orchestrion.train.muon import Muon


def rate_factor(step: int, steps: int, config: OptimizerConfig) -> float:
    """The share of the full learning rate at `step`: warm-up, plateau, square-root decay to zero.

    >>> config = OptimizerConfig(warmup_steps=10, decay_share=0.5)
    >>> [round(rate_factor(step, 100, config), 2) for step in (0, 9, 50, 99)]
    [0.1, 1.0, 1.0, 0.14]
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay_steps = max(1, round(steps * config.decay_share))
    left = min(1.0, (steps - step) / decay_steps)
    return warm * math.sqrt(max(0.0, left)) if config.decay_share else warm


class Optimizer:
    """One or two torch optimizers that step together, with a common schedule and clipping."""

    def __init__(
        self,
        model: nn.Module,
        config: OptimizerConfig,
        steps: int,
        matrices: Iterable[nn.Parameter] = (),
        *,
        matrix_dtype: torch.dtype = torch.float32,
    ) -> None:
        """`matrices` are the weights that Muon trains, if the config asks for it, with products in `matrix_dtype`."""
        self.config = config
        self.steps = steps
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        names = {parameter: name for name, parameter in model.named_parameters()}
        by_muon = list(matrices) if config.kind == "muon" else []
        taken = set(by_muon)
        rest = [parameter for parameter in self.parameters if parameter not in taken]
        self._parts: list[tuple[torch.optim.Optimizer, float, list[str]]] = []
        if rest:
            adamw = torch.optim.AdamW(
                rest, config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
            )
            self._parts.append((adamw, config.learning_rate, [names[parameter] for parameter in rest]))
        if by_muon:
            muon = Muon(by_muon, config.matrix_learning_rate, weight_decay=config.weight_decay, dtype=matrix_dtype)
            self._parts.append((muon, config.matrix_learning_rate, [names[p] for p in by_muon]))

    def step(self, step: int) -> float:
        """Clip the gradients, apply them and clear them; returns their norm before clipping.

        Where that is no number, nothing is applied.
        """
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if not norm.isfinite():
            self.clear()
            return float(norm)
        factor = rate_factor(step, self.steps, self.config)
        for part, rate, _ in self._parts:
            for group in part.param_groups:
                group["lr"] = rate * factor
            part.step()
        self.clear()
        return float(norm)

    def clear(self) -> None:
        """Forget the gradients."""
        for part, _, _ in self._parts:
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """All state, as named tensors that safetensors can hold."""
        named = {}
        for index, (part, _, names) in enumerate(self._parts):
            for position, state in part.state_dict()["state"].items():
                for key, value in state.items():
                    named[f"{index}.{names[position]}.{key}"] = torch.as_tensor(value)
        return named

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over the state that `tensors` gave."""
        for index, (part, _, names) in enumerate(self._parts):
            state: dict[int, dict[str, Tensor]] = {}
            for position, name in enumerate(names):
                prefix = f"{index}.{name}."
                own = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
                if own:
                    state[position] = own
            part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
