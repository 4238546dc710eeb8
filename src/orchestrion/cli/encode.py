"""`orchestrion encode`, and the decoded music that codecs and priors learn from."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrion.cli.options import PATH, PLACE, bar, cache_option, device_option, ray_option, threads_option
from orchestrion.cli.training import joined_device, tell_left_out

if TYPE_CHECKING:
    from orchestrion.data.manifest import Track
    from orchestrion.data.tracks import TrackStore


@click.command()
@click.argument("manifest", type=PATH)
@click.option("--codec", "model", required=True, help="Model, by its name or folder, whose codec is used.")
@click.option("-o", "--output", required=True, type=PLACE, help="Folder or object store (s3://…) for the codes.")
@click.option(
    "--variations",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Encode training tracks so many times more, at other speeds.",
)
@click.option(
    "--vary",
    "varied",
    default="top",
    show_default=True,
    type=click.Choice(("top", "all")),
    help="Levels that variations are encoded at: the others have many more codes and need them less.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(min=1), help="Processes that encode on each device."
)
@ray_option
@cache_option
@device_option
@threads_option
def encode(
    manifest: Path,
    model: str,
    output: Path | str,
    variations: int,
    varied: str,
    workers: int,
    on_ray: bool,
    cache: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Turn the music of MANIFEST into codes that priors learn from.

    With --variations, priors also hear each training track in keys and tempos near its own, and do not learn a
    small collection by heart.

    Give several devices with commas between, or --workers, to encode in so many processes, each with its share of the
    threads; with --ray they are the cluster's.

    Run the same command again to go on after a stop: what is encoded stays.
    """
    from orchestrion.checkpoints.folder import CODEC, load_codec, read_model
    from orchestrion.checkpoints.zoo import locate
    from orchestrion.cluster import worker_device
    from orchestrion.data.encoded import ShardWriter
    from orchestrion.train.encode import Spread, encode_tracks
    from orchestrion.train.spread import Job, Processes, Ray

    devices = [worker_device(device)] if on_ray else [str(joined_device(one, threads)) for one in device.split(",")]
    coder = locate(model)
    info = read_model(coder)
    store = prepared(
        manifest,
        cache,
        info.codec.sample_rate,
        info.codec.channels,
        threads=threads,
        before=partial(ShardWriter, output, info.grid, info.codec.codebook.size, info.sha256[CODEC]),
    )
    varied_levels = (info.grid.top,) if varied == "top" else None
    places = [place for place in devices for _ in range(workers)]
    spread: Spread | None = None
    if on_ray or len(places) > 1:
        share = max(1, (threads or os.cpu_count() or 1) // len(places))
        job = Job(coder.absolute(), store.folder.absolute(), _absolute(output), varied_levels, share)
        spread = Ray(job, len(places), places[0]) if on_ray else Processes(job, tuple(places))
    with bar("encoding") as update:
        for encoded in encode_tracks(
            load_codec(coder, info).to("cpu" if spread else devices[0]),
            info.sha256[CODEC],
            store,
            output,
            variations=variations,
            varied_levels=varied_levels,
            spread=spread,
        ):
            update(encoded.done, encoded.total)
            tell_left_out(encoded.problem)
    click.echo(output)


def _absolute(place: Path | str) -> Path | str:
    return place.absolute() if isinstance(place, Path) else place


def prepared(
    manifest: Path,
    cache: Path | None,
    sample_rate: int,
    channels: int,
    artist_balance: float = 0.5,
    *,
    threads: int | None = None,
    before: Callable[[], object] = lambda: None,
    quiet: bool = False,
) -> "TrackStore":
    """The decoded audio of the manifest's tracks, decoded now where it is not yet, by so many processes (None: all).

    `before` that hours may pass, it refuses what would be refused after.
    """
    from orchestrion.data.manifest import read_manifest

    folder = cache or manifest.parent / f"{manifest.stem}-audio-{sample_rate}-{channels}"
    tracks = read_manifest(manifest)
    before()
    return decoded(tracks, folder, sample_rate, channels, artist_balance, threads=threads, quiet=quiet)


def decoded(
    tracks: "Sequence[Track]",
    folder: Path,
    sample_rate: int,
    channels: int,
    artist_balance: float = 0.5,
    *,
    threads: int | None,
    quiet: bool = False,
) -> "TrackStore":
    from orchestrion.data.tracks import TrackStore

    decode_tracks(tracks, folder, sample_rate, channels, threads=threads, quiet=quiet)
    return TrackStore(folder, artist_balance=artist_balance)


def decode_tracks(
    tracks: "Sequence[Track]",
    folder: Path,
    sample_rate: int,
    channels: int,
    *,
    threads: int | None,
    quiet: bool = False,
) -> "list[Track]":
    """Decode what is not decoded yet, by so many processes (None: all); the tracks that can be."""
    from orchestrion.data.prepare import prepare
    from orchestrion.train.parallel import first_alone

    readable: list[Track] = []
    with first_alone(), bar("decoding", quiet=quiet) as update:
        for progress in prepare(tracks, folder, sample_rate, channels, workers=threads or os.cpu_count() or 1):
            update(progress.done, progress.total)
            if progress.problem is None:
                readable.append(progress.track)
            tell_left_out(progress.problem)
    return readable
