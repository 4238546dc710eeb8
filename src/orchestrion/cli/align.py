"""`orchestrion align`: when each word of a song is sung."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrion.cli.options import PATH, engine_options, force_option, json_option, open_jukebox, show_result
from orchestrion.errors import UserError

if TYPE_CHECKING:
    from orchestrion.align.words import Aligned
    from orchestrion.jukebox import Jukebox
    from orchestrion.library.folder import SongFolder
    from orchestrion.text.timed import TimedLyrics


@click.command()
@click.argument("song", type=PATH)
@click.option(
    "--lyrics",
    "words",
    type=PATH,
    help="File with the words that are sung.  [default: those that the song was composed with]",
)
@click.option("--model", help="Name or folder of the model that listens.  [default: the one that made the song]")
@click.option(
    "-o", "--output", type=PATH, help="lrc, vtt or json, which keeps the confidences too.  [default: SONG.lrc]"
)
@click.option("--lines", is_flag=True, help="In lrc, write the times of lines alone, as simple players want it.")
@click.option("--picture", type=PATH, help="Also draw the alignment into this .png.")
@click.option("--linear", is_flag=True, help="Only guess, as if all characters took the same time; no model listens.")
@engine_options
@force_option
@json_option
def align(
    song: Path,
    words: Path | None,
    model: str | None,
    output: Path | None,
    lines: bool,
    picture: Path | None,
    linear: bool,
    force: bool,
    as_json: bool,
    **engine: Any,
) -> None:
    """Find out when each word of SONG is sung, a song of this program or a recording of your own."""
    from orchestrion.files import check_writable, refuse_overwrite
    from orchestrion.library.folder import beside
    from orchestrion.text.lyric_files import kind_of, read_lyrics, write_timed_lyrics
    from orchestrion.text.lyrics import untimed
    from orchestrion.text.timed import TimedLyrics

    output = output or song.with_suffix(".lrc")
    kind_of(output)
    if picture is not None and (picture.suffix.lower() != ".png" or linear):
        problem = "a guess has no picture" if linear else f"{picture.name!r} is no name for a picture"
        raise UserError(problem, "leave --picture or --linear out" if linear else "end it with .png")
    for path in (output, *([picture] if picture else [])):
        refuse_overwrite(path, force)
        check_writable(path.parent)
    kept = _kept(song, beside(song))
    lyrics = untimed(kept.info.request["lyrics"]) if words is None and kept else TimedLyrics()
    lyrics = lyrics if words is None else read_lyrics(words)
    if not lyrics.words:
        raise UserError(
            f"there are no words in {words}" if words else f"nothing says what is sung in {song}",
            "name a file with the words by --lyrics",
        )
    if linear:
        found = _guessed(song, kept, lyrics)
    else:
        aligned = _listened(song, kept, lyrics, model, engine, own=words is None)
        found = aligned.lyrics
        if picture is not None:
            from orchestrion.align.picture import draw_alignment

            draw_alignment(picture, aligned, title=song.stem)
    write_timed_lyrics(output, found, words=not lines)
    heard = [word for word in found.words if word.confidence]
    result = {
        "lyrics": str(output),
        "picture": None if picture is None else str(picture),
        "words": len(found.words),
        "heard": None if linear else len(heard),
    }
    show_result(result, "lyrics", as_json=as_json)


def _kept(song: Path, folder: Path) -> "SongFolder | None":
    """The song's folder, or None for a recording."""
    from orchestrion.library.folder import find

    if not song.exists():
        raise UserError(f"there is no song at {song}", "check the path")
    return find(song) if song.is_dir() or folder.is_dir() else None


def _guessed(song: Path, kept: "SongFolder | None", lyrics: "TimedLyrics") -> "TimedLyrics":
    from orchestrion.align.linear import linear
    from orchestrion.audio import io

    seconds = kept.info.num_samples / kept.info.sample_rate if kept else io.probe(song).seconds
    return linear(lyrics, seconds)


def _listened(
    song: Path,
    kept: "SongFolder | None",
    lyrics: "TimedLyrics",
    model: str | None,
    engine: dict[str, Any],
    *,
    own: bool,
) -> "Aligned":
    """The words found by a model: in a song's codes, or in a recording; `own` lyrics are read as they were composed."""
    from orchestrion.audio import io

    name = model or (kept.info.model.name if kept else None)
    if name is None:
        raise UserError("nothing says which model is to listen", "name one that sings by --model")
    jukebox = open_jukebox(name, **engine)
    if kept is not None and _same_codec(jukebox, kept):
        return jukebox.align(jukebox.load(kept.path), None if own else lyrics)
    codec = jukebox.info.codec
    return jukebox.align_audio(io.read(song, codec.sample_rate, codec.channels), codec.sample_rate, lyrics)


def _same_codec(jukebox: "Jukebox", kept: "SongFolder") -> bool:
    from orchestrion.checkpoints.folder import CODEC

    return kept.info.model.codec_sha256 == jukebox.info.sha256.get(CODEC, "")
