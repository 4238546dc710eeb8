"""`orchestrion train` and `orchestrion encode`: from a folder of music to a model."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrion.cli.options import PATH
from orchestrion.config import Settings

if TYPE_CHECKING:
    import torch

    from orchestrion.config.training import ModelTrainingConfig
    from orchestrion.data.tracks import TrackStore
    from orchestrion.train.loop import Progress, Recipe

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=Settings)

STOPPED = 130


def training_options(command: F) -> F:
    """What every training is asked."""
    for option in (
        click.option("--threads", type=click.IntRange(min=1), help="Processor threads.  [default: all]"),
        click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, …"),
        click.option("--steps", type=click.IntRange(min=1), help="Train for this many steps instead."),
        click.option("--preset", default="mini", show_default=True, help="Settings to use without --config."),
        click.option("--config", "config_file", type=PATH, help="Settings in a TOML file; docs/training.md has them."),
        click.option("--run", "folder", required=True, type=PATH, help="Folder of this run; give it again to go on."),
    ):
        command = option(command)
    return command


cache_option = click.option("--cache", type=PATH, help="Folder for decoded audio.  [default: beside MANIFEST]")


@click.group()
def train() -> None:
    """Train a model on your own music.

    First the codec, then `orchestrion encode`, then a prior for each level, then `orchestrion models build`.
    """


@train.command()
@click.argument("manifest", type=PATH)
@cache_option
@training_options
def codec(
    manifest: Path,
    cache: Path | None,
    folder: Path,
    config_file: Path | None,
    preset: str,
    steps: int | None,
    device: str,
    threads: int | None,
) -> None:
    """Learn to turn the music of MANIFEST into codes and back."""
    from orchestrion.config.training import CodecTrainingConfig
    from orchestrion.data.tracks import audio_findings
    from orchestrion.train.codec import CodecRecipe, with_scales
    from orchestrion.train.run import begin_run

    place = _place(device, threads)
    config = _config(CodecTrainingConfig, config_file, lambda: _preset(preset).codec)
    config = config.model_copy(update={"training": _settled(config.training, steps, place, folder)})
    store = prepared(manifest, cache, config.codec.sample_rate, config.codec.channels, config.artist_balance)
    config = with_scales(config, store)
    begin_run(folder, "codec", config, {"tracks": store.data_hash})
    for sentence in audio_findings(store):
        click.echo(sentence, err=True)
    _run(CodecRecipe(config, store, place), config.training, folder, folder / "model")


@train.command()
@click.argument("codes", type=PATH)
@click.option("--codec", "model", required=True, type=PATH, help="Model folder whose codec made CODES.")
@click.option("--level", required=True, type=click.IntRange(min=0), help="Level to learn; 0 is the finest.")
@click.option(
    "--teacher",
    type=PATH,
    help="A model, or the run of a prior, that draws this level code by code: a masked prior begins with its weights "
    "and learns from it.",
)
@training_options
def prior(
    codes: Path,
    model: Path,
    level: int,
    teacher: Path | None,
    folder: Path,
    config_file: Path | None,
    preset: str,
    steps: int | None,
    device: str,
    threads: int | None,
) -> None:
    """Learn to compose one level of CODES: the top from labels, the others from the level above."""
    from orchestrion.checkpoints.folder import CODEC, load_codec, read_model
    from orchestrion.config.training import PriorTrainingConfig
    from orchestrion.data.encoded import CodeStore
    from orchestrion.errors import UserError
    from orchestrion.train.masked import MaskedRecipe, open_teacher
    from orchestrion.train.prior import PriorRecipe
    from orchestrion.train.run import begin_run, weights_digest

    place = _place(device, threads)
    info = read_model(model)
    store = CodeStore(codes)
    if store.codec_hash != info.sha256[CODEC]:
        raise UserError(f"{codes} was not made by the codec in {model}", "give the one that made them")
    if level > store.grid.top:
        raise UserError(f"these codes have no level {level}", f"give 0 to {store.grid.top}")
    config = _config(PriorTrainingConfig, config_file, lambda: _preset(preset).priors[level])
    config = config.model_copy(update={"training": _settled(config.training, steps, place, folder)})
    store = CodeStore(codes, artist_balance=config.artist_balance)
    if teacher and not config.transformer.sees_ahead:
        raise UserError("only a masked prior has a teacher", "leave it out, or set transformer.patterns to 'all'")
    taught = open_teacher(teacher, level, store.codec_hash) if teacher else None
    data = {"codes": store.data_hash, "level": level} | ({"teacher": weights_digest(taught)} if taught else {})
    begin_run(folder, "prior", config, data)
    codec_ = load_codec(model, info)
    recipe = (
        MaskedRecipe(config, store, level, codec_, place, taught)
        if config.transformer.sees_ahead
        else PriorRecipe(config, store, level, codec_, place)
    )
    _run(recipe, config.training, folder, folder / "prior.safetensors")


@click.command()
@click.argument("manifest", type=PATH)
@click.option("--codec", "model", required=True, type=PATH, help="Model folder whose codec is used.")
@click.option("-o", "--output", required=True, type=PATH, help="Folder for the codes.")
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
@cache_option
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, …")
@click.option("--threads", type=click.IntRange(min=1), help="Processor threads.  [default: all]")
def encode(
    manifest: Path,
    model: Path,
    output: Path,
    variations: int,
    varied: str,
    cache: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Turn the music of MANIFEST into codes that priors learn from.

    With --variations, priors also hear each training track in keys and tempos near its own, and do not learn a
    small collection by heart.

    Run the same command again to go on after a stop: what is encoded stays.
    """
    from orchestrion.checkpoints.folder import CODEC, load_codec, read_model
    from orchestrion.train.encode import encode_tracks

    place = _place(device, threads)
    info = read_model(model)
    store = prepared(manifest, cache, info.codec.sample_rate, info.codec.channels)
    codec_on_place = load_codec(model, info).to(place)
    with _bar("encoding") as update:
        for encoded in encode_tracks(
            codec_on_place,
            info.sha256[CODEC],
            store,
            output,
            variations=variations,
            varied_levels=(info.grid.top,) if varied == "top" else None,
        ):
            update(encoded.done, encoded.total, "")
            if encoded.problem:
                click.echo(f"left out: {encoded.problem}", err=True)
    click.echo(output)


def _place(device: str, threads: int | None) -> "torch.device":
    import torch

    from orchestrion.errors import UserError

    if threads:
        torch.set_num_threads(threads)
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        place = torch.device(name)
        torch.zeros(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the device {device!r} cannot be used here", "try --device cpu") from error
    return place


def _preset(name: str) -> "ModelTrainingConfig":
    from orchestrion import presets
    from orchestrion.errors import UserError

    known = {"mini": presets.mini, "mini-sequential": presets.mini_sequential, "mini-song": presets.mini_song}
    if name not in known:
        raise UserError(f"there is no preset {name!r} to train", f"known: {', '.join(known)}")
    return known[name]()


def _config(kind: type[S], path: Path | None, preset: Callable[[], S]) -> S:
    from orchestrion.config import read_toml

    return preset() if path is None else read_toml(kind, path)


def _settled(training: Any, steps: int | None, place: "torch.device", folder: Path) -> Any:
    """The training as it will be described: with "auto", a run that goes on keeps the precision it was begun with."""
    from orchestrion.train.precision import settled
    from orchestrion.train.run import begun_with

    chosen = training if steps is None else training.model_copy(update={"steps": steps})
    before = begun_with(folder).get("training", {}).get("precision") if chosen.precision == "auto" else None
    return chosen.model_copy(update={"precision": before}) if before else settled(chosen, place)


def prepared(
    manifest: Path, cache: Path | None, sample_rate: int, channels: int, artist_balance: float = 0.5
) -> "TrackStore":
    """The decoded audio of the manifest's tracks, decoded now where it is not yet."""
    import os

    from orchestrion.data.manifest import read_manifest
    from orchestrion.data.prepare import prepare
    from orchestrion.data.tracks import TrackStore

    tracks = read_manifest(manifest)
    folder = cache or manifest.parent / f"{manifest.stem}-audio-{sample_rate}-{channels}"
    with _bar("decoding") as update:
        for progress in prepare(tracks, folder, sample_rate, channels, workers=os.cpu_count() or 1):
            update(progress.done, progress.total, "")
            if progress.problem:
                click.echo(f"left out: {progress.problem}", err=True)
    return TrackStore(folder, artist_balance=artist_balance)


def _run(recipe: "Recipe", training: Any, folder: Path, result: Path) -> None:
    from orchestrion.train.loop import train as run_loop

    logging.basicConfig(format="%(message)s", level=logging.INFO)
    with _bar("training") as update:

        def show(progress: "Progress") -> None:
            update(progress.step, progress.steps, f"loss {progress.loss:.3f}")

        finished = run_loop(recipe, training, folder, on_progress=show)
    if not finished:
        click.echo("stopped and saved: run the same command to go on", err=True)
        raise click.exceptions.Exit(STOPPED)
    click.echo(result)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar with the time left, on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    ) as progress:
        task = progress.add_task(what, total=None, note="")

        def update(done: int, total: int, note: str) -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield update
