"""Which precision trains faster on the machine at hand."""

import torch

from orchestrion.config.training import TrainingConfig
from orchestrion.nn.precision import multiplies_well


def settled(config: TrainingConfig, device: torch.device) -> TrainingConfig:
    """`config` with its precision decided, so that a run stays what it was on whatever machine it goes on."""
    if config.precision != "auto":
        return config
    faster = multiplies_well(torch.bfloat16, device.type)
    return config.model_copy(update={"precision": "bfloat16" if faster else "float32"})
