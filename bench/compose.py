"""Composing a minute with a model, loading included: writes a table into docs/benchmarks.md.

python bench/compose.py [MODEL] [--seconds 60] [--runs 3]
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from peers.figures import Figure, composing
from report import add_output_options, machine, publish, table

NAMES = {
    "loading": "opening the model",
    "audio": "decoding to audio",
    "whole": "all of it",
    "process": "and starting Python",
    "first": "streaming: the first sound",
    "waits": "streaming: waiting for later ones",
    "streamed": "streaming: all of it",
}


def compose(model: str, seconds: float) -> dict[str, float]:
    """Seconds per part, and peak memory."""
    from orchestrion.generate.request import Request
    from orchestrion.jukebox import Jukebox

    started = time.perf_counter()
    jukebox = Jukebox.from_pretrained(model)
    last = time.perf_counter()
    marks = {"loading": last - started}
    for event in (composed := jukebox.compose(Request(seconds=seconds, seed=1))):
        now = time.perf_counter()
        name = "audio" if event.stage == "decode" else str(event.level)
        marks[name] = marks.get(name, 0.0) + now - last
        last = now
    composed.finish()
    ended = time.perf_counter()
    marks["audio"] = marks.get("audio", 0.0) + ended - last
    marks["whole"] = ended - started
    marks["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return marks


def stream(model: str, seconds: float) -> dict[str, float]:
    """Seconds until the first sound, that a listener then waits for others, and until the last."""
    from orchestrion.generate.request import Request
    from orchestrion.jukebox import Jukebox

    started = time.perf_counter()
    jukebox = Jukebox.from_pretrained(model)
    first, waits, heard = 0.0, 0.0, 0
    for piece in jukebox.stream(Request(seconds=seconds, seed=1)):
        ready = time.perf_counter() - started
        first = first or ready
        waits = max(waits, ready - first - heard / jukebox.info.grid.sample_rate)
        heard += piece.shape[-1]
    return {"first": first, "waits": waits, "streamed": time.perf_counter() - started}


ACTS: dict[str, Callable[[str, float], dict[str, float]]] = {"compose": compose, "stream": stream}
"""What is done once in a process of its own, which prints the numbers of its parts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mini")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--once", choices=ACTS, help=argparse.SUPPRESS)
    add_output_options(parser)
    given = parser.parse_args()
    if given.once:
        for name, value in ACTS[given.once](given.model, given.seconds).items():
            print(name, value)
        return
    command = [sys.executable, str(Path(__file__)), given.model, "--seconds", str(given.seconds), "--once"]
    measured: dict[str, list[float]] = {}
    for act in [act for act in ACTS for _ in range(given.runs)]:
        started = time.perf_counter()
        printed = subprocess.run([*command, act], check=True, stdout=subprocess.PIPE, text=True).stdout
        lines = [*printed.splitlines(), *([f"process {time.perf_counter() - started}"] if act == "compose" else [])]
        for line in lines:
            name, number = line.split()
            measured.setdefault(name, []).append(float(number))
    memory = max(measured.pop("megabytes"))
    rows = [
        [
            NAMES.get(name, f"level {name}"),
            f"{statistics.median(values):.2f}",
            f"{min(values):.2f}–{max(values):.2f}",
            f"{statistics.median(values) / given.seconds:.3f}",
        ]
        for name, values in measured.items()
    ]
    text = (
        f"{given.seconds:g} s of music with `{given.model}`, seconds taken, {given.runs} runs, each in a fresh "
        f"process. Peak memory {memory:.0f} MB.\n\n"
        + table(["part", "median, s", "range, s", "of real time"], rows)
        + f"\n\n{machine()} Script: `bench/compose.py`."
    )
    whole = composing(given.seconds)
    names = {name: f"{whole}, {said}" for name, said in NAMES.items()} | {"whole": whole}
    figures = [
        Figure(names.get(name, f"{whole}, level {name}"), "default", values) for name, values in measured.items()
    ]
    publish(given, "compose" if given.model == "mini" else f"compose-{Path(given.model).name}", text, figures)


main()
