"""What the commands that train share: their options, their settings, and a run from its first step to its last."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrion.cli.main import STOPPED
from orchestrion.cli.options import PATH, bar, device_option, threads_option
from orchestrion.config import Settings

if TYPE_CHECKING:
    import torch

    from orchestrion.train.loop import Progress, Recipe

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=Settings)


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


def joined_device(device: str, threads: int | None) -> "torch.device":
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


def settings_of(kind: type[S], path: Path | None, preset: Callable[[], S], *, changed: bool = False) -> S:
    """The settings of `preset`, or those in a file; where it is only to be `changed`, what the file leaves out too."""
    from orchestrion.config import read_toml

    if path is None:
        return preset()
    return read_toml(kind, path, preset() if changed else None)


def settled_training(training: Any, steps: int | None, place: "torch.device", folder: Path) -> Any:
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


def tell_left_out(problem: str | None) -> None:
    if problem is not None:
        tell(f"left out: {problem}")


def tell(sentence: str) -> None:
    """Say something on standard error, once for all processes that `torchrun` started."""
    from orchestrion.nn.ranks import rank

    if rank() == 0:
        click.echo(sentence, err=True)


def run_recipe(recipe: "Recipe", training: Any, folder: Path, result: Path | None = None) -> bool:
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
        leave_stopped()
    if result is not None and rank() == 0:
        click.echo(result)
    return stop.wanted


def leave_stopped() -> None:
    tell("stopped and saved: run the same command to go on")
    raise click.exceptions.Exit(STOPPED)
