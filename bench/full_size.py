"""A full-size 1b_lyrics with random weights, imported, opened and played: writes tables into docs/benchmarks.md.

    python bench/full_size.py FOLDER [--codes 64] [--dtype bfloat16] [--quick]

FOLDER takes about 6 GB, of which the files are deleted at the end. Each step has a process of its own. What 5b needs
follows on paper from its sizes and from what was measured beside the sizes of 1b_lyrics.
"""

import argparse
import itertools
import json
import math
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from layout import HOP, PRIOR_FILE, SAMPLE_RATE, TOP_PRIOR, VQVAE_FILE, top_prior, write_codec, write_prior
from orchestrion.checkpoints.folder import load_prior, prior_file, read_model
from orchestrion.cli.main import main as command_line
from orchestrion.config import PriorConfig
from orchestrion.generate.request import Request
from orchestrion.jukebox import Jukebox
from orchestrion.presets import published
from orchestrion.prior.model import Prior
from peers.measured import Anonymous, memory
from report import machine, table, write_section

HYPERPARAMETERS = TOP_PRIOR | {
    "n_ctx": 6144,
    "prior_width": 2048,
    "prior_depth": 72,
    "heads": 2,
    "attn_order": 12,
    "y_bins": (604, 7898),
    "min_duration": 17.84,
    "use_tokens": True,
    "single_enc_dec": True,
    "n_tokens": 384,
    "n_vocab": 79,
    "prime_loss_fraction": 0.4,
    "prime_width": 128,
    "prime_depth": 3,
    "prime_heads": 1,
    "prime_attn_order": 0,
    "prime_blocks": None,
    "prime_spread": None,
    "prime_m_attn": 0.25,
    "prime_m_mlp": 1.0,
    "prime_res_scale": False,
    "alignment_layer": 63,
    "alignment_head": 0,
}
QUICK = {"prior_width": 128, "prior_depth": 18, "alignment_layer": 15}
TOP, PIECE_SECONDS = 2, 60.0
STEPS = ("nothing", "outline", "write", "import", "open", "compose")


def write(folder: Path, hyperparameters: dict[str, Any]) -> None:
    write_codec(folder / VQVAE_FILE, published.codec(), {})
    write_prior(folder / PRIOR_FILE, top_prior(hyperparameters), hyperparameters)


def import_(folder: Path, dtype: str) -> None:
    files = [str(folder / name) for name in (VQVAE_FILE, PRIOR_FILE)]
    options = ["--name", "random", "-o", str(folder / "model"), "--dtype", dtype, "--force"]
    status = command_line(["models", "import", *files, *options])
    assert status == 0, status


def compose(folder: Path, dtype: torch.dtype, num_codes: int) -> dict[str, Any]:
    """Seconds before the first code, and for each one after."""
    jukebox = Jukebox(folder / "model", device="cpu", dtype=dtype)
    request = Request(seconds=num_codes * HOP / SAMPLE_RATE, total_seconds=PIECE_SECONDS, finest_level=TOP)
    started = time.perf_counter()
    composing, times = jukebox.compose(request), []
    for event in composing:
        if event.stage == "compose":
            times.append(time.perf_counter())
    song = composing.finish()
    assert song.codes[TOP].shape == (1, num_codes), song.codes[TOP].shape
    each = [stop - start for start, stop in itertools.pairwise(times)]
    return {"first_seconds": times[0] - started, "code_seconds": statistics.median(each)}


def step(name: str, given: argparse.Namespace, hyperparameters: dict[str, Any]) -> None:
    """Do one step in this process and print its figures."""
    folder, dtype = given.folder, getattr(torch, given.dtype)
    watch = Anonymous()
    watch.start()
    acts: dict[str, Callable[[], Any]] = {
        "nothing": lambda: None,
        "outline": lambda: sizes(top_prior(hyperparameters), dtype),
        "write": lambda: write(folder, hyperparameters),
        "import": lambda: import_(folder, given.dtype),
        "open": lambda: load_prior(folder / "model", read_model(folder / "model"), TOP, dtype),
        "compose": lambda: compose(folder, dtype, given.codes),
    }
    started = time.perf_counter()
    result = acts[name]()
    figures = {"seconds": time.perf_counter() - started, **(result if isinstance(result, dict) else {})}
    print(json.dumps(figures | memory(watch)))


def sizes(config: PriorConfig, dtype: torch.dtype) -> tuple[float, float, float]:
    """MB of the largest tensor, of all weights, and of the cache of one song's window, without using any."""
    with torch.device("meta"):
        prior = Prior(config).to(dtype)
        x = torch.empty(1, 1, config.transformer.width, dtype=dtype)
        cache = prior.tokens.transformer.begin(x, config.context_tokens)
    weights = [parameter.numel() * dtype.itemsize / 1e6 for parameter in prior.parameters()]
    parts = [part for layer in cache.layers for part in vars(layer).values() if isinstance(part, torch.Tensor)]
    kept = sum(part.numel() * part.itemsize for part in parts) / 1e6
    return max(weights), math.fsum(weights), kept


def tables(figures: dict[str, dict[str, float]], config: PriorConfig, given: argparse.Namespace) -> str:
    dtype, anonymous = getattr(torch, given.dtype), {name: one["anonymous_megabytes"] for name, one in figures.items()}
    names = {
        "nothing": "Python and torch alone",
        "outline": "and the model without its weights",
        "write": "write the checkpoints in float32",
        "import": f"`orchestrion models import --dtype {given.dtype}`",
        "open": "open the top prior",
        "compose": f"open it and compose {given.codes} codes",
    }
    rows = [
        [
            names[name],
            f"{one['seconds']:.1f}",
            f"{one['resident_megabytes']:.0f}",
            f"{one['anonymous_megabytes']:.0f}",
        ]
        for name, one in figures.items()
    ]
    (largest, weights, cache), (in_the_file, _, _) = sizes(config, dtype), sizes(config, torch.float32)
    taken, playing = anonymous["import"] - anonymous["outline"], anonymous["compose"] - anonymous["nothing"]
    name = "tiny" if given.quick else "1b_lyrics"
    on_paper = [[name, largest, weights, cache], ["5b", *sizes(published.top_5b(), dtype)]]
    composed = figures["compose"]
    return (
        table(["step", "seconds", "peak resident, MB", "peak anonymous, MB"], rows)
        + "\n\nResident memory counts pages of mapped files, which the system can drop; anonymous memory it cannot. "
        f"The first code came after {composed['first_seconds']:.1f} s, of which reading 384 characters is a part, each "
        f"further one took {composed['code_seconds']:.3f} s.\n\nThe same sizes on paper, in {given.dtype}:\n\n"
        + table(
            ["top prior", "largest tensor, MB", "all weights, MB", "cache of a full window, MB"],
            [[name, *(f"{number:.0f}" for number in numbers)] for name, *numbers in on_paper],
        )
        + f"\n\nImporting took {taken:.0f} MB beyond the second line ({taken / in_the_file:.2f} times the largest "
        f"tensor in the file, {in_the_file:.0f} MB), "
        f"composing {playing:.0f} MB beyond the first: the weights stay in the mapped file, and a window of "
        f"{given.codes} codes needs little of the cache of a full one. A 5b model therefore imports in the same way, a "
        "tensor at a time, and plays in the cache of its window plus about as much as this one, with its weights read "
        "from the mapped file: in 24 GB all of them stay there."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--codes", type=int, default=64)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--quick", action="store_true", help="A tiny model, to try it; nothing is written.")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    hyperparameters = HYPERPARAMETERS | (QUICK if given.quick else {})
    if given.step:
        step(given.step, given, hyperparameters)
        return
    for name in (VQVAE_FILE, PRIOR_FILE, "model"):
        if (given.folder / name).exists():  # this writes them, and deletes them at its end
            parser.error(f"there is {given.folder / name} already: give an empty folder")
    given.folder.mkdir(parents=True, exist_ok=True)
    figures = {}
    for name in STEPS:
        command = [sys.executable, __file__, *sys.argv[1:], "--step", name]
        ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        figures[name] = json.loads(ran.stdout.splitlines()[-1])
        print(name, figures[name], file=sys.stderr)
    config = read_model(given.folder / "model").prior(TOP)
    stored = (given.folder / "model" / prior_file(TOP)).stat().st_size
    read = (given.folder / PRIOR_FILE).stat().st_size
    text = (
        f"A top prior of the published 1b_lyrics layout with random weights ({read / 1e6:.0f} MB in the published "
        f"file, {stored / 1e6:.0f} MB imported), played in {given.dtype}, without labels and lyrics; each step in a "
        f"process of its own.\n\n{tables(figures, config, given)}\n\n{machine()} Script: `bench/full_size.py`."
    )
    for path in (given.folder / VQVAE_FILE, given.folder / PRIOR_FILE):
        path.unlink()
    shutil.rmtree(given.folder / "model")
    if not given.quick:
        assert config == published.top_1b_lyrics()
        write_section("full_size", text, title="A full-size published model")
    print(text)


main()
