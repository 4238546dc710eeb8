"""Loss against compute: top priors of several sizes on the same music. Writes a section of docs/benchmarks.md.

    python bench/scaling.py CODES --codec MODEL --run FOLDER [--sizes NAME ...] [--no-page] [--quick]

Each size trains in a folder of its own under FOLDER at a constant rate, and its averaged weights are validated again
and again, so one run gives a loss for many budgets. The same command goes on where it was stopped, and does not train
a finished size again. --quick is a test of the script itself: a few steps, and the page is left alone.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from orchestrion.config.prior import Pattern, TransformerConfig
from orchestrion.config.training import OptimizerConfig, PriorTrainingConfig
from orchestrion.data.encoded import CodeStore
from orchestrion.files import write_text
from orchestrion.plan.cost import prior_cost
from orchestrion.plan.plan import step_flops
from orchestrion.presets.mini import mini_top
from orchestrion.train.precision import settled
from report import machine, table, write_section
from rows import CPU, row_folder, top_recipe, trained_prior

SETTLED_CODES = 250_000
"""Before so many codes the rate is warming up and the averaged weights lag behind."""
BATCH, WARMUP, DECAY = 8, 20, 0.95


class Size(NamedTuple):
    """A prior, how long it trains and how often it is validated, in steps."""

    width: int
    layers: int
    steps: int
    every: int


SIZES = {
    "2x48": Size(48, 2, 500, 50),
    "4x96": Size(96, 4, 360, 36),
    "5x144": Size(144, 5, 240, 24),
    "5x208": Size(208, 5, 160, 16),
    "6x256": Size(256, 6, 110, 11),
}


class Point(NamedTuple):
    """A validation: FLOPs spent until then, weights, codes learned from until then, bits per code."""

    flops: float
    weights: int
    codes: int
    bits: float


def config_of(size: Size, *, quick: bool) -> PriorTrainingConfig:
    top = mini_top()
    full: Pattern = "full"
    transformer = TransformerConfig(
        width=size.width, num_heads=max(1, size.width // 48), patterns=(full,) * size.layers
    )
    rate = 2e-3
    training = top.training.model_copy(
        update={
            "steps": 4 if quick else size.steps,
            "batch_size": 2 if quick else BATCH,
            "validate_every": 2 if quick else size.every,
            "average_decay": DECAY,
            "optimizer": OptimizerConfig(
                kind="muon", learning_rate=rate, matrix_learning_rate=1.5 * rate, warmup_steps=WARMUP, decay_share=0.0
            ),
        }
    )
    return top.model_copy(update={"transformer": transformer, "training": settled(training, CPU)})


def trained(config: PriorTrainingConfig, store: CodeStore, model: Path, folder: Path) -> tuple[list[Point], int, float]:
    """Every validation of a size, its weights, and its median seconds a step; it trains now unless it is finished."""
    recipe = top_recipe(config, store, model)
    records = trained_prior(recipe, folder)
    cost = prior_cost(recipe.prior.config)
    flops, codes = step_flops(cost, config.training), config.training.batch_size * cost.tokens
    points = [
        Point(steps * flops, cost.parameters, steps * codes, record["validation/bits"])
        for record in records
        if "validation/bits" in record
        for steps in [int(record["step"]) + 1]
    ]
    key = "train/seconds_per_step"
    seconds = statistics.median(record[key] for record in records if key in record)
    return points, cost.parameters, seconds


def frontier(points: list[Point]) -> list[Point]:
    """Those that no smaller budget beats."""
    best, kept = float("inf"), []
    for point in sorted(points):
        if point.bits < best:
            best = point.bits
            kept.append(point)
    return kept


class Fit(NamedTuple):
    """`floor + size · (weights / 10⁶)^-size_power + data · (codes / 10⁶)^-data_power` bits (Hoffmann et al. 2022)."""

    floor: float
    size: float
    size_power: float
    data: float
    data_power: float
    error: float
    """The root of the mean squared distance, in bits."""


def fit(points: list[Point]) -> Fit:
    """By least squares through the points."""
    weights, codes, bits = (np.array([point[place] for point in points], dtype=float) for place in (1, 2, 3))

    def off(parameters: NDArray[np.float64]) -> Any:
        floor, size, size_power, data, data_power = parameters
        return floor + size * (weights / 1e6) ** -size_power + data * (codes / 1e6) ** -data_power - bits

    found = least_squares(off, (4.0, 1.0, 0.3, 2.0, 0.3), bounds=([0, 0, 0.01, 0, 0.01], [bits.min(), 50, 3, 50, 3]))
    floor, size, size_power, data, data_power = map(float, found.x)
    return Fit(floor, size, size_power, data, data_power, float(np.sqrt(np.mean(found.fun**2))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codes", type=Path)
    parser.add_argument("--codec", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--no-page", dest="page", action="store_false", help="Leave the page as it is.")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    store = CodeStore(given.codes, artist_balance=mini_top().artist_balance)
    rows, everything = [], []
    for name in given.sizes:
        print(f"training: {name}", file=sys.stderr)
        config = config_of(SIZES[name], quick=given.quick)
        points, weights, seconds = trained(config, store, given.codec, row_folder(given.run, name))
        everything += points
        size, last = SIZES[name], points[-1]
        speed = last.flops / config.training.steps / seconds / 1e9
        rows.append(
            [f"{weights / 1e6:.2f}", f"{size.layers} × {size.width}", config.training.steps, f"{last.flops:.2e}",
             f"{min(point.bits for point in points):.3f}", f"{seconds:.2f}", f"{speed:.0f}"]
        )  # fmt: skip
    best = frontier(everything)
    settled_in = [point for point in everything if point.codes >= SETTLED_CODES] or everything
    found = fit(settled_in)
    formula = (
        f"{found.floor:.2f} + {found.size:.2f} · (million weights)^-{found.size_power:.2f} + "
        f"{found.data:.2f} · (million codes)^-{found.data_power:.2f}"
    )
    ahead = ", ".join(f"{point.flops:.1e} {point.bits:.2f}" for point in best[:: max(1, len(best) // 8)])
    header = ["million weights", "layers × width", "steps", "FLOPs", "lowest bits", "s a step", "GFLOP/s"]
    text = (
        f"Top priors, windows of {mini_top().context_frames} codes, {BATCH} at a time, Muon at a constant rate, "
        f"averaged weights, bits per code on {mini_top().validation_windows} held-out windows; codes of "
        f"{store.codec_hash[:8]}. FLOPs by `orchestrion/plan`. One seed.\n\n{table(header, rows)}\n\n"
        f"Through {len(settled_in)} validations "
        f"after {SETTLED_CODES / 1e6:g} million codes: bits = {formula}, off by {found.error:.3f} bits (root mean "
        f"square). What no smaller budget beats, FLOPs and bits: {ahead}. {machine()} Script: `bench/scaling.py`."
    )
    write_text(given.run / "table.md", text + "\n")
    print(text)
    if given.page and not given.quick:
        write_section("scaling", text)


if __name__ == "__main__":
    main()
