"""A picture of an alignment: how much of each moment belongs to each word, and the times that were found."""

import warnings
from pathlib import Path

import torch
import torch.nn.functional as F

from orchestrion.align.words import Aligned
from orchestrion.files import replacing

_COLUMNS = 1200
_MOST_NAMED = 60  # words whose names still can be read beside each other
_INK, _PAPER, _FOUND, _UNHEARD = "#1d2433", "#ffffff", "#ff6f3c", "#9aa3b5"


def draw_alignment(path: Path, aligned: Aligned, *, title: str = "") -> None:
    """Write a PNG: how much of each moment belongs to each word, and when each word begins and ends.

    Words that are not heard are grey. The same alignment gives the same bytes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    words = aligned.lyrics.words
    seconds = len(aligned.shares) / aligned.frame_rate
    columns = min(_COLUMNS, len(aligned.shares))
    shown = F.adaptive_avg_pool1d(aligned.shares.T[None].float(), columns)[0]
    figure = Figure(figsize=(12, min(3 + 0.16 * len(words), 12)), dpi=110, facecolor=_PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(
        shown.numpy(),
        origin="upper",
        aspect="auto",
        extent=(0, seconds, len(words) - 0.5, -0.5),
        cmap="magma",
        vmin=0,
        vmax=max(float(torch.quantile(shown, 0.995)) if shown.numel() else 1.0, 1e-6),
        interpolation="nearest",
    )
    for row, word in enumerate(words):
        if word.start is not None and word.end is not None:
            colour = _FOUND if word.confidence else _UNHEARD
            axes.plot((word.start, word.end), (row, row), color=colour, linewidth=1.6, solid_capstyle="butt")
    step = max(1, -(-len(words) // _MOST_NAMED))
    named = range(0, len(words), step)
    axes.set_yticks(list(named), [_printable(words[row].text) for row in named], fontsize=7, color=_INK)
    axes.set_xlabel("seconds", color=_INK)
    axes.set_xlim(0, seconds)
    if title:
        axes.set_title(_printable(title), color=_INK, fontsize=12, loc="left")
    figure.colorbar(image, ax=axes, label=aligned.measure, pad=0.01, aspect=40)
    with replacing(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of scripts that the font does not have
        figure.savefig(part, format="png", metadata={"Software": "orchestrion"})


def _printable(text: str) -> str:
    # A dollar would start a formula.
    return text.replace("$", r"\$")
