"""Where tensors are computed."""

import torch

from orchestrion.errors import UserError


def chosen_device(wanted: torch.device | str | None) -> torch.device:
    """The device asked for, or the accelerator if there is one; UserError if it cannot be used."""
    if wanted is None:
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found or torch.get_default_device()
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"the device {str(wanted)!r} cannot be used here", "leave it out to use what there is"
        ) from error
    if device.type == "meta":
        raise UserError("the device 'meta' computes nothing", "leave it out to use what there is")
    return device
