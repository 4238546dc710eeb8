"""Jukebox: open a model and use it, with one level's weights in memory at a time."""

from orchestrion.jukebox.model import Jukebox
from orchestrion.jukebox.song import Composition, Progress, Song

__all__ = ["Composition", "Jukebox", "Progress", "Song"]
