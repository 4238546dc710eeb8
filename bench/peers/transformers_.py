"""transformers 4.57.6, the last with Jukebox, run in its own environment.

Its causal mask is off by default, and it has no loss without lyrics, so that the layer below is asked for logits.
"""

import re
from pathlib import Path
from typing import Any

import descendants
import measured
import torch
from torch import Tensor
from transformers.models.deprecated.jukebox import modeling_jukebox as modeling
from transformers.models.deprecated.jukebox.configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig

modeling.tqdm = measured.Ticks


def codec_name(key: str) -> str:
    """Its name for a published tensor of the VQ-VAE."""
    key = re.sub(r"^(bottleneck\.level_blocks\.\d+)\.k$", r"\1.codebook", key)
    key = re.sub(r"\.model\.(\d+)\.model\.1\.(?=weight|bias)", r".resnet_block.\1.conv1d_1.", key)
    key = re.sub(r"\.model\.(\d+)\.model\.3\.(?=weight|bias)", r".resnet_block.\1.conv1d_2.", key)
    found = re.match(r"(en|de)(coders\.\d+\.level_blocks\.\d+)\.model\.(\d+)\.(?:([01])(?=\.))?(.*)", key)
    if not found:
        return key
    half, place, step, part, rest = found.groups()
    if part is None:
        return f"{half}{place}.proj_{'out' if half == 'en' else 'in'}.{rest}"
    if half == "en":
        return f"en{place}.downsample_block.{2 * int(step) + int(part)}{rest}"
    return f"de{place}.upsample_block.{2 * (int(step) - 1) + int(part)}{rest}"


def prior_name(key: str) -> str:
    """Its name for a published tensor of a top prior without lyrics."""
    names = (
        (r"^y_emb\.(artist_emb|bow_genre_emb)\.emb\.", r"metadata_embedding.\1."),
        (r"^y_emb\.", "metadata_embedding."),
        (r"^prior\.x_emb\.", "prior.embed_tokens."),
        (r"^prior\.x_out\.", "prior.fc_proj_out."),
        (r"\.ln_([01])\.", r".layer_norm_\1."),
        (r"\.w$", ".weight"),
        (r"\.b$", ".bias"),
    )
    for pattern, name in names:
        key = re.sub(pattern, name, key)
    return key


def weights(path: Path) -> dict[str, Tensor]:
    return torch.load(path, map_location="cpu", weights_only=True)["model"]


def open_codec(folder: Path, _: dict[str, Any]) -> descendants.Codec:
    model = modeling.JukeboxVQVAE(JukeboxVQVAEConfig()).eval()
    model.load_state_dict({codec_name(key): one for key, one in weights(folder / "vqvae.pth.tar").items()})
    return descendants.Codec(model)


def open_prior(folder: Path, settings: dict[str, Any]) -> descendants.Prior:
    hps = settings["hps"]
    config = JukeboxPriorConfig(
        attention_pattern="raw_column_previous_row_attention",
        blocks=hps["blocks"],
        num_layers=hps["prior_depth"],
        hidden_size=hps["prior_width"],
        n_heads=hps["heads"],
        n_ctx=hps["n_ctx"],
        is_encoder_decoder=False,
        nb_relevant_lyric_tokens=0,
        mask=True,
        merged_decoder=False,
        max_nb_genres=1,
        metadata_dims=list(hps["y_bins"]),
        min_duration=hps["min_duration"],
        max_duration=hps["max_duration"],
        timing_dims=hps["t_bins"],
        music_vocab_size=2048,
    )
    model = modeling.JukeboxPrior(config, level=0).eval()
    given = weights(folder / "prior_level_2.pth.tar")
    model.load_state_dict({prior_name(key): one for key, one in given.items()})
    return descendants.Prior(model, settings["label"], ("music_tokens", "metadata"))


measured.main(open_codec, open_prior)
