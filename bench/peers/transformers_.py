"""transformers 4.57.6, the last with Jukebox, run in its own environment.

Its causal mask is off by default, and it has no loss without lyrics, so that the layer below is asked for logits.
"""

import re
from pathlib import Path
from typing import Any

import measured
import torch
from torch import Tensor
from transformers.models.deprecated.jukebox import modeling_jukebox as modeling
from transformers.models.deprecated.jukebox.configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig

modeling.tqdm = measured.Ticks
CHUNK_FRAMES = 32
"""Of a prompt; its own default."""


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


class Codec:
    def __init__(self, folder: Path, _: dict[str, Any]) -> None:
        self.model = modeling.JukeboxVQVAE(JukeboxVQVAEConfig()).eval()
        self.model.load_state_dict({codec_name(key): one for key, one in weights(folder / "vqvae.pth.tar").items()})

    def encode(self, audio: Tensor) -> list[Tensor]:
        return self.model.encode(audio[:, :, None])

    def decode(self, codes: list[Tensor], level: int) -> Tensor:
        return self.model.decode(codes[level:], start_level=level)[:, :, 0]


class Prior:
    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        hps, self.label = settings["hps"], settings["label"]
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
        self.model = modeling.JukeboxPrior(config, level=0).eval()
        given = weights(folder / "prior_level_2.pth.tar")
        self.model.load_state_dict({prior_name(key): one for key, one in given.items()})

    def logits(self, codes: Tensor) -> Tensor:
        x_cond, y_cond, _ = self.model.get_cond(None, torch.tensor([self.label] * len(codes)))
        return self.model.prior(codes, x_cond, y_cond, get_preds=True)[1]

    def sample(self, prompt: Tensor, num_codes: int) -> tuple[float, list[float]]:
        batch, known = prompt.shape
        self.model.sample(
            batch,
            music_tokens=prompt if known else None,
            metadata=torch.tensor([self.label] * batch),
            chunk_size=CHUNK_FRAMES,
            sample_tokens=known + num_codes,
        )
        return measured.Ticks.taken()


measured.main(Codec, Prior)
