"""The songs in a folder and the folders in it, and those among them that are looked for."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrion.audio import io
from orchestrion.errors import UserError
from orchestrion.library.folder import SUFFIX, SongFolder, is_begun
from orchestrion.library.provenance import Record, read_record
from orchestrion.text.vocab import folded


def song_folders(place: Path) -> Iterator[Path]:
    """The song folders in `place`, sorted by name, before those in the folders in it; hidden ones are passed over.

    UserError if it is no folder.
    """
    if not place.is_dir():
        problem = f"{place} is not a folder" if place.exists() else f"there is no folder {place}"
        raise UserError(problem, "give a folder that songs are in")
    if is_begun(place):
        yield place
        return
    for here, folders, _ in os.walk(place):
        songs = {name for name in folders if name.endswith(SUFFIX) and is_begun(Path(here, name))}
        yield from (Path(here, name) for name in sorted(songs))
        folders[:] = sorted(name for name in folders if name not in songs and not name.startswith("."))


def written_from(song: SongFolder) -> dict[Path, Record]:
    """The audio files beside a song's folder whose records say that they were made from it, and these records."""
    places = [song.path.with_suffix(suffix) for suffix in io.SUFFIXES_WRITE]
    records = {place: read_record(place) for place in places if place.is_file()}
    return {
        place: record for place, record in records.items() if record is not None and song.info.has_made(record.made)
    }


def says(words: str, texts: Sequence[str]) -> bool:
    """Whether each of these words stands in one of the texts, whatever its case."""
    whole = [folded(text) for text in texts]
    return all(any(folded(word) in text for text in whole) for word in words.split())
