"""Sections of docs/benchmarks.md that only scripts write."""

import datetime
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from orchestrion.files import write_text
from orchestrion.version import __version__

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


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


def write_section(name: str, text: str, title: str = "") -> None:
    """Replace what stands between the marks of section `name`; with a `title` it is added if the page has none."""
    page = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if title and not pattern.search(page):
        page += f"\n## {title}\n\n<!-- {name} -->\n<!-- end {name} -->\n"
    assert pattern.search(page), f"docs/benchmarks.md has no section {name}"
    write_text(PAGE, pattern.sub(lambda match: f"{match[1]}{text.strip()}\n{match[2]}", page))
