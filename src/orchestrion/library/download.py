"""A take's audio as a file to give away: another format, the same record in its tags."""

from pathlib import Path

from orchestrion.audio import io
from orchestrion.library.folder import SongFolder


def convert(song: Path, audio: Path, level: int, target: Path) -> None:
    """Write `audio`, of the song in a folder at a level, in the format that the suffix of `target` names."""
    about = io.probe(audio)
    made = SongFolder.open(song).info.made(level)
    io.write(target, io.read(audio, about.sample_rate, about.channels), about.sample_rate, comment=made.tag)
