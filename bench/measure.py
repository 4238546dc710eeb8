"""The machine: what it does at most, how much of it others use, and scripts that run on it."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from orchestrion.nn.fast import quantized
from orchestrion.nn.linear import Linear
from orchestrion.nn.reading import reads_fast
from peers.figures import Figure, read_json, timed

BENCH = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"
BUSY = 0.05
"""A share of the processors that others may take before figures are doubted."""


def bandwidth(runs: int = 5, num_bytes: int = 2**29) -> float:
    """Bytes a second at which a long vector is summed."""
    long = torch.ones(num_bytes // 4)
    return float(long.nbytes / statistics.median(timed(long.sum, runs)))


def matrix_speed(kind: str, runs: int = 5) -> float:
    """Multiplications and additions a second of square matrices in "float32", "bfloat16" or "int8"."""
    size, seconds = 64, 0.0
    while size < 2048 and seconds < 0.03:  # the next takes eight times as long; some kinds are emulated
        size *= 2
        act = product(kind, size)
        (seconds,) = timed(act, 1)
    return 2 * size**3 / statistics.median(timed(act, runs))


def product(kind: str, size: int) -> Callable[[], object]:
    """A product of two square matrices; for "int8" as our priors do it, in float32 where a machine has no such."""
    x = torch.randn(size, size)
    if kind == "int8" and reads_fast():
        whole = (100 * x).clamp(-127, 127).to(torch.int8)
        return torch.inference_mode()(lambda: torch._int_mm(whole, whole.t()))
    if kind == "int8":
        layer = quantized(torch.nn.Sequential(Linear(size, size, bias=False)), "int8")
        return torch.inference_mode()(lambda: layer(x))
    narrow = x.to(getattr(torch, kind))
    return torch.inference_mode()(lambda: narrow @ narrow)


class Others:
    """What share of the processors was taken by processes that are neither this one nor its children.

    Of all processors, from the making of this object, or the last question, until `share` is asked; children count
    when they have ended. On machines that do not tell, the share is 0.
    """

    ticks = Path("/proc/stat")

    def __init__(self) -> None:
        self.seen = self._now()

    def _now(self) -> tuple[float, float, float]:
        """Seconds: of the clock, of work on all processors, of ours."""
        own = os.times()
        ours = own.user + own.system + own.children_user + own.children_system
        if not self.ticks.exists():
            return time.perf_counter(), ours, ours
        user, nice, system, _, _, *rest = (int(one) for one in self.ticks.read_text().splitlines()[0].split()[1:9])
        return time.perf_counter(), (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK"), ours

    def share(self) -> float:
        before, self.seen = self.seen, self._now()
        clock, work, ours = (now - then for now, then in zip(self.seen, before, strict=True))
        return max(0.0, work - ours) / (clock * (os.cpu_count() or 1))


def installed(requirement: str, cache: Path) -> Path:
    """The Python of an environment that has `requirement`, made now unless it is there already; ours for none."""
    if not requirement:
        return Path(sys.executable)
    folder = cache / requirement
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", TORCH, requirement], check=True)
        done.touch()
    return python


def figures_of(script: str, *options: object, python: Path | None = None) -> list[Figure]:
    """What a script of this folder measures, in a process of its own; what it prints goes to stderr."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        command: Sequence[object] = [python or sys.executable, BENCH / script, *options, "--json", path]
        subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)
        return read_json(path)
