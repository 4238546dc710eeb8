"""What a job tells the worker, as plain data."""

from typing import Any, Literal

from orchestrion.config import Settings


class From(Settings):
    """The take of a song that others are made from: by going on from `start`, or by making `start` to `stop` anew."""

    song: str
    take: str
    act: Literal["continue", "repaint"]
    start: float | None = None
    stop: float | None = None


class FromUpload(Settings):
    """The stretch of uploaded sound that takes begin with."""

    upload: str
    start: float
    seconds: float | None


class MakeTakes(Settings):
    """Takes of a song, which differ by their seeds. `asked` are settings of a request, or changes to the source's.

    For "continue" `seconds` are those that are added.
    """

    song: str
    takes: tuple[str, ...]
    model: str
    asked: dict[str, Any]
    seconds: float
    draft: bool
    source: From | None = None
    upload: FromUpload | None = None


class Refine(Settings):
    """A draft that is to be finished."""

    song: str
    take: str
    model: str


class Decode(Settings):
    """An upload that is to be decoded."""

    upload: str


class DrawMap(Settings):
    """A map that is to be drawn, of a model and of these songs: their id, the take that stands for each, its title.

    So many older songs are `left_out`.
    """

    model: str
    songs: tuple[tuple[str, str, str], ...]
    left_out: int = 0
