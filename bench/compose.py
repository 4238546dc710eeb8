"""Composing a minute with a model, loading included: writes a table into docs/benchmarks.md.

python bench/compose.py [MODEL] [--seconds 60] [--runs 3]
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from report import machine, table, write_section


def compose_once(model: str, seconds: float) -> None:
    """Compose in this process and print seconds per part and peak memory, for the parent to read."""
    from orchestrion.generate.request import Request
    from orchestrion.jukebox import Jukebox

    started = time.perf_counter()
    jukebox = Jukebox.from_pretrained(model)
    marks: dict[str, float] = {}
    last = time.perf_counter()
    print("loading", last - started)
    for event in (composing := jukebox.compose(Request(seconds=seconds, seed=1))):
        now = time.perf_counter()
        name = "audio" if event.stage == "decode" else str(event.level)
        marks[name] = marks.get(name, 0.0) + now - last
        last = now
    composing.finish()
    marks["audio"] = marks.get("audio", 0.0) + time.perf_counter() - last
    for name, taken in marks.items():
        print(name, taken)
    print("whole", time.perf_counter() - started)
    print("megabytes", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mini")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        compose_once(given.model, given.seconds)
        return
    command = [sys.executable, str(Path(__file__)), given.model, "--seconds", str(given.seconds), "--once"]
    measured: dict[str, list[float]] = {}
    for _ in range(given.runs):
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for line in printed.splitlines():
            name, value = line.split()
            measured.setdefault(name, []).append(float(value))
    names = {"loading": "opening the model", "audio": "decoding to audio", "whole": "all of it"}
    rows = [
        [
            names.get(name, f"level {name}"),
            f"{statistics.median(values):.2f}",
            f"{min(values):.2f}–{max(values):.2f}",
            f"{statistics.median(values) / given.seconds:.3f}",
        ]
        for name, values in measured.items()
        if name != "megabytes"
    ]
    text = (
        f"{given.seconds:.0f} s of music with `{given.model}`, seconds taken, {given.runs} runs, each in a fresh "
        "process. "
        f"Peak memory {max(measured['megabytes']):.0f} MB.\n\n"
        + table(["part", "median, s", "range, s", "of real time"], rows)
        + f"\n\n{machine()} Script: `bench/compose.py`."
    )
    write_section("compose", text)
    print(text)


main()
