"""What `train plan` says of mini's trainings beside what they take here: writes a section of docs/benchmarks.md.

    python bench/plan.py MANIFEST CODES --codec MODEL [--steps 8] [--no-page]

Each training runs for some steps in a process of its own. Memory is what the process allocates beyond what it had
before the training was put together (RssAnon, looked at every few milliseconds).
"""

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from orchestrion.checkpoints.folder import load_codec, read_model
from orchestrion.cli.planning import trainings
from orchestrion.config.training import CodecTrainingConfig, PriorTrainingConfig, TrainingConfig
from orchestrion.data.encoded import CodeStore
from orchestrion.data.tracks import TrackStore
from orchestrion.plan.plan import memory, step_flops
from orchestrion.presets.mini import mini
from orchestrion.train.codec import CodecRecipe
from orchestrion.train.log import read_metrics
from orchestrion.train.loop import train
from orchestrion.train.masked import MaskedRecipe
from orchestrion.train.precision import settled
from orchestrion.train.prior import PriorRecipe
from peers.figures import Figure
from report import add_output_options, machine, publish, table

CPU = torch.device("cpu")
PARTS = ("codec", "prior of level 0", "prior of level 1")


def allocated() -> int:
    """Bytes of this process that are no part of a file."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, "this needs Linux"
    return 1024 * int(found[1])


class Peak:
    """The most that is allocated while it is open, beyond what was before."""

    def __enter__(self) -> "Peak":
        self.before = self.most = allocated()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.003):
            self.most = max(self.most, allocated())


def settings(part: str) -> CodecTrainingConfig | PriorTrainingConfig:
    preset = mini()
    return preset.codec if part == "codec" else preset.priors[int(part[-1])]


def short(training: TrainingConfig, steps: int) -> TrainingConfig:
    changes = {"steps": steps, "validate_every": steps + 1, "save_every": steps + 1, "log_every": 1}
    return settled(training.model_copy(update=changes), CPU)


def measured(part: str, manifest: Path, codes: Path, model: Path, steps: int) -> dict[str, Any]:
    """Peak bytes and seconds of each step; without what comes after the last step."""
    config = settings(part)
    config = config.model_copy(update={"training": short(config.training, steps + 1)})
    info = read_model(model)
    store = CodeStore(codes)
    audio = manifest.parent / f"{manifest.stem}-audio-{info.codec.sample_rate}-{info.codec.channels}"
    tracks = TrackStore(audio)
    torch.ones(64, 64) @ torch.ones(64, 64)  # the libraries are there

    class Enough(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.step == steps:
            raise Enough

    with TemporaryDirectory() as folder, Peak() as peak:
        if isinstance(config, CodecTrainingConfig):
            recipe: Any = CodecRecipe(config, tracks, CPU)
        else:
            kind = MaskedRecipe if config.transformer.sees_ahead else PriorRecipe
            recipe = kind(config, store, int(part[-1]), load_codec(model, info), CPU)
        with contextlib.suppress(Enough):
            train(recipe, config.training, Path(folder), on_progress=stop)
        times = [record["train/seconds_per_step"] for record in read_metrics(Path(folder))]
    return {"bytes": peak.most - peak.before, "seconds": times[1:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("codes", type=Path)
    parser.add_argument("--codec", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    add_output_options(parser)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(measured(given.part, given.manifest, given.codes, given.codec, given.steps)))
        return
    store = CodeStore(given.codes)
    names = store.vocabulary
    planned = trainings("mini", len(names.artists), len(names.genres), store.codebook_size, depth=1)
    rows, figures = [], []
    for part in PARTS:
        words = [str(given.manifest), str(given.codes), "--codec", str(given.codec), "--steps", str(given.steps)]
        ended = subprocess.run(
            [sys.executable, __file__, *words, "--part", part], check=True, stdout=subprocess.PIPE, text=True
        )
        found = json.loads(ended.stdout)
        cost, training = planned[part]
        training = settled(training, CPU)
        expected, flops = memory(cost, training, 1).total, step_flops(cost, training)
        seconds = statistics.median(found["seconds"])
        rows.append(
            [part, f"{cost.parameters / 1e6:.1f}", f"{expected / 1e9:.2f}", f"{found['bytes'] / 1e9:.2f}",
             f"{flops / 1e9:.0f}", f"{seconds:.2f}", f"{flops / seconds / 1e9:.0f}",
             f"{training.steps * seconds / 3600:.2f}"]
        )  # fmt: skip
        figures.append(Figure(f"mini, {part}: a step", "orchestrion", found["seconds"]))
    header = [
        "mini",
        "million weights",
        "GB planned",
        "GB taken",
        "GFLOP a step planned",
        "s a step",
        "GFLOP/s",
        "hours",
    ]
    text = (
        f"{table(header, rows)}\n\nThe plan counts what lasts and what the backward pass keeps (tests hold it to "
        "torch's own account within 10 %); beside that a process has gradients of activations for a moment, and on "
        f"small models these are a large part. Medians of {given.steps - 1} steps in {training.precision}; GB taken "
        "are what the process allocates beyond what it had, with the music, the libraries' buffers and freed memory "
        f"that the allocator keeps; hours are those of the whole training at that pace. {machine()} Script: "
        "`bench/plan.py`."
    )
    publish(given, "plan", text, figures)


if __name__ == "__main__":
    main()
