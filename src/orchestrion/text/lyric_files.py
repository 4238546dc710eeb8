"""Files of timed lyrics, of the kind that their suffix names."""

from pathlib import Path

from orchestrion.errors import UserError
from orchestrion.files import read_json, read_text, write_json, write_text
from orchestrion.text.lrc import from_lrc, to_lrc
from orchestrion.text.lyrics import sectioned, untimed
from orchestrion.text.timed import TimedLyrics
from orchestrion.text.webvtt import from_webvtt, to_webvtt

SUFFIXES = (".json", ".lrc", ".vtt")


def read_timed_lyrics(path: Path) -> TimedLyrics:
    """The lyrics in a JSON, LRC or WebVTT file; UserError for one that is missing or broken, with the line."""
    match kind_of(path):
        case ".json":
            return TimedLyrics.from_json(read_json(path, "file of timed lyrics"), str(path))
        case ".lrc":
            return from_lrc(read_text(path, "lyrics"), str(path))
        case _:
            return from_webvtt(read_text(path, "lyrics"), str(path))


def read_lyrics(path: Path) -> TimedLyrics:
    """The lyrics in any file of text, with their times where it is of a kind that has them, and tags as sections.

    UserError for one that is missing, broken or not text.
    """
    if path.suffix.lower() in SUFFIXES:
        return sectioned(read_timed_lyrics(path))
    text = read_text(path, "lyrics")
    if "\0" in text:
        raise UserError(f"the lyrics in {path} are not text", "save them as plain text")
    return untimed(text)


def write_timed_lyrics(path: Path, lyrics: TimedLyrics, *, words: bool = True) -> None:
    """Write JSON, enhanced LRC or WebVTT, whole or not at all; only JSON keeps everything.

    Without `words` LRC has times of lines alone, which every player understands.
    """
    match kind_of(path):
        case ".json":
            write_json(path, lyrics.to_json())
        case ".lrc":
            write_text(path, to_lrc(lyrics, enhanced=words))
        case _:
            write_text(path, to_webvtt(lyrics))


def kind_of(path: Path) -> str:
    """The suffix of a file of timed lyrics; UserError for any other."""
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise UserError(f"{path.name!r} is no name for timed lyrics", f"end it with {', '.join(SUFFIXES)}")
    return kind
