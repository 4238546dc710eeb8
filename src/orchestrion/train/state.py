"""What of a model is learned, and so has to be kept: all but frozen weights."""

from torch import Tensor, nn


def learned_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters that have gradients, and its buffers, by names."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def load_learned(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Take over what `learned_state` gave; KeyError for anything missing or too much."""
    wanted = learned_state(model).keys()
    if wanted != tensors.keys():
        raise KeyError(f"not the weights of this model: {sorted(wanted ^ tensors.keys())[:5]}")
    model.load_state_dict(tensors, strict=False)
