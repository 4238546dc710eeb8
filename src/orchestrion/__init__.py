"""Orchestrion: train and play models that compose raw audio.

>>> from orchestrion import Jukebox, Request
>>> jukebox = Jukebox.from_pretrained("mini")                      # doctest: +SKIP
>>> song = jukebox.compose(Request(seconds=10.0, seed=7)).finish()  # doctest: +SKIP
>>> song.save("song.flac")                                         # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from orchestrion.errors import UserError
from orchestrion.version import __version__

if TYPE_CHECKING:
    from orchestrion.config.sampling import LevelSampling
    from orchestrion.generate.request import Mix, Prime, Reprise, Request
    from orchestrion.jukebox import Jukebox, Song

__all__ = ["Jukebox", "LevelSampling", "Mix", "Prime", "Reprise", "Request", "Song", "UserError", "__version__"]

_HOMES = {
    "Jukebox": "orchestrion.jukebox",
    "LevelSampling": "orchestrion.config.sampling",
    "Mix": "orchestrion.generate.request",
    "Prime": "orchestrion.generate.request",
    "Reprise": "orchestrion.generate.request",
    "Request": "orchestrion.generate.request",
    "Song": "orchestrion.jukebox",
}


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import, and most of the command line does without it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
