"""Audio files: what is in them, reading any part at any rate, and writing them whole or not at all."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import soundfile
import soxr
import tinytag
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from orchestrion.audio import containers, m4a, waveform
from orchestrion.errors import UserError
from orchestrion.files import replacing
from orchestrion.grid import INEXACT_SECONDS

SUFFIXES_READ = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", *m4a.SUFFIXES)
MADE_FORMAT = "orchestrion.made"
"""What the comment in the tags of music that was composed says its format is (`library.provenance.Made`)."""
SUFFIXES_WRITE = (".wav", ".flac", ".ogg", ".mp3", ".opus")

_INEXACT_SECONDS = 0.5  # real files announce lengths that are a little off; more than this is missing music
_BLOCK_SECONDS = 10  # long files pass through in blocks, so memory holds one block and the result
_WRITTEN_AS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
# Rates that a format can hold; audio at another rate is resampled to the format's usual one when written.
_RATES = {
    ".opus": ((8_000, 12_000, 16_000, 24_000, 48_000), 48_000),
    ".mp3": ((8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000), 44_100),
}


@dataclass(frozen=True)
class AudioInfo:
    """What a file says about its audio."""

    seconds: float
    sample_rate: int
    channels: int


@runtime_checkable
class _Source(Protocol):
    """An open audio file: frames from a position on."""

    sample_rate: int
    channels: int
    num_samples: int

    def seek(self, sample: int) -> None: ...
    def read(self, num_samples: int) -> NDArray[np.float32]: ...
    def close(self) -> None: ...


class _SoundFile:
    """What libsndfile reads."""

    def __init__(self, path: Path) -> None:
        self._file = soundfile.SoundFile(path)
        self.sample_rate = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        self.num_samples = int(self._file.frames)

    def seek(self, sample: int) -> None:
        self._file.seek(sample)

    def read(self, num_samples: int) -> NDArray[np.float32]:
        block: NDArray[np.float32] = self._file.read(num_samples, dtype="float32", always_2d=True)
        return block

    def close(self) -> None:
        self._file.close()


def probe(path: Path) -> AudioInfo:
    """Length, rate and channels of an audio file, without decoding it.

    Raises UserError for a file that is missing, empty, cut short, not audio or not allowed to be read.
    """
    source = _open(path)
    try:
        return AudioInfo(source.num_samples / source.sample_rate, source.sample_rate, source.channels)
    finally:
        source.close()


def read(
    path: Path, sample_rate: int, channels: int, *, start_seconds: float = 0.0, seconds: float | None = None
) -> Float[Tensor, "channel sample"]:
    """Audio of `path` from `start_seconds` on, for `seconds` or to the end, at the wanted rate and channels.

    Full scale is 1; lossy formats may decode a little above it. A part that reaches past the end is an error, but
    for a millisecond, which is left out. Raises UserError as `probe` does, and for a file that breaks off before the
    length it announces.
    """
    parts = list(blocks(path, sample_rate, channels, start_seconds=start_seconds, seconds=seconds))
    return torch.from_numpy(np.concatenate(parts)).T.contiguous()


def blocks(
    path: Path, sample_rate: int, channels: int, *, start_seconds: float = 0.0, seconds: float | None = None
) -> Iterator[NDArray[np.float32]]:
    """The audio of `read` as consecutive pieces `sample channel`, so that hours of it need little memory."""
    source = _open(path)
    try:
        start, stop = _part(path, source, start_seconds, seconds)
        resampler = soxr.ResampleStream(source.sample_rate, sample_rate, channels, dtype="float32")
        if start:
            source.seek(start)
        while start < stop:
            wanted = min(stop - start, _BLOCK_SECONDS * source.sample_rate)
            block = _next_block(path, source, wanted)
            start = start + wanted if len(block) == wanted else stop
            mixed = waveform.mix(torch.from_numpy(block.T), channels).T.contiguous().numpy()
            if source.sample_rate == sample_rate:
                yield mixed
            else:
                yield resampler.resample_chunk(mixed, last=start == stop).reshape(-1, channels)
    finally:
        source.close()


def write(path: Path, audio: Float[Tensor, "channel sample"], sample_rate: int, *, comment: str = "") -> None:
    """Write `audio` in the format that the suffix of `path` names, 16 bits where the format counts bits.

    Amplitudes beyond full scale are clipped. MP3 and Opus know few sample rates: audio at another is
    resampled to 44.1 and 48 kHz. `comment` is kept in the file's tags. The same audio and comment give the same
    bytes. Raises UserError for an unknown suffix, for an empty waveform, and where the file cannot be written.
    """
    check_suffix(path)
    if not audio.numel():
        raise UserError(f"there is no audio to write to {path}", "make some first")
    suffix = path.suffix.lower()
    rates, usual = _RATES.get(suffix, ((), 0))
    if rates and sample_rate not in rates:
        audio, sample_rate = waveform.resample(audio, sample_rate, usual), usual
    samples = audio.detach().cpu().float().clamp(-1, 1).T.contiguous().numpy()
    kind, subtype = _WRITTEN_AS[suffix]
    with replacing(path) as part:
        try:
            # Block by block: libvorbis overflows its stack on one very long write.
            with soundfile.SoundFile(part, "w", sample_rate, samples.shape[1], subtype, format=kind) as file:
                if comment:
                    file.comment = comment
                for start in range(0, len(samples), sample_rate):
                    file.write(samples[start : start + sample_rate])
        except soundfile.LibsndfileError as error:
            raise UserError(
                f"cannot write {path}: {_reason(error)}", "make room there, or choose another place"
            ) from error
        if kind == "OGG":
            containers.set_ogg_serial(part, serial=1)


def read_comment(path: Path) -> str:
    """The comment in the tags of an audio file, empty if there is none; UserError for a file that cannot be read."""
    try:
        # libsndfile would leave out long ones in WAV.
        return tinytag.TinyTag.get(path).comment or ""
    except tinytag.UnsupportedFormatError as error:
        raise UserError(f"{path} is not audio of a known format", "check what the file is") from error
    except tinytag.ParseError:
        return ""
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from error


def check_suffix(path: Path) -> None:
    """Raise UserError unless `write` knows the suffix of `path`, and can write a file of its name."""
    if path.suffix.lower() not in SUFFIXES_WRITE:
        raise UserError(f"cannot write audio as {str(path)!r}", f"end the name with {', '.join(SUFFIXES_WRITE)}")
    if "\0" in str(path) or re.search("[\ud800-\udfff]", str(path)):  # of bytes that are not UTF-8
        raise UserError(f"cannot write audio as {str(path)!r}: its name is not text", "choose another name")


def _open(path: Path) -> _Source:
    if path.suffix.lower() not in SUFFIXES_READ:
        raise UserError(f"{path} has no suffix of a known audio format", f"known are {', '.join(SUFFIXES_READ)}")
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder, not an audio file", "give a file in it")
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}", "check the path") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from error
    if size == 0:
        raise UserError(f"{path} is empty", "get the file again")
    if containers.is_cut_short(path):
        raise _cut_short(path)
    if path.suffix.lower() in m4a.SUFFIXES:
        return m4a.M4aFile(path)
    try:
        source = _SoundFile(path)
    except (soundfile.LibsndfileError, ValueError) as error:
        raise UserError(f"{path} is not audio that can be read: {_reason(error)}", "check what the file is") from error
    if source.num_samples <= 0:
        source.close()
        raise UserError(f"{path} holds no audio", "get the file again")
    if path.suffix.lower() == ".flac" and not _has_its_end(source):
        source.close()
        raise _cut_short(path)
    return source


def _has_its_end(source: _Source) -> bool:
    """Whether what a file announces can be read at its end: FLAC tells its length first, and is sought quickly."""
    end = max(0, source.num_samples - round(_INEXACT_SECONDS * source.sample_rate))
    try:
        source.seek(end)
        found = len(source.read(1))
        source.seek(0)
    except soundfile.LibsndfileError:
        return False
    return bool(found)


def _cut_short(path: Path) -> UserError:
    return UserError(f"{path} is cut short: it ends before the length it announces", "get the file again")


def _part(path: Path, source: _Source, start_seconds: float, seconds: float | None) -> tuple[int, int]:
    """The first sample to read and the one after the last, at the rate of the file."""
    if start_seconds < 0 or (seconds is not None and seconds <= 0):
        raise UserError(
            f"cannot read {seconds} seconds of {path} from {start_seconds} on",
            "start at 0 or later and read more than 0 seconds",
        )
    length = source.num_samples / source.sample_rate
    start, end = round(start_seconds * source.sample_rate), length if seconds is None else start_seconds + seconds
    if start >= source.num_samples or end > length + INEXACT_SECONDS:
        raise UserError(
            f"{path} ends at {length:.2f} seconds, before {max(start_seconds, end):.2f}", "ask for a part inside it"
        )
    return start, max(start + 1, min(round(end * source.sample_rate), source.num_samples))


def _next_block(path: Path, source: _Source, num_samples: int) -> NDArray[np.float32]:
    try:
        block = source.read(num_samples)
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path} is damaged: {_reason(error)}", "get the file again") from error
    missing = (num_samples - len(block)) / source.sample_rate
    if missing > _INEXACT_SECONDS:
        raise _cut_short(path)
    if not np.isfinite(block).all():
        raise UserError(f"{path} holds samples that are not numbers", "export the file again")
    return block


def _reason(error: Exception) -> str:
    message = getattr(error, "error_string", str(error)).strip().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}" or os.strerror(5)
