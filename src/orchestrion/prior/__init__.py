"""Priors: codes from coarser codes, labels and lyrics."""

from orchestrion.prior.labels import Conditions
from orchestrion.prior.model import Prior, PriorLoss, PriorState

__all__ = ["Conditions", "Prior", "PriorLoss", "PriorState"]
