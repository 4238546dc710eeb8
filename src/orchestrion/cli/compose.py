"""`orchestrion compose`, and the making of a song that other commands share."""

import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrion.cli.main import STOPPED
from orchestrion.cli.options import (
    PATH,
    check_output,
    drawn,
    engine_options,
    force_option,
    json_option,
    open_jukebox,
    quiet_option,
    ray_option,
    refuse_inputs,
    sampling_options,
    show_result,
)
from orchestrion.errors import UserError

if TYPE_CHECKING:
    from rich import progress

    from orchestrion.cli.options import WeightsOption
    from orchestrion.generate.request import Request
    from orchestrion.jukebox import Composition, Jukebox, Progress, Song
    from orchestrion.library.provenance import Nearest

Made = TypeVar("Made")
WORDS_SUFFIX = ".lrc"
Begin = Callable[[list[Path]], "Composition[Progress, Any]"]
"""Starts the composition of a song, or of a tuple of songs, that is kept in these folders."""


@click.command()
@click.option(
    "-o",
    "--output",
    type=PATH,
    help="flac, wav, ogg, mp3, opus; with --batch a folder.  [default: song.flac; songs]",
)
@click.option("--batch", type=PATH, help="Make a song for each line of this file of JSON objects; see the docs.")
@click.option(
    "--together",
    type=click.IntRange(min=1),
    help="How many songs of a batch are made at once, if they have the same length.  [default: 8]",
)
@ray_option
@click.option("--model", default="mini", show_default=True, help="Name or folder of the model; see `models list`.")
@click.option("--artist", help='In the manner of; see `models show`. Left out, or "unknown": nobody in particular.')
@click.option("--mix", type=(str, float), help="Another artist, and the share of the manner that is theirs, 0 to 1.")
@click.option("--genre", "genres", multiple=True, help="May be given several times.")
@click.option("--seconds", type=float, default=30.0, show_default=True, help="Length of the song, a prompt included.")
@click.option(
    "--total-seconds",
    type=float,
    help="Length of the whole piece that the song is a part of.  [default: to the song's end]",
)
@click.option(
    "--offset-seconds", type=float, default=0.0, show_default=True, help="Where in the piece the song begins."
)
@click.option("--lyrics", type=PATH, help="File with the words of the piece, for a model that sings.")
@click.option(
    "--form",
    help="What comes back: letters for equally long parts, such as AABA.  [default: stanzas whose words come back]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed and request give the same song.")
@click.option(
    "--takes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Make so many songs together, with the seeds from --seed on: song-1.flac, song-2.flac, …",
)
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
@click.option("--play", is_flag=True, help="Play the song while it is made.")
@sampling_options
@engine_options
@force_option
@json_option
@quiet_option
def compose(
    output: Path | None,
    batch: Path | None,
    together: int | None,
    on_ray: bool,
    model: str,
    artist: str | None,
    mix: tuple[str, float] | None,
    genres: tuple[str, ...],
    seconds: float,
    total_seconds: float | None,
    offset_seconds: float,
    lyrics: Path | None,
    form: str | None,
    seed: int,
    takes: int,
    prime: Path | None,
    prime_start: float,
    prime_seconds: float | None,
    finest_level: int,
    play: bool,
    temperature: tuple[float, ...] | None,
    top_k: tuple[int, ...] | None,
    top_p: tuple[float, ...] | None,
    guidance: tuple[float, ...] | None,
    hop: tuple[float, ...] | None,
    passes: tuple[int, ...] | None,
    leaning: tuple[float, ...] | None,
    adapter: Path | None,
    device: str,
    dtype: str,
    weights: "WeightsOption",
    compiled: bool | None,
    threads: int | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compose a new song.

    Beside the song stand its picture (.png), the record of what made it (.json), of a song with words their times
    (.lrc), and its folder (.song), with the codes that `continue`, `upsample` and `decode` need. The same command again
    goes on with a song that was stopped.
    """
    from orchestrion.audio.io import check_suffix
    from orchestrion.cli.batch import compose_batch
    from orchestrion.generate.request import Mix, Prime, Request

    if prime is None and (prime_start or prime_seconds is not None):
        raise UserError("a prompt's start or length is given, but no prompt", "name its file with --prime")
    asked = Request(
        seconds=seconds,
        artist=artist,
        mix=None if mix is None else Mix(artist=mix[0], share=mix[1]),
        genres=genres,
        seed=seed,
        total_seconds=total_seconds,
        offset_seconds=offset_seconds,
        lyrics=words_of(lyrics) if lyrics else "",
        form=form,
        finest_level=finest_level,
        prime=None if prime is None else Prime(path=str(prime), start_seconds=prime_start, seconds=prime_seconds),
    )
    engine: dict[str, Any] = {
        "adapter": adapter,
        "device": device,
        "dtype": dtype,
        "weights": weights,
        "compiled": compiled,
        "threads": threads,
    }
    drawing: dict[str, Any] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "guidance": guidance,
        "hop": hop,
        "passes": passes,
        "leaning": leaning,
    }
    if batch is not None:
        if takes > 1 or play:
            raise UserError("a batch has neither takes nor is it played", "leave --takes and --play out")
        compose_batch(
            batch,
            output or Path("songs"),
            asked,
            model=model,
            engine=engine,
            drawing=drawing,
            lyrics=lyrics,
            most=together or 8,
            on_ray=on_ray,
            force=force,
            as_json=as_json,
            quiet=quiet,
        )
        return
    if on_ray or together:
        asking = "Ray" if on_ray else "--together"
        raise UserError(f"{asking} is for many songs, and one was asked for", "list songs in a file: --batch FILE")
    output = output or Path("song.flac")
    check_suffix(output)
    outputs = [output.with_stem(f"{output.stem}-{take + 1}") for take in range(takes)] if takes > 1 else [output]
    for path in outputs:
        refuse_inputs(files_of(path), {"--lyrics": lyrics, "--prime": prime})
        check_song(path, force=force)
    jukebox = open_jukebox(model, **engine)
    requests = drawn(asked, jukebox.info, drawing).takes(takes)
    if play:
        if takes > 1:
            raise UserError("several takes cannot be played at once", "leave --play or --takes out")
        begin: Begin = partial(played, jukebox, requests[0], replace=force)
    else:
        begin = partial(jukebox.compose_all, requests, replace=force)
    make(begin, outputs, force=force, as_json=as_json, quiet=quiet, sung=bool(asked.lyrics))


def files_of(output: Path) -> tuple[Path, ...]:
    """What a song is written into: audio, its record, its picture, when its words are sung, and its folder."""
    from orchestrion.library.folder import beside
    from orchestrion.library.provenance import sidecar

    return output, sidecar(output), output.with_suffix(".png"), output.with_suffix(WORDS_SUFFIX), beside(output)


def check_song(output: Path, *, force: bool) -> None:
    """As `check_output`, for a place where what was written of the song in the folder beside it may stay.

    With `force` that folder may go, but not from under audio of another format, which would lose its codes.
    """
    from orchestrion.library.folder import beside, can_be_written, others_beside

    check_output(output, force=force or can_be_written(output))
    others = others_beside(output) if force else []
    if others:
        raise UserError(
            f"{beside(output)} is the song of {others[0]} too, and would be lost with --force",
            f"choose another name with -o; the same song in another format: orchestrion decode {others[0]} -o …",
        )


def words_of(path: Path) -> str:
    """The lyrics in a file, as they are or of timed ones the words; UserError for a file without a word."""
    from orchestrion.text.lyric_files import read_lyrics_as_written

    lyrics, text = read_lyrics_as_written(path)
    if not any(letter.isalnum() for word in lyrics.words for letter in word.text):
        raise UserError(f"there are no words in {path}", "leave --lyrics out for music without")
    return text


def played(
    jukebox: "Jukebox", request: "Request", folders: list[Path], *, replace: bool
) -> "Composition[Progress, Song]":
    """A song that is heard while it is made; it is finished when its end was heard."""
    from orchestrion.audio.play import Player
    from orchestrion.jukebox import Composition, Progress, Song

    streamed = jukebox.stream(request, folders[0], replace=replace)
    rate = jukebox.info.grid.sample_rate
    player = Player(rate, jukebox.info.codec.channels)

    def steps() -> Generator[Progress, None, Song]:
        done, total = 0, jukebox.info.grid.num_samples(request.seconds)
        try:
            for piece in streamed:
                player.put(piece)
                done += piece.shape[-1]
                yield Progress("play", request.finest_level, done, total)
            song = streamed.finish()
            player.finish()
        except BaseException:
            player.close()
            raise
        return song

    return Composition(steps())


def make(begin: Begin, outputs: list[Path], *, force: bool, as_json: bool, quiet: bool, sung: bool = False) -> None:
    """Make songs in the folders beside `outputs`, with pictures and, of `sung` ones, times; and show the result.

    Nothing is begun where something else is there already.
    """
    from orchestrion.files import refuse_overwrite
    from orchestrion.library.folder import beside, can_be_written, others_beside

    for output in outputs:
        may_stay = force or can_be_written(output) or bool(others_beside(output))  # which it belongs to as well
        for suffix in (".png", *([WORDS_SUFFIX] if sung else [])):
            refuse_overwrite(output.with_suffix(suffix), may_stay)
    folders = [beside(path) for path in outputs]
    composition = begin(folders)
    try:
        made, took = watch(composition, quiet=quiet)
        songs = made if isinstance(made, tuple) else (made,)
        results = [
            {**put(song, output, replace=force), "took_seconds": took}
            for song, output in zip(songs, outputs, strict=True)
        ]
    except KeyboardInterrupt:
        click.echo(f"stopped; {_kept(folders)}; the same command goes on from there", err=True)
        raise click.exceptions.Exit(STOPPED) from None
    together = {"audio": "\n".join(str(path) for path in outputs), "takes": results}
    show_result(results[0] if len(results) == 1 else together, "audio", as_json=as_json)


def _kept(folders: list[Path]) -> str:
    """How much there is of songs that were stopped, as a part of a sentence."""
    from orchestrion.library.folder import SongFolder, is_begun

    alike: dict[str, list[str]] = {}
    for folder in folders:
        parts = []
        if is_begun(folder):
            song = SongFolder.open(folder)
            for level, (made, _) in reversed(list(enumerate(song.frames()))):
                if made:
                    seconds = song.info.grid.seconds(made * song.info.grid.hop_lengths[level])
                    parts.append(f"{seconds:.1f} s of level {level}")
        kept = " and ".join(parts) or "nothing yet, as codes are kept at the end of each window"
        alike.setdefault(kept, []).append(str(folder))
    return "; ".join(f"kept in {', '.join(names)}: {kept}" for kept, names in alike.items())


def put(song: "Song", output: Path, *, replace: bool) -> dict[str, Any]:
    """Write a song to `output`, its picture and the times of its words beside it; returns what there is to tell.

    What is there of it stays, unless `replace`.
    """
    from orchestrion.config import plain
    from orchestrion.library.folder import is_written
    from orchestrion.library.provenance import sidecar
    from orchestrion.text.lyric_files import write_timed_lyrics

    picture, timed = output.with_suffix(".png"), output.with_suffix(WORDS_SUFFIX)
    if replace or not sidecar(output).exists() or not is_written(output):
        song.save(output, replace=True)  # what is there was seen to be its own, or is given up
    if replace or not picture.exists():
        song.draw(picture)
    if song.nearest and song.nearest.is_too_near:
        click.echo(f"{output}: {_too_near(song.nearest)}", err=True)
    if song.lyrics is not None and (replace or not timed.exists()):
        try:
            write_timed_lyrics(timed, song.lyrics)
        except UserError as error:
            click.echo(f"{timed.name} is not written: {error.problem}; `align` writes JSON", err=True)
    return {
        "audio": str(output),
        "picture": str(picture),
        "lyrics": str(timed) if song.lyrics is not None else None,
        "folder": str(song.folder),
        "seconds": song.seconds,
        "sample_rate": song.sample_rate,
        "request": plain(song.request),
        "nearest": plain(song.nearest) if song.nearest else None,
    }


def _too_near(found: "Nearest") -> str:
    minutes, seconds = divmod(int(found.track_seconds), 60)
    return (
        f"from {found.song_seconds:.1f} s on, {found.codes} codes in a row are those of {found.track} at "
        f"{minutes}:{seconds:02d}, more than music shares by chance ({found.limit:g}): listen before you pass it on"
    )


def watch(composition: "Composition[Progress, Made]", *, quiet: bool) -> tuple[Made, dict[str, float]]:
    """Finish a composition with a bar for each level; returns what was made and the seconds that each part took."""
    bars: dict[str, progress.TaskID] = {}
    took: dict[str, float] = {}
    before = time.perf_counter()
    with display(quiet=quiet) as shown:
        for event in composition:
            part = f"{event.stage} level {event.level}"
            if part not in bars:
                bars[part] = shown.add_task(part, total=event.total)
            shown.update(bars[part], completed=event.done)
            now = time.perf_counter()
            took[part] = took.get(part, 0.0) + now - before
            before = now
    return composition.finish(), {part: round(seconds, 3) for part, seconds in took.items()}


def display(*, quiet: bool) -> "progress.Progress":
    """Bars on standard error, one for each part of the work."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=quiet, refresh_per_second=5)


def changes(**given: Any) -> dict[str, Any]:
    """What was given on the command line, without what was left out."""
    return {name: value for name, value in given.items() if value not in (None, ())}
