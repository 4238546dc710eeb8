"""`orchestrion data`: folders of music, and music that is free to have."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrion.cli.options import Finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress

    from orchestrion.data.manifest import Track


_LONG_SECONDS = 10.0
"""Tracks as long fill the windows of most priors: of such, if there are two, some are held out and some are not."""


@click.group()
def data() -> None:
    """Gather the music that a model learns from."""


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write the manifest.  [default: FOLDER/manifest.jsonl]",
)
@click.option("--force", is_flag=True, help="Replace the manifest if there is one.")
def scan(folder: Path, output: Path | None, force: bool) -> None:
    """List the music in FOLDER, with its tags, in a manifest to train on."""
    from orchestrion.data.manifest import write_manifest  # heavy: keep `--help` instant
    from orchestrion.data.scan import audio_files
    from orchestrion.files import check_writable, refuse_overwrite

    output = folder / "manifest.jsonl" if output is None else output
    refuse_overwrite(output, force)
    paths = audio_files(folder)
    check_writable(output.parent)
    tracks, left_out = scanned(paths)
    tracks = _on_both_sides(tracks)
    write_manifest(output, tracks)
    _summary(tracks, left_out)
    click.echo(output)


def _on_both_sides(tracks: "list[Track]") -> "list[Track]":
    """The tracks, one of them moved to the other side of the split where content puts all on one, and told of."""
    from orchestrion.data.manifest import with_held_out

    if len(tracks) < 2:
        return tracks
    second_longest = sorted(track.seconds for track in tracks)[-2]
    found = with_held_out(tracks, min(_LONG_SECONDS, second_longest))
    for track in found:
        if track.held_out is not None:
            side = "held out for validation" if track.held_out else "learned from"
            click.echo(f"{track.path.name} is {side}, so that there is music on both sides", err=True)
    return found


def scanned(paths: "Sequence[Path]") -> "tuple[list[Track], int]":
    """The tracks in audio files, and how many of these were left out; UserError if none can be read."""
    from orchestrion.data.scan import scan as describe_all
    from orchestrion.errors import UserError

    tracks: list[Track] = []
    left_out = 0
    with _progress() as progress:
        task = progress.add_task("scanning")
        for seen in describe_all(paths):
            progress.update(task, completed=seen.done, total=seen.total)
            if seen.track is not None:
                tracks.append(seen.track)
            else:
                left_out += 1
                progress.console.print(f"left out: {seen.problem}", markup=False, highlight=False, soft_wrap=True)
    if not tracks:
        raise UserError(f"none of the {left_out} audio files there can be read", "check them one by one")
    return tracks, left_out


@data.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Where to write the manifest.")
@click.option("--force", is_flag=True, help="Replace the manifest if there is one.")
def join(manifests: tuple[Path, ...], output: Path, force: bool) -> None:
    """List the music of several MANIFESTS in one; of a recording that is in several, the first description counts.

    The music stays where it is.
    """
    from orchestrion.data.manifest import read_manifest, write_manifest  # heavy: keep `--help` instant
    from orchestrion.files import refuse_overwrite

    refuse_overwrite(output, force)
    tracks = [track for path in manifests for track in read_manifest(path)]
    first: dict[str, Track] = {}
    for track in tracks:
        first.setdefault(track.content_hash, track)
    write_manifest(output, list(first.values()))
    _summary(list(first.values()), len(tracks) - len(first))
    click.echo(output)


@data.command("game-music")
@click.argument("dest", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "sets",
    multiple=True,
    type=click.Choice(["wesnoth", "cc", "all"]),
    default=("all",),
    help="Which music: Battle for Wesnoth (2.1 h, GPL), all that is CC-BY, CC-BY-SA, MIT or public domain "
    "(9.7 h), or everything (20 h); may be given several times.  [default: all]",
)
@click.option("--force", is_flag=True, help="Replace the manifest if there is one.")
def game_music(dest: Path, sets: tuple[str, ...], force: bool) -> None:
    """Download free game music with its labels into DEST, from Debian packages."""
    from orchestrion.data.manifest import read_manifest  # heavy: keep `--help` instant
    from orchestrion.files import refuse_overwrite
    from orchestrion.recipes.game_music import SETS, fetch

    output = dest / "manifest.jsonl"
    refuse_overwrite(output, force)
    missing: list[str] = []
    with _progress() as progress:
        task = progress.add_task("starting")
        for step in fetch(dest, [name for name in SETS if name in sets]):
            progress.update(task, description=step.act, completed=step.done, total=step.total)
            missing += step.missing
    for name in missing:
        click.echo(f"not in its package, left out: {name}", err=True)
    _summary(read_manifest(output), len(missing))
    click.echo(output)


@data.command()
@click.argument("dest", type=click.Path(path_type=Path))
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    required=True,
    help="MusicXML with lyrics: a file, a folder, or a .zip or .tar archive, such as a checkout of OpenScore Lieder.",
)
@click.option("--hours", type=Finite(min=0, min_open=True), help="How much to sing.  [default: all]")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which songs are sung, and how.")
@click.option("--language", help='That of all songs, such as "de".  [default: as the words look]')
@click.option("--soundfont", type=click.Path(path_type=Path), help="What plays the piano.  [default: Debian's]")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that sing.  [default: one per processor]")
@click.option("--force", is_flag=True, help="Replace the manifest if there is one; what is sung already is kept.")
def lieder(
    dest: Path,
    scores: Path,
    hours: float | None,
    seed: int,
    language: str | None,
    soundfont: Path | None,
    workers: int | None,
    force: bool,
) -> None:
    """Sing songs from scores into DEST, with the time of every syllable."""
    import os

    from orchestrion.data.manifest import read_manifest  # heavy: keep `--help` instant
    from orchestrion.errors import UserError
    from orchestrion.files import refuse_overwrite
    from orchestrion.recipes.espeak import VOICES
    from orchestrion.recipes.tools import find_soundfont

    output = dest / "manifest.jsonl"
    refuse_overwrite(output, force)
    if language is not None and language not in VOICES:
        raise UserError(f"nobody can sing in {language!r}", f"known are {', '.join(VOICES)}")
    soundfont = find_soundfont(soundfont)
    from orchestrion.recipes.lieder import render  # needs what was just looked for

    workers = workers or os.cpu_count() or 1
    left_out = 0
    with _progress() as progress:
        task = progress.add_task("starting")
        for step in render(dest, scores, soundfont, hours=hours, seed=seed, language=language, workers=workers):
            progress.update(task, description=step.act, completed=round(step.done), total=round(step.total))
            if step.problem is not None:
                left_out += 1
                progress.console.print(f"left out: {step.problem}", markup=False, highlight=False, soft_wrap=True)
    _summary(read_manifest(output), left_out)
    click.echo(output)


def _progress() -> "Progress":
    """A progress bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _summary(tracks: "list[Track]", left_out: int) -> None:
    hours = sum(track.seconds for track in tracks) / 3600
    artists = len({track.artist for track in tracks if track.artist})
    text = f"{len(tracks)} tracks, {hours:.2f} hours, {artists} artists"
    click.echo(f"{text}; {left_out} left out" if left_out else text, err=True)
