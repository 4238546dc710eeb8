"""Drawing codes one after another from a prior with random weights: writes a table into docs/benchmarks.md.

python bench/decoding.py [--sizes 160M 11M] [--weights float32 float16 int8] [--batches 1 8] [--codes 30] [--runs 5]

With one song at a time, steps are measured compiled as well, and so is reading where it is compiled.

The context is 8192 in 128 rows, the patterns and widths those of the published small priors.
"""

import argparse
import copy
import statistics
from functools import partial
from typing import cast

import torch

from measure import bandwidth
from orchestrion.config.prior import PriorConfig
from orchestrion.config.sampling import LevelSampling
from orchestrion.generate.draw import PREFILL_FRAMES
from orchestrion.generate.pick import chances, pick
from orchestrion.nn.fast import Weights, quantized
from orchestrion.nn.memory import keep_dropped_memory
from orchestrion.nn.reading import compile_into
from orchestrion.presets.published import attention_patterns, stack
from orchestrion.prior import Conditions, Prior, PriorState
from peers.figures import Figure, drawing, reading, timed
from report import add_output_options, machine, publish, table

CONTEXT, CODEBOOK, PREFILL = 8192, 2048, 4096
PLACES = (0, 4096, 8000)
SMALL = 2**19
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
SIZES = {"160M": (1024, 48), "11M": (512, 12)}


def config(width: int, num_layers: int) -> PriorConfig:
    """The published way: rows, columns and previous rows in turn, narrow attention and MLP."""
    return PriorConfig(
        sample_rate=44_100,
        hop_length=128,
        codebook_size=CODEBOOK,
        context_frames=CONTEXT,
        tied_output=True,
        transformer=stack(width=width, num_heads=1, patterns=attention_patterns(2, num_layers), num_rows=128),
    )


def made(prior: Prior, weights: str, compiled: bool) -> Prior:
    """Another that draws as told, with the weights of `prior`."""
    kind = None if weights == "float32" else cast(Weights, weights)
    drawn = (
        copy.deepcopy(prior, {id(part): part for part in prior.parameters()})
        if kind is None
        else quantized(prior, kind)
    )
    if compiled:
        compile_into(drawn.tokens.transformer, prior.tokens.transformer, kind)
    return drawn


def bytes_read(prior: Prior, weights: str, compiled: bool) -> float:
    """Of all weights of the layers and of the table that scores codes, once.

    With int8 small matrices are float16, but for compiled layers.
    """
    sizes = [parameter.numel() for parameter in prior.tokens.transformer.parameters()]
    sizes.append(prior.tokens.embedding.weight.numel())
    small = 2 if weights == "int8" and not compiled else BYTES[weights]
    return float(sum(size * (small if size <= SMALL else BYTES[weights]) for size in sizes))


def begun(prior: Prior, batch: int) -> tuple[PriorState, torch.Tensor]:
    """A window of which nothing is read, its caches filled up, and its first code."""
    zeros = torch.zeros(batch, dtype=torch.long)
    state = prior.begin(Conditions(zeros, zeros[:, None], zeros + 1, zeros), CONTEXT)
    with torch.inference_mode():
        for layer in state.tokens.cache.layers:
            layer.memory.fill_(0.1)  # memory never written to is read too fast
    return state, prior.advance(zeros[:, None][:, :0], state).argmax(-1, keepdim=True)


def go_to(state: PriorState, place: int) -> None:
    """Let `place` codes count as read: what they were does not change the time."""
    state.num_codes, state.tokens.cache.length = place, place + 1


def seconds_per_code(
    prior: Prior, state: PriorState, code: torch.Tensor, given: argparse.Namespace
) -> list[list[float]]:
    """At each place, taken in turn: a machine that slows down on the way slows all of them."""
    sampling, batch = LevelSampling(), len(code)
    found: list[list[float]] = [[] for _ in PLACES]

    def draw(place: int) -> None:
        chance = chances(range(batch), 0, place, place + given.codes)
        go_to(state, place)
        latest = code
        for column in range(given.codes):
            latest = pick(prior.advance(latest, state), chance[:, column], sampling)[:, None]

    for _ in range(given.runs):
        for place, seconds in zip(PLACES, found, strict=True):
            seconds += [taken / given.codes for taken in timed(partial(draw, place), 1)]
    return found


def seconds_of_prefill(prior: Prior, state: PriorState, given: argparse.Namespace) -> list[float]:
    def fill() -> None:
        go_to(state, 0)
        for piece in torch.split(torch.zeros(1, PREFILL, dtype=torch.long), PREFILL_FRAMES, 1):
            prior.advance(piece, state)

    return timed(fill, given.runs)


@torch.no_grad()
def measured(given: argparse.Namespace) -> tuple[str, list[Figure]]:
    keep_dropped_memory()  # as the programs that draw do
    speed = bandwidth(given.runs)
    rows: list[list[object]] = []
    figures: list[Figure] = []
    for size in given.sizes:
        prior = Prior(config(*SIZES[size]), torch.Generator().manual_seed(0)).eval()
        layers = sum(parameter.numel() for parameter in prior.tokens.transformer.parameters())
        for weights in given.weights:
            for batch, compiled in [(1, True)] * (1 in given.batches) + [(batch, False) for batch in given.batches]:
                how = f"{weights}, compiled" if compiled else weights
                num_bytes = bytes_read(prior, weights, compiled)
                floor = num_bytes / speed
                drawn = made(prior, weights, compiled)
                state, code = begun(drawn, batch)
                of_places = seconds_per_code(drawn, state, code, given)
                figures += [
                    Figure(drawing(size, batch, place), how, values, bytes_read=num_bytes)
                    for place, values in zip(PLACES, of_places, strict=True)
                ]
                seconds, prefill = [statistics.median(values) for values in of_places], None
                reads = not compiled or drawn.tokens.transformer.reading is not None
                if batch == 1 and given.prefill and reads:
                    values = seconds_of_prefill(drawn, state, given)
                    figures.append(Figure(reading(size, PREFILL), how, values, operations=2.0 * PREFILL * layers))
                    prefill = statistics.median(values)
                cells = [*(f"{1e3 * each:.1f}" for each in seconds), f"{1e3 * floor:.1f}", f"{seconds[0] / floor:.1f}"]
                rows.append([size, how, batch, *cells, "" if prefill is None else f"{prefill:.2f}"])
                print(*rows[-1], flush=True)
    places = [f"ms a code after {place}" for place in PLACES]
    header = ["size", "weights", "batch", *places, "ms to read the weights", "times that", f"s to read {PREFILL} codes"]
    text = (
        f"Priors with random weights, context {CONTEXT}; medians of {given.runs} runs of {given.codes} codes. "
        f"Memory is read at {speed / 1e9:.1f} GB/s here.\n\n{table(header, rows)}\n\n"
        f"{machine()} Script: `bench/decoding.py`."
    )
    return text, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--weights", nargs="+", choices=BYTES, default=["float32", "float16", "int8"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--codes", type=int, default=30, help="Codes drawn in a run.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-prefill", dest="prefill", action="store_false", help="Leave the prefill out.")
    add_output_options(parser)
    given = parser.parse_args()
    publish(given, "decoding", *measured(given))


main()
