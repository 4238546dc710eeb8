"""`orchestrion features`: what a model hears in recordings, for other models to use."""

from pathlib import Path
from typing import Any

import click

from orchestrion.cli.options import (
    PATH,
    adapter_option,
    bar,
    device_option,
    dtype_option,
    json_option,
    open_jukebox,
    quiet_option,
    show_result,
    threads_option,
)


@click.command()
@click.argument("music", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Folder for the features.")
@click.option("--model", default="mini-song", show_default=True, help="Name or folder of the model that listens.")
@click.option(
    "--layer", type=click.IntRange(min=1), help="After so many layers of its top prior.  [default: half of them]"
)
@click.option("--frames", is_flag=True, help="A vector for each code of the top level, not their mean.")
@adapter_option
@dtype_option
@device_option
@threads_option
@quiet_option
@json_option
def features(
    music: tuple[Path, ...],
    output: Path,
    model: str,
    layer: int | None,
    frames: bool,
    quiet: bool,
    as_json: bool,
    **engine: Any,
) -> None:
    """Write what a model's top prior makes of MUSIC, as vectors for other models: tags, search, recommendation.

    MUSIC are audio files, folders with such, or manifests (.jsonl).

    Each recording becomes a NumPy array in its own file; features.json says which is whose. Run the same command
    again to go on after a stop, or to add others.
    """
    from orchestrion.files import check_writable
    from orchestrion.jukebox.features import DESCRIPTION, begin, describe, extract

    paths = _recordings(music)
    check_writable(output.parent)
    jukebox = open_jukebox(model, **engine)
    listener = jukebox.listener(layer)
    info = begin(output, describe(listener, jukebox.song_model, engine["dtype"], mean=not frames))
    left_out = []
    with bar("listening", quiet=quiet) as update:
        for seen in extract(listener, paths, output, info):
            update(seen.done, seen.total, seen.path.name)
            if seen.problem is not None:
                left_out.append(seen.problem)
                click.echo(f"left out: {seen.problem}", err=True)
    result = {
        "features": str(output / DESCRIPTION),
        "recordings": len(paths) - len(left_out),
        "left_out": left_out,
        "width": info.width,
    }
    show_result(result, "features", as_json=as_json)


def _recordings(music: tuple[Path, ...]) -> list[Path]:
    """The audio files that are meant, each once."""
    from orchestrion.data.manifest import read_manifest
    from orchestrion.data.scan import audio_files

    found: dict[Path, None] = {}
    for path in music:
        if path.is_dir():
            found |= dict.fromkeys(audio_files(path))
        elif path.suffix.lower() == ".jsonl":
            found |= dict.fromkeys(Path(track.path) for track in read_manifest(path))
        else:
            found[path] = None
    return list(found)
