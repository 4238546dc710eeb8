"""The outline of a waveform, for pages that draw it."""

from pathlib import Path

import numpy as np
import soundfile

from orchestrion.config import Settings, plain
from orchestrion.files import write_json

COUNT = 1500


class Peaks(Settings):
    """The loudest sample of each of equally long parts, all channels together, from 0 to 1."""

    seconds: float
    sample_rate: int
    peaks: tuple[float, ...]


def peaks_path(audio: Path) -> Path:
    """Where the peaks of an audio file are kept."""
    return audio.with_suffix(".peaks.json")


def measure(audio: Path, count: int = COUNT) -> Peaks:
    """The peaks of an audio file that libsndfile reads, with at most `count` parts."""
    with soundfile.SoundFile(audio) as file:
        step = max(1, -(-file.frames // count))
        found = [float(np.abs(block).max()) for block in file.blocks(step, dtype="float32")]
        seconds, rate = file.frames / file.samplerate, file.samplerate
    return Peaks(seconds=seconds, sample_rate=rate, peaks=tuple(round(min(peak, 1.0), 4) for peak in found))


def write_peaks(audio: Path) -> Peaks:
    """Measure the peaks of an audio file and keep them beside it."""
    peaks = measure(audio)
    write_json(peaks_path(audio), plain(peaks))
    return peaks
