"""Settings of every part, as plain data: no torch here."""

from orchestrion.config.base import (
    Settings,
    as_read_now,
    check_version,
    plain,
    read_described,
    read_settings,
    read_toml,
)
from orchestrion.config.codec import CodebookConfig, CodecConfig, CodecLossConfig, LevelConfig, StageConfig
from orchestrion.config.prior import (
    ConditionerConfig,
    LabelConfig,
    LyricsConfig,
    PriorConfig,
    TimingConfig,
    TransformerConfig,
)

__all__ = [
    "CodebookConfig",
    "CodecConfig",
    "CodecLossConfig",
    "ConditionerConfig",
    "LabelConfig",
    "LevelConfig",
    "LyricsConfig",
    "PriorConfig",
    "Settings",
    "StageConfig",
    "TimingConfig",
    "TransformerConfig",
    "as_read_now",
    "check_version",
    "plain",
    "read_described",
    "read_settings",
    "read_toml",
]
