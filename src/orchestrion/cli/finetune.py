"""`orchestrion train finetune`: a model learns from someone's own music."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrion.cli.encode import decode_tracks, decoded
from orchestrion.cli.options import PATH, bar
from orchestrion.cli.training import (
    joined_device,
    leave_stopped,
    run_recipe,
    settings_of,
    settled_training,
    tell_left_out,
    training_options,
)

if TYPE_CHECKING:
    import torch

    from orchestrion.data.encoded import CodeStore
    from orchestrion.train.finetune import Base


@click.command()
@click.argument("model")
@click.option("--data", required=True, type=PATH, help="Folder of music, or a manifest of it.")
@click.option("--artist", help="Who made all of it.  [default: as its tags say]")
@click.option("--level", "levels", multiple=True, type=int, help="Level to learn; may be given again.  [default: all]")
@click.option("--whole", is_flag=True, help="Train all weights and write a whole model, not an adapter.")
@click.option("--name", help="What the result is called.  [default: that of the folder of the run]")
@click.option("--licence", default="not stated", show_default=True, help="Of what is written.")
@training_options
def finetune(
    model: str,
    data: Path,
    artist: str | None,
    levels: tuple[int, ...],
    whole: bool,
    name: str | None,
    licence: str,
    config_file: Path | None,
    steps: int | None,
    folder: Path,
    device: str,
    threads: int | None,
) -> None:
    """Let MODEL learn from music of your own, in names that it need not know.

    Writes an adapter, a few megabytes that `compose --adapter` loads beside MODEL; with --whole a whole model. The
    same command again goes on after a stop; with another --level, what it learned joins what is in the folder already.
    """
    from orchestrion import presets
    from orchestrion.checkpoints import zoo
    from orchestrion.checkpoints.folder import model_sha256
    from orchestrion.config.training import FinetuneConfig
    from orchestrion.errors import UserError
    from orchestrion.nn.ranks import rank
    from orchestrion.train.finetune import KIND, Base, FinetuneRecipe, claim, finished_before, write_finetuned
    from orchestrion.train.parallel import first_alone, leave
    from orchestrion.train.run import begin_run, check_run

    place = joined_device(device, threads)
    base = Base.open(zoo.locate(model))
    unknown = set(levels) - set(base.levels)
    if unknown:
        known = ", ".join(map(str, base.levels)) or "none"
        raise UserError(f"{model} has no prior for level {min(unknown)}", f"levels with one: {known}")
    preset = presets.finetune_whole if whole else presets.finetune
    config = settings_of(FinetuneConfig, config_file, preset, changed=True)
    if whole and config.adapter is not None:
        config = config.model_copy(update={"adapter": None})
    runs = {level: folder / f"level_{level}" for level in sorted(levels or base.levels, reverse=True)}
    settings = {
        level: config.model_copy(update={"training": settled_training(config.training, steps, place, run)})
        for level, run in runs.items()
    }
    for level, run in runs.items():
        check_run(run, KIND, settings[level], new_end=steps is not None)
    result = folder / ("adapter" if config.adapter else "model")
    with first_alone():
        claim(folder, base, next(iter(runs.values())), result)
    store = _own_codes(base, data, artist, folder, config.variations, config.artist_balance, place, threads)
    learned_from = {"codes": store.data_hash, "model": model_sha256(base.folder)}
    others = {level: folder / f"level_{level}" for level in base.levels if level not in runs}
    finished = finished_before(others, config, learned_from)
    for level, run in runs.items():
        own = settings[level]
        told = {**learned_from, "level": level}
        recipe = FinetuneRecipe(base, own, store, level, place)
        with first_alone():
            begin_run(run, KIND, own, told, new_end=steps is not None)
            recipe.measure_before(run / "before.json")
        if run_recipe(recipe, own.training, run) and level != min(runs):
            leave_stopped()
    if rank() == 0:
        write_finetuned(
            base, config, store, runs | finished, result, name=name or folder.resolve().name, licence=licence
        )
        click.echo(result)
    leave()


def _own_codes(
    base: "Base",
    data: Path,
    artist: str | None,
    folder: Path,
    variations: int,
    artist_balance: float,
    place: "torch.device",
    threads: int | None,
) -> "CodeStore":
    """Someone's music as the codes of a model, prepared in `folder`, and its names after the model's."""
    from orchestrion.checkpoints.folder import CODEC, load_codec
    from orchestrion.cli.data import scanned
    from orchestrion.data.encoded import CodeStore
    from orchestrion.data.manifest import read_manifest, said, with_held_out
    from orchestrion.data.scan import audio_files
    from orchestrion.train.encode import encode_tracks
    from orchestrion.train.finetune import grown_names
    from orchestrion.train.parallel import first_alone

    codec = base.info.codec
    tracks = scanned(audio_files(data))[0] if data.is_dir() else read_manifest(data)
    if artist is not None:
        tracks = [track.model_copy(update={"artist": said(artist)}) for track in tracks]
    readable = decode_tracks(tracks, folder / "audio", codec.sample_rate, codec.channels, threads=threads)
    tracks = with_held_out(readable, base.window_seconds)
    names = grown_names(base.info.vocabulary, tracks)
    # once more, now with their sides
    audio = decoded(tracks, folder / "audio", codec.sample_rate, codec.channels, threads=threads, quiet=True)
    with first_alone(), bar("encoding") as update:
        for encoded in encode_tracks(
            load_codec(base.folder, base.info).to(place),
            base.info.sha256[CODEC],
            audio,
            folder / "codes",
            variations=variations,
            varied_levels=(base.info.grid.top,),
        ):
            update(encoded.done, encoded.total)
            tell_left_out(encoded.problem)
    return CodeStore(folder / "codes", names, artist_balance=artist_balance)
