"""A song's picture: its waveform over its spectrogram."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from orchestrion.files import replacing

_FFT_SAMPLES = 2048
_COLUMNS = 1200
_ROWS = 320
_LOWEST_HERTZ = 40.0
_RANGE_DECIBEL = 80.0
_KINDS = {"artist": "#3b6fb6", "genre": "#b5532a", "song": "#3a7d44"}
_INK, _PAPER, _WAVE = "#1d2433", "#ffffff", "#3b6fb6"


def draw(
    path: Path, audio: Float[Tensor, "channel sample"], sample_rate: int, *, title: str, caption: str = ""
) -> None:
    """Write a PNG of `audio`: the extremes of the waveform and, below, loudness by pitch and time.

    `title` and `caption` are put above and under it. Audio of several channels is shown as their mean. The
    same audio gives the same bytes.
    """
    # Here and not above: a song is heard before it is drawn, and these take a second to import.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter

    mono = audio.detach().cpu().float().mean(0).numpy()
    seconds = len(mono) / sample_rate
    figure = Figure(figsize=(12, 5.4), dpi=110, facecolor=_PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    wave, spectrum = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.6))
    figure.suptitle(_printable(title), color=_INK, fontsize=14, fontweight="bold", x=0.01, ha="left")

    low, high = _extremes(mono)
    places = (np.arange(len(low)) + 0.5) * seconds / len(low)
    wave.fill_between(places, low, high, color=_WAVE, linewidth=0.4)
    wave.set_ylim(-1, 1)
    wave.set_yticks((-1, 0, 1))
    wave.set_ylabel("amplitude", color=_INK)
    wave.grid(axis="x", alpha=0.25)

    top = sample_rate / 2
    image = spectrum.imshow(
        _loudness(mono, sample_rate),
        origin="lower",
        aspect="auto",
        extent=(0, seconds, np.log2(_LOWEST_HERTZ), np.log2(top)),
        cmap="magma",
        vmin=-_RANGE_DECIBEL,
        vmax=0,
        interpolation="nearest",
    )
    hertz = [h for h in (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000) if _LOWEST_HERTZ < h < top]
    spectrum.yaxis.set_major_locator(FixedLocator([float(np.log2(h)) for h in hertz]))
    spectrum.yaxis.set_major_formatter(FuncFormatter(lambda place, _: _hertz(2.0**place)))
    spectrum.set_ylabel("frequency (Hz)", color=_INK)
    spectrum.set_xlabel(_printable("seconds" + (f"      {caption}" if caption else "")), color=_INK)
    spectrum.set_xlim(0, seconds)
    figure.colorbar(image, ax=(wave, spectrum), label="dB below the loudest", pad=0.01, aspect=40)
    with replacing(path) as part:
        figure.savefig(part, format="png", metadata={"Software": "orchestrion"})


def draw_map(
    path: Path, labels: Sequence[Mapping[str, Any]], songs: Sequence[Mapping[str, Any]], *, title: str
) -> None:
    """Write a PNG of points with `kind`, `name`, `x` and `y`: a plane of labels and, if there are any, one of songs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    planes = [("artists and genres as the model learned them", labels), ("songs as the model hears them", songs)]
    planes = [(caption, points) for caption, points in planes if points]
    figure = Figure(figsize=(10, 8.5 * len(planes)), dpi=110, facecolor=_PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_printable(title), color=_INK, fontsize=14, fontweight="bold", x=0.01, ha="left")
    for axes, (caption, points) in zip(figure.subplots(len(planes), 1, squeeze=False)[:, 0], planes, strict=True):
        axes.set_title(caption, color=_INK, loc="left", fontsize=11)
        axes.set_xticks([])
        axes.set_yticks([])
        for kind, colour in _KINDS.items():
            own = [point for point in points if point["kind"] == kind]
            axes.scatter([point["x"] for point in own], [point["y"] for point in own], s=28, color=colour)
            for point in own:
                name = _printable(str(point["name"]))
                axes.annotate(
                    name, (point["x"], point["y"]), (5, 3), textcoords="offset points", fontsize=8, color=colour
                )
    with replacing(path) as part:
        figure.savefig(part, format="png", metadata={"Software": "orchestrion"})


def captions(artist: str | None, genres: Sequence[str], seed: int) -> str:
    """What a song was asked to be, in a line.

    >>> captions("Ada", ("folk", "jazz"), 7)
    'Ada · folk, jazz · seed 7'
    """
    return " · ".join((artist or "no artist named", ", ".join(genres) or "no genre named", f"seed {seed}"))


def _extremes(mono: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    edges = np.unique(np.linspace(0, len(mono), min(_COLUMNS, len(mono)) + 1).astype(int))[:-1]
    return np.minimum.reduceat(mono, edges), np.maximum.reduceat(mono, edges)


def _loudness(mono: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Decibels below the loudest, rows spread evenly over octaves, columns over time."""
    padded = np.pad(mono, _FFT_SAMPLES // 2)
    centres = np.linspace(0, len(mono) - 1, min(_COLUMNS, max(2, len(mono) // 64))).astype(int)
    frames = padded[centres[:, None] + np.arange(_FFT_SAMPLES)] * np.hanning(_FFT_SAMPLES).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, axis=-1)) ** 2
    decibel = 10 * np.log10(np.maximum(power / max(float(power.max()), 1e-12), 1e-12))
    rows = np.geomspace(_LOWEST_HERTZ, sample_rate / 2, _ROWS) * _FFT_SAMPLES / sample_rate
    below = np.minimum(rows.astype(int), decibel.shape[1] - 2)
    share = rows - below
    shown = decibel[:, below] * (1 - share) + decibel[:, below + 1] * share
    rising: NDArray[np.float32] = shown.T.astype(np.float32)
    return rising


def _hertz(value: float) -> str:
    return f"{value / 1000:.0f}k" if value >= 999 else f"{value:.0f}"


def _printable(text: str) -> str:
    # A dollar would start a formula.
    return text.replace("$", r"\$")
