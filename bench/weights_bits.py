"""What holding a prior's weights in fewer bits costs, on held-out music: writes a table into docs/benchmarks.md.

python bench/weights_bits.py CODES [MODEL] [--weights float16 bfloat16 int8] [--windows 40]

CODES is a folder of codes by the model's own codec. Each held-out window is scored with each kind of weights; the
change is the mean over codes of the difference to float32, its interval holds 95 % of the means of windows whose tracks
are drawn again (`evaluate.priors.mean_bits`).
"""

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from orchestrion.checkpoints import zoo
from orchestrion.checkpoints.folder import load_prior, read_model
from orchestrion.data.encoded import CodeStore
from orchestrion.evaluate.priors import code_bits, held_out_windows, mean_bits
from orchestrion.nn.compiled import CompiledSteps
from orchestrion.nn.fast import Weights, quantized, whole_numbers
from orchestrion.nn.linear import Linear
from orchestrion.nn.reading import CompiledReading, reads_fast
from orchestrion.prior import Prior
from orchestrion.prior.masked import MaskedPrior
from peers.figures import Figure
from report import add_output_options, machine, publish, table


def rounded(prior: Prior) -> Prior:
    """A copy whose matrices are those of compiled steps in int8: rounded, with nothing else changed."""
    changed = copy.deepcopy(prior)
    for layer in changed.tokens.transformer.modules():
        if isinstance(layer, Linear):
            whole, scale = whole_numbers(layer.weight)
            layer.weight.copy_(whole * scale[:, None])
    return changed


def as_read(prior: Prior) -> Prior:
    """A copy that reads its windows as known codes are read, in whole numbers."""
    changed = copy.deepcopy(prior)
    transformer = changed.tokens.transformer
    layers = CompiledSteps(transformer, "int8").layers
    transformer.reading = CompiledReading(transformer, layers, prior.config.context_frames)

    def watched(x: Tensor, memory: Tensor | None, layer: None, *, rng: None = None) -> tuple[Tensor, None]:
        return transformer.advance(x, transformer.begin(x[:, :1], x.shape[1], memory)), None

    transformer.watched = watched  # type: ignore[method-assign, assignment]
    return changed


@torch.inference_mode()
def measured(given: argparse.Namespace) -> tuple[str, list[Figure]]:
    folder = zoo.locate(given.model)
    info = read_model(folder)
    store = CodeStore(given.codes, info.vocabulary)
    rows: list[Sequence[object]] = []
    figures = []
    for level in reversed(range(len(info.priors))):
        config = info.priors[level]
        if config is None:
            continue
        prior = load_prior(folder, info, level).eval()
        windows, tracks = held_out_windows(config, store, level, given.windows)
        exact, masked = code_bits(prior, windows), isinstance(prior, MaskedPrior)
        whole = mean_bits(exact, tracks, of_windows=masked)
        rows.append([level, "float32", f"{whole.value:.4f}", "", ""])
        kinds = {weights: quantized(prior, weights) for weights in given.weights}
        if "int8" in kinds:
            kinds["int8, small matrices too"] = quantized(prior, "int8", many_rows=True)
            if isinstance(prior, Prior):
                kinds["int8, compiled"] = rounded(prior)
                if reads_fast():
                    kinds["int8, compiled, reading"] = as_read(prior)
        for name, held in kinds.items():
            change = code_bits(held, windows) - exact
            shift = mean_bits(change, tracks, of_windows=masked)
            total = f"{whole.value + shift.value:.4f}"
            rows.append([level, name, total, f"{shift.value:+.5f}", f"{shift.low:+.5f} to {shift.high:+.5f}"])
            what = f"change in bits per code, level {level} of {info.name}"
            figures.append(Figure(what, name, change.nanmean(1).tolist(), "bits"))
            print(*rows[-1], flush=True)
    header = ["level", "weights", "bits per code", "change", "interval"]
    text = (
        f"Bits per code of `{info.name}` on at most {given.windows} held-out windows of each level, and how they "
        "change with the weights of its priors; the interval is of 95 %, of tracks drawn again. "
        "With int8 small matrices are in float16, "
        "unless it says otherwise; compiled steps round all matrices, and not what they are multiplied with; compiled "
        "reading rounds both.\n\n"
        f"{table(header, rows)}\n\n{machine()} Script: `bench/weights_bits.py`."
    )
    return text, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codes", type=Path, help="A folder of codes by the model's codec.")
    parser.add_argument("model", nargs="?", default="mini")
    parser.add_argument("--weights", nargs="+", choices=get_args(Weights), default=["float16", "bfloat16", "int8"])
    parser.add_argument("--windows", type=int, default=40, help="Held-out windows of each level, at most.")
    add_output_options(parser)
    given = parser.parse_args()
    publish(given, "weights_bits", *measured(given))


main()
