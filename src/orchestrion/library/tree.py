"""A song as a person works on it: its takes as a tree, what was chosen and undone, title, notes, tags, stars.

Kept as `song.json` in the song's folder, each take in a folder of its own beside it (`folder.SongFolder`). No torch
here: a page shows songs before a model is loaded.
"""

import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from orchestrion.config import Settings, plain, read_described
from orchestrion.errors import UserError
from orchestrion.files import write_json

FORMAT = "orchestrion.library_song"
VERSION = 1
LYRICS_FILE = "lyrics.json"
"""In the song folder of a take: when its words are sung."""
SONG = "song.json"
ID_PATTERN = r"^[a-z0-9][a-z0-9-]{0,79}$"

Act = Literal["compose", "continue", "repaint", "prime"]
_ID = re.compile(ID_PATTERN.replace("$", r"\Z"))
_AUDIO = re.compile(r"^level_(\d+)\.flac$")


class Mix(Settings):
    """Two artists, and the share of the second."""

    first: str
    second: str
    share: float = Field(ge=0, le=1)


class Span(Settings):
    """A stretch of music, in seconds."""

    start: float = Field(ge=0)
    stop: float = Field(gt=0)


class Take(Settings):
    """One take: where it leaves its `parent` (`start`) and ends (`stop`), in seconds, and what was asked for.

    Takes of one `batch` were asked for together, one of them may be `chosen`. `span` is what was repainted. An undone
    take is `hidden`.
    """

    id: str = Field(pattern=ID_PATTERN)
    parent: str | None
    number: int = Field(ge=1)
    act: Act
    batch: str
    start: float = Field(ge=0)
    stop: float = Field(gt=0)
    artist: str | None = None
    genres: tuple[str, ...] = ()
    mix: Mix | None = None
    lyrics: str = ""
    seed: int = 0
    span: Span | None = None
    model: str
    created: str
    chosen: bool = False
    hidden: bool = False


class Step(Settings):
    """What was done: takes were added, or `chosen` was chosen in place of `before`."""

    added: tuple[str, ...] = ()
    chosen: str | None = None
    before: str | None = None


class LibrarySong(Settings):
    """A song and its takes. The first `done` of `steps` are in force, the others undone."""

    format: str = FORMAT
    version: int = VERSION
    id: str = Field(pattern=ID_PATTERN)
    title: str
    lyrics: str = ""
    notes: str = ""
    tags: tuple[str, ...] = ()
    starred: bool = False
    created: str
    takes: tuple[Take, ...] = ()
    steps: tuple[Step, ...] = ()
    done: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _makes_sense(self) -> "LibrarySong":
        ids = [take.id for take in self.takes]
        for what, names in (("tag", self.tags), ("take", ids)):
            if doubled := next((name for name in names if names.count(name) > 1), None):
                raise UserError(f"the song {self.id!r} has the {what} {doubled!r} twice", "restore it from a copy")
        if self.done > len(self.steps):
            raise UserError(f"the song {self.id!r} lacks steps that were done", "restore it from a copy")
        return self

    @property
    def shown(self) -> tuple[Take, ...]:
        """The takes that are not undone."""
        return tuple(take for take in self.takes if not take.hidden)

    def heard(self, audible: Callable[[Take], bool]) -> Take | None:
        """The take that stands for the song: of those that are `audible` the latest chosen one, else the latest.

        Where none is, of all.
        """
        takes = sorted(self.shown, key=lambda take: take.chosen)[::-1]
        return next(filter(audible, takes), takes[0] if takes else None)

    @property
    def can_undo(self) -> bool:
        """The first step made the song itself, and stays."""
        return self.done > 1

    @property
    def can_redo(self) -> bool:
        return self.done < len(self.steps)

    def take(self, take: str) -> Take:
        """UserError where there is none of this id."""
        for each in self.takes:
            if each.id == take:
                return each
        raise UserError(f"the song {self.id!r} has no take {take!r}", "open the song again")

    def with_takes(self, takes: Sequence[Take]) -> "LibrarySong":
        """The song with new takes, of one batch."""
        step = Step(added=tuple(take.id for take in takes))
        return self._stepped(step).model_copy(update={"takes": (*self.takes, *takes)})

    def with_chosen(self, take: str) -> "LibrarySong":
        """The song with a take chosen among those of its batch."""
        batch = self.take(take).batch
        before = next((each.id for each in self.takes if each.batch == batch and each.chosen), None)
        if before == take:
            return self
        return self._stepped(Step(chosen=take, before=before))._choosing(before, take)

    def undone(self) -> "LibrarySong":
        """The song before its last step; UserError where that is the first."""
        if not self.can_undo:
            raise UserError("there is nothing to undo", "the first takes stay; delete the song to be rid of them")
        step = self.steps[self.done - 1]
        song = self.model_copy(update={"done": self.done - 1})
        return song._choosing(step.chosen, step.before) if step.chosen else song._hiding(step.added, hidden=True)

    def redone(self) -> "LibrarySong":
        """The song with its last undone step; UserError where there is none."""
        if not self.can_redo:
            raise UserError("there is nothing to do again", "undo something first")
        step = self.steps[self.done]
        song = self.model_copy(update={"done": self.done + 1})
        return song._choosing(step.before, step.chosen) if step.chosen else song._hiding(step.added, hidden=False)

    def _stepped(self, step: Step) -> "LibrarySong":
        return self.model_copy(update={"steps": (*self.steps[: self.done], step), "done": self.done + 1})

    def _choosing(self, no_longer: str | None, take: str | None) -> "LibrarySong":
        return self._each(
            lambda each: each.model_copy(update={"chosen": each.id == take or (each.chosen and each.id != no_longer)})
        )

    def _hiding(self, takes: Iterable[str], *, hidden: bool) -> "LibrarySong":
        which = set(takes)
        return self._each(lambda each: each.model_copy(update={"hidden": hidden}) if each.id in which else each)

    def _each(self, change: Any) -> "LibrarySong":
        return self.model_copy(update={"takes": tuple(change(take) for take in self.takes)})


def new_id(title: str) -> str:
    """An id that can be a folder's name: what can be said of the title in ASCII, and a few random letters."""
    plain_title = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain_title).strip("-")[:48].strip("-")
    return f"{words or 'song'}-{secrets.token_hex(3)}"


def check_id(given: str) -> str:
    """UserError for what is not the id of a song or a take, such as a path."""
    if not _ID.match(given):
        raise UserError(f"{given[:80]!r} is not the id of a song", "take ids from the list of songs")
    return given


def read_song(folder: Path) -> LibrarySong:
    """The song in a folder of the library; UserError if there is none, or one of a later version."""
    return read_described(LibrarySong, folder / SONG, "song of the library")


def write_song(folder: Path, song: LibrarySong) -> None:
    write_json(folder / SONG, plain(song))


def levels_of(take_folder: Path) -> list[int]:
    """The levels of a take that can be heard, the finest first."""
    audio = take_folder / "audio"
    found = (_AUDIO.match(path.name) for path in audio.iterdir()) if audio.is_dir() else ()
    return sorted(int(match[1]) for match in found if match)
