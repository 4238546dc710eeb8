"""Checkpoints of the published layout with random weights: a VQ-VAE and a top prior of any size."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from orchestrion.checkpoints.published import Target, codec_target, prior_config, prior_target
from orchestrion.codec.model import Codec, CodecLevel
from orchestrion.config import CodecConfig, PriorConfig
from orchestrion.prior.model import Prior

VQVAE_FILE, PRIOR_FILE = "vqvae.pth.tar", "prior_level_2.pth.tar"
SAMPLE_RATE, HOP, CODES = 44_100, 128, 2048
TOP_PRIOR: dict[str, Any] = {
    "level": 2,
    "sr": SAMPLE_RATE,
    "blocks": 64,
    "spread": None,
    "m_attn": 0.25,
    "m_mlp": 1.0,
    "res_scale": False,
    "labels": True,
    "labels_v3": True,
    "t_bins": 64,
    "max_duration": 600.0,
    "merged_decoder": False,
}
"""The published names of what all our top priors of random weights have in common."""


def top_prior(hyperparameters: dict[str, Any]) -> PriorConfig:
    return prior_config(hyperparameters, codebook_size=CODES, hop_length=HOP, ratio=None)


def codec_keys(config: CodecConfig, downs: tuple[int, ...] = (3, 2, 2)) -> list[str]:
    """The published names of a VQ-VAE's tensors."""
    names = []
    for level, settings in enumerate(config.levels):
        blocks = range(len(settings.stages[0].dilations))
        for block, down in enumerate(downs[: level + 1]):
            encoder, decoder = (f"{half}coders.{level}.level_blocks.{block}.model" for half in ("en", "de"))
            names += [f"{encoder}.{down}", f"{decoder}.0"]
            for step in range(down):
                names += [f"{encoder}.{step}.0", f"{decoder}.{step + 1}.1"]
                stacks = (f"{encoder}.{step}.1", f"{decoder}.{step + 1}.0")
                names += [f"{stack}.model.{one}.model.{part}" for stack in stacks for one in blocks for part in (1, 3)]
        names.append(f"decoders.{level}.out")
    keys = [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
    return keys + [f"bottleneck.level_blocks.{level}.k" for level in range(len(config.levels))]


def prior_keys(config: PriorConfig) -> list[str]:
    """The published names of the tensors of a top prior without a lyric encoder."""
    tables = ("artist_emb", "bow_genre_emb", "total_length_emb", "absolute_pos_emb", "relative_pos_emb")
    keys = ["prior.x_emb.weight", "prior.pos_emb.pos_emb", *(f"y_emb.{name}.emb.weight" for name in tables)]
    for layer in range(config.transformer.num_layers):
        start = f"prior.transformer._attn_mods.{layer}"
        keys += [f"{start}.{norm}.{kind}" for norm in ("ln_0", "ln_1") for kind in ("weight", "bias")]
        linear = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
        keys += [f"{start}.{name}.{kind}" for name in linear for kind in ("w", "b")]
    return keys


def write_codec(path: Path, config: CodecConfig, hyperparameters: dict[str, Any]) -> None:
    """Write a VQ-VAE; its codebooks are drawn among what its encoders give for noise, so that many codes are used."""
    rng = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = Codec(config).state_dict()
    tensors = _random(codec_keys(config), lambda key: codec_target(key, config), shapes, rng)
    codec = Codec(config).eval()
    ours = {_known(codec_target(key, config)).key: tensor for key, tensor in tensors.items()}
    codec.load_state_dict(ours, strict=False)
    noise = torch.randn(4, config.channels, 2**16, generator=rng) * 0.2
    for level, part in enumerate(codec.levels):
        assert isinstance(part, CodecLevel)
        with torch.no_grad():
            vectors = part.encoder(noise).transpose(1, 2).flatten(0, 1)
        rows = torch.randint(len(vectors), (config.codebook.size,), generator=rng)
        tensors[f"bottleneck.level_blocks.{level}.k"] = vectors[rows].clone()
    _save(path, hyperparameters, tensors)


def write_prior(path: Path, config: PriorConfig, hyperparameters: dict[str, Any]) -> None:
    """Write a top prior whose output layer is its table of embeddings."""
    with torch.device("meta"):
        shapes = Prior(config).state_dict()
    tensors = _random(prior_keys(config), prior_target, shapes, torch.Generator().manual_seed(1))
    tensors["prior.x_out.weight"] = tensors["prior.x_emb.weight"]
    _save(path, hyperparameters, tensors)


def _random(
    keys: Iterable[str], target_of: Callable[[str], Target | None], shapes: dict[str, Tensor], rng: Generator
) -> dict[str, Tensor]:
    """Weights that neither fade nor swell from layer to layer."""
    tensors = {}
    for key in keys:
        target = _known(target_of(key))
        shape = tuple(shapes[target.key].shape)
        drawn = torch.randn(shape[::-1] if target.transpose else shape, generator=rng)
        if "ln_" in key and key.endswith("weight"):
            drawn.mul_(0.02).add_(1)
        elif drawn.dim() == 1 or "emb" in key:
            drawn.mul_(0.05)
        else:
            inputs = drawn.shape[0] if target.transpose else drawn[0].numel()
            drawn.mul_((0.2 if "c_proj" in key else 1.0) * inputs**-0.5)
        tensors[key] = drawn
    return tensors


def _known(target: Target | None) -> Target:
    assert target is not None
    return target


def _save(path: Path, hyperparameters: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    content = {"hps": hyperparameters, "model": tensors, "opt": None, "step": 0}
    torch.save(content, path, _use_new_zipfile_serialization=False)
