"""The codec of a model beside Opus on the same held-out clips: writes a table into docs/benchmarks.md.

    python bench/codec.py MODEL AUDIO_CACHE

MODEL is a name or a model folder, AUDIO_CACHE the folder of decoded audio that the codec was trained on (only its
held-out tracks are used). Needs opusenc and opusdec (Debian: opus-tools).
"""

import argparse
import subprocess
import tempfile
from math import log2
from pathlib import Path

import torch
from torch import Tensor

from orchestrion.audio import io
from orchestrion.audio.spectral import decibels, distance, signal_to_noise
from orchestrion.checkpoints import zoo
from orchestrion.checkpoints.folder import load_codec, read_model
from orchestrion.codec.quantizer import entropy_bits
from orchestrion.data.tracks import TrackStore
from report import machine, table, write_section

OPUS_KILOBITS = (6, 8, 12, 16)
NUM_CLIPS, CLIP_SECONDS = 10, 10


def through_opus(clips: Tensor, sample_rate: int, kilobits: int) -> tuple[Tensor, float]:
    """The clips coded and decoded, and the kbit/s that they really took."""
    restored, num_bytes = [], 0
    with tempfile.TemporaryDirectory() as folder:
        source, coded, decoded = (Path(folder) / name for name in ("a.wav", "a.opus", "b.wav"))
        for clip in clips:
            io.write(source, clip, sample_rate)
            settings = ["--quiet", "--music", "--framesize", "60", "--bitrate", str(kilobits)]
            subprocess.run(["opusenc", *settings, str(source), str(coded)], check=True)
            subprocess.run(["opusdec", "--quiet", "--rate", str(sample_rate), str(coded), str(decoded)], check=True)
            num_bytes += coded.stat().st_size
            audio = io.read(decoded, sample_rate, clip.shape[0])
            assert abs(audio.shape[-1] - clip.shape[-1]) < sample_rate // 50, (audio.shape, clip.shape)
            fitted = torch.zeros_like(clip)
            common = min(audio.shape[-1], clip.shape[-1])
            fitted[:, :common] = audio[:, :common]
            restored.append(fitted)
    return torch.stack(restored), num_bytes * 8 / 1000 / (clips.shape[0] * clips.shape[-1] / sample_rate)


def figures(clips: Tensor, restored: Tensor) -> list[str]:
    """Signal to noise, log-spectral distance and spectral convergence, each a mean over the clips."""
    apart = distance(clips, restored)
    log_spectral = apart.convergence + 0.5 * apart.log_difference
    return [
        f"{float(signal_to_noise(clips, restored).mean()):.1f}",
        f"{float(log_spectral.mean()):.2f}",
        f"{float(decibels(apart.convergence).mean()):.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("audio", type=Path)
    given = parser.parse_args()
    folder = zoo.locate(given.model)
    info = read_model(folder)
    codec, grid = load_codec(folder, info), info.grid
    samples = grid.whole(grid.num_samples(CLIP_SECONDS))
    clips = next(iter(TrackStore(given.audio).validation_batches(NUM_CLIPS, samples, max_chunks=NUM_CLIPS)))
    codes = codec.encode(clips)
    rows = []
    for level in range(grid.num_levels):
        counts = torch.bincount(codes[level].flatten(), minlength=info.codec.codebook.size).float()
        rows.append(
            [
                f"{info.name}, level {level} ({grid.hop_lengths[level]} samples a code)",
                f"{grid.frame_rate(level) * log2(info.codec.codebook.size) / 1000:.2f}",
                *figures(clips, codec.decode(codes, level)),
                f"{entropy_bits(counts):.2f} of {log2(info.codec.codebook.size):.0f}",
                f"{int((counts > 0).sum())} of {info.codec.codebook.size}",
            ]
        )
    for kilobits in OPUS_KILOBITS:
        restored, taken = through_opus(clips, grid.sample_rate, kilobits)
        rows.append([f"Opus asked for {kilobits}", f"{taken:.2f}", *figures(clips, restored), "", ""])
    header = ["", "kbit/s", "SNR dB", "log-spectral", "convergence dB", "entropy, bits", "entries used"]
    text = (
        f"{len(clips)} clips of {CLIP_SECONDS} s from held-out tracks, {grid.sample_rate} Hz. Log-spectral is the mean "
        "over windows of 2048 to 128 samples of the convergence plus half the difference of log magnitudes; "
        "convergence is the error of the magnitudes over their norm. Lower is better for both, higher for SNR. Opus is "
        f"`opusenc --music --framesize 60`, its file's size counted with the container.\n\n{table(header, rows)}\n\n"
        f"{machine()} Script: `bench/codec.py`."
    )
    write_section("codec", text)
    print(text)


main()
