"""`orchestrion compose`, and the making of a song that other commands share."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrion.cli.main import STOPPED
from orchestrion.cli.options import (
    PATH,
    check_output,
    engine_options,
    force_option,
    json_option,
    open_jukebox,
    quiet_option,
    sampling,
    sampling_options,
    show_result,
)
from orchestrion.errors import UserError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from orchestrion.jukebox import Composition, Song


@click.command()
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=Path("song.flac"),
    show_default=True,
    help="flac, wav, ogg, mp3, opus.",
)
@click.option("--model", default="mini", show_default=True, help="Name or folder of the model; see `models list`.")
@click.option("--artist", help='In the manner of; see `models show`. Left out, or "unknown": nobody in particular.')
@click.option("--genre", "genres", multiple=True, help="May be given several times.")
@click.option("--seconds", type=float, default=30.0, show_default=True, help="Length of the song, a prompt included.")
@click.option(
    "--total-seconds",
    type=float,
    help="Length of the piece that the song is the beginning of.  [default: --seconds]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed and request give the same song.")
@click.option("--prime", type=PATH, help="Go on from the sound in this file.")
@click.option(
    "--prime-start",
    type=float,
    default=0.0,
    show_default=True,
    help="Where in the file the prompt starts, in seconds.",
)
@click.option("--prime-seconds", type=float, help="How long the prompt is.  [default: to the end]")
@click.option(
    "--finest-level",
    type=int,
    default=0,
    show_default=True,
    help="Stop at this level: a draft for `upsample`.",
)
@sampling_options
@engine_options
@force_option
@json_option
@quiet_option
def compose(
    output: Path,
    model: str,
    artist: str | None,
    genres: tuple[str, ...],
    seconds: float,
    total_seconds: float | None,
    seed: int,
    prime: Path | None,
    prime_start: float,
    prime_seconds: float | None,
    finest_level: int,
    temperature: tuple[float, ...] | None,
    top_k: tuple[int, ...] | None,
    top_p: tuple[float, ...] | None,
    hop: tuple[float, ...] | None,
    device: str,
    dtype: str,
    threads: int | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compose a new song.

    Beside the song stand its picture (.png) and its folder (.song), with the codes that `continue`, `upsample`
    and `decode` need. The same command again goes on with a song that was stopped.
    """
    from orchestrion.generate.request import Prime, Request

    if prime is None and (prime_start or prime_seconds is not None):
        raise UserError("a prompt's start or length is given, but no prompt", "name its file with --prime")
    asked = Request(
        seconds=seconds,
        artist=artist,
        genres=genres,
        seed=seed,
        total_seconds=total_seconds,
        finest_level=finest_level,
        prime=None if prime is None else Prime(path=str(prime), start_seconds=prime_start, seconds=prime_seconds),
    )
    check_output(output, force=force)
    jukebox = open_jukebox(model, device=device, dtype=dtype, threads=threads)
    drawn = sampling(jukebox.info.sampling, temperature=temperature, top_k=top_k, top_p=top_p, hop=hop)
    request = asked.changed(sampling=drawn)
    make(
        lambda folder: jukebox.compose(request, folder, replace=force),
        output,
        force=force,
        as_json=as_json,
        quiet=quiet,
    )


def make(begin: Callable[[Path], "Composition"], output: Path, *, force: bool, as_json: bool, quiet: bool) -> None:
    """Make a song in the folder beside `output`, with a picture, and show the result.

    `begin` starts the composition that is kept in a folder.
    """
    from orchestrion.config import plain
    from orchestrion.files import refuse_overwrite
    from orchestrion.library.folder import beside

    folder, picture = beside(output), output.with_suffix(".png")
    refuse_overwrite(picture, force)
    composition = begin(folder)
    try:
        song, took = watch(composition, quiet=quiet)
    except KeyboardInterrupt:
        message = f"stopped; what is made is kept in {folder}: the same command goes on with it"
        click.echo(message, err=True)
        raise click.exceptions.Exit(STOPPED) from None
    song.save(output)
    song.draw(picture)
    result = {
        "audio": str(output),
        "picture": str(picture),
        "folder": str(folder),
        "seconds": song.seconds,
        "sample_rate": song.sample_rate,
        "request": plain(song.request),
        "took_seconds": took,
    }
    show_result(result, "audio", as_json=as_json)


def watch(composition: "Composition", *, quiet: bool) -> tuple["Song", dict[str, float]]:
    """Finish a composition with a bar for each level; returns the song and the seconds that each part took."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} codes"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    bars: dict[str, TaskID] = {}
    took: dict[str, float] = {}
    before = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), disable=quiet, refresh_per_second=5) as progress:
        for event in composition:
            part = f"{event.stage} level {event.level}"
            if part not in bars:
                bars[part] = progress.add_task(part, total=event.total)
            progress.update(bars[part], completed=event.done)
            now = time.perf_counter()
            took[part] = took.get(part, 0.0) + now - before
            before = now
    song = composition.finish()
    return song, {part: round(seconds, 3) for part, seconds in took.items()}


def changes(**given: Any) -> dict[str, Any]:
    """What was given on the command line, without what was left out."""
    return {name: value for name, value in given.items() if value not in (None, ())}
