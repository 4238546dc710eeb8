"""Trainings that become rows of a table: each in a folder of its own, gone on with where it was stopped."""

import sys
from pathlib import Path

import torch

from orchestrion.checkpoints.folder import load_codec, read_model
from orchestrion.config.training import CodecTrainingConfig, PriorTrainingConfig
from orchestrion.data.encoded import CodeStore
from orchestrion.data.tracks import TrackStore
from orchestrion.train.codec import CodecRecipe
from orchestrion.train.log import read_metrics
from orchestrion.train.loop import train
from orchestrion.train.prior import PriorRecipe
from orchestrion.train.run import begin_run

CPU = torch.device("cpu")
Metrics = list[dict[str, int | float]]
"""What a run wrote down as it went."""


class UnheardRecipe(PriorRecipe):
    """A prior that does not compose when it is validated, which takes longer than some rows train."""

    def show(self, folder: Path) -> None:
        """Write nothing."""


def row_folder(run: Path, name: str) -> Path:
    return run / name.replace(", ", "-").replace(" ", "-")


def top_recipe(config: PriorTrainingConfig, store: CodeStore, model: Path) -> UnheardRecipe:
    """A top prior on the codes of `model`."""
    return UnheardRecipe(config, store, store.grid.top, load_codec(model, read_model(model)), CPU)


def trained_codec(config: CodecTrainingConfig, store: TrackStore, folder: Path) -> Metrics:
    """The metrics of a codec, which is trained now unless `folder` has it finished."""
    begin_run(folder, "codec", config, {"tracks": store.data_hash})
    if not (folder / "model" / "model.json").exists():
        _to_the_end(train(CodecRecipe(config, store, CPU), config.training, folder))
    return read_metrics(folder)


def trained_prior(recipe: UnheardRecipe, folder: Path) -> Metrics:
    """The metrics of a prior, which is trained now unless `folder` has it finished."""
    begin_run(folder, "prior", recipe.config, {"codes": recipe.store.data_hash, "level": recipe.level})
    if not (folder / "prior.safetensors").exists():
        _to_the_end(train(recipe, recipe.config.training, folder))
    return read_metrics(folder)


def _to_the_end(finished: bool) -> None:
    if not finished:
        sys.exit("stopped and saved: run the same command to go on")
