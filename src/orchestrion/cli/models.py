"""`orchestrion models`: what there is to play with."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrion.cli.options import (
    DTYPES,
    PATH,
    PLACE,
    WEIGHTS,
    force_option,
    json_option,
    numbers,
    quiet_option,
    sampling,
    sampling_options,
    show_result,
    told,
)

if TYPE_CHECKING:
    from orchestrion.checkpoints.folder import ModelInfo


@click.group()
def models() -> None:
    """List, show, build and import models, and let one remember its music."""


@models.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Every model that can be called by its name."""
    from orchestrion.checkpoints import zoo
    from orchestrion.checkpoints.folder import read_model
    from orchestrion.errors import UserError

    found: list[dict[str, Any]] = []
    for name, folder in sorted(zoo.names().items()):
        try:
            info = read_model(folder)
        except UserError as error:
            click.echo(f"{name} cannot be read: {error}", err=True)
            continue
        found.append(
            {
                "name": name,
                "folder": str(folder),
                "megabytes": round(_bytes(folder) / 1e6, 1),
                "sample_rate": info.codec.sample_rate,
                "levels": info.grid.num_levels,
                "artists": len(info.artists),
                "genres": len(info.genres),
            }
        )
    lines = [
        f"{one['name']}  {one['megabytes']} MB, {one['sample_rate']} Hz, {one['levels']} levels, "
        f"{one['artists']} artists, {one['genres']} genres  ({one['folder']})"
        for one in found
    ]
    text = "\n".join(lines) or "no models"
    show_result({"models": found} | ({} if as_json else {"text": text}), "text", as_json=as_json)


@models.command()
@click.argument("name")
@click.option("--card", is_flag=True, help="Print the whole model card.")
@json_option
def show(name: str, card: bool, as_json: bool) -> None:
    """The artists and genres that a model knows, its levels, size and licence.

    NAME is a name or a model folder.
    """
    from orchestrion.checkpoints import zoo
    from orchestrion.checkpoints.folder import read_card, read_model
    from orchestrion.config import plain

    folder = zoo.locate(name)
    info = read_model(folder)
    text_of_card = read_card(folder)
    if card and not as_json:
        click.echo(text_of_card or "this model has no card")
        return
    result = {
        "name": info.name,
        "folder": str(folder),
        "megabytes": round(_bytes(folder) / 1e6, 1),
        "sample_rate": info.codec.sample_rate,
        "channels": info.codec.channels,
        "artists": list(info.artists),
        "genres": list(info.genres),
        "levels": _levels(info),
        "sampling": [plain(one) for one in info.sampling],
        "wordless": [plain(one) for one in info.wordless],
        "about": info.about,
        "card": text_of_card,
    }
    show_result(result | ({} if as_json else {"text": _as_text(result, name, info)}), "text", as_json=as_json)


def _levels(info: "ModelInfo") -> list[dict[str, Any]]:
    from math import log2

    levels = []
    for level, hop in enumerate(info.grid.hop_lengths):
        rate, prior = info.grid.frame_rate(level), info.priors[level]
        levels.append(
            {
                "level": level,
                "hop_length": hop,
                "frame_rate": rate,
                "kilobits_per_second": rate * log2(info.codec.codebook.size) / 1000,
                "context_frames": prior.context_frames if prior else None,
                "context_seconds": prior.context_frames / rate if prior else None,
            }
        )
    return levels


def _as_text(result: dict[str, Any], asked: str, info: "ModelInfo") -> str:
    """What is known of a model that was asked for by the name `asked`."""
    lines = [
        f"{result['name']}  {result['megabytes']} MB, {result['sample_rate']} Hz, {result['channels']} channel(s)",
        f"  folder   {result['folder']}",
        f"  licence  {result['about'].get('licence', 'not stated')}",
    ]
    for one in result["levels"]:
        sees = f"sees {one['context_seconds']:.1f} s" if one["context_seconds"] else "no prior"
        lines.append(
            f"  level {one['level']}  {one['frame_rate']:.1f} codes a second, "
            f"{one['kilobits_per_second']:.2f} kbit/s, {sees}"
        )
    for when, drawn in (("", info.sampling), (" without lyrics", info.wordless)):
        for level, (one, prior) in enumerate(zip(drawn, info.priors, strict=False)):
            if prior is not None:
                lines.append(f"  drawn at level {level}{when}: {told(one, in_passes=prior.masked)}")
    for kind in ("artists", "genres"):
        lines.append(f"  {kind} ({len(result[kind])}, or unknown)")
        lines += [f"    {name}" for name in result[kind]]
    if result["card"]:
        lines.append(f"  `orchestrion models show {shlex.quote(asked)} --card` prints the model card")
    return "\n".join(lines)


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


@models.command()
@click.argument("name")
@click.option(
    "--codec", required=True, help="A model, by its name or folder, or a codec run's: that whose codec it is."
)
@click.option("--codes", required=True, type=PLACE, help="Codes that the priors learned from.")
@click.option(
    "--prior",
    "priors",
    multiple=True,
    help="A finished prior run; give one for each level. Or a model: its priors, for levels that no run is given for.",
)
@click.option("--licence", required=True, help="Licence of the weights, for the model card.")
@click.option("-o", "--output", required=True, type=PATH, help="Folder of the new model.")
@click.option("--weights", type=click.Choice(WEIGHTS), help="How those of priors are held while they draw.")
@sampling_options
@click.option(
    "--wordless",
    multiple=True,
    metavar="NAME=NUMBERS",
    help="One of these otherwise for songs without lyrics, such as guidance=1,3; may be given several times.",
)
@force_option
def build(
    name: str,
    codec: str,
    codes: Path | str,
    priors: tuple[str, ...],
    licence: str,
    output: Path,
    weights: Any,
    wordless: tuple[str, ...],
    force: bool,
    **drawing: Any,
) -> None:
    """Put a trained codec and trained priors together to a model called NAME.

    How codes are drawn and weights held becomes the model's own way, used unless something else is asked for.
    """
    from orchestrion.checkpoints.folder import check_no_model
    from orchestrion.config.sampling import LevelSampling
    from orchestrion.data.encoded import CodeStore
    from orchestrion.files import check_writable
    from orchestrion.train.assemble import build_model, codec_folder

    check_no_model(output, force)
    check_writable(output)
    store = CodeStore(codes)
    drawn = sampling([LevelSampling()] * store.grid.num_levels, **drawing)
    build_model(
        name,
        codec_folder(codec),
        priors,
        store,
        output,
        licence=licence,
        sampling=drawn,
        wordless=sampling(drawn, **numbers(wordless)) if wordless else (),
        weights=weights,
    )
    click.echo(output)


@models.command()
@click.argument("name")
@click.option("--codes", required=True, type=PLACE, help="Codes that the priors learned from.")
@force_option
@quiet_option
def remember(name: str, codes: Path | str, force: bool, quiet: bool) -> None:
    """Put what the model NAME learned from beside it, so that `compose` notices a song that repeats it.

    NAME is a name or a model folder. What is near is found from the held-out tracks of CODES.
    """
    from orchestrion.checkpoints import zoo
    from orchestrion.checkpoints.folder import CODEC, read_model
    from orchestrion.checkpoints.memory import MEMORY, write_memory
    from orchestrion.cli.options import bar, open_codes
    from orchestrion.evaluate.memory import memory_of
    from orchestrion.files import check_writable, refuse_overwrite

    folder = zoo.locate(name)
    refuse_overwrite(folder / MEMORY, force)
    check_writable(folder)
    info = read_model(folder)
    store = open_codes(codes, info)
    with bar("comparing", quiet=quiet) as update:
        memory = memory_of(store, info.sha256[CODEC], on_piece=update)
    click.echo(write_memory(folder, memory))


@models.command("import")
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option("--name", required=True, help="What the model is to be called.")
@click.option("-o", "--output", type=PATH, help="Folder of the new model.  [default: where models are installed]")
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help="How the priors' weights are stored.  [default: as they are in the files]",
)
@click.option(
    "--labels",
    type=PATH,
    help="Folder with the lists of artists and genres (v2_artist_ids.txt, …); without, no labels are known.",
)
@force_option
def import_(
    paths: tuple[Path, ...], name: str, output: Path | None, dtype: str | None, labels: Path | None, force: bool
) -> None:
    """Turn the published Jukebox checkpoints into a model called NAME.

    PATH... are the .pth.tar files: vqvae, and those of its priors that are wanted.
    """
    from orchestrion.checkpoints.folder import check_no_model
    from orchestrion.checkpoints.zoo import installed_folder
    from orchestrion.files import check_writable

    folder = output or installed_folder() / name
    check_no_model(folder, force)
    check_writable(folder)

    import torch

    from orchestrion.checkpoints.importing import import_published

    stored = getattr(torch, dtype) if dtype else None
    import_published(paths, folder, name=name, dtype=stored, labels=labels)
    click.echo(folder)
