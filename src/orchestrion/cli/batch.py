"""`orchestrion compose --batch`: every song of a list once, however often and by however many processes it is asked."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrion.cli.compose import make
from orchestrion.errors import UserError

if TYPE_CHECKING:
    from orchestrion.generate.request import Request
    from orchestrion.jukebox import Jukebox


def read_batch(path: Path, asked: "Request", folder: Path) -> dict[Path, "Request"]:
    """Where each song is to stand, and its request: that of the command line with what its line says otherwise.

    UserError that names the line of anything that is not as it should be.
    """
    from orchestrion.audio.io import check_suffix
    from orchestrion.config import plain, read_settings
    from orchestrion.files import read_text
    from orchestrion.generate.request import Request

    songs: dict[Path, Request] = {}
    for number, line in enumerate(read_text(path, "requests").splitlines(), 1):
        if not line.strip():
            continue
        where = f"line {number} of {path}"
        try:
            given = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where} is not JSON", "write a JSON object on each line") from error
        if not isinstance(given, dict):
            raise UserError(f"{where} is not a request", 'write an object, such as {"seed": 1}')
        name = str(given.pop("name", f"song-{number:04d}.flac"))
        output = folder / (name if Path(name).suffix else f"{name}.flac")
        try:
            check_suffix(output)
            if Path(name).name != name:
                raise UserError(f"{name!r} is not a plain name", "songs of a batch stand in one folder")
            if output in songs:
                raise UserError(f"the name {name!r} is given twice", "give each song a name of its own")
            songs[output] = read_settings(Request, {**plain(asked), **given}, "this request")
        except UserError as error:
            raise UserError(f"{where}: {error.problem}", error.hint) from error
    if not songs:
        raise UserError(f"{path} asks for no song", "write a request on each line")
    return songs


def compose_batch(jukebox: "Jukebox", songs: dict[Path, "Request"], *, force: bool, as_json: bool, quiet: bool) -> None:
    """Make what is not made yet; a song that another process is making is left to it.

    Everything that can be known to be wrong with any of them is refused before the first.
    """
    from orchestrion.files import check_writable

    for output, request in songs.items():
        try:
            songs[output] = jukebox.resolved(request)
        except UserError as error:
            raise UserError(f"{output.name}: {error.problem}", error.hint) from error
    check_writable(next(iter(songs)).parent)
    for output, request in songs.items():
        with _claimed(output) as mine:
            if not mine:
                click.echo(f"{output} is being made by another process", err=True)
            elif not _is_made(output, request, jukebox, force=force):
                make(
                    partial(jukebox.compose_all, [request], replace=force),
                    [output],
                    force=True,  # what stands there is of this very song, as was just seen
                    as_json=as_json,
                    quiet=quiet,
                )


@contextmanager
def _claimed(output: Path) -> Iterator[bool]:
    """Whether this process has the song to itself inside the block; the claim ends with the process at the latest."""
    lock = output.with_name(f".{output.name}.lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            lock.unlink(missing_ok=True)


def _is_made(output: Path, request: "Request", jukebox: "Jukebox", *, force: bool) -> bool:
    """Whether the song is there, whole; UserError where something else is, unless `force` gives that up."""
    from orchestrion.config import plain
    from orchestrion.library.folder import SongFolder, beside, is_vacant
    from orchestrion.library.provenance import read_record

    folder = beside(output)
    if not output.exists() and (not folder.exists() or is_vacant(folder)):
        return False
    record = read_record(output) if output.exists() else None
    there = SongFolder.open(folder) if folder.exists() and not is_vacant(folder) else None
    wanted: dict[str, Any] = plain(request)
    same = there is not None and there.info.request == wanted and there.info.model.same_weights(jukebox.song_model)
    if not same and not force:
        raise UserError(
            f"{output} is another song than the one asked for", "choose another folder, or add --force to replace it"
        )
    return same and record is not None and output.with_suffix(".png").exists()
