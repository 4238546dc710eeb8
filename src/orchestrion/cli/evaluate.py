"""`orchestrion evaluate`: a report of how good a model is."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from orchestrion.cli.options import (
    PATH,
    PLACE,
    Finite,
    cache_option,
    device_option,
    force_option,
    json_option,
    open_codes,
    open_jukebox,
    quiet_option,
    threads_option,
)
from orchestrion.errors import UserError

if TYPE_CHECKING:
    import torch

    from orchestrion.codec import Codec
    from orchestrion.data.encoded import CodeStore
    from orchestrion.data.manifest import Track
    from orchestrion.data.tracks import TrackStore
    from orchestrion.evaluate.report import Section
    from orchestrion.evaluate.songs import Piece
    from orchestrion.generate.request import Request
    from orchestrion.jukebox import Jukebox

PARTS = ("codec", "priors", "songs")
CODEC_SECONDS = 10.0
CLIPS, PIECES = "clips", "pieces"
Say = Callable[[str], None]


@click.command()
@click.argument("model")
@click.option(
    "--manifest",
    type=PATH,
    required=True,
    help="The music that the model learned from, as it was scanned.",
)
@click.option(
    "--codes",
    type=PLACE,
    help="Its codes by the model's codec (orchestrion encode), for priors and songs.",
)
@cache_option
@click.option(
    "--parts",
    multiple=True,
    type=click.Choice(PARTS),
    default=PARTS,
    help="Only these; may be given several times.  [default: all]",
)
@click.option("--clips", default=10, show_default=True, type=click.IntRange(min=1), help="Held-out clips of 10 s.")
@click.option("--windows", type=click.IntRange(min=1), help="Held-out windows of each level.  [default: all]")
@click.option("--songs", "num_songs", default=64, show_default=True, type=click.IntRange(min=5), help="To compose.")
@click.option("--seconds", default=20.0, show_default=True, type=Finite(min=13.0), help="Of each song.")
@click.option("--no-opus", is_flag=True, help="Leave Opus out, which needs opus-tools.")
@device_option
@threads_option
@click.option("-o", "--output", type=PATH, required=True, help="Folder for the report.")
@force_option
@json_option
@quiet_option
def evaluate(
    model: str,
    manifest: Path,
    codes: Path | str | None,
    cache: Path | None,
    parts: tuple[str, ...],
    clips: int,
    windows: int | None,
    num_songs: int,
    seconds: float,
    no_opus: bool,
    device: str,
    threads: int | None,
    output: Path,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Judge MODEL on music that it did not learn from: a page to read and hear, and its figures as JSON.

    Every figure has the interval that holds 95 % of its draws. Songs are unpicked: seeds 1, 2, 3 … and the labels of
    the held-out pieces in turn; those of sung music have words of held-out music. They are kept beside the page, and
    composed once, as are held-out pieces whose finer levels are composed.
    """
    if codes is None and set(parts) - {"codec"}:
        raise UserError(
            "priors and songs are judged by the codes of the music", "give them with --codes, or --parts codec"
        )
    from orchestrion.audio import io
    from orchestrion.evaluate.opus import check_tools
    from orchestrion.evaluate.report import FIGURES, PAGE, write_report
    from orchestrion.files import check_writable, refuse_overwrite

    if "codec" in parts and not no_opus:
        check_tools()
    if "songs" in parts:
        from orchestrion.evaluate.musicnn import installed

        installed()
    for path in (output / PAGE, output / FIGURES, *sorted((output / CLIPS).glob("clip-*.ogg"))):
        refuse_overwrite(path, force)
    jukebox = open_jukebox(model, device=device, dtype="float32", weights="auto", compiled=None, threads=threads)
    store = None if codes is None else open_codes(codes, jukebox.info)
    check_writable(output)
    from orchestrion.cli.encode import prepared

    rate, channels = jukebox.info.codec.sample_rate, jukebox.info.codec.channels
    heard = prepared(manifest, cache, rate, channels, threads=threads, quiet=quiet)
    if not heard.indices("validation"):
        raise UserError("no track of the music fell to validation, so nothing is held out", "add more tracks")
    if store is not None:
        _check_same_music(manifest, heard, store)
    asked = (
        _asked(jukebox, heard, num_songs, seconds, output, replace=force)
        if "songs" in parts and store is not None
        else None
    )
    sections: list[Section] = []
    clips_heard: dict[Path, torch.Tensor] = {}
    known = _known(jukebox, _held_out(heard))
    if known:
        click.echo(f"warning: {known}", err=True)

    def say(what: str) -> None:
        if not quiet:
            click.echo(what, err=True)

    if "codec" in parts:
        say("the codec")
        section, clips_heard = _codec(jukebox, heard, store, clips, output, opus=not no_opus)
        sections.append(section)
    if "priors" in parts and store is not None:
        say("the priors")
        sections.append(_priors(jukebox, store, windows))
    if asked is not None and store is not None:
        sections += _songs(jukebox, heard, store, asked, output, say, replace=force)
    about = f"{_about(jukebox)} {known}".rstrip()
    for path, audio in clips_heard.items():  # last: a report that was broken off can be begun again
        io.write(path, audio, jukebox.info.codec.sample_rate)
    page = write_report(output, f"How good is {jukebox.info.name}?", about, sections)
    click.echo((output / FIGURES).read_text(encoding="utf-8") if as_json else page)


def _about(jukebox: "Jukebox") -> str:
    import torch

    from orchestrion.version import __version__

    return (
        f"The model {jukebox.info.name} judged on tracks that it did not learn from, by orchestrion {__version__} with "
        f"torch {torch.__version__}. In brackets: 95 % of bootstrap draws."
    )


def _held_out(heard: "TrackStore") -> "list[Track]":
    return [heard.tracks[index].track for index in heard.indices("validation")]


def _check_same_music(manifest: Path, heard: "TrackStore", store: "CodeStore") -> None:
    """UserError unless the codes are those of the music that the manifest lists, on the same sides of the split.

    A listed track that cannot be read has no need of codes; those of one that can no longer be read may be there.
    """
    from orchestrion.data.manifest import read_manifest, split

    listed = {track.content_hash: track for track in read_manifest(manifest)}
    coded = {shard.track.content_hash: shard.track for shard in store.shards if not shard.variation}
    for content in sorted({each.track.content_hash for each in heard.tracks} | coded.keys()):
        track, there = listed.get(content), coded.get(content)
        if track is None:
            problem = f"{coded[content].path.name} is not in it"
        elif there is None:
            problem = f"{track.path.name} is not among them"
        elif split(track) != split(there):
            problem = f"{track.path.name} is on the other side of the split in them"
        else:
            continue
        raise UserError(f"the codes are not those of {manifest}: {problem}", "encode the manifest again")


def _known(jukebox: "Jukebox", tracks: "list[Track]") -> str:
    """A sentence if the model learned from some of the `tracks` that are held out here."""
    learned_from = set(jukebox.info.learned_from)
    titles = [track.title or track.path.stem for track in tracks if track.content_hash in learned_from]
    if not titles:
        return ""
    return (
        f"{len(titles)} of the {len(tracks)} tracks that are held out here are among what it learned from "
        f"({', '.join(titles)}): figures on held-out music are better than they should be."
    )


def _codec(
    jukebox: "Jukebox", heard: "TrackStore", store: "CodeStore | None", clips: int, output: Path, *, opus: bool
) -> "tuple[Section, dict[Path, torch.Tensor]]":
    """The section, and what is heard in it by the files that it is to be in."""
    from dataclasses import replace

    import torch

    from orchestrion.checkpoints.folder import load_codec
    from orchestrion.evaluate.codec import KILOBITS, codec_section
    from orchestrion.evaluate.report import Sound

    grid = jukebox.info.grid
    samples = grid.whole(grid.num_samples(CODEC_SECONDS))
    chunks = heard.validation_chunks(samples, clips)
    if not chunks:
        raise UserError("what is held out of the music is silent", "add music")
    chosen, tracks = heard.cut(chunks, samples).to(jukebox.device), torch.tensor([chunk.track for chunk in chunks])
    codec = load_codec(jukebox.folder, jukebox.info).to(jukebox.device)
    heard_as = {"The first clip as it is": chosen[0]}
    with torch.inference_mode():
        codes = codec.encode(chosen[:1])
        for level in range(grid.num_levels):
            heard_as[f"The first clip through level {level}"] = codec.decode(codes, level)[0]
    paths = [output / CLIPS / f"clip-{number}.ogg" for number in range(len(heard_as))]
    sounds = tuple(Sound(title, str(path.relative_to(output))) for title, path in zip(heard_as, paths, strict=True))
    section = replace(codec_section(codec, chosen, tracks, KILOBITS if opus else (), store), sounds=sounds)
    return section, dict(zip(paths, (audio.cpu() for audio in heard_as.values()), strict=True))


def _priors(jukebox: "Jukebox", store: "CodeStore", windows: int | None) -> "Section":
    from orchestrion.checkpoints.folder import load_prior
    from orchestrion.evaluate.priors import measure_prior, priors_section

    info = jukebox.info
    levels = [level for level, config in enumerate(info.priors) if config is not None]
    found = [
        measure_prior(load_prior(jukebox.folder, info, level).to(jukebox.device).eval(), store, level, windows)
        for level in levels
    ]
    return priors_section(found, {level: info.grid.frame_rate(level) for level in levels})


class Asked(NamedTuple):
    """Songs to be composed, each with its file, and the real music that they are judged by."""

    training: "list[Piece]"
    held_out: "list[Piece]"
    requests: "list[tuple[Request, Path]]"


def _asked(
    jukebox: "Jukebox", heard: "TrackStore", count: int, seconds: float, output: Path, *, replace: bool
) -> Asked:
    """Songs with the seeds from 1 on, asked for by the labels of the held-out pieces in turn.

    So songs and held-out music are of the same artists and genres in the same shares. Where a piece is of sung music,
    the words of held-out music are told in turn. UserError for what cannot be judged or made, before any work.
    """
    from orchestrion import Request
    from orchestrion.evaluate import songs
    from orchestrion.evaluate.distance import LEAST_TRACKS
    from orchestrion.files import refuse_overwrite

    samples = round(seconds * jukebox.info.codec.sample_rate)
    training, held_out = (songs.pieces_of(heard, side, samples, count) for side in songs.SIDES)
    for what, found in (("training", training), ("held-out", held_out)):
        if len({piece.track for piece in found}) < LEAST_TRACKS:
            raise UserError(
                f"fewer than {LEAST_TRACKS} {what} tracks last {seconds:g} s, too few to judge songs by",
                "add music, or leave songs out: --parts codec --parts priors",
            )
    words = songs.words_to_sing(_held_out(heard), seconds) if jukebox.info.sings else []
    like, requests = songs.in_turn(held_out), []
    for number in range(count):
        piece = like[number % len(like)]
        genre = jukebox.info.genre_called(piece.genre)
        request = Request(
            seconds=seconds,
            artist=jukebox.info.artist_called(piece.artist),
            genres=(genre,) if genre else (),
            lyrics=words[number % len(words)] if piece.sung and words else "",
            seed=number + 1,
            finest_level=jukebox.info.finest_composed or 0,
        )
        path = output / "songs" / f"song-{number + 1}.ogg"
        if not jukebox.is_kept(request, path.with_suffix(".song"), replace=replace):
            refuse_overwrite(path, replace)
        requests.append((request, path))
    return Asked(training, held_out, requests)


def _songs(
    jukebox: "Jukebox", heard: "TrackStore", store: "CodeStore", asked: Asked, output: Path, say: Say, *, replace: bool
) -> "list[Section]":
    import torch

    from orchestrion.checkpoints.folder import load_codec
    from orchestrion.evaluate import songs
    from orchestrion.evaluate.memory import LEAST_PIECES, learned
    from orchestrion.evaluate.musicnn import embed, open_musicnn
    from orchestrion.evaluate.report import Section, Sound

    network = open_musicnn()
    rate, top = jukebox.info.codec.sample_rate, jukebox.info.grid.top
    training, held_out, requests = asked
    like, made, codes, sounds = songs.in_turn(held_out), [], [], []
    for number, (request, path) in enumerate(requests):
        say(f"song {number + 1} of {len(requests)}")
        song = jukebox.compose(request, path.with_suffix(".song"), replace=replace).finish()
        song.save(path, replace=True)
        piece = like[number % len(like)]  # names as the music spells them, which the model may spell otherwise
        artist, genre = piece.artist if request.artist else None, piece.genre if request.genres else None
        made.append(songs.Piece(song.audio, number, artist, genre))
        codes.append(song.codes[top][0])
        name = f"Song {len(made)}: {request.artist or 'nobody in particular'}, {genre or 'no genre'}"
        sounds.append(Sound(name, str(path.relative_to(output))))

    @cache  # by the tensor itself: some pieces stand for a genre and teach the classifier
    def embedded(audio: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return embed(network, audio, rate)

    say("the songs")
    index, _ = learned(store, top)
    held_codes = [window.codes[0] for window in store.validation_batches(1, top, len(codes[0]))]
    held_tracks = store.validation_tracks(top, len(codes[0]))
    names = [sound.title for sound in sounds]
    memory, _ = songs.memory_section(index, held_codes, held_tracks, codes, names)
    spoilt, noisy = (songs.noisy(pieces, torch.Generator().manual_seed(0)) for pieces in (held_out, training))
    codec = load_codec(jukebox.folder, jukebox.info).to(jukebox.device)
    finest = jukebox.info.finest_composed or 0
    through = songs.coded(held_out, codec, finest)
    samples = held_out[0].audio.shape[1]
    compared = songs.pieces_of(heard, "validation", samples, max(LEAST_PIECES, len(held_out)))
    lessons = songs.pieces_of(heard, "train", samples, songs.LESSONS * len(requests))
    by_genre = songs.pieces_by_genre(heard, lessons, samples, len(requests))
    learned_from, noisy_learned, real, noise, heard_as, ours, taught, genres = (
        songs.vectors(pieces, embedded)
        for pieces in (training, noisy, held_out, spoilt, through, made, lessons, by_genre)
    )
    versions = {f"with noise at {songs.NOISE_DECIBELS:g} dB": noise, "through the codec": heard_as}
    if finest < top:
        below = _composed_below(jukebox, codec, like, [request for request, _ in requests], output / PIECES, say)
        versions["its top codes kept, the others composed"] = songs.vectors(below, embedded)
    asked_like = [like[number % len(like)].track for number in range(len(requests))]
    return [
        songs.distance_section(learned_from, noisy_learned, genres, real, versions, ours, asked_like),
        songs.control_section(
            taught, {"held-out music": real, "the same, coded": heard_as, "the songs": ours}, asked=ours
        ),
        songs.musical_section(held_out, through, made, rate),
        memory,
        songs.likeness_section(heard, compared, made, names, rate),
        Section("The first songs", "Not picked: seeds 1 to 8.", sounds=tuple(sounds[:8])),
    ]


def _composed_below(
    jukebox: "Jukebox",
    codec: "Codec",
    held_out: "Sequence[Piece]",
    requests: "Sequence[Request]",
    folder: Path,
    say: Say,
) -> "list[Piece]":
    """Real pieces with their codes of the top level, all others composed as each request has them drawn.

    They are kept in `folder`; one that began with other codes, as another number of threads may find, is made anew.
    """
    from dataclasses import replace

    import torch.nn.functional as F

    grid, made = jukebox.info.grid, []
    for number, (piece, request) in enumerate(zip(held_out, requests, strict=False)):
        say(f"held-out piece {number + 1} of {len(held_out)}, below its top level")
        length = piece.audio.shape[1]
        whole = F.pad(piece.audio, (0, -length % grid.hop_lengths[grid.top]))
        codes = codec.encode(whole[None].to(jukebox.device), (grid.top,))
        drawn = request.changed(lyrics="", sampling=jukebox.info.drawing(request.lyrics))
        kept = folder / f"piece-{number + 1}.song"
        song = jukebox.compose(drawn, kept, codes=codes, replace=True).finish()
        made.append(replace(piece, audio=song.audio[:, :length]))
    return made
