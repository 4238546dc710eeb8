"""`orchestrion songs list`: the songs that are in a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrion.cli.options import PATH, json_option, show_result
from orchestrion.errors import UserError

if TYPE_CHECKING:
    from orchestrion.library.folder import SongFolder


@click.command("list")
@click.argument("folder", type=PATH, default=Path())
@click.option("--search", "words", default="", help="Only songs in whose names, labels or lyrics all these words are.")
@json_option
def list_(folder: Path, words: str, as_json: bool) -> None:
    """The songs in FOLDER and the folders in it: how long each is, by whom, its seed and model.

    FOLDER is the one you are in unless another is given, such as the library of the Studio.
    """
    from orchestrion.library.folder import SongFolder
    from orchestrion.library.listing import says, song_folders

    found: list[dict[str, Any]] = []
    for path in song_folders(folder):
        try:
            one = _described(SongFolder.open(path))
        except UserError as error:
            click.echo(f"left out: {error}", err=True)
            continue
        if says(words, [one["song"], one["title"], one["artist"], *one["genres"], one["lyrics"], one["model"]]):
            found.append(one)
    wide = max((len(one["song"]) for one in found), default=0)
    text = "\n".join(_line(one, wide) for one in found) or ("no such song" if words else "no songs")
    show_result({"songs": found} | ({} if as_json else {"text": text}), "text", as_json=as_json)


def _described(song: "SongFolder") -> dict[str, Any]:
    from orchestrion.jukebox.asked import request_of
    from orchestrion.library.folder import is_complete
    from orchestrion.library.listing import written_from
    from orchestrion.library.tree import SONG, read_song

    asked, audio = request_of(song), written_from(song)
    in_library = (song.path.parent / SONG).is_file()
    return {
        "song": str(next(iter(audio), song.path)),
        "folder": str(song.path),
        "title": read_song(song.path.parent).title if in_library else "",
        "audio": [str(path) for path in audio],
        "date": max((record.date for record in audio.values()), default=None),
        "seconds": song.info.num_samples / song.info.sample_rate,
        "complete": is_complete(song.frames(), asked.finest_level),
        "artist": asked.artist or "",
        "genres": list(asked.genres),
        "lyrics": asked.lyrics,
        "seed": asked.seed,
        "model": Path(song.info.model.name).name,
    }


def _line(one: dict[str, Any], wide: int) -> str:
    labels = ", ".join(filter(None, (one["title"], one["artist"], *one["genres"], "sung" if one["lyrics"] else "")))
    state = "" if one["complete"] else "  not finished"
    return (
        f"{one['song']:<{wide}}  {one['seconds']:6.1f} s  seed {one['seed']}  {one['model']}  {labels}{state}".rstrip()
    )
