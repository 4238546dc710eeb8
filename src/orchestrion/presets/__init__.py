"""Named configurations, as functions."""

from orchestrion.presets.finetune import finetune, finetune_whole
from orchestrion.presets.mini import mini, mini_sequential, mini_song
from orchestrion.presets.published import codec as published_codec
from orchestrion.presets.published import top_1b_lyrics as published_1b_lyrics
from orchestrion.presets.published import top_5b as published_5b
from orchestrion.presets.published import top_5b_lyrics as published_5b_lyrics
from orchestrion.presets.published import upsampler as published_upsampler

TRAINED = {"mini": mini, "mini-sequential": mini_sequential, "mini-song": mini_song}
"""Models that are trained here, all their parts, by the name that the command line knows."""

__all__ = [
    "TRAINED",
    "finetune",
    "finetune_whole",
    "mini",
    "mini_sequential",
    "mini_song",
    "published_1b_lyrics",
    "published_5b",
    "published_5b_lyrics",
    "published_codec",
    "published_upsampler",
]
