"""Figures that scripts hand to one another as JSON, and the names by which they meet; needs no package."""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One thing measured one way: `values` are its runs, `how` says with whose code or which weights.

    What a machine at its limit would need follows from `operations` (of floating or integer numbers) and
    `bytes_read` (of memory), where they are given.
    """

    what: str
    how: str
    values: list[float] = field(default_factory=list)
    unit: str = "s"
    operations: float = 0.0
    bytes_read: float = 0.0
    note: str = ""


def drawing(size: str, batch: int, place: int) -> str:
    """Of one code for each row of a batch, `place` codes being there."""
    return f"draw a code, {size}, batch {batch}, after {place}"


def reading(size: str, num_codes: int) -> str:
    return f"read {num_codes} codes, {size}"


def encoding(seconds: float) -> str:
    """By the published VQ-VAE, at all levels."""
    return f"encode {seconds:g} s, published VQ-VAE"


def decoding(seconds: float, level: int) -> str:
    """By the published VQ-VAE."""
    return f"decode {seconds:g} s, published VQ-VAE, level {level}"


def composing(seconds: float) -> str:
    return f"compose {seconds:g} s"


def timed(act: Callable[[], object], runs: int) -> list[float]:
    """Seconds that each of `runs` took, after one to warm up."""
    taken = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        act()
        taken.append(time.perf_counter() - started)
    return taken[1:]


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, help="Write the figures to this file too.")


def as_json(figures: Iterable[Figure]) -> str:
    return json.dumps([asdict(one) for one in figures], indent=1)


def write_json(path: Path | None, figures: Iterable[Figure]) -> None:
    """Write figures where `--json` says, if it does."""
    if path is not None:
        path.write_text(as_json(figures) + "\n")


def read_json(path: Path) -> list[Figure]:
    content: list[dict[str, Any]] = json.loads(path.read_text())
    return [Figure(**one) for one in content]
