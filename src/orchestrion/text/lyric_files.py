"""Files of timed lyrics, of the kind that their suffix names."""

from pathlib import Path

from orchestrion.errors import UserError
from orchestrion.files import read_json, read_text, write_json, write_text
from orchestrion.text.lrc import from_lrc, to_lrc
from orchestrion.text.timed import TimedLyrics
from orchestrion.text.webvtt import from_webvtt, to_webvtt

SUFFIXES = (".json", ".lrc", ".vtt")


def read_timed_lyrics(path: Path) -> TimedLyrics:
    """The lyrics in a JSON, LRC or WebVTT file; UserError for one that is missing or broken, with the line."""
    match _kind(path):
        case ".json":
            return TimedLyrics.from_json(read_json(path, "file of timed lyrics"), str(path))
        case ".lrc":
            return from_lrc(read_text(path, "lyrics"), str(path))
        case _:
            return from_webvtt(read_text(path, "lyrics"), str(path))


def write_timed_lyrics(path: Path, lyrics: TimedLyrics) -> None:
    """Write JSON, enhanced LRC or WebVTT, whole or not at all; only JSON keeps everything."""
    match _kind(path):
        case ".json":
            write_json(path, lyrics.to_json())
        case ".lrc":
            write_text(path, to_lrc(lyrics))
        case _:
            write_text(path, to_webvtt(lyrics))


def _kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise UserError(f"{path.name!r} is no name for timed lyrics", f"end it with {', '.join(SUFFIXES)}")
    return kind
