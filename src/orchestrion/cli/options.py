"""Options that several commands share, and what they turn into."""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import click

from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError

if TYPE_CHECKING:
    from orchestrion.checkpoints.folder import ModelInfo
    from orchestrion.data.encoded import CodeStore
    from orchestrion.generate.request import Request
    from orchestrion.jukebox import Jukebox
    from orchestrion.library.folder import SongFolder
    from orchestrion.nn.fast import Weights

    WeightsOption = Weights | Literal["auto", "as-is"]

F = TypeVar("F", bound=Callable[..., Any])

DTYPES = ("float32", "bfloat16", "float16")
WEIGHTS = ("bfloat16", "float16", "int8")
MOST_THREADS = 1024
"""Far more end the process."""
PATH = click.Path(path_type=Path)


class Place(click.ParamType[Any]):
    """A folder, or an address of an object store."""

    name = "PATH|ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        return value if isinstance(value, Path) or "://" in value else Path(value)


PLACE = Place()


class Finite(click.FloatRange):
    """A number in a range, which no infinity is in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
cache_option = click.option("--cache", type=PATH, help="Folder for decoded audio.  [default: beside MANIFEST]")
device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, mps, …; auto takes an accelerator if there is one."
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1, max=MOST_THREADS), help="Processor threads.  [default: all]"
)
ray_option = click.option(
    "--ray",
    "on_ray",
    is_flag=True,
    help="Work on the Ray cluster that RAY_ADDRESS names; who composes there has one processor, or --threads.",
)
force_option = click.option("--force", is_flag=True, help="Replace what is there already.")


class PerLevel(click.ParamType[Any]):
    """A number for all levels, or one for each with commas between, level 0 first."""

    name = "NUMBER[,NUMBER…]"

    def __init__(self, number: Callable[[str], int | float]) -> None:
        self.number = number

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.number(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a number, nor numbers with commas between", param, ctx)


adapter_option = click.option(
    "--adapter", type=PATH, help="Folder of what the model learned besides: `train finetune`."
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="How weights of priors are held; those of the codec stay as they are.",
)


def engine_options(command: F) -> F:
    """Where and how codes are drawn."""
    command = dtype_option(adapter_option(device_option(command)))
    command = click.option(
        "--weights",
        type=click.Choice(("auto", "as-is", *WEIGHTS)),
        default="auto",
        show_default=True,
        help="Hold those of priors in fewer bits while drawing: faster (bfloat16 with --compile alone, else only less "
        "memory), nearly the same. auto: as the model says.",
    )(command)
    command = click.option(
        "--compile/--no-compile",
        "compiled",
        default=None,
        help="Compile the steps in which codes are drawn: seconds more before, faster after; on a processor for one "
        "song at a time, with guidance 1.  [default: on CUDA only]",
    )(command)
    return threads_option(command)


_NUMBERS = {
    "temperature": PerLevel(float),
    "top-k": PerLevel(int),
    "top-p": PerLevel(float),
    "guidance": PerLevel(float),
    "passes": PerLevel(int),
    "leaning": PerLevel(float),
    "hop": PerLevel(float),
}


def sampling_options(command: F) -> F:
    """How codes are drawn; each for all levels, or per level."""
    command = click.option(
        "--temperature",
        type=_NUMBERS["temperature"],
        help="Below 1 plays safe, above 1 dares; 0 takes the likeliest.",
    )(command)
    command = click.option(
        "--top-k", type=_NUMBERS["top-k"], help="Draw from this many of the likeliest codes; 0: all."
    )(command)
    command = click.option(
        "--top-p", type=_NUMBERS["top-p"], help="Draw from the likeliest codes that hold this share."
    )(command)
    command = click.option(
        "--guidance",
        type=_NUMBERS["guidance"],
        help="Above 1 exaggerates artist, genre and words, at twice the work; 1 is as learned.",
    )(command)
    command = click.option(
        "--passes", type=_NUMBERS["passes"], help="In how many passes a masked prior fills a window."
    )(command)
    command = click.option(
        "--leaning",
        type=_NUMBERS["leaning"],
        help="How closely what comes back resembles what it was, in nats; 0: not at all."
        "  [default: the model's or the song's]",
    )(command)
    return click.option(
        "--hop",
        type=_NUMBERS["hop"],
        help="Share of its context that each window invents; less means more overlap.",
    )(command)


def told(drawing: LevelSampling, *, in_passes: bool = True) -> str:
    """How a level is drawn, by the names of the options; `in_passes` where it is, or may be."""
    said = {
        "temperature": drawing.temperature,
        "top-k": drawing.top_k,
        "top-p": drawing.top_p if drawing.top_p < 1 else None,
        "guidance": drawing.guidance,
        "passes": drawing.passes if in_passes else None,
        "hop": drawing.hop_fraction,
        "leaning": drawing.leaning,
    }
    return ", ".join(f"{name} {value:g}" for name, value in said.items() if value is not None)


def numbers(given: Sequence[str]) -> dict[str, Any]:
    """What `sampling` takes, from such as "guidance=1,3"; UserError for what is none of it."""
    found = {}
    for one in given:
        name, _, values = one.partition("=")
        if name not in _NUMBERS:
            raise UserError(f"{one!r} is no setting of drawing", f"give one of {', '.join(_NUMBERS)}, = and numbers")
        found[name.replace("-", "_")] = _NUMBERS[name].convert(values, None, None)
    return found


def sampling(
    default: Sequence[LevelSampling],
    *,
    temperature: tuple[float, ...] | None = None,
    top_k: tuple[int, ...] | None = None,
    top_p: tuple[float, ...] | None = None,
    guidance: tuple[float, ...] | None = None,
    hop: tuple[float, ...] | None = None,
    passes: tuple[int, ...] | None = None,
    leaning: tuple[float, ...] | None = None,
) -> tuple[LevelSampling, ...]:
    """The sampling of every level: `default` with what was given in its place."""
    levels = [dict(level) for level in default]
    given: dict[str, tuple[int | float, ...] | None] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "guidance": guidance,
        "hop_fraction": hop,
        "passes": passes,
        "leaning": leaning,
    }
    for name, values in given.items():
        if values is None:
            continue
        if len(values) not in (1, len(levels)):
            raise UserError(
                f"{name} is given for {len(values)} levels and the model has {len(levels)}",
                "give one number for all, or one for each, level 0 first",
            )
        for level, settings in enumerate(levels):
            value = values[level % len(values)]
            settings[name] = None if name == "top_k" and value == 0 else value
    from orchestrion.config import read_settings

    return tuple(read_settings(LevelSampling, settings, "this sampling") for settings in levels)


def drawn(asked: "Request", info: "ModelInfo", drawing: dict[str, Any]) -> "Request":
    """The request with the sampling that was given, in place of the model's own for such a song."""
    return asked.changed(sampling=sampling(info.drawing(asked.lyrics), **drawing))


def open_jukebox(
    model: str | Path,
    *,
    adapter: Path | None = None,
    device: str,
    dtype: str = "float32",
    weights: "WeightsOption" = "auto",
    compiled: bool | None = None,
    threads: int | None,
) -> "Jukebox":
    """The model, its weights still on disk."""
    import torch

    from orchestrion.jukebox import Jukebox

    if threads:
        torch.set_num_threads(threads)
    return Jukebox.from_pretrained(
        model,
        adapter=adapter,
        device=None if device == "auto" else device,
        dtype=getattr(torch, dtype),
        weights=None if weights == "as-is" else weights,
        compiled=compiled,
    )


def open_maker(kept: "SongFolder", engine: dict[str, Any]) -> "Jukebox":
    """The model that made a song, with the adapter that it had then unless `engine` names another."""
    from orchestrion.checkpoints import zoo

    made_by = kept.info.model
    if engine["adapter"] is None and made_by.adapter:
        engine = {**engine, "adapter": Path(made_by.adapter.name)}
    try:
        zoo.locate(made_by.name)
        if engine["adapter"] is not None:
            zoo.locate_adapter(engine["adapter"])
    except UserError as error:
        way = "if it was moved, name it: --model, and --adapter with it where there was one"
        raise UserError(f"what made {kept.path} is not here: {error.problem}", way) from error
    return open_jukebox(made_by.name, **engine)


def open_codes(place: Path | str, info: "ModelInfo") -> "CodeStore":
    """The codes of a data set, with the names of a model; UserError for those of another codec."""
    from orchestrion.checkpoints.lineage import knows_codes
    from orchestrion.data.encoded import CodeStore

    store = CodeStore(place, info.vocabulary)
    if not knows_codes(info, store.codec_hash, store.grid):
        raise UserError(
            f"the codes in {place} were not made by the codec of {info.name}",
            "encode the music with it: orchestrion encode MANIFEST --codec MODEL",
        )
    return store


def check_output(output: Path, *, force: bool) -> None:
    """Raise UserError for a place where no song can be written, before anything is loaded."""
    from orchestrion.audio.io import check_suffix
    from orchestrion.files import check_writable, refuse_overwrite
    from orchestrion.library.provenance import sidecar

    check_suffix(output)
    for path in (output, sidecar(output)):
        refuse_overwrite(path, force)
    check_writable(output.parent)


def refuse_inputs(outputs: Iterable[Path], inputs: Mapping[str, Path | None]) -> None:
    """Raise UserError where a file that an option names to be read would be lost, force or not.

    It would where it, or a folder that it is in, is among the `outputs`.
    """
    for output in outputs:
        for option, file in inputs.items():
            if file is None or not file.exists() or not output.exists():
                continue
            is_in = any(output.samefile(folder) for folder in file.resolve().parents)
            if is_in or output.samefile(file):
                said = f"the file of {option} is in {output}" if is_in else f"{output} is the file of {option}"
                raise UserError(f"{said}: it would be lost", "choose another name with -o")


def show_result(result: dict[str, Any], main: str, *, as_json: bool) -> None:
    """Print the result: the value of `main`, or all of it as JSON."""
    click.echo(json.dumps(result, indent=2, ensure_ascii=False) if as_json else result[main])


class Update(Protocol):
    """Moves a bar to `done` of `total`; `note` stands beside it."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def bar(what: str, *, quiet: bool = False) -> Iterator[Update]:
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
        disable=quiet or int(os.environ.get("RANK", "0")) > 0,  # one bar for all that torchrun started
    ) as progress:
        task = progress.add_task(what, total=None, note="")

        def update(done: int, total: int, note: str = "") -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield update
