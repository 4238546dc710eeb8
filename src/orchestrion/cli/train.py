"""`orchestrion train` and `orchestrion encode`: from a folder of music to a model."""

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrion.cli.main import STOPPED
from orchestrion.cli.options import (
    PATH,
    PLACE,
    Finite,
    bar,
    cache_option,
    device_option,
    json_option,
    ray_option,
    show_result,
    threads_option,
)
from orchestrion.config import Settings

if TYPE_CHECKING:
    import torch

    from orchestrion.checkpoints.folder import ModelInfo
    from orchestrion.config.training import ModelTrainingConfig, PriorTrainingConfig
    from orchestrion.data.encoded import CodeStore
    from orchestrion.data.manifest import Track
    from orchestrion.data.tracks import TrackStore
    from orchestrion.train.finetune import Base
    from orchestrion.train.loop import Progress, Recipe
    from orchestrion.train.prior import PriorRecipe

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=Settings)

DEFAULT_PRESET = "mini"


def training_options(command: F) -> F:
    """What every training is asked."""
    for option in (
        threads_option,
        device_option,
        click.option(
            "--steps",
            type=click.IntRange(min=1),
            help="Train for this many steps instead; an unfinished run then ends there, whatever it was begun with.",
        ),
        click.option("--config", "config_file", type=PATH, help="Settings in a TOML file; docs/training.md has them."),
        click.option("--run", "folder", required=True, type=PATH, help="Folder of this run; give it again to go on."),
    ):
        command = option(command)
    return command


preset_option = click.option(
    "--preset", help="Settings by a name, of which --config may change some.  [default: mini, or none with --config]"
)


@click.group()
def train() -> None:
    """Train a model on your own music.

    First the codec, then `orchestrion encode`, then a prior for each level, then `orchestrion models build`.
    """


@train.command()
@click.argument("manifest", type=PATH)
@cache_option
@click.option("--begin", help="A model, or the finished run of a codec: begin with those of its weights that fit.")
@click.option(
    "--composer",
    help="A model whose priors compose what decoders learn from beside music's own codes, where the settings have "
    "`composed`.",
)
@preset_option
@training_options
def codec(
    manifest: Path,
    cache: Path | None,
    begin: str | None,
    composer: str | None,
    folder: Path,
    config_file: Path | None,
    preset: str | None,
    steps: int | None,
    device: str,
    threads: int | None,
) -> None:
    """Learn to turn the music of MANIFEST into codes and back."""
    from orchestrion.config.training import CodecTrainingConfig
    from orchestrion.data.tracks import audio_findings
    from orchestrion.errors import UserError
    from orchestrion.train.assemble import open_codec
    from orchestrion.train.codec import CodecRecipe, check_chunks, with_scales
    from orchestrion.train.composed import Composer
    from orchestrion.train.parallel import first_alone, leave
    from orchestrion.train.run import begin_run, begun_with, check_run, weights_digest

    place = _place(device, threads)
    named = preset or DEFAULT_PRESET
    config = _config(CodecTrainingConfig, config_file, lambda: _preset(named).codec, changed=preset is not None)
    config = config.model_copy(update={"training": _settled(config.training, steps, place, folder)})
    check_chunks(config)
    if not begin and (config.levels or config.decoders_only):
        raise UserError("what does not learn has to come from a codec", "give it with --begin")
    if (composer is None) != (config.composed is None):
        raise UserError("a composer and settings with `composed` belong together", "give both, or none")
    other = open_codec(begin) if begin else None
    composing = Composer(composer, config.learning, other[1], place) if composer and other else None
    store = prepared(
        manifest,
        cache,
        config.codec.sample_rate,
        config.codec.channels,
        config.artist_balance,
        threads=threads,
        before=partial(
            check_run,
            folder,
            "codec",
            with_scales(config, None, begun_with(folder)),
            new_end=steps is not None,
        ),
    )
    config = with_scales(config, store, begun_with(folder))
    recipe = CodecRecipe(config, store, place, composing)
    data = {"tracks": store.data_hash}
    if recipe.sung:
        data["sounds"] = recipe.sung.digest
    if composing:
        data["composer"] = composing.sha256
    if other:
        info, begun = other
        left = recipe.begin_with(begun, info)
        data["begin"] = weights_digest(begun)
        if left:
            _tell(f"{len(left)} weights of another shape begin by chance: {left[0]}, …")
    with first_alone():
        begin_run(folder, "codec", config, data, new_end=steps is not None)
    for sentence in audio_findings(store):
        _tell(sentence)
    _run(recipe, config.training, folder, folder / "model")
    leave()


codec_of_codes_option = click.option(
    "--codec", "model", required=True, help="Model, by its name or folder, whose codec made CODES."
)


@train.command()
@click.argument("codes", type=PLACE)
@codec_of_codes_option
@click.option("--level", required=True, type=click.IntRange(min=0), help="Level to learn; 0 is the finest.")
@click.option(
    "--begin",
    help="A model, or the run of a prior, of the same shape: begin with its weights, and what it knows of the same "
    "names, rather than with chance.",
)
@click.option(
    "--teacher",
    help="A model, or the run of a prior, that draws this level code by code: a masked prior begins with its weights "
    "and learns from it.",
)
@preset_option
@training_options
def prior(
    codes: Path | str,
    model: str,
    level: int,
    begin: str | None,
    teacher: str | None,
    folder: Path,
    config_file: Path | None,
    preset: str | None,
    steps: int | None,
    device: str,
    threads: int | None,
) -> None:
    """Learn to compose one level of CODES: the top from labels, the others from the level above."""
    from orchestrion.checkpoints.folder import load_codec
    from orchestrion.checkpoints.lineage import begun_with, unchanged_since
    from orchestrion.config.training import PriorTrainingConfig
    from orchestrion.data.encoded import CodeStore
    from orchestrion.errors import UserError
    from orchestrion.train.assemble import open_prior
    from orchestrion.train.masked import MaskedRecipe, open_teacher
    from orchestrion.train.parallel import first_alone, leave
    from orchestrion.train.prior import PriorRecipe
    from orchestrion.train.run import begin_run, weights_digest

    place = _place(device, threads)
    folder_of_codec, info, _ = _codec_of(codes, model, level)
    named = preset or DEFAULT_PRESET
    config = _config(PriorTrainingConfig, config_file, lambda: _of_level(named, level), changed=preset is not None)
    config = config.model_copy(update={"training": _settled(config.training, steps, place, folder)})
    store = CodeStore(codes, artist_balance=config.artist_balance)
    if teacher and not config.transformer.sees_ahead:
        raise UserError("only a masked prior has a teacher", "leave it out, or set transformer.patterns to 'all'")
    if teacher and begin:
        raise UserError("a prior begins with its teacher's weights", "leave out --begin")
    taught = open_teacher(teacher, level, store.codec_hash) if teacher else None
    before = (*begun_with(info, level), *unchanged_since(info, level))
    begun = open_prior(begin, level, store.codec_hash, before) if begin else None
    data = {"codes": store.data_hash, "level": level}
    data |= {"teacher": weights_digest(taught.prior)} if taught else {}
    data |= {"begin": weights_digest(begun.prior)} if begun else {}
    codec_ = load_codec(folder_of_codec, info)
    recipe = (
        MaskedRecipe(config, store, level, codec_, place, taught)
        if config.transformer.sees_ahead
        else PriorRecipe(config, store, level, codec_, place)
    )
    if begun:
        recipe.begin_with(begun)
        _tell_known(recipe)
    with first_alone():
        begin_run(folder, "prior", config, data, new_end=steps is not None)
    _run(recipe, config.training, folder, folder / "prior.safetensors")
    leave()


@train.command("average")
@click.argument("codes", type=PLACE)
@codec_of_codes_option
@click.option("--level", required=True, type=click.IntRange(min=0), help="Level of the priors; 0 is the finest.")
@click.option(
    "--of",
    "names",
    required=True,
    multiple=True,
    help="A model, or the run of a prior; for each. The first says how much the mean sees at once; one given twice "
    "counts twice.",
)
@click.option("-o", "--output", required=True, type=PATH, help="Folder of the mean, like that of a finished run.")
@device_option
@threads_option
def average_(
    codes: Path | str,
    model: str,
    level: int,
    names: tuple[str, ...],
    output: Path,
    device: str,
    threads: int | None,
) -> None:
    """Take the mean of the weights of priors that went on from one another: often better than each.

    Says what held-out music of CODES costs each of them, in bits per code, and what it costs their mean. What is
    written is used like a finished run of `train prior`.
    """
    from orchestrion.checkpoints.folder import load_codec
    from orchestrion.checkpoints.lineage import unchanged_since
    from orchestrion.errors import UserError
    from orchestrion.files import check_writable
    from orchestrion.train.assemble import open_prior
    from orchestrion.train.average import average, recipe_like
    from orchestrion.train.parallel import launched

    if len(names) < 2:
        raise UserError("a mean is of two priors or more", "give --of for each")
    if launched():
        raise UserError("one process takes a mean", "leave torchrun out")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is there already", "choose another folder")
    check_writable(output)
    place = _place(device, threads)
    folder, info, store = _codec_of(codes, model, level)
    opened = partial(open_prior, level=level, codec_hash=store.codec_hash, before=unchanged_since(info, level))
    first, *others = names
    opened_first = opened(first)
    recipe = recipe_like(opened_first, store, level, load_codec(folder, info), place)
    rest = ((name, opened(name)) for name in others)
    parts = []
    for part in average(recipe, chain([(first, opened_first)], rest)):
        parts.append(part)
        click.echo(f"{part.bits:.4f} bits per code: {part.name}")
    bits = recipe.bits()
    click.echo(f"{bits:.4f} bits per code: their mean")
    _tell_known(recipe)
    if bits >= min(part.bits for part in parts):
        _tell("Their mean is no better than the best of them: they may not have gone on from one another.")
    recipe.export(output, mean_of=[part._asdict() for part in parts])
    click.echo(output)


def _codec_of(codes: Path | str, model: str, level: int) -> "tuple[Path, ModelInfo, CodeStore]":
    """The model whose codec made the codes, and these; UserError where it did not, or where they lack the level."""
    from orchestrion.checkpoints.folder import read_model
    from orchestrion.checkpoints.lineage import knows_codes
    from orchestrion.checkpoints.zoo import locate
    from orchestrion.data.encoded import CodeStore
    from orchestrion.errors import UserError

    folder, store = locate(model), CodeStore(codes)
    info = read_model(folder)
    if not knows_codes(info, store.codec_hash, store.grid):
        raise UserError(f"{codes} was not made by the codec in {model}", "give the one that made them")
    if level > store.grid.top:
        raise UserError(f"these codes have no level {level}", f"give 0 to {store.grid.top}")
    return folder, info, store


@train.command("plan")
@click.argument("config")
@click.option("--devices", "num_devices", default=1, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--device", default="h100", show_default=True, help="Which: h100, h200, a100, v100, cpu, …")
@click.option("--artists", type=click.IntRange(min=1), help="Names a prior is to know.  [default: 1000]")
@click.option("--genres", type=click.IntRange(min=1), help="Likewise.  [default: 100]")
@click.option(
    "--codebook-size",
    default=2048,
    show_default=True,
    type=click.IntRange(min=2),
    help="Codes of a level, for the file of a prior.",
)
@click.option(
    "--depth", default=1, show_default=True, type=click.IntRange(min=1), help="Codes of a vector, for such a file."
)
@click.option(
    "--utilisation",
    default=0.35,
    show_default=True,
    type=Finite(0, 1, min_open=True),
    help="Share of the device's products a second that is reached.",
)
@json_option
def plan_(
    config: str,
    num_devices: int,
    device: str,
    artists: int | None,
    genres: int | None,
    codebook_size: int,
    depth: int,
    utilisation: float,
    as_json: bool,
) -> None:
    """What a training takes: weights, memory by part, arithmetic, hours, and what to change if it does not fit.

    CONFIG is a preset (mini, mini-sequential, mini-song, 1b_lyrics, 5b, 5b_lyrics), or a file of all settings, as
    --config takes it without a --preset: of a codec, of a prior, or of a whole model.
    """
    from orchestrion.cli.planning import planned, shown, trainings
    from orchestrion.plan import DEVICES, plan

    found = planned(DEVICES, device)
    plans = {
        name: plan(cost, training, found, num_devices, utilisation=utilisation)
        for name, (cost, training) in trainings(config, artists, genres, codebook_size, depth).items()
    }
    show_result(shown(config, device, plans), "text", as_json=as_json)


@train.command()
@click.argument("model")
@click.option("--data", required=True, type=PATH, help="Folder of music, or a manifest of it.")
@click.option("--artist", help="Who made all of it.  [default: as its tags say]")
@click.option("--level", "levels", multiple=True, type=int, help="Level to learn; may be given again.  [default: all]")
@click.option("--whole", is_flag=True, help="Train all weights and write a whole model, not an adapter.")
@click.option("--name", help="What the result is called.  [default: that of the folder of the run]")
@click.option("--licence", default="not stated", show_default=True, help="Of what is written.")
@click.option("--config", "config_file", type=PATH, help="Settings in a TOML file; docs/training.md has them.")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Train each level for this many steps instead; an unfinished run then ends there, whatever it was begun with.",
)
@click.option("--run", "folder", required=True, type=PATH, help="Folder of this run; give it again to go on.")
@device_option
@threads_option
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

    place = _place(device, threads)
    base = Base.open(zoo.locate(model))
    unknown = set(levels) - set(base.levels)
    if unknown:
        known = ", ".join(map(str, base.levels)) or "none"
        raise UserError(f"{model} has no prior for level {min(unknown)}", f"levels with one: {known}")
    preset = presets.finetune_whole if whole else presets.finetune
    config = _config(FinetuneConfig, config_file, preset, changed=True)
    if whole and config.adapter is not None:
        config = config.model_copy(update={"adapter": None})
    runs = {level: folder / f"level_{level}" for level in sorted(levels or base.levels, reverse=True)}
    settings = {
        level: config.model_copy(update={"training": _settled(config.training, steps, place, run)})
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
        if _run(recipe, own.training, run) and level != min(runs):
            _leave_stopped()
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
    readable = _decode(tracks, folder / "audio", codec.sample_rate, codec.channels, threads=threads)
    tracks = with_held_out(readable, base.window_seconds)
    names = grown_names(base.info.vocabulary, tracks)
    # once more, now with their sides
    audio = _decoded(tracks, folder / "audio", codec.sample_rate, codec.channels, threads=threads, quiet=True)
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
            _tell_left_out(encoded.problem)
    return CodeStore(folder / "codes", names, artist_balance=artist_balance)


@train.command()
@click.argument("manifest", type=PATH)
@click.option(
    "--hears",
    type=click.Choice(("phonemes", "letters")),
    help="What it writes down: speech sounds judge singing, letters find words in it.  [default: phonemes]",
)
@click.option(
    "--codec", help="Model, by its name or folder: half of the music is heard as its codec gives it back, as songs are."
)
@click.option("--begin", help="The finished run of a recogniser of the same symbols: begin with its weights.")
@cache_option
@training_options
def recognizer(
    manifest: Path,
    hears: str | None,
    codec: str | None,
    begin: str | None,
    cache: Path | None,
    folder: Path,
    config_file: Path | None,
    steps: int | None,
    device: str,
    threads: int | None,
) -> None:
    """Learn to hear what is sung in the music of MANIFEST, which `orchestrion data lieder` makes.

    A recogniser judges songs that a model sings (what it hears, beside what they were asked to sing) and finds words in
    recordings (`orchestrion align`).
    """
    from orchestrion.align.recognizer import load_recognizer
    from orchestrion.config.recognizer import RecognizerTrainingConfig
    from orchestrion.train.assemble import open_codec
    from orchestrion.train.parallel import first_alone, leave
    from orchestrion.train.recognizer import SAMPLE_RATE, RecognizerRecipe, check_codec
    from orchestrion.train.run import begin_run, check_run, weights_digest

    place = _place(device, threads)
    config = _config(RecognizerTrainingConfig, config_file, RecognizerTrainingConfig, changed=True)
    chosen = {"training": _settled(config.training, steps, place, folder)} | ({"hears": hears} if hears else {})
    config = config.model_copy(update=chosen)
    through = open_codec(codec)[1] if codec else None
    if through:
        check_codec(through, through.grid.sample_rate)
    begun = load_recognizer(Path(begin)) if begin else None
    store = prepared(
        manifest,
        cache,
        through.grid.sample_rate if through else SAMPLE_RATE,
        1,
        config.artist_balance,
        threads=threads,
        before=partial(check_run, folder, "recognizer", config, new_end=steps is not None),
    )
    recipe = RecognizerRecipe(config, store, place, through)
    data = {"tracks": store.data_hash, "sounds": recipe.sung.digest}
    if through:
        data["codec"] = weights_digest(through)
    if begun:
        recipe.begin_with(begun)
        data["begin"] = weights_digest(begun)
    with first_alone():
        begin_run(folder, "recognizer", config, data, new_end=steps is not None)
    _run(recipe, config.training, folder)
    leave()


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

    devices = [worker_device(device)] if on_ray else [str(_place(one, threads)) for one in device.split(",")]
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
            _tell_left_out(encoded.problem)
    click.echo(output)


def _absolute(place: Path | str) -> Path | str:
    return place.absolute() if isinstance(place, Path) else place


def _place(device: str, threads: int | None) -> "torch.device":
    """The device of this process, which meets the others that `torchrun` started."""
    import torch

    from orchestrion.nn.device import chosen_device
    from orchestrion.nn.memory import keep_dropped_memory
    from orchestrion.train.parallel import join, launched

    if threads:
        torch.set_num_threads(threads)
    place = chosen_device(None if device == "auto" else device)
    if place.type == "cpu":
        keep_dropped_memory()
    if place.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may sum in any order
        torch.use_deterministic_algorithms(True, warn_only=True)
    if launched() and place.type == "cuda" and place.index is None:
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    join(place)
    return place


def _of_level(preset: str, level: int) -> "PriorTrainingConfig":
    from orchestrion.errors import UserError

    priors = _preset(preset).priors
    if level >= len(priors):
        raise UserError(f"the preset {preset!r} has no prior for level {level}", "give its settings with --config")
    return priors[level]


def _preset(name: str) -> "ModelTrainingConfig":
    from orchestrion import presets
    from orchestrion.errors import UserError

    if name not in presets.TRAINED:
        raise UserError(f"there is no preset {name!r} to train", f"known: {', '.join(presets.TRAINED)}")
    return presets.TRAINED[name]()


def _config(kind: type[S], path: Path | None, preset: Callable[[], S], *, changed: bool = False) -> S:
    """The settings of `preset`, or those in a file; where it is only to be `changed`, what the file leaves out too."""
    from orchestrion.config import read_toml

    if path is None:
        return preset()
    return read_toml(kind, path, preset() if changed else None)


def _settled(training: Any, steps: int | None, place: "torch.device", folder: Path) -> Any:
    """The training as it will be described: with "auto", a run that goes on keeps the precision it was begun with.

    UserError where its batch cannot be shared by the processes there are.
    """
    from orchestrion.train.parallel import own_items
    from orchestrion.train.precision import settled
    from orchestrion.train.run import begun_with

    chosen = training if steps is None else training.model_copy(update={"steps": steps})
    own_items(chosen)
    before = begun_with(folder).get("training", {}).get("precision") if chosen.precision == "auto" else None
    return chosen.model_copy(update={"precision": before}) if before else settled(chosen, place)


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
    return _decoded(tracks, folder, sample_rate, channels, artist_balance, threads=threads, quiet=quiet)


def _decoded(
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

    _decode(tracks, folder, sample_rate, channels, threads=threads, quiet=quiet)
    return TrackStore(folder, artist_balance=artist_balance)


def _decode(
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
            _tell_left_out(progress.problem)
    return readable


def _tell_left_out(problem: str | None) -> None:
    if problem is not None:
        _tell(f"left out: {problem}")


def _tell_known(recipe: "PriorRecipe") -> None:
    if recipe.known:
        _tell(
            f"{recipe.known} of the {len(recipe.store.held_out)} held-out tracks are among what was learned from "
            "before: figures on held-out music are better than they should be"
        )


def _tell(sentence: str) -> None:
    """Say something on standard error, once for all processes that `torchrun` started."""
    from orchestrion.nn.ranks import rank

    if rank() == 0:
        click.echo(sentence, err=True)


def _run(recipe: "Recipe", training: Any, folder: Path, result: Path | None = None) -> bool:
    """Train to the end, or leave the command where it was stopped; says whether that was wished at the very end."""
    from orchestrion.nn.ranks import rank
    from orchestrion.train.loop import Stop
    from orchestrion.train.loop import train as run_loop

    logging.basicConfig(format="%(message)s", level=logging.INFO if rank() == 0 else logging.WARNING)
    with bar("training") as update:

        def show(progress: "Progress") -> None:
            update(progress.step, progress.steps, f"loss {progress.loss:.3f}")

        stop = Stop()
        finished = run_loop(recipe, training, folder, on_progress=show, stop=stop)
    if not finished:
        _leave_stopped()
    if result is not None and rank() == 0:
        click.echo(result)
    return stop.wanted


def _leave_stopped() -> None:
    _tell("stopped and saved: run the same command to go on")
    raise click.exceptions.Exit(STOPPED)
