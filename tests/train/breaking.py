"""Breaks runs of one process and of two, at random moments, lets them go on, and says how they end.

Run by `scripts/faults`; `test_faults.py` runs a few.
"""

import argparse
import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import tiny_training as small
import torch
import two_ranks
from safetensors.torch import load_file

from orchestrion.data.encoded import CodeStore
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.train import checkpoint, loop
from orchestrion.train.parallel import join, leave

STEPS = 8
FAULTS = ("kill", "full disk", "truncated file", "flipped byte", "no number")
WAYS = (
    ("codec", 1, "ddp", False),
    ("top", 1, "ddp", True),
    ("codec", 2, "ddp", True),
    ("codec", 2, "fsdp", False),
    ("top", 2, "fsdp", True),
)
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Way:
    """A kind of training, on so many processes, whose checkpoints are perhaps written while it goes on."""

    kind: str
    ranks: int
    parallel: str
    save_behind: bool


class World:
    """Music, codes and a codec, and for each way a run that nothing happened to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = small.music(folder / "music", tracks=4)
        small.run_codec(self.store, folder / "base", small.codec_config(2))
        self.model = folder / "base" / "model"
        self.codes = small.encoded(self.store, self.model, folder / "codes").folder
        self.whole: dict[Way, Path] = {}

    def reference(self, way: Way) -> Path:
        if way not in self.whole:
            folder = self.folder / f"whole-{way.kind}-{way.ranks}-{way.parallel}-{way.save_behind}"
            statuses = finish(self.start(way, folder))
            assert statuses == [0] * way.ranks, statuses
            self.whole[way] = folder
        return self.whole[way]

    def start(
        self, way: Way, folder: Path, fault: Callable[[], None] | None = None, stop: int | None = None
    ) -> list[ForkProcess]:
        """The processes of a run; in each `fault` is set up before it begins."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        processes = [
            FORK.Process(target=self._work, args=(way, folder, rank, port, fault, stop)) for rank in range(way.ranks)
        ]
        for process in processes:
            process.start()
        return processes

    def _work(
        self, way: Way, folder: Path, rank: int, port: int, fault: Callable[[], None] | None, stop: int | None
    ) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what a broken run says is not this program's word
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(way.ranks), RANK=str(rank))
        small.without_pictures()
        join(small.CPU)
        if fault is not None:
            fault()
        try:
            small.run_kind(
                way.kind, TrackStore(self.store.folder), CodeStore(self.codes), self.model, folder, STEPS,
                parallel=way.parallel, save_behind=way.save_behind, **two_ranks.stopper(stop),
            )  # fmt: skip
        except two_ranks.Enough:
            pass
        except UserError:
            os._exit(2)
        leave()


def finish(processes: list[ForkProcess], patience: float = 300.0) -> list[int | None]:
    """Wait for all; as `torchrun` does, end the others when one ends badly."""
    until = time.monotonic() + patience
    while any(process.is_alive() for process in processes) and time.monotonic() < until:
        if any(process.exitcode not in (None, 0) for process in processes):
            break
        time.sleep(0.005)
    for process in processes:
        if process.is_alive():
            process.kill()
        process.join()
    return [process.exitcode for process in processes]


def fill_disk(call: int) -> None:
    """The `call`-th writing of tensors finds no space, halfway."""
    counted = Counter[str]()

    def full(real: Callable[..., Any], place: Callable[..., Path], *arguments: Any, **named: Any) -> Any:
        counted["calls"] += 1
        if counted["calls"] != call:
            return real(*arguments, **named)
        half = place(*arguments, **named)
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(b"half a file")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    checkpoint.save_file = partial(full, checkpoint.save_file, lambda _, path: path)
    checkpoint.save_shards = partial(
        full, checkpoint.save_shards, lambda _, storage_writer: Path(str(storage_writer.path)) / "shard-half"
    )


def no_number(step: int) -> None:
    """The loss of a step is no number."""
    real = loop._Run._losses

    def losses(self: Any, now: int) -> Any:
        found = real(self, now)
        return {name: float("nan") for name in found} if now == step else found

    loop._Run._losses = losses


def damage(folder: Path, chance: random.Random, *, truncate: bool) -> None:
    """Cut a file of the last checkpoint off, or change one of its bits."""
    files = sorted(path for path in (folder / "checkpoint").rglob("*") if path.is_file())
    path = chance.choice(files)
    data = bytearray(path.read_bytes())
    if truncate:
        data = data[: chance.randrange(len(data))]
    else:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def break_a_run(world: World, way: Way, fault: str, folder: Path, chance: random.Random) -> str:
    """Break a run, let it go on; "" where it ended as it should, else what went wrong."""
    whole = world.reference(way)
    if fault == "kill":
        processes = world.start(way, folder)
        if chance.random() < 0.75:
            while not (folder / "checkpoint").exists() and all(process.is_alive() for process in processes):
                time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 0.5))
        victim = chance.choice(processes)
        if victim.is_alive() and victim.pid is not None:
            os.kill(victim.pid, signal.SIGKILL)
        finish(processes)
    elif fault == "full disk":
        statuses = finish(world.start(way, folder, partial(fill_disk, chance.randint(1, 6))))
        if 0 in statuses and way.ranks == 1:
            return f"the disk was full and nobody said so: {statuses}"
    elif fault == "no number":
        statuses = finish(world.start(way, folder, partial(no_number, chance.randrange(STEPS))))
        said = (folder / "findings.txt").read_text() if (folder / "findings.txt").exists() else ""
        return "" if set(statuses) == {0} and "left out" in said and finite(folder) else f"{statuses}: {said}"
    else:
        finish(world.start(way, folder, stop=chance.choice((5, 7))))
        damage(folder, chance, truncate=fault == "truncated file")
    statuses = finish(world.start(way, folder))
    if set(statuses) != {0}:
        return f"it did not go on: {statuses}"
    return differing(whole, folder)


def results(folder: Path) -> dict[str, torch.Tensor]:
    written = folder / "model" / "codec.safetensors"
    return load_file(written if written.exists() else folder / "prior.safetensors")


def finite(folder: Path) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in results(folder).values() if tensor.is_floating_point())


def differing(one: Path, other: Path) -> str:
    left, right = results(one), results(other)
    wrong = [name for name in left if not torch.equal(left[name], right[name])]
    return f"other weights: {wrong[:3]}" if wrong else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    recovered: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        world = World(Path(place))
        for number in range(given.runs):
            chance = random.Random(given.seed * 1_000_003 + number)
            way, fault = Way(*WAYS[number // len(FAULTS) % len(WAYS)]), FAULTS[number % len(FAULTS)]
            folder = Path(place) / f"run-{number}"
            problem = break_a_run(world, way, fault, folder, chance)
            tried[fault] += 1
            recovered[fault] += not problem
            saved = ", saved behind" if way.save_behind else ""
            what = f"{fault}, {way.kind} on {way.ranks} ({way.parallel}{saved})"
            sys.stderr.write(f"{number + 1:3} {what}: {problem or 'recovered'}\n")
            shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(json.dumps({fault: f"{recovered[fault]} of {tried[fault]}" for fault in FAULTS}, indent=2) + "\n")
    return 0 if recovered == tried else 1


if __name__ == "__main__":
    sys.exit(main())
