"""Sections of docs/benchmarks.md that only scripts write."""

import argparse
import datetime
import itertools
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from orchestrion.align.linear import summary
from orchestrion.evaluate.interval import Estimate
from orchestrion.files import write_text
from orchestrion.version import __version__
from peers.figures import Figure, add_json_option, write_json

SECTIONS = {
    "speed": "Speed, all in one run",
    "decoding": "Drawing codes",
    "weights_bits": "What fewer bits of a weight cost",
    "codec_speed": "The codec's speed",
    "upsampling": "Parallel upsampling",
    "compose": "Composing",
    "compose-mini-song": "Composing with the model that sings",
    "studio": "The Studio",
    "finetune": "Fine-tuning",
    "guidance": "Guidance",
    "plan": "Planned and measured",
    "scaling": "Loss against compute",
    "lieder": "Singing from scores",
    "alignment": "Finding the words",
    "singing": "Singing the words",
    "features": "What features are worth",
    "repetition": "Coming back to what was played",
    "codec_ablation": "What each part of the codec's training is worth",
    "prior_ablation": "What each part of the top prior is worth",
    "published": "The published models beside their peers",
    "full_size": "A full-size published model",
}
"""In the order of the page; further ones come after."""

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def estimate(found: Estimate, spec: str = ".3f") -> str:
    """A figure with its interval, all three written by `spec`."""
    return f"{found.value:{spec}} ({found.low:{spec}} to {found.high:{spec}})"


ERRORS_HEADER = ("words", "median error (s)", "within 0.25 s", "within 1 s")


def errors_row(errors: list[float], asked: int) -> tuple[str, ...]:
    """How far off the starts of words are, of so many that were asked for, under `ERRORS_HEADER`."""
    figures = summary(errors)
    return (
        f"{figures['words']:.0f} of {asked}",
        f"{figures['median_seconds']:.3f}",
        f"{figures['within_quarter_second']:.1%}",
        f"{figures['within_second']:.1%}",
    )


def machine() -> str:
    """Where and when it was measured, in a sentence."""
    model = "an unnamed processor"
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        model = found.group(1) if found else model
    capability = torch.backends.cpu.get_cpu_capability()
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return (
        f"Measured {today} with orchestrion {__version__}, torch {torch.__version__}, Python "
        f"{platform.python_version()}, {torch.get_num_threads()} threads of {model} ({capability})."
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Where the figures go, which `publish` obeys."""
    parser.add_argument("--no-page", dest="page", action="store_false", help="Print only, leave the page as it is.")
    add_json_option(parser)


def publish(given: argparse.Namespace, name: str, text: str, figures: Sequence[Figure]) -> None:
    """Print a section, hand on its figures, and put it into the page."""
    print(text)
    write_json(given.json, figures)
    if given.page:
        write_section(name, text)


def write_section(name: str, text: str, title: str = "") -> None:
    """Replace what stands between the marks of section `name`; one that is not there comes at its place.

    `title` is for a section that is not among `SECTIONS`.
    """
    page = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not pattern.search(page):
        made = f"## {SECTIONS.get(name, title)}\n\n<!-- {name} -->\n<!-- end {name} -->\n"
        later = itertools.dropwhile(lambda other: other != name, SECTIONS)
        places = [page.index(mark) for mark in (f"## {SECTIONS[other]}\n" for other in later) if mark in page]
        place = min(places, default=len(page))
        page = page[:place] + (f"{made}\n" if places else f"\n{made}") + page[place:]
    write_text(PAGE, pattern.sub(lambda match: f"{match[1]}{text.strip()}\n{match[2]}", page))
