"""What a training takes, before anything is paid: formulas over settings, without torch."""

from orchestrion.plan.cost import Cost, Saved, codec_cost, prior_cost
from orchestrion.plan.devices import DEVICES, Device
from orchestrion.plan.plan import Memory, Plan, plan

__all__ = ["DEVICES", "Cost", "Device", "Memory", "Plan", "Saved", "codec_cost", "plan", "prior_cost"]
