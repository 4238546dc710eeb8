"""Small data sets made on the spot."""

from pathlib import Path

import torch

from orchestrion.audio import io
from orchestrion.codes import Codes
from orchestrion.data.encoded import ShardWriter
from orchestrion.data.manifest import Track, content_hash
from orchestrion.grid import Grid

RATE = 8_000
GRID = Grid(RATE, (8, 32))


def sound(path: Path, seconds: float, amplitude: float = 0.5, frequency: float = 220.0) -> Path:
    """A tone in a file."""
    time = torch.arange(round(seconds * RATE)) / RATE
    io.write(path, amplitude * torch.sin(2 * torch.pi * frequency * time)[None], RATE)
    return path


def track(path: Path, **labels: object) -> Track:
    """The track in a file, with these labels."""
    info = io.probe(path)
    return Track(
        path=path,
        seconds=info.seconds,
        sample_rate=info.sample_rate,
        channels=info.channels,
        content_hash=content_hash(path),
        **labels,
    )


def invented(number: int, *, validation: bool = False, **labels: object) -> Track:
    """A track without a file, on the wanted side of the split."""
    return Track(
        path=Path(f"/music/{number}.flac"),
        seconds=1.0,
        sample_rate=RATE,
        channels=1,
        content_hash=f"{number * 12 + (0 if validation else 5):016x}",
        **labels,
    )


def write_codes(folder: Path | str, tracks: list[Track], frames: int = 64, codebook_size: int = 4096) -> None:
    """Codes that count: frame t of track k at the finest level is 100 k + t, and above it 1000 more."""
    writer = ShardWriter(folder, GRID, codebook_size, "weights")
    for number, each in enumerate(tracks):
        if not writer.has(each):
            fine = torch.arange(frames * 4) % 400 + 400 * number
            coarse = torch.arange(frames) % 400 + 400 * number + 2000
            writer.add(each, Codes(GRID, (fine[None], coarse[None])), frames * 32 - 3)
    writer.finish()
