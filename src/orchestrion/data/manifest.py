"""The manifest of a data set: one line per track, saying what it is, who made it and what its licence is."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from orchestrion.config import Settings, plain, read_settings
from orchestrion.errors import UserError
from orchestrion.files import explained, replacing
from orchestrion.text.vocab import folded

FORMAT = "orchestrion.manifest"
VERSION = 1
MAX_GENRES = 5  # the prior's bag of genres holds so many
VALIDATION_SHARE = 12  # one track in so many is kept for validation

Split = Literal["train", "validation"]


class Track(Settings):
    """One piece of recorded music and what is known of it; None is unknown.

    `artist` and `genres` are the labels a prior learns, blank ones none; `credit` names the makers in their own words.
    `content_hash` is of the file's bytes. `held_out` says on which side of the split a track is, whatever its content
    says. Paths are absolute here and relative to the manifest in its file,
    where possible.
    """

    path: Path
    seconds: float = Field(gt=0)
    sample_rate: int = Field(gt=0)
    channels: int = Field(gt=0)
    content_hash: str = Field(pattern=r"^[0-9a-f]{16}$")
    artist: str | None = None
    genres: tuple[str, ...] = Field(default=(), max_length=MAX_GENRES)
    title: str | None = None
    licence: str | None = None
    lyrics: Path | None = None
    source: str | None = None
    credit: str | None = None
    held_out: bool | None = None

    @field_validator("artist")
    @classmethod
    def _blank_is_unknown(cls, artist: str | None) -> str | None:
        return said(artist)

    @field_validator("genres")
    @classmethod
    def _without_blanks(cls, genres: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(filter(said, genres))


def said(name: str | None) -> str | None:
    """A name, or None where it is blank."""
    return name if name is not None and folded(name) else None


def split(track: Track) -> Split:
    """Whether a track is learned from or kept for validation: unless it says so, a function of its content alone.

    The same recording is on the same side under any name, in any folder and beside any other tracks.
    """
    if track.held_out is not None:
        return "validation" if track.held_out else "train"
    return "validation" if is_held_out(track.content_hash) else "train"


def with_held_out(tracks: Sequence[Track], window_seconds: float) -> list[Track]:
    """The tracks, of those that fill a window some held out for validation and some not.

    Where content puts all of these on one side, one changes sides. UserError for fewer than two.
    """
    long = [track for track in tracks if track.seconds >= window_seconds]
    if len(long) < 2:
        needed = "two tracks are needed"
        if window_seconds:
            last = f"{len(long)} of {len(tracks)} tracks last {window_seconds:.1f} s"
            needed = f"{last}, which the model sees at once, and two must"
        raise UserError(
            f"{needed}: one is learned from, one held out",
            "give two or more such tracks, or cut a long one into pieces",
        )
    sides = {split(track) for track in long}
    if len(sides) == 2:
        return list(tracks)
    first = min(long, key=lambda track: track.content_hash)
    held_out = sides == {"train"}
    return [track.model_copy(update={"held_out": held_out}) if track is first else track for track in tracks]


def is_held_out(digest: str) -> bool:
    """Whether what has this hash, in hexadecimal digits, is kept for validation where nothing else says so."""
    return int(digest, 16) % VALIDATION_SHARE == 0


def content_hash(path: Path) -> str:
    """The BLAKE2b hash of the bytes of a file, 16 hexadecimal digits."""
    with explained(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def read_manifest(path: Path) -> list[Track]:
    """The tracks of a manifest. Raises UserError naming the line of anything that is not as it should be."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # editors may put a byte order mark there
    except FileNotFoundError as error:
        raise UserError(f"there is no manifest at {path}", "make one: orchestrion data scan FOLDER") from error
    except IsADirectoryError as error:
        hint = f"list what is in it: orchestrion data scan {path}"
        raise UserError(f"cannot read {path}: it is a folder", hint) from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a manifest", "make one: orchestrion data scan FOLDER") from error
    _check_header(path, lines[0] if lines else "")
    folder = path.parent.absolute()
    tracks = [_track(path, folder, number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    if not tracks:
        raise UserError(f"the manifest {path} lists no tracks", "scan a folder with music in it")
    return tracks


def write_manifest(path: Path, tracks: Sequence[Track]) -> None:
    """Write a manifest, whole or not at all; paths inside its folder become relative to it."""
    folder = path.parent.absolute()
    header = {"format": FORMAT, "version": VERSION, "tracks": len(tracks)}
    lines = [header, *(_plain_track(track, folder) for track in tracks)]
    with replacing(path) as part:
        part.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def _check_header(path: Path, line: str) -> None:
    try:
        header = json.loads(line)
    except json.JSONDecodeError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(
            f"{path} is not a manifest: its first line is no header", "make one: orchestrion data scan FOLDER"
        )
    if header.get("version") != VERSION:
        raise UserError(
            f"{path} is a manifest of version {header.get('version')} and this program reads {VERSION}",
            "scan the folder again with this program, or update it",
        )


def _track(path: Path, folder: Path, number: int, line: str) -> Track:
    where = f"line {number} of {path}"
    try:
        given = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON", "correct the line, or scan the folder again") from error
    if not isinstance(given, dict):
        raise UserError(f"{where} is not a track", "correct the line, or scan the folder again")
    track = read_settings(Track, given, where)
    lyrics = None if track.lyrics is None else folder / track.lyrics
    return track.model_copy(update={"path": folder / track.path, "lyrics": lyrics})


def _plain_track(track: Track, folder: Path) -> dict[str, object]:
    given = {name: value for name, value in plain(track).items() if value not in (None, [])}
    for name in ("path", "lyrics"):
        if name in given:
            absolute = Path(os.path.abspath(given[name]))  # noqa: PTH100 - links are kept as links
            inside = absolute.is_relative_to(folder)
            given[name] = (absolute.relative_to(folder) if inside else absolute).as_posix()
    return given
