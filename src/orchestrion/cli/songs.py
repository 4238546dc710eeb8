"""What is done with a song that is there: `continue`, `upsample`, `decode`, `songs`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrion.cli import listing, provenance
from orchestrion.cli.compose import changes, check_song, files_of, make, words_of
from orchestrion.cli.options import (
    PATH,
    adapter_option,
    check_output,
    device_option,
    engine_options,
    force_option,
    json_option,
    open_jukebox,
    open_maker,
    quiet_option,
    refuse_inputs,
    sampling,
    sampling_options,
    show_result,
    threads_option,
    told,
)
from orchestrion.errors import UserError

if TYPE_CHECKING:
    from orchestrion.generate.request import Request
    from orchestrion.jukebox import Jukebox
    from orchestrion.library.folder import SongFolder

_WORDS_SHOWN = 12
_model_option = click.option("--model", help="Name or folder of the model.  [default: the one that made the song]")


@click.command("continue")
@click.argument("song", type=PATH)
@click.option("--seconds", type=float, required=True, help="How much to add.")
@click.option("--from", "start", type=float, help="Go on from this second of it instead of from its end.")
@click.option("-o", "--output", type=PATH, help="[default: SONG-continued, as SONG is; of a folder .flac]")
@click.option("--artist", help="Change to this artist.")
@click.option("--genre", "genres", multiple=True, help="Change to these genres.")
@click.option("--lyrics", type=PATH, help="File with words for what is added; those before stay where they are.")
@click.option("--reprise", type=(float, float), help="What was from the one second to the other comes back.")
@click.option("--seed", type=int, help="Change the seed, for another continuation.")
@_model_option
@sampling_options
@engine_options
@force_option
@json_option
@quiet_option
def continue_(
    song: Path,
    seconds: float,
    start: float | None,
    output: Path | None,
    artist: str | None,
    genres: tuple[str, ...],
    lyrics: Path | None,
    reprise: tuple[float, float] | None,
    seed: int | None,
    model: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Make SONG longer: a new song that starts with all of it, or with what is before --from."""
    kept, output = _source_and_output(song, output, "-continued", force=force)
    if not seconds > 0:
        raise UserError(f"a song cannot be continued by {seconds} s", "give a number of seconds above 0")
    words = words_of(lyrics) if lyrics else None
    refuse_inputs(files_of(output), {"--lyrics": lyrics})
    jukebox, drawn = _jukebox(kept, model, settings)
    before = jukebox.load(kept.path)
    form = _form(reprise, before.request.seconds if start is None else start)
    changed = changes(artist=artist, genres=genres, lyrics=words, form=form, seed=seed, sampling=drawn)
    make(
        lambda folders: jukebox.continue_(before, seconds, folders[0], start_seconds=start, replace=force, **changed),
        [output],
        force=force,
        as_json=as_json,
        quiet=quiet,
        sung=bool(words or before.request.lyrics),
    )


@click.command()
@click.argument("song", type=PATH)
@click.option("-o", "--output", type=PATH, help="[default: SONG-upsampled, as SONG is; of a folder .flac]")
@click.option("--seed", type=int, help="Change the seed, for another version.")
@_model_option
@sampling_options
@engine_options
@force_option
@json_option
@quiet_option
def upsample(
    song: Path,
    output: Path | None,
    seed: int | None,
    model: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Make the levels of SONG below its top anew: what a draft lacks, or another version."""
    kept, output = _source_and_output(song, output, "-upsampled", force=force)
    jukebox, drawn = _jukebox(kept, model, settings)
    before = jukebox.load(kept.path)
    changed = changes(seed=seed, sampling=drawn)
    make(
        lambda folders: jukebox.upsample(before, folders[0], replace=force, **changed),
        [output],
        force=force,
        as_json=as_json,
        quiet=quiet,
        sung=bool(before.request.lyrics),
    )


@click.command()
@click.argument("song", type=PATH)
@click.option("--from", "start", type=float, required=True, help="Where the part begins, in seconds.")
@click.option("--to", "stop", type=float, required=True, help="Where it ends.")
@click.option("-o", "--output", type=PATH, help="[default: SONG-repainted, as SONG is; of a folder .flac]")
@click.option("--artist", help="Change to this artist there.")
@click.option("--genre", "genres", multiple=True, help="Change to these genres there.")
@click.option("--seed", type=int, help="The seed of the part.  [default: the song's plus 1]")
@_model_option
@sampling_options
@engine_options
@force_option
@json_option
@quiet_option
def repaint(
    song: Path,
    start: float,
    stop: float,
    output: Path | None,
    artist: str | None,
    genres: tuple[str, ...],
    seed: int | None,
    model: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Make a part of SONG anew, to fit what is around it: a new song that keeps all the rest."""
    kept, output = _source_and_output(song, output, "-repainted", force=force)
    jukebox, drawn = _jukebox(kept, model, settings)
    before = jukebox.load(kept.path)
    changed = changes(artist=artist, genres=genres, seed=seed, sampling=drawn)
    make(
        lambda folders: jukebox.repaint(before, start, stop, folders[0], replace=force, **changed),
        [output],
        force=force,
        as_json=as_json,
        quiet=quiet,
        sung=bool(before.request.lyrics),
    )


@click.command()
@click.argument("song", type=PATH)
@click.option("--level", type=int, help="Decode this level; 0 is the finest.  [default: the finest there is]")
@click.option("-o", "--output", type=PATH, help="[default: SONG-levelN, as SONG is; of a folder .flac]")
@_model_option
@adapter_option
@device_option
@threads_option
@force_option
@json_option
def decode(
    song: Path,
    level: int | None,
    output: Path | None,
    model: str | None,
    force: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Turn the codes of SONG at one level into audio."""
    kept = _source(song)
    codes = kept.codes()
    level = codes.finest if level is None else level
    if not 0 <= level < codes.grid.num_levels:
        raise UserError(f"there is no level {level}", f"levels go from 0 to {codes.grid.top}")
    codes[level]  # a UserError now if it is not made
    output = output or _beside(song, f"-level{level}")
    check_output(output, force=force)
    jukebox, _ = _jukebox(kept, model, settings)
    jukebox.load(kept.path, level).save(output, replace=force)
    show_result({"audio": str(output), "level": level}, "audio", as_json=as_json)


@click.group()
def songs() -> None:
    """List, show, verify, replay and sign songs that were made."""


@songs.command()
@click.argument("song", type=PATH)
@json_option
def show(song: Path, as_json: bool) -> None:
    """What was asked for in SONG, with which model, and how far it is."""
    from orchestrion.config import plain
    from orchestrion.jukebox.asked import request_of
    from orchestrion.library.folder import is_complete

    kept = _source(song)
    asked, grid, frames = request_of(kept), kept.info.grid, kept.frames()
    levels = [
        {"level": level, "codes": made, "of": wanted, "rate": grid.frame_rate(level)}
        for level, (made, wanted) in enumerate(frames)
    ]
    result = {
        "folder": str(kept.path),
        "complete": is_complete(frames, asked.finest_level),
        "seconds": kept.info.num_samples / kept.info.sample_rate,
        "sample_rate": kept.info.sample_rate,
        "model": kept.info.model.name,
        "adapter": kept.info.model.adapter and kept.info.model.adapter.name,
        "orchestrion": kept.info.orchestrion,
        "request": plain(asked),
        "levels": levels,
    }
    result["text"] = _as_text(result, asked)
    show_result({k: v for k, v in result.items() if k != "text" or not as_json}, "text", as_json=as_json)


songs.add_command(listing.list_)
songs.add_command(provenance.verify)
songs.add_command(provenance.replay)
songs.add_command(provenance.sign)


def _as_text(result: dict[str, Any], asked: "Request") -> str:
    lines = [
        f"{result['folder']}  ({'complete' if result['complete'] else 'not finished'})",
        f"  artist   {asked.artist or 'not named'}",
        f"  genres   {', '.join(asked.genres) or 'not named'}",
        f"  length   {result['seconds']:.2f} s at {result['sample_rate']} Hz",
        f"  seed     {asked.seed}",
        f"  model    {result['model']} (orchestrion {result['orchestrion']})",
    ]
    if asked.mix:
        lines.append(f"  mix      {asked.mix.share:.0%} {asked.mix.artist}")
    if asked.lyrics:
        words = asked.lyrics.split()
        more = " …" if len(words) > _WORDS_SHOWN else ""
        lines.append(f"  lyrics   {len(words)} words: {' '.join(words[:_WORDS_SHOWN])}{more}")
    if asked.form:
        lines.append(f"  form     {_form_as_text(asked)}")
    if asked.offset_seconds or asked.total_seconds:
        lines.append(f"  whole    from {asked.offset_seconds:g} s on of {asked.piece_seconds:g} s")
    lines += [f"  drawn    level {level}: {told(each)}" for level, each in enumerate(asked.sampling)]
    if result["adapter"]:
        lines.append(f"  adapter  {result['adapter']}")
    if asked.prime:
        lines.append(f"  prompt   {asked.prime.path}")
    if asked.origin:
        lines.append(f"  made by  {asked.origin.act} of {asked.origin.song}")
    lines += [
        f"  level {one['level']}  {one['codes']} of {one['of']} codes, {one['rate']:.1f} a second"
        for one in result["levels"]
    ]
    return "\n".join(lines)


def _form_as_text(asked: "Request") -> str:
    if isinstance(asked.form, str):
        return asked.form
    return ", ".join(
        f"{part.seconds:g} s from {part.of_seconds:g} s on again at {part.start_seconds:g} s"
        for part in asked.form or ()
    )


def _form(reprise: tuple[float, float] | None, kept_seconds: float) -> Any:
    """The form of what is added to so many seconds of a song, where a part of them comes back."""
    from orchestrion.generate.request import Reprise

    if reprise is None:
        return None
    start, stop = reprise
    if not 0 <= start < stop <= kept_seconds:
        raise UserError(
            f"what is from {start:g} s to {stop:g} s cannot come back after {kept_seconds:g} s",
            "choose a part of what is there",
        )
    return (Reprise(start_seconds=kept_seconds, seconds=stop - start, of_seconds=start),)


def _source(song: Path) -> "SongFolder":
    from orchestrion.library.folder import find

    return find(song)


def _source_and_output(song: Path, output: Path | None, ending: str, *, force: bool) -> tuple["SongFolder", Path]:
    """The song that is there, and where what is made of it goes: not into its own folder, force or not."""
    from orchestrion.library.folder import beside

    kept, output = _source(song), output or _beside(song, ending)
    folder = beside(output)
    if folder.exists() and folder.samefile(kept.path):
        raise UserError(f"{folder} is the song that this is made from: it would be lost", "choose another name with -o")
    check_song(output, force=force)
    return kept, output


def _beside(song: Path, ending: str) -> Path:
    song = song if song.name and song.name != ".." else song.absolute().resolve()  # "." has no name to add to
    suffix = song.suffix if song.suffix and song.suffix != ".song" else ".flac"
    return song.with_name(song.stem + ending + suffix)


def _jukebox(kept: "SongFolder", model: str | None, settings: dict[str, Any]) -> tuple["Jukebox", Any]:
    """The model that made the song with its adapter, or another; the sampling given, or None to keep the song's."""
    from orchestrion.jukebox.asked import request_of

    names = ("adapter", "device", "dtype", "weights", "compiled", "threads")
    engine = {name: settings.pop(name) for name in names if name in settings}
    jukebox = open_jukebox(model, **engine) if model else open_maker(kept, engine)
    if all(value is None for value in settings.values()):
        return jukebox, None
    return jukebox, sampling(request_of(kept).sampling, **settings)
