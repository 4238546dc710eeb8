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
    clips: Float[Tensor, "clip channel sample"], sample_rate: int, kilobits: int, told: Sequence[str] = ()
) -> tuple[Float[Tensor, "clip channel sample"], float]:
    """The clips coded and decoded, and the kbit/s that their files really took, the container included.

    The encoder decides by itself all but the bitrate and what it is `told` in its own options.
    """
    restored, num_bytes = [], 0
    with tempfile.TemporaryDirectory() as folder:
        source, coded, decoded = (Path(folder) / name for name in ("a.wav", "a.opus", "b.wav"))
        for clip in clips:
            io.write(source, clip, sample_rate)
            asked = ("--quiet", *told, "--bitrate", str(kilobits))
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
