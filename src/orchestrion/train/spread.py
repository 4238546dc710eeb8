"""Encoding a data set on several devices: by processes of this machine, or by a Ray cluster (docs/scale.md)."""

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from orchestrion.checkpoints.folder import CODEC, load_codec, read_model
from orchestrion.cluster import connected, explained
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.nn.memory import keep_dropped_memory
from orchestrion.processes import worker_processes
from orchestrion.train.encode import Item, TrackEncoder


@dataclass(frozen=True)
class Job:
    """What a process must know to encode: the model whose codec is used, the prepared audio, where codes go.

    All processes see these places. `threads` are those of one process.
    """

    model: Path
    audio: Path
    place: Path | str
    varied_levels: tuple[int, ...] | None
    threads: int

    def begin(self, device: str) -> TrackEncoder:
        torch.set_num_threads(self.threads)
        if torch.device(device).type == "cpu":
            keep_dropped_memory()
        info = read_model(self.model)
        codec = load_codec(self.model, info).to(device)
        return TrackEncoder(codec, info.sha256[CODEC], TrackStore(self.audio), self.place, self.varied_levels)


@dataclass(frozen=True)
class Processes:
    """Spreads over processes of this machine, one for each entry of `devices`."""

    job: Job
    devices: tuple[str, ...]

    def __call__(self, items: Sequence[Item]) -> Iterator[Item]:
        """Encode; UserError where a process is killed."""
        if not items:
            return
        devices = get_context("spawn").SimpleQueue()
        for device in self.devices:
            devices.put(device)
        with worker_processes(len(self.devices), _begin, self.job, devices) as pool:
            try:
                for done in as_completed([pool.submit(_encode, item) for item in items]):
                    yield done.result()
            except BrokenProcessPool as error:
                raise UserError(
                    "a process that encodes was ended from outside, perhaps for want of memory",
                    "give the same command again, with fewer --workers",
                ) from error


_encoder: TrackEncoder | None = None
"""That of a process of `Processes`."""


def _begin(job: Job, devices: Any) -> None:
    global _encoder
    _encoder = job.begin(devices.get())


def _encode(item: Item) -> Item:
    assert _encoder is not None
    return _encoder(item)


@dataclass(frozen=True)
class Ray:
    """Spreads over the Ray cluster that RAY_ADDRESS names, else over one begun on this machine, by Ray Data.

    `workers` encode at once, each on `device`: of CUDA each has a GPU of its own.
    """

    job: Job
    workers: int
    device: str

    def __call__(self, items: Sequence[Item]) -> Iterator[Item]:
        """Encode; UserError where Ray is not installed, or what a worker raised."""
        if not items:
            return
        ray = connected()
        rows = ray.data.from_items([item._asdict() for item in items], override_num_blocks=len(items))
        done = rows.map(
            _Worker,
            fn_constructor_args=(self.job, self.device),
            compute=ray.data.ActorPoolStrategy(size=self.workers),
            num_cpus=None if self.device.startswith("cuda") else self.job.threads,
            num_gpus=1 if self.device.startswith("cuda") else None,
        )
        with explained(ray):
            for row in done.iter_rows():
                yield Item(int(row["place"]), int(row["variation"]))


class _Worker:
    """A process of a Ray cluster that encodes."""

    def __init__(self, job: Job, device: str) -> None:
        self.encoder = job.begin(device)

    def __call__(self, row: dict[str, int]) -> dict[str, int]:
        return self.encoder(Item(int(row["place"]), int(row["variation"])))._asdict()
