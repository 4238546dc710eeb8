"""A report: one page to look at and listen to, and the same figures as JSON."""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrion.evaluate.interval import Estimate
from orchestrion.files import write_json, write_text

FORMAT, VERSION = "orchestrion.report", 1
PAGE, FIGURES = "index.html", "report.json"

Cell = Estimate | float | int | str | None
"""A figure with or without an interval, words, or nothing."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --paper: #fff; --line: #d5dae3; --soft: #5c667a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9f0; --paper: #14171f; --line: #333a4a; --soft: #98a2b5; } }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
h1, h2 { line-height: 1.2; }
p { max-width: 46rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; }
th { font-weight: 600; }
small { color: var(--soft); white-space: nowrap; }
figure { margin: 1.5rem 0; }
svg { max-width: 100%; height: auto; background: #fff; border-radius: .3rem; }
audio { width: 100%; max-width: 20rem; }
"""


@dataclass(frozen=True)
class Table:
    """Rows of figures under a header; the first cell of a row is its name."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    decimals: int = 2

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.header) for row in self.rows), self


@dataclass(frozen=True)
class Plot:
    """Lines over one axis: each a name, where it is, and what it is there, with intervals."""

    title: str
    across: str
    up: str
    lines: tuple[tuple[str, tuple[float, ...], tuple[Estimate, ...]], ...]


@dataclass(frozen=True)
class Sound:
    """A sound that lies in the folder of the report; its path is relative to it."""

    title: str
    path: str


@dataclass(frozen=True)
class Section:
    """One subject of a report: words in plain sentences, then what was found."""

    title: str
    text: str
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    sounds: tuple[Sound, ...] = field(default=())


def write_report(folder: Path, title: str, about: str, sections: Sequence[Section]) -> Path:
    """Write the page and the figures into `folder`; returns the path of the page.

    `about` says in a sentence what was judged, with what, when. The page asks no other host for anything.
    """
    figures = {
        "format": FORMAT,
        "version": VERSION,
        "title": title,
        "about": about,
        "sections": [_plain(section) for section in sections],
    }
    write_json(folder / FIGURES, figures)
    write_text(folder / PAGE, _page(title, about, sections))
    return folder / PAGE


def _plain(section: Section) -> dict[str, Any]:
    """A section as JSON holds it: an estimate is an object of `value`, `low` and `high`."""
    return {
        "title": section.title,
        "text": section.text,
        "tables": [
            {"header": list(table.header), "rows": [[_plain_cell(cell) for cell in row] for row in table.rows]}
            for table in section.tables
        ],
        "plots": [
            {
                "title": plot.title,
                "across": plot.across,
                "up": plot.up,
                "lines": [
                    {"name": name, "at": list(at), "values": [_plain_cell(value) for value in values]}
                    for name, at, values in plot.lines
                ],
            }
            for plot in section.plots
        ],
        "sounds": [{"title": sound.title, "path": sound.path} for sound in section.sounds],
    }


def _plain_cell(cell: Cell) -> Any:
    return {"value": cell.value, "low": cell.low, "high": cell.high} if isinstance(cell, Estimate) else cell


def _page(title: str, about: str, sections: Sequence[Section]) -> str:
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1><p>{html.escape(about)}</p>",
    ]
    for section in sections:
        parts.append(f"<section><h2>{html.escape(section.title)}</h2>")
        parts += [f"<p>{html.escape(part)}</p>" for part in section.text.split("\n\n")]
        parts += [_html_table(table) for table in section.tables]
        parts += [f"<figure>{_svg(plot)}</figure>" for plot in section.plots]
        parts += [_html_sound(sound) for sound in section.sounds]
        parts.append("</section>")
    return "\n".join([*parts, "</body></html>\n"])


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
    rows = "\n".join(
        f"<tr>{''.join(f'<td>{_html_cell(cell, table.decimals)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'


def _html_cell(cell: Cell, decimals: int) -> str:
    match cell:
        case None:
            return ""
        case Estimate():
            low, high = (f"{bound:.{decimals}f}" for bound in (cell.low, cell.high))
            return f"{cell.value:.{decimals}f} <small>({low} – {high})</small>"
        case float():
            return f"{cell:.{decimals}f}"
        case _:
            return html.escape(str(cell))


def _html_sound(sound: Sound) -> str:
    name = html.escape(sound.title)
    path = html.escape(sound.path, quote=True)
    return f'<p>{name}<br><audio controls preload="none" src="{path}" aria-label="{name}"></audio></p>'


def _svg(plot: Plot) -> str:
    """The plot as SVG; the same figures give the same text."""
    from matplotlib import rc_context  # a second to import, and only plots need it
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": plot.title, "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for name, at, values in plot.lines:
            (line,) = axes.plot(at, [one.value for one in values], label=name)
            axes.fill_between(
                at, [one.low for one in values], [one.high for one in values], color=line.get_color(), alpha=0.2, lw=0
            )
        axes.set(title=plot.title, xlabel=plot.across, ylabel=plot.up)
        axes.grid(alpha=0.3)
        axes.legend()
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    return text[text.index("<svg") :]
