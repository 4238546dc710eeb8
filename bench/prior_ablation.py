"""Short trainings of a top prior for equal times with one thing changed in each: a table for docs/benchmarks.md.

    python bench/prior_ablation.py CODES --codec MODEL --run FOLDER [--seconds 150] [--rows NAME ...] [--quick]

All rows have the music and the settings of the preset `mini` but for what their name says. A row is first timed for a
few steps, which say how many it gets; then it trains in a folder of its own under FOLDER. The same command goes on
where it was stopped, and does not train a finished row again. Nothing else should run meanwhile. --quick is a test of
the script itself: a few steps, and the page is left alone.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrion.config.training import OptimizerConfig, PriorTrainingConfig, TrainingConfig
from orchestrion.data.encoded import CodeStore
from orchestrion.files import write_text
from orchestrion.presets.mini import mini_top
from orchestrion.train.precision import settled
from orchestrion.train.run import begun_with
from report import machine, table, write_section
from rows import CPU, row_folder, top_recipe, trained_prior

Change = Callable[[PriorTrainingConfig], PriorTrainingConfig]
TIMED_STEPS = 8


def with_stack(**changes: Any) -> Change:
    def changed(config: PriorTrainingConfig) -> PriorTrainingConfig:
        return config.model_copy(update={"transformer": config.transformer.model_copy(update=changes)})

    return changed


def with_training(**changes: Any) -> Change:
    def changed(config: PriorTrainingConfig) -> PriorTrainingConfig:
        return config.model_copy(update={"training": config.training.model_copy(update=changes)})

    return changed


def with_adamw(rate: float) -> Change:
    optimizer = OptimizerConfig(kind="adamw", learning_rate=rate, warmup_steps=30, decay_share=0.7)
    return with_training(optimizer=optimizer)


ROWS: dict[str, Change] = {
    "as it is": lambda config: config,
    "another seed": with_training(seed=1),
    "AdamW at 1e-3": with_adamw(1e-3),
    "AdamW at 3e-3": with_adamw(3e-3),
    "learned positions": with_stack(positions="learned"),
    "queries and keys as they are": with_stack(normalize_queries=False),
    "layer norm": with_stack(norm="layer"),
    "GELU": with_stack(activation="quick_gelu"),
    "no dropout": with_stack(dropout=0.0),
    "twice the dropout": with_stack(dropout=0.1),
    "12 layers of 176": with_stack(width=176, patterns=("full",) * 12),
    "3 layers of 352": with_stack(width=352, patterns=("full",) * 3),
    "embeddings by chance": lambda config: config.model_copy(update={"codebook_embedding": False}),
    "labels at every frame": lambda config: config.model_copy(update={"labels_every_frame": True}),
}


def of_steps(config: PriorTrainingConfig, steps: int) -> PriorTrainingConfig:
    update: dict[str, Any] = {"steps": steps, "validate_every": steps, "save_every": 50}
    return config.model_copy(update={"training": config.training.model_copy(update=update)})


def seconds_a_step(config: PriorTrainingConfig, store: CodeStore, model: Path) -> float:
    """The median of a few steps."""
    few = of_steps(with_training(log_every=1)(config), TIMED_STEPS)
    with TemporaryDirectory() as folder:
        recipe = top_recipe(few.model_copy(update={"validation_windows": 1}), store, model)
        records = trained_prior(recipe, Path(folder))
    key = "train/seconds_per_step"
    return statistics.median([record[key] for record in records if key in record][2:])


def row_settings(
    config: PriorTrainingConfig, store: CodeStore, model: Path, folder: Path, seconds: float
) -> PriorTrainingConfig:
    """The settings for so many `seconds`; a row that was begun keeps its steps, and is refused if all else differs."""
    begun = begun_with(folder)
    if begun:
        return of_steps(config, begun["training"]["steps"])
    return of_steps(config, max(1, round(seconds / seconds_a_step(config, store, model))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codes", type=Path)
    parser.add_argument("--codec", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--no-page", dest="page", action="store_false", help="Leave the page as it is.")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    base = mini_top()
    seconds = 1.0 if given.quick else given.seconds
    quick: dict[str, Any] = {"batch_size": 1} if given.quick else {}
    training: TrainingConfig = settled(base.training.model_copy(update={"average_decay": 0.98, **quick}), CPU)
    base = base.model_copy(update={"training": training, "validation_windows": 2 if given.quick else 64})
    store = CodeStore(given.codes, artist_balance=base.artist_balance)
    rows = []
    for name in given.rows:
        print(f"training: {name}", file=sys.stderr)
        folder = row_folder(given.run / f"{seconds:g}-seconds", name)
        config = row_settings(ROWS[name](base), store, given.codec, folder, seconds)
        records = trained_prior(top_recipe(config, store, given.codec), folder)
        last = [record for record in records if "validation/bits" in record][-1]
        rows.append([name, config.training.steps, f"{last['validation/bits']:.3f}"])
    text = (
        f"Top priors of the preset `mini`, each trained for {seconds:g} s by its own median step: "
        f"{base.training.batch_size} windows of {base.context_frames} codes a step, averaged weights, bits per code on "
        f"{base.validation_windows} held-out windows; codes of {store.codec_hash[:8]}. Lower is better. How far "
        '"another seed" is from "as it is" says how small a difference means nothing.\n\n'
        f"{table(['', 'steps', 'bits, held out'], rows)}\n\n{machine()} "
        "Script: `bench/prior_ablation.py`."
    )
    write_text(given.run / "table.md", text + "\n")
    print(text)
    if given.page and not given.quick:
        write_section("prior_ablation", text)


if __name__ == "__main__":
    main()
