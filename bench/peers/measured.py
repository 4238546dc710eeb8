"""What every implementation is measured by, in a process of its own that prints JSON; needs torch alone.

    python IMPLEMENTATION.py encode|decode|logits|sample FOLDER [options]

FOLDER has the checkpoints, `settings.json`, and `inputs.pt`: audio, codes of each level, and prompts.
"""

import argparse
import itertools
import json
import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor


class CodecUnderTest(Protocol):
    """A VQ-VAE; audio is `batch sample`."""

    def encode(self, audio: Tensor) -> list[Tensor]: ...
    def decode(self, codes: list[Tensor], level: int) -> Tensor: ...


class PriorUnderTest(Protocol):
    """A top prior; `sample` gives the seconds the prompt took, and the times before each code and after the last."""

    def logits(self, codes: Tensor) -> Tensor: ...
    def sample(self, prompt: Tensor, num_codes: int) -> tuple[float, list[float]]: ...


class Ticks:
    """Stands for a progress bar: notes when each step of each loop began, and when the loop ended."""

    loops: ClassVar[list[list[float]]] = []

    def __init__(self, steps: Iterable[Any], **_: Any) -> None:
        self.steps = steps

    def set_description(self, *_: Any, **__: Any) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        times: list[float] = []
        Ticks.loops.append(times)
        for step in self.steps:
            times.append(time.perf_counter())
            yield step
        times.append(time.perf_counter())

    @classmethod
    def taken(cls) -> tuple[float, list[float]]:
        """Of the last sampling: the seconds before its last loop, and the times of that loop."""
        first, last = cls.loops[0], cls.loops[-1]
        cls.loops = []
        return last[0] - first[0], last


class Anonymous(threading.Thread):
    """Watches the memory that belongs to this process alone: mapped files, which the system can drop, are left out."""

    status = Path("/proc/self/status")

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_kilobytes = 0

    def run(self) -> None:
        while self.status.exists():
            self.look()
            time.sleep(0.02)

    def look(self) -> int:
        """Looks, and gives the peak of all that was resident, in kilobytes."""
        lines = dict(line.split(":", 1) for line in self.status.read_text().splitlines())
        self.peak_kilobytes = max(self.peak_kilobytes, int(lines["RssAnon"].split()[0]))
        return int(lines["VmHWM"].split()[0])


def memory(watch: Anonymous) -> dict[str, float]:
    """Peaks in MB: all that was resident, and the anonymous part of it."""
    # A process also inherits the peak that getrusage gives from the one that started it.
    known = watch.status.exists()
    resident = watch.look() if known else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"resident_megabytes": resident * 1024 / 1e6, "anonymous_megabytes": watch.peak_kilobytes * 1024 / 1e6}


def main(
    open_codec: Callable[[Path, dict[str, Any]], CodecUnderTest],
    open_prior: Callable[[Path, dict[str, Any]], PriorUnderTest],
) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["encode", "decode", "logits", "sample"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--level", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--known", type=int, default=0, help="Codes that are there already.")
    parser.add_argument("--codes", type=int, default=16, help="Codes in each round.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="Where the result goes, to be compared.")
    given = parser.parse_args()
    watch = Anonymous()
    watch.start()
    settings = json.loads((given.folder / "settings.json").read_text())
    inputs = torch.load(given.folder / "inputs.pt", weights_only=True)
    with torch.no_grad():
        figures = _measured(given, settings, inputs, open_codec, open_prior)
    print(json.dumps(figures | memory(watch)))


def _measured(
    given: argparse.Namespace,
    settings: dict[str, Any],
    inputs: dict[str, Any],
    open_codec: Callable[[Path, dict[str, Any]], CodecUnderTest],
    open_prior: Callable[[Path, dict[str, Any]], PriorUnderTest],
) -> dict[str, Any]:
    if given.part == "sample":
        prior = open_prior(given.folder, settings)
        read, times = prior.sample(inputs["prompts"][: given.batch, : given.known], given.rounds * given.codes)
        ends = times[:: given.codes]
        rates = [given.batch * given.codes / (stop - start) for start, stop in itertools.pairwise(ends)]
        return {"read_seconds": read, "codes_per_second": rates}
    if given.part == "logits":
        result = open_prior(given.folder, settings).logits(inputs["prompts"][:1])
        torch.save(result, given.out)
        return {}
    codec = open_codec(given.folder, settings)

    def act() -> Any:
        if given.part == "encode":
            return codec.encode(inputs["audio"])
        return codec.decode(inputs["codes"], given.level)

    act()  # the first goes into finding memory and choosing algorithms
    seconds = []
    for _ in range(given.rounds):
        started = time.perf_counter()
        result = act()
        seconds.append(time.perf_counter() - started)
    torch.save(result, given.out)
    return {"seconds": seconds}
