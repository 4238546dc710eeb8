"""Named configurations, as functions."""

from orchestrion.presets.mini import mini

__all__ = ["mini"]
