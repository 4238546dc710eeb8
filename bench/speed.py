"""All measurements of speed in one run on one machine: writes tables into docs/benchmarks.md.

    python bench/speed.py [--original CHECKOUT] [--weights-bits "…"] [--upsampling "…"] [--parts …] [--quick]

What the machine can do at most comes first, then the other scripts of this folder and its peers, each in a process of
its own; each also writes its own section. The original and the scripts with arguments in quotes are left out unless
those are given. A machine with other work gives figures that are worth little: the page says so.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from measure import BUSY, Others, bandwidth, figures_of, installed, matrix_speed
from peers.figures import Figure, add_json_option, composing, drawing, write_json
from report import machine, table, write_section

KINDS = ("float32", "bfloat16", "int8")
OURS = ("float32", "default", "compiled")
TRANSFORMERS = "transformers==4.57.6"


@dataclass(frozen=True)
class Part:
    """A script, what it is given, and what it needs that we do not."""

    script: str
    options: Sequence[object]
    requirement: str = ""


@dataclass(frozen=True)
class Limits:
    """What the machine does in a second."""

    bytes_read: float
    operations: dict[str, float]

    def floor(self, figure: Figure, operations: float) -> float:
        """Seconds that the bytes it reads or these operations need at least; 0 where both are unknown."""
        speed = self.operations.get(figure.how.removesuffix(", compiled"), self.operations["float32"])
        return max(figure.bytes_read / self.bytes_read, operations / speed)


def parts(given: argparse.Namespace, compose_seconds: int) -> dict[str, Part]:
    """Those that can be run with what is given."""
    runs, page = ("--runs", given.runs), ("--no-page",) if given.quick else ()
    threads = ("--threads", torch.get_num_threads())
    drawn: tuple[object, ...] = ("--sizes", "11M", "--batches", 1, "--codes", 4) if given.quick else ()
    tiny: tuple[object, ...] = ("--tiny", "--steps", 2, "--decode-seconds", 1) if given.quick else ()
    seconds: tuple[object, ...] = ("--seconds", 1 if given.quick else 20)
    beside: tuple[object, ...] = ("--original", given.original) if given.original else ()
    known = {
        "decoding": Part("decoding.py", (*runs, *drawn, *page)),
        "codec": Part("codec_speed.py", (*runs, *seconds, *beside, *page)),
        "compose": Part("compose.py", (given.model, "--seconds", compose_seconds, *runs, *page)),
    }
    for name, script, words in (
        ("bits", "weights_bits.py", given.weights_bits),
        ("upsampling", "upsampling.py", given.upsampling),
    ):
        if words is not None:
            known[name] = Part(script, (*shlex.split(words), *page))
    if given.original:
        options = ("--parts", "draw", "read", "mini", "--compose-seconds", compose_seconds, *runs, *threads, *drawn)
        known["original"] = Part("peers/original.py", ("--checkout", given.original, *options))
    known["musicgen"] = Part(
        "peers/musicgen.py", (*runs, *threads, *tiny, "--seconds", compose_seconds), requirement=TRANSFORMERS
    )
    return known


def measure_limits(runs: int) -> Limits:
    return Limits(bandwidth(runs), {kind: matrix_speed(kind, runs) for kind in KINDS})


def shown(values: Sequence[float], unit: str = "s") -> str:
    """The median, in milliseconds where it is short."""
    middle = statistics.median(values)
    if unit != "s":
        return f"{middle:.4g} {unit}"
    return f"{1e3 * middle:.3g} ms" if middle < 1 else f"{middle:.3g} s"


def main_table(figures: Sequence[Figure], limits: Limits, default: str) -> str:
    """A row for each thing, the original's beside ours."""
    columns: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        if figure.unit == "s" and (column := column_of(figure.how, default)):
            columns.setdefault(figure.what, {})[column] = figure
    rows = []
    for what, found in columns.items():
        original = found.get("original")
        cells = [cell(original)]
        for ours in (found.get(name) for name in OURS):
            cells += [cell(ours), f"{middle(original) / middle(ours):.1f}" if original and ours else ""]
        best = next(found[name] for name in (*reversed(OURS), "original") if name in found)
        floor = limits.floor(best, best.operations or max(one.operations for one in found.values()))
        rows.append([what, *cells, *((shown([floor]), f"{middle(best) / floor:.1f}") if floor else ("", ""))])
    names = ("float32", f"{default}, or as it comes", f"{default}, compiled")
    header = ["", "the original", *(part for name in names for part in (f"ours ({name})", "times as fast"))]
    return table([*header, "floor", "times the floor"], rows)


def column_of(how: str, default: str) -> str:
    """Where a figure goes in the main table; nowhere for other peers and other weights."""
    if how.startswith("original"):
        return "original"
    return {"float32": "float32", "default": "default", default: "default", f"{default}, compiled": "compiled"}.get(
        how, ""
    )


def middle(figure: Figure) -> float:
    return statistics.median(figure.values)


def cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return ("≈ " if figure.how.endswith("(projected)") else "") + shown(figure.values)


def slowing_table(figures: Sequence[Figure]) -> str:
    """How much longer a code takes after 8000 than after none."""
    times = {(figure.what, figure.how): middle(figure) for figure in figures if figure.unit == "s"}
    rows = []
    for size in ("160M", "11M"):
        for batch in (1, 8):
            first, last = drawing(size, batch, 0), drawing(size, batch, 8000)
            for how in [how for what, how in times if what == first and (last, how) in times]:
                rows.append([size, batch, how, f"{100 * (times[last, how] / times[first, how] - 1):+.0f} %"])
    return (
        table(["size", "batch", "whose, or weights", "a code after 8000 against one after none"], rows) if rows else ""
    )


def composing_table(figures: Sequence[Figure], seconds: float) -> str:
    """Ours, the original at our size, and other peers."""
    found = [one for one in figures if one.what == composing(seconds)]
    rows = [[one.how, shown(one.values), f"{middle(one) / seconds:.3f}"] for one in found]
    return table([composing(seconds), "median", "of real time"], rows) if rows else ""


def other_table(figures: Sequence[Figure], default: str) -> str:
    """What has no column in the main table: other peers, other weights, what is no time."""
    rows = [
        [one.what, one.how, shown(one.values, one.unit)]
        for one in figures
        if one.unit != "s" or not column_of(one.how, default)
    ]
    return table(["", "whose, or weights", "median"], rows) if rows else ""


def report(
    figures: Sequence[Figure],
    limits: Limits,
    warned: str,
    given: argparse.Namespace,
    compose_seconds: int,
    left_out: Sequence[str],
) -> str:
    """The section of the page."""
    speeds = ", ".join(f"{speed / 1e9:.0f} in {kind}" for kind, speed in limits.operations.items())
    paragraphs = [
        f"Medians of {given.runs}, random weights but for `{given.model}`. {warned}",
        f"This machine reads {limits.bytes_read / 1e9:.1f} GB/s from memory and does {speeds} billion multiplications "
        "and additions a second in matrix products. The floor is the time for the weights' bytes or for the "
        "operations at these rates, whichever is longer, for the rightmost figure of a row.",
        main_table(figures, limits, given.default_weights),
        "≈ is projected from measured windows or steps. The original runs in float32 as it stands, with stand-ins for "
        "CUDA and MPI.",
        *(f"{note[0].upper()}{note[1:]}." for note in dict.fromkeys(one.note for one in figures) if note),
        slowing_table(figures),
        composing_table(figures, compose_seconds),
        other_table(figures, given.default_weights),
        f"Left out: {', '.join(left_out)}." if left_out else "",
        f"{machine()} Script: `bench/speed.py`.",
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def warning(before: float, load: float, during: dict[str, float]) -> str:
    """A sentence about who else was at work, and a loud one if they were many."""
    most = max(during, key=lambda name: during[name], default="")
    worst = during.get(most, 0.0)
    said = f"Others took {before:.0%} of the processors before (load average {load:.1f})"
    said += f" and at most {worst:.0%} during a part ({most})." if most else "."
    return f"**This machine was busy, and these figures are doubtful.** {said}" if max(before, worst) > BUSY else said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--original", type=Path, help="A checkout of github.com/openai/jukebox, to be run beside ours.")
    parser.add_argument("--weights-bits", metavar="WORDS", help="Arguments of bench/weights_bits.py.")
    parser.add_argument("--upsampling", metavar="WORDS", help="Arguments of bench/upsampling.py.")
    parser.add_argument("--model", default="mini", help="That composes.")
    parser.add_argument("--default-weights", default="int8", choices=["float16", "bfloat16", "int8"])
    parser.add_argument("--parts", nargs="+", metavar="PART", help="Only these: decoding, codec, bits, …")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/orchestrion-bench"), help="Environments of peers.")
    parser.add_argument("--quick", action="store_true", help="Small sizes, to try it; nothing is written.")
    add_json_option(parser)
    given = parser.parse_args()
    seconds = 3 if given.quick else 60
    known = parts(given, seconds)
    if unknown := set(given.parts or ()) - set(known):
        parser.error(
            f"no such parts, or their arguments are missing: {', '.join(unknown)}; there are {', '.join(known)}"
        )
    chosen = {name: part for name, part in known.items() if name in (given.parts or known)}
    pythons = {name: installed(part.requirement, given.cache.expanduser()) for name, part in chosen.items()}

    others = Others()
    time.sleep(1)
    before, load = others.share(), os.getloadavg()[0]
    print(warning(before, load, {}), file=sys.stderr)
    limits = measure_limits(given.runs)
    during, figures, failed = {"limits": others.share()}, [], []
    for name, part in chosen.items():
        try:
            figures += figures_of(part.script, *part.options, python=pythons[name])
        except subprocess.CalledProcessError as error:
            failed.append(name)
            print(f"{name} failed: {error}", file=sys.stderr)
        during[name] = others.share()
        print(f"{name}: others took {during[name]:.0%}", file=sys.stderr)
    write_json(given.json, figures)

    left_out = [name for name in ("original", "bits", "upsampling") if name not in known] + failed
    text = report(figures, limits, warning(before, load, during), given, seconds, left_out)
    print(text)
    if not given.quick and not given.parts:
        write_section("speed", text)
    if failed:
        sys.exit(1)


main()
