"""Checkpoints of the published layout, a few kilobytes each: a VQ-VAE of two levels and its top prior."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orchestrion.checkpoints.published import Target, codec_config, codec_target, prior_config, prior_target
from orchestrion.codec.model import Codec
from orchestrion.config import CodecConfig, PriorConfig
from orchestrion.presets import published
from orchestrion.prior.model import Prior

VQVAE: dict[str, Any] = {
    "level": 0,
    "levels": 2,
    "downs_t": (1, 1),
    "hvqvae_multipliers": (1, 1),
    "depth": 1,
    "width": 4,
    "m_conv": 1.0,
    "dilation_growth_rate": 3,
    "dilation_cycle": None,
    "l_bins": 6,
    "emb_width": 4,
    "l_mu": 0.99,
    "revival_threshold": 1.0,
    "sr": 1600,
}
PRIOR: dict[str, Any] = {
    "level": 1,
    "sr": 1600,
    "n_ctx": 8,
    "prior_width": 8,
    "prior_depth": 2,
    "heads": 2,
    "attn_order": 0,
    "blocks": 2,
    "spread": None,
    "m_attn": 0.25,
    "m_mlp": 0.5,
    "res_scale": False,
    "labels": True,
    "labels_v3": False,
    "y_bins": (3, 4),
    "t_bins": 4,
    "min_duration": 1.0,
    "max_duration": 60.0,
    "use_tokens": False,
    "single_enc_dec": False,
    "n_tokens": 0,
    "merged_decoder": False,
}


def the_codec_config() -> CodecConfig:
    return codec_config(VQVAE, published.codec())


def the_prior_config() -> PriorConfig:
    return prior_config(PRIOR, codebook_size=6, hop_length=4, ratio=None)


def vqvae() -> dict[str, Any]:
    config = the_codec_config()
    names = []
    for level in range(2):
        for block in range(level + 1):
            encoder, decoder = (f"{half}coders.{level}.level_blocks.{block}.model" for half in ("en", "de"))
            names += [f"{encoder}.{part}" for part in ("0.0", "0.1.model.0.model.1", "0.1.model.0.model.3", "1")]
            names += [f"{decoder}.{part}" for part in ("0", "1.0.model.0.model.1", "1.0.model.0.model.3", "1.1")]
        names.append(f"decoders.{level}.out")
    keys = [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
    keys += [f"bottleneck.level_blocks.{level}.k" for level in range(2)]
    with torch.device("meta"):
        codec = Codec(config)
    return _checkpoint(VQVAE, codec, keys, lambda key: codec_target(key, config))


def prior() -> dict[str, Any]:
    keys = ["prior.x_emb.weight", "prior.pos_emb.pos_emb"]
    keys += [f"y_emb.{name}.emb.weight" for name in ("artist_emb", "bow_genre_emb")]
    keys += [f"y_emb.{name}.emb.weight" for name in ("total_length_emb", "absolute_pos_emb", "relative_pos_emb")]
    for layer in range(2):
        start = f"prior.transformer._attn_mods.{layer}"
        keys += [f"{start}.{norm}.{kind}" for norm in ("ln_0", "ln_1") for kind in ("weight", "bias")]
        linear = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
        keys += [f"{start}.{name}.{kind}" for name in linear for kind in ("w", "b")]
    with torch.device("meta"):
        model = Prior(the_prior_config())
    made = _checkpoint(PRIOR, model, keys, prior_target)
    made["model"]["prior.x_out.weight"] = made["model"]["prior.x_emb.weight"]
    return made


def _checkpoint(
    settings: dict[str, Any], model: nn.Module, keys: list[str], target_of: Callable[[str], Target | None]
) -> dict[str, Any]:
    """Every tensor that `model` has, random, in the published shape."""
    rng = torch.Generator().manual_seed(0)
    state: OrderedDict[str, Tensor] = OrderedDict()
    for key in keys:
        target = target_of(key)
        assert target is not None, key
        shape = tuple(model.state_dict()[target.key].shape)
        state[key] = torch.randn(shape[::-1] if target.transpose else shape, generator=rng)
    return {"hps": dict(settings), "model": state, "opt": None, "step": 12}


def save(content: Any, path: Path, *, old: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path
