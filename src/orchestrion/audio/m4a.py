"""MPEG-4 audio (.m4a) and what browsers record (.webm), read through PyAV where the extra `av` is installed."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrion.errors import UserError

SUFFIXES = (".m4a", ".mp4", ".aac", ".webm")


class M4aFile:
    """One file, decoded as it is read, from its beginning on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _opened(path) as (container, stream):
            self.sample_rate, self.channels = int(stream.rate), int(stream.layout.nb_channels)
            # Recordings of browsers announce no length. That of all packets is known without decoding any.
            length = sum(packet.duration or 0 for packet in container.demux(stream)) * (stream.time_base or 0)
        self.num_samples = round(length * self.sample_rate)
        if not self.num_samples:
            raise UserError(f"{path} holds no audio", "get the file again")
        self.seek(0)

    def seek(self, sample: int) -> None:
        self._pieces = self._decoded(sample)
        self._rest = np.zeros((0, self.channels), np.float32)

    def read(self, num_samples: int) -> NDArray[np.float32]:
        parts, there = [self._rest], len(self._rest)
        while there < num_samples and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            there += len(piece)
        whole = np.concatenate(parts)
        self._rest = whole[num_samples:]
        return whole[:num_samples]

    def close(self) -> None:
        self._pieces.close()

    def _decoded(self, start: int) -> Generator[NDArray[np.float32], None, None]:
        """Piece by piece what comes from sample `start` on; what is before it is decoded and dropped."""
        import av

        with _opened(self._path) as (container, stream):
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=self.sample_rate)
            for frame in container.decode(stream):
                for part in resampler.resample(frame):
                    piece = np.ascontiguousarray(part.to_ndarray().T, np.float32)
                    yield piece[start:]
                    start = max(0, start - len(piece))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first stream of audio; UserError for what cannot be read there."""
    try:
        import av  # an extra: everything else works without it
    except ImportError as error:
        raise UserError(f"reading {path} needs PyAV", 'install it: pip install "orchestrion[av]"') from error
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise UserError(f"{path} holds no audio", "check what the file is")
            yield container, container.streams.audio[0]
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path} is not audio that can be read: {error}", "check what the file is") from error
