"""Jukebox: open a model and use it."""

from orchestrion.jukebox.model import Jukebox
from orchestrion.jukebox.song import Composition, Progress, Song

__all__ = ["Composition", "Jukebox", "Progress", "Song"]
