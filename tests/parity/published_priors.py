"""Priors and their inputs from a folder of fixtures."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from orchestrion.checkpoints.published import is_tied_copy, prior_config, prior_target
from orchestrion.prior import Conditions, Prior

NAMES = ("prior_5b", "prior_5b_lyrics", "prior_1b_lyrics", "upsampler_level_0", "upsampler_level_1")


@dataclass(frozen=True)
class Case:
    prior: Prior
    given: dict[str, Any]
    io: dict[str, Tensor]
    expected: dict[str, Any]
    conditions: Conditions
    keys: dict[str, str]
    """Ours to the published ones."""

    @property
    def codes(self) -> Tensor:
        return self.io["z"]


@cache
def load(folder: Path) -> Case:
    weights = load_file(folder / "weights.safetensors")
    io = load_file(folder / "io.safetensors")
    given = json.loads((folder / "config.json").read_text())["hps"]
    y, codes = io["y"], io["z"]
    ratio = codes.shape[1] // io["z_cond"].shape[1] if "z_cond" in io else None
    config = prior_config(
        given,
        codebook_size=weights["prior.x_emb.weight"].shape[0] - (given["n_vocab"] if given["single_enc_dec"] else 0),
        hop_length=int(y[0, 2]) // codes.shape[1],
        ratio=ratio,
    )
    ours, keys = {}, {}
    for key, tensor in weights.items():
        target = prior_target(key)
        assert target is not None, key
        if is_tied_copy(key, config):
            assert torch.equal(tensor, weights["prior.x_emb.weight"])
            continue
        ours[target.key] = target.convert(tensor).float().contiguous()
        keys[target.key] = key
    prior = Prior(config)
    prior.load_state_dict(ours)
    num_genres = y.shape[1] - 4 - given["n_tokens"]
    conditions = Conditions(
        total_samples=y[:, 0],
        start_samples=y[:, 1],
        artist=y[:, 3],
        genres=y[:, 4 : 4 + num_genres],
        coarser=io.get("z_cond"),
        lyrics=y[:, 4 + num_genres :] if given["n_tokens"] else None,
    )
    expected = json.loads((folder / "expected.json").read_text())
    return Case(prior.eval(), given, io, expected, conditions, keys)
