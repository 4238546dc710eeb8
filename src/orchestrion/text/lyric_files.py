"""Files of timed lyrics, of the kind that their suffix names."""

from pathlib import Path

from orchestrion.errors import UserError
from orchestrion.files import read_json, read_text, write_json, write_text
from orchestrion.text import lrc, webvtt
from orchestrion.text.lyrics import sectioned, untimed, written
from orchestrion.text.timed import TimedLyrics

SUFFIXES = (".json", ".lrc", ".vtt")


def read_timed_lyrics(path: Path) -> TimedLyrics:
    """The lyrics in a JSON, LRC or WebVTT file; UserError for one that is missing or broken, with the line."""
    match kind_of(path):
        case ".json":
            return TimedLyrics.from_json(read_json(path, "file of timed lyrics"), str(path))
        case ".lrc":
            return lrc.from_lrc(read_text(path, "lyrics"), str(path))
        case _:
            return webvtt.from_webvtt(read_text(path, "lyrics"), str(path))


def read_lyrics(path: Path) -> TimedLyrics:
    """The lyrics in any file of text, with their times where it is of a kind that has them, and tags as sections.

    UserError for one that is missing, broken or not text.
    """
    return read_lyrics_as_written(path)[0]


def read_lyrics_as_written(path: Path) -> tuple[TimedLyrics, str]:
    """As `read_lyrics`, and the text to sing them from: as it stands in the file, or of timed ones the words.

    The file is read once: a pipe is empty after that.
    """
    if path.suffix.lower() in SUFFIXES:
        lyrics = sectioned(read_timed_lyrics(path))
        return lyrics, written(lyrics)
    text = read_text(path, "lyrics")
    if "\0" in text:
        raise UserError(f"the lyrics in {path} are not text", "save them as plain text in UTF-8")
    return untimed(text), text


def write_timed_lyrics(path: Path, lyrics: TimedLyrics, *, words: bool = True) -> None:
    """Write JSON, enhanced LRC or WebVTT, whole or not at all; only JSON keeps everything.

    Without `words` LRC has times of lines alone, which every player understands.
    """
    match kind_of(path):
        case ".json":
            write_json(path, lyrics.to_json())
        case ".lrc":
            write_text(path, lrc.to_lrc(lyrics, enhanced=words))
        case _:
            write_text(path, webvtt.to_webvtt(lyrics))


def check_timed_lyrics(path: Path, lyrics: TimedLyrics) -> None:
    """Raise UserError for words or sections that the kind of file cannot hold, whatever their times will be."""
    match kind_of(path):
        case ".lrc":
            lrc.check(lyrics)
        case ".vtt":
            webvtt.check(lyrics)


def kind_of(path: Path) -> str:
    """The suffix of a file of timed lyrics; UserError for any other."""
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise UserError(f"{path.name!r} is no name for timed lyrics", f"end it with {', '.join(SUFFIXES)}")
    return kind
