"""From a folder of music to a list of tracks with the labels in their tags."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tinytag import TinyTag, TinyTagException

from orchestrion.audio import io
from orchestrion.data.manifest import MAX_GENRES, Track, content_hash
from orchestrion.errors import UserError
from orchestrion.files import explained
from orchestrion.text import timed

LYRICS_SUFFIXES = (timed.SUFFIX, ".lrc", ".txt")  # what says more is preferred where several are there

_RUN, _SAMPLES, _REQUEST, _SONG = "run.json", "samples", "request.json", ".song"
_THREADS = 4  # reading and hashing wait for the disk
_NOTHING_SAID = {"", "unknown", "unknown artist", "unknown title", "<unknown>", "none", "untitled", "n/a"}
_GENRE_SEPARATORS = re.compile(r"[,;/\x00]")


@dataclass(frozen=True)
class Scanned:
    """Progress: file `done` of `total` gave a track, or `problem` says why it was left out."""

    path: Path
    done: int
    total: int
    track: Track | None = None
    problem: str | None = None


def scan(paths: Sequence[Path]) -> Iterator[Scanned]:
    """Describe the audio files of `audio_files`, in their order; a file that cannot be read is reported.

    So is one that was composed, by its tags. The same content is listed once and reported after that.
    """
    first: dict[str, Path] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, (path, found) in enumerate(zip(paths, pool.map(_try, paths), strict=True), 1):
            if isinstance(found, str):
                yield Scanned(path, done, len(paths), problem=found)
                continue
            twin = first.setdefault(found.content_hash, path)
            if twin is path:
                yield Scanned(path, done, len(paths), found)
            else:
                yield Scanned(path, done, len(paths), problem=f"{path} is the same recording as {twin}")


def audio_files(folder: Path) -> list[Path]:
    """The audio files in `folder` and the folders in it, sorted by path.

    Hidden files and folders are passed over, and what this program made: folders of songs and of trainings. Links are
    followed, each folder once. Raises UserError where the
    folder is missing or holds no audio file that may be looked at.
    """
    if not folder.exists():
        raise UserError(f"there is no folder {folder}", "check the path")
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder", "give the folder that holds the music")
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        state = here.stat()
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        if here != folder and (_RUN in files or (here.suffix == _SONG and _REQUEST in files)):
            folders.clear()
            continue
        own = _SAMPLES if _RUN in files else None  # of music that a training was begun in
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != own)
        found += [
            here / name for name in files if not name.startswith(".") and Path(name).suffix.lower() in io.SUFFIXES_READ
        ]
    if not found:
        raise UserError(f"there is no audio file in {folder}", f"known are {', '.join(io.SUFFIXES_READ)}")
    return sorted(found)


def describe(path: Path) -> Track:
    """The track in an audio file: its length and content, its tags, and the lyrics file beside it.

    Raises UserError for a file that cannot be read, or that was composed.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"the name of {os.fsencode(path)!r} is not UTF-8", "rename the file") from error
    info = io.probe(path)
    artist, title, genres = _tags(path)
    return Track(
        path=path.absolute(),
        seconds=info.seconds,
        sample_rate=info.sample_rate,
        channels=info.channels,
        content_hash=content_hash(path),
        artist=artist,
        genres=genres,
        title=title or path.stem,
        lyrics=_lyrics(path),
    )


def _lyrics(path: Path) -> Path | None:
    """The lyrics file beside a track."""
    beside = (path.absolute().with_suffix(suffix) for suffix in LYRICS_SUFFIXES)
    # A long name with a longer suffix is no file, and no error either.
    return next((file for file in beside if os.path.isfile(file)), None)  # noqa: PTH113


def split_genres(text: str) -> tuple[str, ...]:
    """The genres named in a tag, lower-case and once each, at most as many as a track can carry.

    >>> split_genres("Rock; Folk/rock, Unknown")
    ('rock', 'folk')
    """
    names = (" ".join(name.lower().split()) for name in _GENRE_SEPARATORS.split(text))
    return tuple(dict.fromkeys(name for name in names if name not in _NOTHING_SAID))[:MAX_GENRES]


def _try(path: Path) -> Track | str:
    try:
        with explained(path, "read"):
            return describe(path)
    except UserError as error:
        return str(error)


def _is_composed(comment: str | None) -> bool:
    """Whether the comment in the tags of a file says that this program made it."""
    try:
        told = json.loads(comment or "")
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("format") == io.MADE_FORMAT


def _tags(path: Path) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Artist, title and genres; a file without tags, or with tags that cannot be read, has none.

    UserError for a file that was composed.
    """
    try:
        tag = TinyTag.get(path, duration=False)
    except (TinyTagException, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None, None, ()
    if _is_composed(tag.comment):
        raise UserError(f"{path} was composed by this program", "give music for it to learn from, not its own")
    genres = [tag.genre, *tag.other.get("genre", [])]
    return (
        _said(tag.artist or tag.albumartist),
        _said(tag.title),
        split_genres(";".join(filter(None, genres))),
    )


def _said(text: str | None) -> str | None:
    """A tag's text without stray spaces and control characters, or None where it says nothing."""
    clean = " ".join("".join(letter if letter.isprintable() else " " for letter in text or "").split())
    return None if clean.lower() in _NOTHING_SAID else clean
