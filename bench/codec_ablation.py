"""Short codec trainings with one thing changed in each: writes a table into docs/benchmarks.md.

    python bench/codec_ablation.py MANIFEST --run FOLDER [--steps 800] [--rows NAME ...] [--no-page] [--quick]

All rows have the seed, the music and the settings of the preset `mini` but for what their name says. Each trains in a
folder of its own under FOLDER; the same command goes on where it was stopped, and does not train a finished row
again. --quick is a test of the script itself: a few steps, and the page is left alone.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrion.config.training import AdversarialConfig, CodecTrainingConfig
from orchestrion.data.manifest import read_manifest
from orchestrion.data.tracks import TrackStore, prepare
from orchestrion.files import write_text
from orchestrion.presets.mini import mini_codec
from orchestrion.train.precision import settled
from report import machine, table, write_section
from rows import CPU, row_folder, trained_codec

Change = Callable[[CodecTrainingConfig], CodecTrainingConfig]
MEL = 0.3
"""Weight of the mel loss in the rows that have it, as much as that of log magnitudes."""
COLUMNS = {
    "convergence_db": ("convergence dB", 1),
    "log_spectral": ("log-spectral", 2),
    "mel_distance": ("mel distance", 3),
    "snr": ("SNR dB", 1),
    "codebook_entropy": ("entropy, bits", 2),
    "codebook_used": ("share of entries used", 3),
}
"""Of the validation's numbers: what they are called in the table, and how many decimals they have."""


def with_codebook(**changes: Any) -> Change:
    def changed(config: CodecTrainingConfig) -> CodecTrainingConfig:
        codebook = config.codec.codebook.model_copy(update=changes)
        return config.model_copy(update={"codec": config.codec.model_copy(update={"codebook": codebook})})

    return changed


def with_loss(**changes: Any) -> Change:
    def changed(config: CodecTrainingConfig) -> CodecTrainingConfig:
        loss = config.codec.loss.model_copy(update=changes)
        return config.model_copy(update={"codec": config.codec.model_copy(update={"loss": loss})})

    return changed


def with_snakes(config: CodecTrainingConfig) -> CodecTrainingConfig:
    return config.model_copy(update={"codec": config.codec.model_copy(update={"activation": "snake"})})


def with_adversary(config: CodecTrainingConfig) -> CodecTrainingConfig:
    return config.model_copy(update={"adversarial": AdversarialConfig()})


ROWS: dict[str, Change] = {
    "as it is": lambda config: config,
    "no restarts": with_codebook(revive_below_share=0.0, revive_below_count=0.0),
    "no spectral loss": with_loss(spectral=0.0, log_spectral=0.0),
    "mel loss": with_loss(mel=MEL),
    "rotation": with_codebook(gradient="rotation"),
    "SimVQ, straight": with_codebook(kind="mapped"),
    "SimVQ, rotation": with_codebook(kind="mapped", gradient="rotation"),
    "FSQ": with_codebook(kind="scalars", scalar_values=(8, 8, 8, 4)),
    "periodic activations": with_snakes,
    "adversary": with_adversary,
    "mel loss and adversary": lambda config: with_adversary(with_loss(mel=MEL)(config)),
}


def begun(steps: int, *, quick: bool) -> CodecTrainingConfig:
    """What all rows have in common."""
    config = mini_codec()
    training = config.training.model_copy(update={"steps": steps, "validate_every": steps, "save_every": 50})
    changes: dict[str, Any] = {"validation_clips": 20}
    if quick:
        training = training.model_copy(update={"batch_size": 2, "log_every": 1})
        changes = {"validation_clips": 2, "validation_seconds": 1.0, "chunk_seconds": 0.2}
    return config.model_copy(update={"training": settled(training, CPU), **changes})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--no-page", dest="page", action="store_false", help="Leave the page as it is.")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    common = begun(4 if given.quick else given.steps, quick=given.quick)
    codec = common.codec
    audio = given.manifest.parent / f"{given.manifest.stem}-audio-{codec.sample_rate}-{codec.channels}"
    for _ in prepare(
        read_manifest(given.manifest), audio, codec.sample_rate, codec.channels, workers=os.cpu_count() or 1
    ):
        pass
    store = TrackStore(audio, artist_balance=common.artist_balance)
    rows = []
    for name in given.rows:
        print(f"training: {name}", file=sys.stderr)
        records = trained_codec(ROWS[name](common), store, row_folder(given.run, name))
        numbers = [record for record in records if "level_0/convergence_db" in record][-1]
        for level in range(codec.grid.num_levels):
            figures = [f"{numbers[f'level_{level}/{key}']:.{digits}f}" for key, (_, digits) in COLUMNS.items()]
            rows.append([name, level, *figures])
    training = common.training
    text = (
        f"Codecs of the preset `mini`, {training.steps} steps of {training.batch_size} chunks of "
        f"{common.chunk_seconds} s in {training.precision}, seed {training.seed}; {common.validation_clips} held-out "
        f"clips of {common.validation_seconds} s. Averaged weights. Lower is better for the first three, higher for "
        "the others. The adversary is there for the second half of the steps. One seed: small differences say "
        "nothing. Every level has an autoencoder of its own in all rows; the settings know no other kind.\n\n"
        f"{table(['', 'level', *(title for title, _ in COLUMNS.values())], rows)}\n\n{machine()} "
        "Script: `bench/codec_ablation.py`."
    )
    write_text(given.run / "table.md", text + "\n")
    print(text)
    if given.page and not given.quick:
        write_section("codec_ablation", text)


if __name__ == "__main__":  # tracks are decoded in processes that read this file again
    main()
