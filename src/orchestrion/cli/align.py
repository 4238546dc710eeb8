"""`orchestrion align`: when each word of a song is sung."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrion.cli.options import (
    PATH,
    adapter_option,
    device_option,
    dtype_option,
    force_option,
    json_option,
    open_jukebox,
    open_maker,
    refuse_inputs,
    show_result,
    threads_option,
)
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
@click.option(
    "--model",
    help="Name or folder of a model that sings: its attention tells.  [default: the one that made the song, if its "
    "attention follows words and it sings by no plan; else the recogniser listens]",
)
@click.option(
    "--recognizer",
    type=PATH,
    help="Run of a recogniser of letters that listens, where no model tells.  [default: the one that ships]",
)
@click.option(
    "-o", "--output", type=PATH, help="lrc, vtt or json, which keeps the confidences too.  [default: SONG.lrc]"
)
@click.option("--lines", is_flag=True, help="In lrc, write the times of lines alone, as simple players want it.")
@click.option("--picture", type=PATH, help="Also draw the alignment into this .png.")
@click.option("--linear", is_flag=True, help="Only guess, as if all characters took the same time; no model listens.")
@adapter_option
@dtype_option
@device_option
@threads_option
@force_option
@json_option
def align(
    song: Path,
    words: Path | None,
    model: str | None,
    recognizer: Path | None,
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
    from orchestrion.jukebox.asked import request_of
    from orchestrion.library.folder import beside
    from orchestrion.text.lyric_files import check_timed_lyrics, kind_of, read_lyrics, write_timed_lyrics
    from orchestrion.text.lyrics import untimed
    from orchestrion.text.timed import TimedLyrics

    song = song if song.name and song.name != ".." else song.absolute().resolve()  # "." has no suffix to change
    if not song.name:
        raise UserError(f"{song} is not a song", "give an audio file, or the folder of a song")
    output = output or song.with_suffix(".lrc")
    kind_of(output)
    if picture is not None and (picture.suffix.lower() != ".png" or linear):
        problem = "a guess has no picture" if linear else f"{picture.name!r} is no name for a picture"
        raise UserError(problem, "leave --picture or --linear out" if linear else "end it with .png")
    if sum(map(bool, (model, recognizer, linear))) > 1:
        raise UserError(
            "a model tells, a recogniser or a guess, and more than one was asked for",
            "leave all but one of --model, --recognizer and --linear out",
        )
    outputs = (output, *([picture] if picture else []))
    refuse_inputs(outputs, {"--lyrics": words})
    for path in outputs:
        refuse_overwrite(path, force)
        check_writable(path.parent)
    kept = _kept(song, beside(song))
    if words is not None:
        lyrics = read_lyrics(words)
    else:
        lyrics = untimed(request_of(kept).lyrics) if kept else TimedLyrics()
    if not lyrics.words:
        raise UserError(
            f"there are no words in {words}" if words else f"nothing says what is sung in {song}",
            "name a file with the words by --lyrics",
        )
    check_timed_lyrics(output, lyrics)
    aligned = None
    if linear:
        found = _guessed(song, kept, lyrics)
    else:
        if model or (not recognizer and _sings(kept)):
            aligned = _attended(song, kept, lyrics, model, engine, own=words is None)
        else:
            aligned = _heard(_audio(song, kept), lyrics, recognizer, engine)
        found = aligned.lyrics
    write_timed_lyrics(output, found, words=not lines)
    if picture is not None and aligned is not None:
        from orchestrion.align.picture import draw_alignment

        draw_alignment(picture, aligned, title=song.stem)
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


def _sings(kept: "SongFolder | None") -> bool:
    """Whether the attention of the model that made a song follows words; one that is told when has no need to."""
    from orchestrion.checkpoints.folder import read_model
    from orchestrion.checkpoints.zoo import locate
    from orchestrion.jukebox.asked import follows_words

    if kept is None:
        return False
    try:
        folder = locate(kept.info.model.name)
    except UserError as error:
        click.echo(f"{error.problem}: the recogniser listens instead", err=True)
        return False
    info = read_model(folder)
    return follows_words(info) and not info.prior(info.grid.top).paced


def _audio(song: Path, kept: "SongFolder | None") -> Path:
    """The file to listen to: in a song's folder that of the finest level that was made."""
    if kept is None or not song.is_dir():
        return song
    made = [path for path in map(kept.audio_path, range(len(kept.info.hop_lengths))) if path.exists()]
    if not made:
        raise UserError(f"there is nothing to hear in {song} yet", "go on with it first")
    return made[0]


def _heard(audio: Path, lyrics: "TimedLyrics", recognizer: Path | None, engine: dict[str, Any]) -> "Aligned":
    """The words found by a recogniser of letters in what is heard."""
    import torch

    from orchestrion.align.listening import SHIPPED, listen
    from orchestrion.align.recognizer import load_recognizer
    from orchestrion.audio import io
    from orchestrion.nn.device import chosen_device

    if engine["threads"]:
        torch.set_num_threads(engine["threads"])
    device = chosen_device(None if engine["device"] == "auto" else engine["device"])
    model = load_recognizer(recognizer or SHIPPED).to(device)
    return listen(model, io.read(audio, model.config.sample_rate, 1)[0], lyrics)


def _attended(
    song: Path,
    kept: "SongFolder | None",
    lyrics: "TimedLyrics",
    model: str | None,
    engine: dict[str, Any],
    *,
    own: bool,
) -> "Aligned":
    """The words found by `model`, or the one that made the song: in a song's codes, or in a recording.

    `own` lyrics are read as they were composed.
    """
    from orchestrion.audio import io

    if model:
        jukebox = open_jukebox(model, **engine)
    else:
        assert kept is not None, "a recording has no model that made it"
        jukebox = open_maker(kept, engine)
    if kept is not None and _same_codec(jukebox, kept):
        return jukebox.align(jukebox.load(kept.path), None if own else lyrics)
    codec = jukebox.info.codec
    return jukebox.align_audio(
        io.read(_audio(song, kept), codec.sample_rate, codec.channels), codec.sample_rate, lyrics
    )


def _same_codec(jukebox: "Jukebox", kept: "SongFolder") -> bool:
    from orchestrion.checkpoints.folder import CODEC

    return kept.info.model.codec_sha256 == jukebox.info.sha256.get(CODEC, "")
