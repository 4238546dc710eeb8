"""The published architecture beside the implementations that install today: writes tables into docs/benchmarks.md.

    python bench/published.py [--sizes small middle] [--quick]

All read the same checkpoints of random weights in the published layout. Each peer is installed into an environment
of its own; every figure is measured in a process of its own. On two cores it takes about twenty minutes.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from layout import CODES, HOP, PRIOR_FILE, SAMPLE_RATE, TOP_PRIOR, VQVAE_FILE, top_prior, write_codec, write_prior
from measure import TORCH, installed
from orchestrion.checkpoints.importing import import_published
from orchestrion.presets import published
from report import machine, table, write_section

PEERS = Path(__file__).resolve().parent / "peers"
BATCHES = (1, 8)


@dataclass(frozen=True)
class Implementation:
    """A script of bench/peers and what has to be installed for it; nothing for our own."""

    name: str
    script: str
    requirement: str = ""


IMPLEMENTATIONS = (
    Implementation("orchestrion", "ours.py"),
    Implementation("jukebox-infer 0.1.2", "jukebox_infer_.py", "jukebox-infer==0.1.2"),
    Implementation("transformers 4.57.6", "transformers_.py", "transformers==4.57.6"),
)


@dataclass(frozen=True)
class Size:
    """A top prior with labels and without lyrics, and after how many codes it is measured again."""

    name: str
    width: int
    layers: int
    heads: int
    context: int
    known: int

    @property
    def hyperparameters(self) -> dict[str, Any]:
        return TOP_PRIOR | {
            "n_ctx": self.context,
            "prior_width": self.width,
            "prior_depth": self.layers,
            "heads": self.heads,
            "attn_order": 2,
            "y_bins": (10, 100),
            "min_duration": 60.0,
            "use_tokens": False,
            "single_enc_dec": False,
            "n_tokens": 0,
        }


SIZES = {"small": Size("small", 512, 12, 2, 8192, 4096), "middle": Size("middle", 1024, 48, 1, 8192, 4096)}
QUICK_SIZES = (Size("tiny", 64, 6, 2, 512, 256),)


class Bench:
    """Runs a part with every implementation on the files of one folder."""

    def __init__(self, folder: Path, pythons: dict[str, Path]) -> None:
        self.folder, self.pythons = folder, pythons

    def run(self, part: str, *options: object) -> dict[str, dict[str, Any]]:
        """What each one says; its tensors lie in `outputs` after."""
        self.outputs = {one.name: self.folder / f"{one.script}.pt" for one in IMPLEMENTATIONS}
        figures = {}
        for one in IMPLEMENTATIONS:
            command = [self.pythons[one.name], PEERS / one.script, part, self.folder, *options]
            print(part, *options, one.name, file=sys.stderr)
            ran = subprocess.run(
                [str(word) for word in (*command, "--out", self.outputs[one.name])],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            figures[one.name] = json.loads(ran.stdout.splitlines()[-1])
        return figures

    def results(self) -> list[Any]:
        """The tensors of the last part, ours first."""
        return [torch.load(path, weights_only=True) for path in self.outputs.values()]


def write_files(folder: Path, size: Size, seconds: float) -> None:
    """Checkpoints, our import of them, and what they are given to do."""
    folder.mkdir(parents=True, exist_ok=True)
    codec, hyperparameters = published.codec(), size.hyperparameters
    write_codec(folder / VQVAE_FILE, codec, {})
    write_prior(folder / PRIOR_FILE, top_prior(hyperparameters), hyperparameters)
    import_published([folder / VQVAE_FILE, folder / PRIOR_FILE], folder / "model", name=size.name)
    label = [180 * SAMPLE_RATE, 0, size.context * HOP, 5, 3]  # length, start and window in samples; artist, genre
    (folder / "settings.json").write_text(json.dumps({"hps": hyperparameters, "label": label}))
    rng = torch.Generator().manual_seed(2)
    samples = int(seconds * SAMPLE_RATE) // HOP * HOP
    steps = torch.randint(60, 2000, (1, 40, 1), generator=rng) / SAMPLE_RATE * torch.arange(samples)
    inputs = {
        "audio": 0.3 * torch.sin(6.2832 * steps).mean(1) * 4 + 0.05 * torch.randn(1, samples, generator=rng),
        "codes": [torch.randint(CODES, (1, samples // hop), generator=rng) for hop in (8, 32, 128)],
        "prompts": torch.randint(CODES, (max(BATCHES), size.context), generator=rng),
    }
    torch.save(inputs, folder / "inputs.pt")


def spread(values: list[float], digits: int) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def megabytes(figures: dict[str, Any]) -> str:
    return f"{figures['resident_megabytes']:.0f} / {figures['anonymous_megabytes']:.0f}"


def codec_tables(bench: Bench, rounds: int) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of seconds and memory, and rows of agreement."""
    measured, agreement = [], []
    parts: list[tuple[str, tuple[object, ...]]] = [("encode", ())] + [("decode", ("--level", n)) for n in (2, 1, 0)]
    for part, options in parts:
        figures = bench.run(part, *options, "--rounds", rounds)
        what = "encode, three levels" if part == "encode" else f"decode, level {options[1]}"
        measured += [[what, name, spread(one["seconds"], 2), megabytes(one)] for name, one in figures.items()]
        ours, *others = bench.results()
        for other, theirs in zip(IMPLEMENTATIONS[1:], others, strict=True):
            if part == "encode":
                equal = [f"{int((a == b).sum())} of {a.numel()}" for a, b in zip(ours, theirs, strict=True)]
                agreement.append([what, other.name, f"equal codes at levels 0, 1, 2: {', '.join(equal)}"])
            else:
                agreement.append([what, other.name, f"{float((ours - theirs).abs().max()):.1e}"])
    return measured, agreement


def prior_tables(bench: Bench, size: Size, rounds: int, codes: int) -> tuple[list[list[str]], list[list[str]]]:
    """Likewise for codes per second, and logits of a whole window."""
    measured = []
    for batch in BATCHES:
        for known in (0, size.known):
            options = ("--batch", batch, "--known", known, "--rounds", rounds, "--codes", codes)
            for name, one in bench.run("sample", *options).items():
                read = f"{one['read_seconds']:.1f}" if known else ""
                rates = spread(one["codes_per_second"], 1)
                measured.append([size.name, str(batch), str(known), name, rates, read, megabytes(one)])
    bench.run("logits")
    ours, *others = bench.results()
    what = f"logits, {size.name}, {size.context} codes (deviation {float(ours.std()):.1f})"
    agreement = [
        [what, other.name, f"{float((ours - theirs).abs().max()):.1e}"]
        for other, theirs in zip(IMPLEMENTATIONS[1:], others, strict=True)
    ]
    return measured, agreement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/orchestrion-bench"), help="Environments, files.")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=[*SIZES], help="Of the priors.")
    parser.add_argument("--seconds", type=float, default=20.0, help="Of audio for the VQ-VAE.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--codes", type=int, default=32, help="Codes drawn in each round.")
    parser.add_argument("--quick", action="store_true", help="Tiny sizes, to try it; nothing is written.")
    given = parser.parse_args()
    cache = given.cache.expanduser()
    pythons = {one.name: installed(one.requirement, cache) for one in IMPLEMENTATIONS}
    chosen = tuple(SIZES[name] for name in given.sizes)
    sizes, seconds = (QUICK_SIZES, 1.0) if given.quick else (chosen, given.seconds)
    of_codec: list[list[str]] = []
    of_priors: list[list[str]] = []
    agreement: list[list[str]] = []
    for size in sizes:
        folder = cache / "files" / size.name
        write_files(folder, size, seconds)
        bench = Bench(folder, pythons)
        if not of_codec:
            of_codec, agreement = codec_tables(bench, given.rounds)
        measured, agreed = prior_tables(bench, size, given.rounds, given.codes)
        of_priors += measured
        agreement += agreed
    described = "; ".join(f"{one.name}: width {one.width}, {one.layers} layers, {one.heads} heads" for one in sizes)
    text = (
        f"The same random weights in the published layout for all, float32, `{TORCH}`. Median and range of "
        f"{given.rounds} rounds, each part in a process of its own. Memory is the peak of all that was resident, and "
        "of what belongs to the process alone, in MB: mapped files, which the system can drop, count in the first "
        "only.\n\n"
        f"VQ-VAE of the published size, {seconds:g} s of audio:\n\n"
        + table(["part", "implementation", "seconds", "MB"], of_codec)
        + f"\n\nTop priors with labels, attention order 2, context {sizes[0].context} ({described}); each round draws "
        f"{given.codes} codes per row. Reading is the time for the codes that are there already.\n\n"
        + table(["prior", "batch", "codes before", "implementation", "codes/s", "reading, s", "MB"], of_priors)
        + "\n\nLargest difference between our results and theirs:\n\n"
        + table(["result", "beside", "difference"], agreement)
        + "\n\njukebox-infer's priors refuse a machine without CUDA as they are installed: the bench lends them the "
        "name of the tensor type they ask for. transformers has the causal mask off by default: it is switched on.\n\n"
        f"{machine()} Script: `bench/published.py`."
    )
    if not given.quick:
        write_section("published", text, title="The published models beside their peers")
    print(text)


main()
