"""The training loop: step, average, validate, save, resume. One loop, a recipe for each kind of model."""

import contextlib
import json
import logging
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from orchestrion.config.training import TrainingConfig
from orchestrion.errors import UserError
from orchestrion.files import explained, read_json, write_json
from orchestrion.train.checks import nonfinite
from orchestrion.train.ema import AveragedWeights
from orchestrion.train.log import RunLog
from orchestrion.train.optim import Optimizer
from orchestrion.train.state import learned_state, load_learned

logger = logging.getLogger(__name__)

CHECKPOINT_FORMAT = 1


@dataclass(frozen=True)
class StepResult:
    """The loss to minimise, and numbers for the log."""

    loss: Float[Tensor, ""]
    metrics: dict[str, Tensor | float]


@runtime_checkable
class Recipe(Protocol):
    """What a kind of model adds to the loop. All chance in it follows from the step's number and the seed."""

    @property
    def model(self) -> nn.Module: ...

    def matrices(self) -> list[nn.Parameter]:
        """The weights that Muon may train."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What must be kept beside the model, its average and its optimizer to go on exactly; may be nothing."""
        ...

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        ...

    def step(self, step: int) -> StepResult:
        """The loss on the batch of this step."""
        ...

    def validate(self) -> dict[str, float]:
        """Numbers on held-out music; the model wears its averaged weights."""
        ...

    def show(self, folder: Path) -> None:
        """Write sounds and pictures; the model wears its averaged weights."""
        ...

    def findings(self, step: int, metrics: dict[str, float]) -> list[str]:
        """What looks wrong, in plain sentences."""
        ...

    def export(self, folder: Path) -> None:
        """Write the finished model; it wears its averaged weights."""
        ...


@dataclass(frozen=True)
class Progress:
    """Told after every step."""

    step: int
    steps: int
    loss: float


def seed_of(seed: int, step: int, stream: int = 0) -> int:
    """A seed for one step of one stream of chance: independent of how the run was cut into sessions."""
    return ((seed * 1_000_003 + step) * 31 + stream) % (2**63)


class _Stop:
    """Remembers a wish to stop, so that the step at hand is finished and saved first."""

    def __init__(self) -> None:
        self.wanted = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C stops at once

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        try:
            before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: whoever runs it stops it in another way
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def train(
    recipe: Recipe,
    config: TrainingConfig,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> bool:
    """Train in `folder` until the configured number of steps; goes on from the last checkpoint there.

    A run that was killed and resumed gives the same weights as one left alone. Returns whether it finished: False
    when a signal asked it to stop (all is saved then).
    """
    assert config.precision != "auto", "settle the precision before the run is described"
    model = recipe.model
    bfloat16 = config.precision == "bfloat16"
    matrix_dtype = torch.bfloat16 if bfloat16 else torch.float32
    optimizer = Optimizer(model, config.optimizer, config.steps, recipe.matrices(), matrix_dtype=matrix_dtype)
    average = AveragedWeights(model, config.average_decay)
    first = _resume(folder, recipe, optimizer, average)
    log = RunLog(folder, first)
    stop = _Stop()
    model.train()
    recent: dict[str, float] = {}
    saved = first
    with stop.on_signals(), contextlib.closing(log):
        for step in range(first, config.steps):
            started = time.perf_counter()
            result = _one_step(recipe, step, bfloat16=bfloat16)
            norm = optimizer.step(step)
            average.update(model, step)
            recent = {name: float(value) for name, value in result.metrics.items()}
            recent |= {"train/gradient_norm": norm, "train/seconds_per_step": time.perf_counter() - started}
            for sentence in nonfinite(recent):
                log.finding(step, sentence)
                raise UserError(f"training in {folder} failed at step {step}: {sentence}", "nothing before it is lost")
            done = step + 1
            last = done == config.steps
            if step % config.log_every == 0 or last:
                log.numbers(step, recent)
            if done % config.validate_every == 0 or last:
                _validate(recipe, average, folder, log, step, recent)
            stopping = stop.wanted  # asked once: a signal that comes now waits for the next step to be saved
            if done % config.save_every == 0 or last or stopping:
                _save(folder, done, recipe, optimizer, average)
                saved = done
            on_progress(Progress(done, config.steps, float(result.loss.detach())))
            if stopping and not last:
                return False
    assert saved == config.steps or first >= config.steps
    with average.applied_to(model):
        recipe.export(folder)
    return True


def _one_step(recipe: Recipe, step: int, *, bfloat16: bool) -> StepResult:
    device = next(recipe.model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        result = recipe.step(step)
    result.loss.backward()  # type: ignore[no-untyped-call]
    return result


def _validate(
    recipe: Recipe, average: AveragedWeights, folder: Path, log: RunLog, step: int, recent: dict[str, float]
) -> None:
    with average.applied_to(recipe.model), torch.no_grad():
        metrics = recipe.validate()
        recipe.show(folder / "samples" / f"step-{step + 1:06d}")
    log.numbers(step, metrics)
    logger.info("step %d: %s", step + 1, ", ".join(f"{k} {v:.3f}" for k, v in metrics.items()))
    for sentence in recipe.findings(step, recent | metrics):
        log.finding(step, sentence)


def _save(folder: Path, step: int, recipe: Recipe, optimizer: Optimizer, average: AveragedWeights) -> None:
    """Write `checkpoint/` whole: beside the old one first, which goes when the new one stands."""
    fresh, current = folder / "checkpoint.new", folder / "checkpoint"
    old = folder / "checkpoint.old"
    with explained(folder, "save the checkpoint in"):
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            for name, tensors in (
                ("model", learned_state(recipe.model)),
                ("average", average.weights),
                ("optimizer", optimizer.tensors()),
                ("recipe", recipe.tensors()),
            ):
                if not tensors:
                    continue
                save_file({k: v.contiguous() for k, v in tensors.items()}, fresh / f"{name}.safetensors")
            write_json(fresh / "checkpoint.json", {"format": CHECKPOINT_FORMAT, "step": step})
        except SafetensorError as error:  # how safetensors reports a full disk
            raise UserError(f"cannot save the checkpoint in {folder}: {error}", "make room there") from error
        shutil.rmtree(old, ignore_errors=True)
        if current.exists():
            current.rename(old)
        fresh.rename(current)
        shutil.rmtree(old, ignore_errors=True)


def _resume(folder: Path, recipe: Recipe, optimizer: Optimizer, average: AveragedWeights) -> int:
    """Take over the last checkpoint in `folder`; returns the step to go on with, 0 where there is none."""
    current = folder / "checkpoint"
    if not current.exists():
        current = folder / "checkpoint.old"  # killed between the two renames
    if not current.exists():
        return 0
    state = read_json(current / "checkpoint.json", "checkpoint")
    try:
        load_learned(recipe.model, load_file(current / "model.safetensors"))
        for name, value in load_file(current / "average.safetensors").items():
            average.weights[name].copy_(value)
        optimizer.load(load_file(current / "optimizer.safetensors"))
        if recipe.tensors():
            recipe.load(load_file(current / "recipe.safetensors"))
        step = int(state["step"])
    except (SafetensorError, OSError, RuntimeError, KeyError, ValueError, json.JSONDecodeError) as error:
        raise UserError(
            f"the checkpoint in {current} is damaged or belongs to another configuration",
            f"move {folder} away to start anew",
        ) from error
    logger.info("resuming at step %d", step)
    return step
