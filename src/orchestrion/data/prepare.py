"""Decoding every track of a data set once, into files that are read in place."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from orchestrion.audio import io
from orchestrion.audio.waveform import SILENCE
from orchestrion.config import Settings, plain, read_settings
from orchestrion.data.manifest import Track, content_hash
from orchestrion.errors import UserError
from orchestrion.files import check_space, explained, make_writable, read_json, replacing, write_json
from orchestrion.processes import worker_processes

FORMAT = "orchestrion.tracks"
VERSION = 1
FULL_SCALE = 32767  # of a 16-bit sample

_NEAR_FULL_SCALE = 0.98
_CLIPPED_SHARE = 1e-3  # a track with more of its samples near full scale than this was cut off or squashed
_WRITE_SAMPLES = 1 << 20


class Prepared(Settings):
    """A track as it lies in the cache.

    The stored samples are the decoded ones times `scale`, which is below 1 where the decoded `peak` passed
    full scale.
    """

    track: Track
    file: str
    num_samples: int = Field(gt=0)
    peak: float = Field(ge=0)
    scale: float = Field(gt=0, le=1)
    share_near_full_scale: float = Field(ge=0, le=1)

    @property
    def is_silent(self) -> bool:
        return self.peak < SILENCE

    @property
    def is_clipped(self) -> bool:
        return self.share_near_full_scale > _CLIPPED_SHARE


@dataclass(frozen=True)
class Progress:
    """`done` of `total` tracks are decoded; `problem` says why this one was left out, if it was."""

    track: Track
    done: int
    total: int
    problem: str | None = None


def prepare(
    tracks: Sequence[Track], folder: Path, sample_rate: int, channels: int, *, workers: int = 1
) -> Iterator[Progress]:
    """Decode `tracks` into `folder`; `TrackStore(folder)` then reads them.

    Tracks decoded before are kept, so a stopped preparation goes on where it was. A track that cannot be read
    is reported and left out. With several `workers`, tracks are decoded in as many processes. Raises
    UserError where the folder cannot be written or will not hold the music, and when no track at all can be
    read.
    """
    make_writable(folder)
    if sample_rate <= 0 or channels <= 0:
        raise UserError(f"cannot prepare {channels} channels at {sample_rate} Hz", "both are at least 1")
    unique = list({track.content_hash: track for track in tracks}.values())
    there = {track.content_hash for track in unique if _is_decoded(folder, track, sample_rate, channels)}
    left = [track for track in unique if track.content_hash not in there]
    workers = min(workers, len(left))
    wanted = [track.seconds for track in left]
    decoded_bytes = 2 * sum(wanted) + 4 * workers * max(wanted, default=0.0)  # the latter while decoding
    check_space(folder, int(decoded_bytes * sample_rate * channels))
    problems: dict[str, str] = {}
    for done, track in enumerate((track for track in unique if track.content_hash in there), 1):
        yield Progress(track, done, len(unique))
    decoding = _decode_all(left, folder, sample_rate, channels, workers)
    for done, (track, problem) in enumerate(decoding, len(there) + 1):
        if problem is not None:
            problems[track.content_hash] = problem
        yield Progress(track, done, len(unique), problem)
    readable = [track for track in unique if track.content_hash not in problems]
    if not readable:
        reason = next(iter(problems.values()), "there are none")
        raise UserError(f"no track could be prepared: {reason}", "check the manifest and its files")
    prepared = [_load(folder, track, sample_rate, channels) for track in readable]
    write_json(
        folder / "index.json",
        {
            "format": FORMAT,
            "version": VERSION,
            "sample_rate": sample_rate,
            "channels": channels,
            "tracks": [plain(each) for each in prepared],
        },
    )


def _decode_all(
    tracks: Sequence[Track], folder: Path, sample_rate: int, channels: int, workers: int
) -> Iterator[tuple[Track, str | None]]:
    if workers <= 1:
        for track in tracks:
            yield track, _decode(track, folder, sample_rate, channels)
        return
    with worker_processes(workers) as pool:
        jobs = {pool.submit(_decode, track, folder, sample_rate, channels): track for track in tracks}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process decoding tracks was killed, perhaps for want of memory",
                "end other programs, and give the same command again: what is decoded stays",
            ) from error


def _decode(track: Track, folder: Path, sample_rate: int, channels: int) -> str | None:
    """Decode one track; says why it cannot be read, if so."""
    try:
        if content_hash(track.path) != track.content_hash:
            return f"{track.path} has changed since the manifest was made: scan its folder again"
    except UserError as error:
        return str(error)
    part = folder / f".{track.content_hash}.{os.getpid()}.f32"
    try:
        return _decode_through(part, track, folder, sample_rate, channels)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _decode_through(part: Path, track: Track, folder: Path, sample_rate: int, channels: int) -> str | None:
    # The scale depends on the loudest sample of all, so the floats pass through a file: memory stays small.
    peak, near, num_samples = 0.0, 0, 0
    with explained(part, "write"), part.open("wb") as raw:
        pieces = io.blocks(track.path, sample_rate, channels)
        while True:
            try:
                block = next(pieces, None)
            except UserError as error:
                return str(error)
            if block is None:
                break
            raw.write(np.ascontiguousarray(block).data)
            amplitude = np.abs(block)
            peak = max(peak, float(amplitude.max(initial=0)))
            near += int((amplitude >= _NEAR_FULL_SCALE).sum())
            num_samples += len(block)
    if not num_samples:
        return f"{track.path} holds no audio"
    scale = 1 / max(1.0, peak)
    _store(part, folder / _name(track, sample_rate, channels), (num_samples, channels), scale)
    measured = Prepared(
        track=track,
        file=_name(track, sample_rate, channels),
        num_samples=num_samples,
        peak=peak,
        scale=scale,
        share_near_full_scale=near / (num_samples * channels),
    )
    write_json(_measured_at(folder, track, sample_rate, channels), plain(measured))
    return None


def _store(raw: Path, path: Path, shape: tuple[int, int], scale: float) -> None:
    floats = np.memmap(raw, dtype=np.float32, mode="r", shape=shape)
    with replacing(path) as part:
        stored = np.lib.format.open_memmap(part, mode="w+", dtype=np.int16, shape=shape)
        for start in range(0, len(floats), _WRITE_SAMPLES):
            block = floats[start : start + _WRITE_SAMPLES] * (scale * FULL_SCALE)
            stored[start : start + _WRITE_SAMPLES] = np.rint(block).astype(np.int16)
        stored.flush()


def _load(folder: Path, track: Track, sample_rate: int, channels: int) -> Prepared:
    """What was measured of a track, with its labels as they are now."""
    path = _measured_at(folder, track, sample_rate, channels)
    measured = read_settings(Prepared, read_json(path, "prepared track"), str(path))
    return measured.model_copy(update={"track": track})


def _is_decoded(folder: Path, track: Track, sample_rate: int, channels: int) -> bool:
    """Whether a track lies there whole; what is missing, cut off or no longer to be read is decoded again."""
    try:
        measured = _load(folder, track, sample_rate, channels)
        stored = np.load(folder / measured.file, mmap_mode="r")  # ValueError for one shorter than it says
    except (UserError, OSError, ValueError, EOFError):
        return False
    return bool(stored.shape == (measured.num_samples, channels) and stored.dtype == np.int16)


def _name(track: Track, sample_rate: int, channels: int) -> str:
    return f"{track.content_hash}-{sample_rate}-{channels}.npy"


def _measured_at(folder: Path, track: Track, sample_rate: int, channels: int) -> Path:
    return (folder / _name(track, sample_rate, channels)).with_suffix(".json")
