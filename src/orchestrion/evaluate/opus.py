"""Opus at a bitrate, by Debian's opus-tools: what a codec is compared with."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion.audio import io
from orchestrion.errors import UserError

_TOOLS = ("opusenc", "opusdec")
_STEP, _LEAST = 0.2, 6.0  # kbit/s
AS_MUSIC = ("--music", "--framesize", "60")
"""What `opusenc` may be told beside the bitrate: that it hears music, and the longest frames, with the fewest bytes."""


def check_tools() -> None:
    """Raise UserError where Opus cannot be had."""
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        raise UserError(
            f"Opus is compared with, and {' and '.join(missing)} cannot be found",
            "install opus-tools (apt install opus-tools), or say --no-opus",
        )


def through_opus(
    clips: Float[Tensor, "clip channel sample"], sample_rate: int, kilobits: float, told: Sequence[str] = ()
) -> tuple[Float[Tensor, "clip channel sample"], float]:
    """The clips coded and decoded, and the kbit/s that their files really took, the container included.

    The encoder decides by itself all but the bitrate and what it is `told` in its own options.
    """
    restored, num_bytes = [], 0
    with tempfile.TemporaryDirectory() as folder:
        source, coded, decoded = (Path(folder) / name for name in ("a.wav", "a.opus", "b.wav"))
        for clip in clips:
            io.write(source, clip, sample_rate)
            asked = ("--quiet", "--padding", "0", *told, "--bitrate", f"{kilobits:g}")
            subprocess.run(["opusenc", *asked, str(source), str(coded)], check=True)
            subprocess.run(["opusdec", "--quiet", "--rate", str(sample_rate), str(coded), str(decoded)], check=True)
            num_bytes += coded.stat().st_size
            audio = io.read(decoded, sample_rate, clip.shape[0])
            assert abs(audio.shape[-1] - clip.shape[-1]) < sample_rate // 50, (audio.shape, clip.shape)
            fitted = torch.zeros_like(clip)
            common = min(audio.shape[-1], clip.shape[-1])
            fitted[:, :common] = audio[:, :common]
            restored.append(fitted)
    seconds = clips.shape[0] * clips.shape[-1] / sample_rate
    return torch.stack(restored), num_bytes * 8 / 1000 / seconds


def within(
    clips: Float[Tensor, "clip channel sample"], sample_rate: int, most: float, told: Sequence[str] = ()
) -> tuple[Float[Tensor, "clip channel sample"], float, float]:
    """The clips through Opus in files of at most `most` kbit/s on average, what these take, and what was asked for.

    Files of busy music take more than was asked for. This is the first bitrate from `most` down, in steps of 0.2, whose
    files do not pass it.
    """
    for step in range(round((most - _LEAST) / _STEP) + 1):
        asked = most - step * _STEP
        restored, taken = through_opus(clips, sample_rate, asked, told)
        if taken <= most:
            return restored, taken, asked
    raise UserError(f"Opus files of such short clips take more than {most:g} kbit/s", "say --no-opus")
