"""What kind of audio a file is, told by its first bytes."""

from pathlib import Path

from orchestrion.errors import UserError

_FIRST_BYTES = 64
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"fLaC", ".flac"),
    (0, b"OggS", ".ogg"),
    (0, b"ID3", ".mp3"),
    (4, b"ftyp", ".m4a"),
    (0, b"\x1a\x45\xdf\xa3", ".webm"),
    (8, b"WAVE", ".wav"),
    (8, b"AIFF", ".aiff"),
    (8, b"AIFC", ".aiff"),
)


def suffix_of(first: bytes) -> str | None:
    """The suffix of the format whose files begin like this; None for what is not known as audio.

    >>> suffix_of(b"fLaC" + bytes(60))
    '.flac'
    """
    for place, magic, suffix in _MAGIC:
        if first[place : place + len(magic)] == magic:
            return suffix
    if len(first) > 1 and first[0] == 0xFF and first[1] & 0xE0 == 0xE0:
        return ".aac" if first[1] & 0xF6 == 0xF0 else ".mp3"
    return None


def named(path: Path) -> Path:
    """The file, renamed so that its suffix is the one of its content; UserError for what is not known as audio."""
    with path.open("rb") as file:
        suffix = suffix_of(file.read(_FIRST_BYTES))
    if suffix is None:
        raise UserError("this is not audio of a known kind", "send flac, wav, mp3, ogg, opus, m4a or a recording")
    return path.rename(path.with_suffix(suffix))
