"""Songs, and songs in the making."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from jaxtyping import Float
from torch import Tensor

from orchestrion.audio import io
from orchestrion.codes import Codes
from orchestrion.errors import UserError
from orchestrion.files import refuse_overwrite
from orchestrion.generate.request import Request
from orchestrion.jukebox.memory import Recollection
from orchestrion.library.folder import SongInfo, codes_sha256
from orchestrion.library.picture import captions, draw
from orchestrion.library.provenance import Nearest, sidecar, write_record
from orchestrion.text.timed import TimedLyrics

Step = TypeVar("Step")
Made = TypeVar("Made", covariant=True)
Audio = Float[Tensor, "channel sample"]


@dataclass(frozen=True)
class Progress:
    """How far a composition is: `done` of `total` frames of `level`; `stage` is "compose" or "decode"."""

    stage: str
    level: int
    done: int
    total: int


@dataclass(frozen=True)
class Song:
    """What came of a request. `folder` is None for a song kept nowhere.

    `sound` is the audio of `level`, None: the finest made, or makes it when that is first asked for. `info` tells what
    made it; it is None for a song that was put together by hand. `lyrics` say when each word is sung, where the song
    has words and the model can tell. `memory` is that of the model, if it has one.
    """

    request: Request
    codes: Codes
    sound: Audio | Callable[[], Audio] = field(compare=False, repr=False)
    sample_rate: int
    folder: Path | None = None
    info: SongInfo | None = None
    level: int | None = None
    lyrics: TimedLyrics | None = None
    memory: Recollection | None = field(default=None, compare=False, repr=False)

    @cached_property
    def audio(self) -> Audio:
        """The song as it is heard."""
        return self.sound if isinstance(self.sound, Tensor) else self.sound()

    @cached_property
    def nearest(self) -> Nearest | None:
        """Where the music that the model learned from is nearest; None where the model cannot tell."""
        return self.memory.nearest(self.codes) if self.memory else None

    @property
    def name(self) -> str:
        """What the song goes by where another is made from it."""
        return self.folder.stem if self.folder else ""

    @property
    def seconds(self) -> float:
        return self.audio.shape[-1] / self.sample_rate

    @property
    def _heard_level(self) -> int:
        return self.codes.finest if self.level is None else self.level

    def save(self, path: Path | str, *, replace: bool = False) -> None:
        """Write the audio in the format that the suffix names; what made it goes into its tags and a file beside it.

        UserError if either is there already, unless `replace` gives it up.
        """
        path = Path(path)
        for file in (path, sidecar(path)):
            refuse_overwrite(file, replace, by="give replace=True")
        made = self.info.made(self._heard_level) if self.info else None
        io.write(path, self.audio, self.sample_rate, comment=made.tag if made else "")
        if self.info and made:
            write_record(path, made, self.info.engine, codes_sha256(self.codes), self.nearest)

    def draw(self, path: Path | str) -> None:
        """Write a picture of the audio as PNG."""
        asked = self.request
        draw(
            Path(path),
            self.audio,
            self.sample_rate,
            title=captions(asked.artist, asked.genres, asked.seed),
            caption=f"{self.seconds:.1f} s, level {self._heard_level}",
        )


class Composition(Generic[Step, Made]):
    """Music in the making: iterate over its steps, stop where you like, `finish()` it for the song or songs.

    The steps are `Progress`, or pieces of audio where a song is streamed. Levels that are made side by side go on
    between one step and the next: `close` one that is left, or use it as a context, which closes it.
    """

    def __init__(self, steps: Generator[Step, None, Made]) -> None:
        self._steps = steps
        self._made: Made | None = None

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        try:
            return next(self._steps)
        except StopIteration as end:
            self._made = self._made or end.value
            raise

    def __enter__(self) -> "Composition[Step, Made]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop all work on it, and give back the processors that worked ahead; what a folder has of it stays."""
        self._steps.close()

    def finish(self) -> Made:
        """Do all that is left to do, and give what was made."""
        for _ in self:
            pass
        if self._made is None:
            raise UserError("this composition was broken off", "begin it again")
        return self._made
