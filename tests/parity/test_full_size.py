"""The full-size published models: every key, shape and parameter count, without their memory."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from orchestrion.checkpoints.published import codec_config, codec_target, is_tied_copy, prior_config, prior_target
from orchestrion.codec.model import Codec
from orchestrion.config import PriorConfig
from orchestrion.presets import published
from orchestrion.prior import Prior

PRIORS = {
    "upsampler_level_0": published.upsampler(0),
    "upsampler_level_1": published.upsampler(1),
    "prior_5b": published.top_5b(),
    "prior_5b_lyrics": published.top_5b_lyrics(),
    "prior_1b_lyrics": published.top_1b_lyrics(),
}
MADE_ANEW = ("codebook.sums", "codebook.counts", "codebook.filled")
"""State of the codebook's average, which the published checkpoints leave out."""


@pytest.fixture(scope="session")
def full_size(parity: Path) -> Any:
    return json.loads((parity / "full_size_keys.json").read_text())


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", PRIORS)
def test_priors(name: str, full_size: Any) -> None:
    config, part = PRIORS[name], full_size["parts"][name]
    with torch.device("meta"):
        prior = Prior(config)
    converted = {}
    for key, (shape, _) in part["keys"].items():
        target = prior_target(key)
        assert target is not None, key
        if not is_tied_copy(key, config):
            converted[target.key] = target.shape(tuple(shape))
    assert converted == shapes(prior)
    assert sum(parameter.numel() for parameter in prior.parameters()) == part["n_parameters"]


@pytest.mark.parametrize("name", PRIORS)
def test_settings_follow_from_the_hyperparameters(name: str, full_size: Any) -> None:
    config: PriorConfig = PRIORS[name]
    given = full_size["hps"][name]["resolved"]
    ratio = config.conditioner.ratio if config.conditioner else None
    assert prior_config(given, codebook_size=2048, hop_length=config.hop_length, ratio=ratio) == config
    assert full_size["parts"][name]["raw_to_tokens"] == config.hop_length


def test_codec(full_size: Any) -> None:
    config, part = published.codec(), full_size["parts"]["vqvae"]
    with torch.device("meta"):
        codec = Codec(config)
    converted = {}
    for key, (shape, _) in part["keys"].items():
        target = codec_target(key, config)
        assert target is not None, key
        converted[target.key] = target.shape(tuple(shape))
    ours = {key: shape for key, shape in shapes(codec).items() if not key.endswith(MADE_ANEW)}
    assert converted == ours
    assert sum(math.prod(shape) for shape in ours.values()) == part["n_state_elements"]
    assert codec_config(full_size["hps"]["vqvae"]["resolved"], config) == config
    assert config.grid.hop_lengths == (8, 32, 128)


@pytest.mark.parametrize("key", ["prior.unknown", "optimizer", "y_embedding.x", "prior.transformer"])
def test_foreign_keys_have_no_place_among_ours(key: str) -> None:
    target = prior_target(key)
    with torch.device("meta"):
        known = shapes(
            Prior(
                PRIORS["upsampler_level_0"].model_copy(
                    update={"transformer": published.stack(width=8, num_heads=1, patterns=("row",), num_rows=1)}
                )
            )
        )
    assert target is None or target.key not in known
    assert codec_target(key, published.codec()) is None
