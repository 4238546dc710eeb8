"""MPEG-4 audio (.m4a) and what browsers record (.webm), read through PyAV where the extra `av` is installed."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrion.errors import UserError

SUFFIXES = (".m4a", ".mp4", ".aac", ".webm")


class M4aFile:
    """One file, decoded whole when opened: its length is only known then."""

    def __init__(self, path: Path) -> None:
        samples, self.sample_rate = _decode(path)
        self._samples = samples
        self._position = 0
        self.num_samples, self.channels = samples.shape

    def seek(self, sample: int) -> None:
        self._position = sample

    def read(self, num_samples: int) -> NDArray[np.float32]:
        block = self._samples[self._position : self._position + num_samples]
        self._position += len(block)
        return block

    def close(self) -> None:
        self._samples = self._samples[:0]


def _decode(path: Path) -> tuple[NDArray[np.float32], int]:
    try:
        import av  # an extra: everything else works without it
    except ImportError as error:
        raise UserError(f"reading {path} needs PyAV", 'install it: pip install "orchestrion[av]"') from error
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise UserError(f"{path} holds no audio", "check what the file is")
            stream: Any = container.streams.audio[0]
            rate = int(stream.rate)
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            frames = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path} is not audio that can be read: {error}", "check what the file is") from error
    if not frames:
        raise UserError(f"{path} holds no audio", "get the file again")
    samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1).T
    return np.ascontiguousarray(samples, dtype=np.float32), rate
