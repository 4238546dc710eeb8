"""The training loop: step, average, validate, save, resume. One loop, a recipe for each kind of model."""

import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orchestrion.config.training import TrainingConfig
from orchestrion.errors import UserError
from orchestrion.nn.ranks import num_ranks, rank, wait_for_all
from orchestrion.train import checkpoint
from orchestrion.train.checks import nonfinite
from orchestrion.train.ema import AveragedWeights
from orchestrion.train.log import RunLog
from orchestrion.train.optim import Optimizer
from orchestrion.train.parallel import Part, Shared, mean_over_ranks, own_items
from orchestrion.train.run import begun_with, held
from orchestrion.train.state import learned_state, load_learned

logger = logging.getLogger(__name__)

_MOST_SKIPPED = 5  # batches without a number, one after another
_LOSS, _STOP = "train/loss", "train/stop"


@dataclass(frozen=True)
class StepResult:
    """The loss to minimise, a mean over items, and numbers for the log."""

    loss: Float[Tensor, ""]
    metrics: dict[str, Tensor | float]


@runtime_checkable
class Recipe(Protocol):
    """What a kind of model adds to the loop. All chance in it follows from the step's number and the seed.

    A batch comes in parts, on several processes and one after another: `prepare` for the items of this process, `loss`
    for each part of them, then `follow`.
    """

    model: nn.Module

    @property
    def entries(self) -> tuple[str, ...]:
        """Methods of the model that `prepare` and `loss` call."""
        ...

    def matrices(self) -> list[nn.Parameter]:
        """The weights that Muon may train."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What must be kept beside the model, its average and its optimizer to go on exactly; may be nothing."""
        ...

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        ...

    def prepare(self, step: int, own: Part) -> None:
        """Whatever has to see all items of this process before the losses."""
        ...

    def loss(self, step: int, part: Part) -> StepResult:
        """The loss on a part of the batch of this step, such that its mean over all parts is that on the batch."""
        ...

    def follow(self, step: int) -> dict[str, float]:
        """Move what gradients do not, after losses that are numbers; numbers for the log, the same on every rank."""
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


class Stop:
    """Remembers a wish to stop, so that the step at hand is finished and saved first."""

    def __init__(self) -> None:
        self.wanted = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        if not _is_ignored(signal.SIGINT):
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C stops at once

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        heeded = [number for number in (signal.SIGINT, signal.SIGTERM) if not _is_ignored(number)]
        try:
            before = {number: signal.signal(number, self._ask) for number in heeded}
        except ValueError:  # not the main thread: whoever runs it stops it in another way
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _is_ignored(number: signal.Signals) -> bool:
    """Whether the program was started so, as a shell does with what it runs in the background of a script."""
    return signal.getsignal(number) is signal.SIG_IGN


def train(
    recipe: Recipe,
    config: TrainingConfig,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Stop | None = None,
) -> bool:
    """Train in `folder` until the configured number of steps; goes on from the last checkpoint there.

    A run that was killed and resumed gives the same weights as one left alone. Returns whether it finished: False
    when a signal asked it to stop (all is saved then). `stop` knows afterwards whether any rank was asked to, also in
    the last step, which finishes a run. Processes that `parallel.join` brought together train one
    model, each on its items of every batch. UserError where another process trains in `folder`.
    """
    assert config.precision != "auto", "settle the precision before the run is described"
    with held(folder):
        if (steps := begun_with(folder).get("training", {}).get("steps", config.steps)) != config.steps:
            raise UserError(f"the end of the run in {folder} was moved to {steps} steps", "give its command again")
        run = _Run(recipe, config, folder)
        first = run.resume()
        run.log = RunLog(folder, first) if rank() == 0 else None
        stop = stop or Stop()
        recipe.model.train()
        recent: dict[str, float] = {}
        with stop.on_signals(), contextlib.closing(run):
            for step in range(first, config.steps):
                recent, stopping = run.step(step, stop)
                done = step + 1
                last = done == config.steps
                if step % config.log_every == 0 or last:
                    run.numbers(step, recent)
                if done % config.validate_every == 0 or last:
                    run.validate(step, recent)
                if done % config.save_every == 0 or last or stopping:
                    run.saver.save(done, run.state())
                run.saver.look()
                on_progress(Progress(done, config.steps, recent[_LOSS]))
                if stopping and not last:
                    return False
        with run.averaged() as here:
            if here:
                recipe.export(folder)
        stop.wanted = mean_over_ranks({_STOP: float(stop.wanted)}, run.device)[_STOP] > 0  # the others wait here
        return True


class _Run:
    """All that a run keeps from step to step."""

    def __init__(self, recipe: Recipe, config: TrainingConfig, folder: Path) -> None:
        self.recipe, self.config, self.folder = recipe, config, folder
        self.bfloat16 = config.precision == "bfloat16"
        self.own = own_items(config)
        self.shared = Shared(recipe.model, recipe.loss, recipe.entries, config)
        matrix_dtype = torch.bfloat16 if self.bfloat16 else torch.float32
        self.optimizer = Optimizer(
            recipe.model, config.optimizer, config.steps, recipe.matrices(), matrix_dtype=matrix_dtype
        )
        self.average = AveragedWeights(recipe.model, config.average_decay)
        self.device = next(recipe.model.parameters()).device
        self.saver = checkpoint.Saver(folder, behind=config.save_behind)
        self.log: RunLog | None = None
        self.skipped = 0

    def close(self) -> None:
        try:
            self.saver.close()
        finally:
            if self.log is not None:
                self.log.close()

    def numbers(self, step: int, metrics: dict[str, float]) -> None:
        if self.log is not None:
            self.log.numbers(step, {name: value for name, value in metrics.items() if name != _LOSS})

    def step(self, step: int, stop: Stop) -> tuple[dict[str, float], bool]:
        """One step of the optimizer; its numbers, and whether any rank was asked to stop.

        A batch whose loss or gradient is no number changes nothing; after several of them UserError.
        """
        started = time.perf_counter()
        wanted = stop.wanted  # asked once: a signal that comes now waits for the next step to be saved
        numbers = mean_over_ranks(self._losses(step) | {_STOP: float(wanted)}, self.device)
        stopping = numbers.pop(_STOP) > 0
        problems = list(nonfinite(numbers))
        if problems:
            self.optimizer.clear()
        else:
            numbers["train/gradient_norm"] = self.optimizer.step(step)
            problems = list(nonfinite(numbers))
        numbers["train/seconds_per_step"] = time.perf_counter() - started
        if problems:
            self._skip(step, problems[0])
            return numbers, stopping
        self.skipped = 0
        numbers |= self.recipe.follow(step)
        self.average.update(self.recipe.model, step)
        return numbers, stopping

    def _losses(self, step: int) -> dict[str, Tensor | float]:
        """Losses and their gradients of this rank's parts; the mean of their numbers."""
        parts = self.own.cut(self.config.accumulate)
        found: list[StepResult] = []
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            self.recipe.prepare(step, self.own)
        for index, part in enumerate(parts):
            with self.shared.alone(alone=index < len(parts) - 1):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                    result = self.shared.loss(step, part)
                (result.loss / len(parts)).backward()
            found.append(StepResult(result.loss.detach(), result.metrics))
        names = found[0].metrics
        means = {name: sum(float(one.metrics[name]) for one in found) / len(found) for name in names}
        return {**means, _LOSS: sum(float(one.loss) for one in found) / len(found)}

    def _skip(self, step: int, problem: str) -> None:
        self.skipped += 1
        if self.log is not None:
            self.log.finding(step, f"{problem}; this batch is left out")
        if self.skipped >= _MOST_SKIPPED:
            raise UserError(
                f"training in {self.folder} failed at step {step}: {problem}",
                "nothing before the last checkpoint is lost",
            )

    def validate(self, step: int, recent: dict[str, float]) -> None:
        """On rank 0, while the others wait."""
        with self.averaged() as here, torch.no_grad():
            if here:
                metrics = self.recipe.validate()
                self.recipe.show(self.folder / "samples" / f"step-{step + 1:06d}")
                assert self.log is not None
                self.log.numbers(step, metrics)
                logger.info("step %d: %s", step + 1, ", ".join(f"{k} {v:.3f}" for k, v in metrics.items()))
                for sentence in self.recipe.findings(step, recent | metrics):
                    self.log.finding(step, sentence)
        wait_for_all()

    @contextlib.contextmanager
    def averaged(self) -> Iterator[bool]:
        """On rank 0 the recipe wears the averaged weights inside the block, whole; says whether this is it."""
        if not self.shared.sharded:
            with self.average.applied_to(self.recipe.model):
                yield rank() == 0
            return
        own, whole = self.recipe.model, self.shared.whole(self.average.weights)
        try:
            if whole is not None:
                self.recipe.model = whole
            yield whole is not None
        finally:
            self.recipe.model = own

    def state(self) -> checkpoint.State:
        return {
            "model": learned_state(self.recipe.model),
            "average": self.average.weights,
            "optimizer": self.optimizer.tensors(),
            "recipe": self.recipe.tensors(),
        }

    def resume(self) -> int:
        """Take over the last checkpoint that is whole; returns the step to go on with, 0 where there is none."""
        found = checkpoint.restore(self.folder, self.state())
        if found is None:
            return 0
        step, state, problems = found
        try:
            load_learned(self.recipe.model, state["model"])
            for name, value in state["average"].items():
                self.average.weights[name].copy_(value)
            self.optimizer.load(state["optimizer"])
            if self.recipe.tensors():
                self.recipe.load(state["recipe"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise UserError(
                f"the checkpoint in {self.folder} belongs to another configuration",
                f"move {self.folder} away to start anew",
            ) from error
        for problem in problems:
            logger.warning("%s: going on from the checkpoint before it, step %d", problem, step)
        logger.info("resuming at step %d%s", step, f" on {num_ranks()} processes" if num_ranks() > 1 else "")
        return step
