"""`orchestrion train`: from music to a codec, and from its codes to priors."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrion.cli.encode import prepared
from orchestrion.cli.finetune import finetune
from orchestrion.cli.options import (
    PATH,
    PLACE,
    Finite,
    cache_option,
    device_option,
    json_option,
    show_result,
    threads_option,
)
from orchestrion.cli.training import joined_device, run_recipe, settings_of, settled_training, tell, training_options

if TYPE_CHECKING:
    from orchestrion.checkpoints.folder import ModelInfo
    from orchestrion.config.training import ModelTrainingConfig, PriorTrainingConfig
    from orchestrion.data.encoded import CodeStore
    from orchestrion.train.prior import PriorRecipe

DEFAULT_PRESET = "mini"

preset_option = click.option(
    "--preset", help="Settings by a name, of which --config may change some.  [default: mini, or none with --config]"
)


@click.group()
def train() -> None:
    """Train a model on your own music.

    First the codec, then `orchestrion encode`, then a prior for each level, then `orchestrion models build`.
    """


train.add_command(finetune)


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

    place = joined_device(device, threads)
    named = preset or DEFAULT_PRESET
    config = settings_of(CodecTrainingConfig, config_file, lambda: _preset(named).codec, changed=preset is not None)
    config = config.model_copy(update={"training": settled_training(config.training, steps, place, folder)})
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
            tell(f"{len(left)} weights of another shape begin by chance: {left[0]}, …")
    with first_alone():
        begin_run(folder, "codec", config, data, new_end=steps is not None)
    for sentence in audio_findings(store):
        tell(sentence)
    run_recipe(recipe, config.training, folder, folder / "model")
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

    place = joined_device(device, threads)
    folder_of_codec, info, _ = _codec_of(codes, model, level)
    named = preset or DEFAULT_PRESET
    config = settings_of(PriorTrainingConfig, config_file, lambda: _of_level(named, level), changed=preset is not None)
    config = config.model_copy(update={"training": settled_training(config.training, steps, place, folder)})
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
    run_recipe(recipe, config.training, folder, folder / "prior.safetensors")
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
    place = joined_device(device, threads)
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
        tell("Their mean is no better than the best of them: they may not have gone on from one another.")
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

    place = joined_device(device, threads)
    config = settings_of(RecognizerTrainingConfig, config_file, RecognizerTrainingConfig, changed=True)
    chosen = {"training": settled_training(config.training, steps, place, folder)} | ({"hears": hears} if hears else {})
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
    run_recipe(recipe, config.training, folder)
    leave()


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


def _tell_known(recipe: "PriorRecipe") -> None:
    if recipe.known:
        tell(
            f"{recipe.known} of the {len(recipe.store.held_out)} held-out tracks are among what was learned from "
            "before: figures on held-out music are better than they should be"
        )
