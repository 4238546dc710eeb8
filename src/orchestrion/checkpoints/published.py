"""The published Jukebox checkpoints: their settings and keys in our words (docs/prior.md).

Everything here works on one key or one tensor at a time, so that a checkpoint never has to be in memory whole.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from orchestrion.config.codec import CodebookConfig, CodecConfig
from orchestrion.config.prior import (
    ConditionerConfig,
    LabelConfig,
    LyricsConfig,
    PriorConfig,
    TimingConfig,
)
from orchestrion.errors import UserError
from orchestrion.presets import published

Hyperparameters = Mapping[str, Any]
"""Settings by the names that the published checkpoints give them."""


_MOST_LAYERS = 1000


@dataclass(frozen=True)
class Target:
    """Where a published tensor goes: our key, and what is done to it on the way."""

    key: str
    transpose: bool = False
    """Stored (in, out), ours is (out, in)."""
    flatten: bool = False
    """Stored with a leading axis of one."""

    def convert(self, tensor: Tensor) -> Tensor:
        """The tensor as ours, a view of the same memory."""
        if self.transpose:
            return tensor.T
        return tensor.flatten() if self.flatten else tensor

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that a tensor of `shape` is converted to."""
        return shape[::-1] if self.transpose else shape[1:] if self.flatten else shape


# Published prefixes and what stands there here, tried in this order. Keys of a linear layer end in w and b.
_PLACES = (
    (r"prior\.(?=x_|start|pos|transformer)", "tokens."),
    (r"prime_prior\.", "lyrics.tokens."),
    (r"prime_state_proj\.", "lyrics.project."),
    (r"prime_state_ln\.", "lyrics.norm."),
    (r"prime_x_out\.", "lyrics.output."),
    (r"y_emb\.artist_emb\.emb\.", "labels.artist."),
    (r"y_emb\.bow_genre_emb\.emb\.", "labels.genre."),
    (r"y_emb\.total_length_emb\.emb\.", "timing.total.table."),
    (r"y_emb\.absolute_pos_emb\.emb\.", "timing.position.table."),
    (r"y_emb\.relative_pos_emb\.emb\.", "timing.share.table."),
    (r"conditioner_blocks\.0\.x_emb\.", "conditioner.embedding."),
    (r"conditioner_blocks\.0\.ln\.", "conditioner.norm."),
    (r"conditioner_blocks\.0\.cond\.model\.0\.", "conditioner.enter."),
    (r"conditioner_blocks\.0\.cond\.model\.", "conditioner.stage."),
)
_PARTS = (
    (r"(?<=tokens\.)x_emb\.", "embedding."),
    (r"(?<=tokens\.)x_out\.", "output."),
    (r"(?<=tokens\.)pos_emb\.pos_emb$", "positions"),
    (r"(?<=tokens\.)start_token$", "start"),
    (r"\._attn_mods\.(\d+)\.", r".blocks.\1."),
    (r"\.attn\.c_attn\.", ".attention.inputs."),
    (r"\.attn\.c_enc_kv\.", ".attention.memory."),
    (r"\.attn\.c_proj\.", ".attention.output."),
    (r"\.ln_0\.", ".attention_norm."),
    (r"\.ln_1\.", ".mlp_norm."),
    (r"\.mlp\.c_fc\.", ".mlp.wide."),
    (r"\.mlp\.c_proj\.", ".mlp.narrow."),
    (r"\.stage\.(\d+)\.0\.blocks\.(\d+)\.model\.1\.", r".stacks.<\1>.blocks.\2.wide."),
    (r"\.stage\.(\d+)\.0\.blocks\.(\d+)\.model\.3\.", r".stacks.<\1>.blocks.\2.narrow."),
    (r"\.stage\.(\d+)\.1\.", r".rises.<\1>."),
    (r"\.w$", ".weight"),
    (r"\.b$", ".bias"),
)


def prior_target(key: str) -> Target | None:
    """Where the tensor called `key` in a published prior goes; None for a key that no published prior has."""
    key = key.removeprefix("module.")
    for pattern, place in _PLACES:
        found = re.match(pattern, key)
        if found:
            ours = place + key[found.end() :]
            break
    else:
        return None
    for pattern, part in _PARTS:
        ours = re.sub(pattern, part, ours)
    # The published list of stages starts with the entering convolution: theirs is 1 where ours is 0.
    ours = re.sub(r"<(\d+)>", lambda number: str(int(number[1]) - 1), ours)
    return Target(ours, transpose=key.endswith(".w"), flatten=key.endswith("start_token"))


def codec_target(key: str, config: CodecConfig) -> Target | None:
    """Where the tensor called `key` in the published VQ-VAE goes; None for a key that it does not have.

    The published encoders and decoders are nested by level, ours are one list of layers for each level.
    """
    found = re.fullmatch(r"bottleneck\.level_blocks\.(\d+)\.k", key.removeprefix("module."))
    if found:
        return Target(f"levels.{found[1]}.codebook.entries")
    found = re.fullmatch(r"(en|de)coders\.(\d+)\.(.+)\.(weight|bias)", key.removeprefix("module."))
    if not found or int(found[2]) >= len(config.levels):
        return None
    level = int(found[2])
    place = (_encoder_place if found[1] == "en" else _decoder_place)(found[3], _halvings(config, level))
    return Target(f"levels.{level}.{found[1]}coder.layers.{place}.{found[4]}") if place else None


def _halvings(config: CodecConfig, level: int) -> list[int]:
    """How many stages there are up to each projection."""
    counts = [0]
    for stage in config.levels[level].stages:
        counts[-1] += 1
        if stage.project:
            counts.append(0)
    return [count for count in counts if count]


def _encoder_place(path: str, halvings: list[int]) -> str | None:
    """Our layer: each block has a convolution and a stack for each halving, then the projection."""
    found = re.fullmatch(r"level_blocks\.(\d+)\.model\.(\d+)(?:\.(0|1\.model\.(\d+)\.model\.([13])))?", path)
    if not found or int(found[1]) >= len(halvings):
        return None
    block, step = int(found[1]), int(found[2])
    layer = sum(2 * count + 1 for count in halvings[:block]) + 2 * step
    return f"{layer + 1}.{_residual(found[4], found[5])}" if found[4] else str(layer)


def _decoder_place(path: str, halvings: list[int]) -> str | None:
    """Our layer: blocks from the last to the first, each a projection, then a stack and a convolution in turn."""
    if path == "out":
        return str(sum(2 * count + 1 for count in halvings))
    found = re.fullmatch(r"level_blocks\.(\d+)\.model\.(\d+)(?:\.(1|0\.model\.(\d+)\.model\.([13])))?", path)
    if not found or int(found[1]) >= len(halvings):
        return None
    block, step = int(found[1]), int(found[2])
    layer = sum(2 * count + 1 for count in halvings[block + 1 :]) + (2 * step - 1 if step else 0)
    if found[4]:
        return f"{layer}.{_residual(found[4], found[5])}"
    return str(layer + 1 if step else layer)


def _residual(block: str, step: str) -> str:
    return f"blocks.{block}.{'wide' if step == '1' else 'narrow'}"


def _few(count: Any) -> int:
    """`count`, if a model can have as many layers: a file could ask for more than any memory holds."""
    if type(count) is not int or not 0 < count <= _MOST_LAYERS:
        raise ValueError(f"{count!r} where 1 to {_MOST_LAYERS} are possible")
    return count


def codec_config(given: Hyperparameters, like: CodecConfig) -> CodecConfig:
    """Settings of a VQ-VAE from the hyperparameters in its checkpoint; losses as in `like`."""
    cycle, levels, blocks = given["dilation_cycle"], [], 0
    for level, factor in enumerate(given["hvqvae_multipliers"] or [1] * _few(given["levels"])):
        depth, width = _few(given["depth"] * factor), given["width"] * factor
        halvings = tuple(_few(count) for count in given["downs_t"][: level + 1])
        blocks = _few(blocks + depth * sum(halvings))
        levels.append(
            published.codec_level(
                halvings,
                width=width,
                dilations=published.dilations(depth, _few(given["dilation_growth_rate"]), cycle or depth),
                residual_width=int(width * given["m_conv"]),
            )
        )
    codebook = CodebookConfig(
        size=given["l_bins"],
        width=given["emb_width"],
        first_means=0,
        decay=given["l_mu"],
        revive_below_count=given["revival_threshold"],
        revive_below_share=0.0,
        revived_share=None,
    )
    changes = {
        "sample_rate": given["sr"],
        "levels": tuple(levels),
        "codebook": codebook,
        "reverse_dilations": given.get("vqvae_reverse_decoder_dilation", True),
    }
    return CodecConfig.model_validate({**dict(like), **changes})


def is_tied_copy(key: str, config: PriorConfig) -> bool:
    """Whether `key` repeats the table of embeddings, which is then also the output layer."""
    return config.tied_output and key.removeprefix("module.") == "prior.x_out.weight"


def prior_config(given: Hyperparameters, *, codebook_size: int, hop_length: int, ratio: int | None) -> PriorConfig:
    """Settings of a prior from the hyperparameters in its checkpoint.

    What the checkpoint does not say comes from the codec that goes with it: the codebook's size, the prior's samples
    per frame, and how many of its frames lie under one of the level above (`ratio`, None at the top).
    """
    lyrics = _lyrics(given)
    if given["attn_order"] not in range(13):
        raise UserError(f"attention order {given['attn_order']} is not known", "orders are 0 to 12")
    return PriorConfig(
        sample_rate=given["sr"],
        hop_length=hop_length,
        codebook_size=codebook_size,
        context_frames=given["n_ctx"],
        transformer=published.stack(
            width=given["prior_width"],
            num_heads=given["heads"],
            patterns=published.attention_patterns(given["attn_order"], _few(given["prior_depth"])),
            num_rows=given["blocks"] or 1,
            lyric_tokens=given["n_tokens"] if given["single_enc_dec"] else 0,
            attention_ratio=given["m_attn"],
            mlp_ratio=given["m_mlp"],
            scaled=given["res_scale"],
            spread=given["spread"] or 1,
        ),
        labels=LabelConfig(num_genres=given["y_bins"][0], num_artists=given["y_bins"][1]) if given["labels"] else None,
        timing=TimingConfig(
            num_bins=given["t_bins"],
            min_total_seconds=float(given["min_duration"]),
            max_total_seconds=float(given["max_duration"]),
            clamp=False,
        )
        if given["labels"] and ratio is None
        else None,
        conditioner=None if ratio is None else _conditioner(given, ratio),
        lyrics=lyrics,
        tied_output=not given["merged_decoder"],
        condition_output=not given["merged_decoder"],
    )


def _conditioner(given: Hyperparameters, ratio: int) -> ConditionerConfig:
    depth, growth = _few(given["cond_depth"]), _few(given["cond_dilation_growth_rate"])
    return ConditionerConfig(
        width=given["cond_width"],
        strides=(2,) * (ratio.bit_length() - 1),
        dilations=published.dilations(depth, growth, given["cond_dilation_cycle"] or depth),
        scale=depth**-0.5 if given["cond_res_scale"] else 1.0,
    )


def _lyrics(given: Hyperparameters) -> LyricsConfig | None:
    if not given["use_tokens"]:
        return None
    encoder = published.stack(
        width=given["prime_width"],
        num_heads=given["prime_heads"],
        patterns=published.attention_patterns(given["prime_attn_order"], _few(given["prime_depth"])),
        num_rows=given["prime_blocks"] or 1,
        attention_ratio=given["prime_m_attn"],
        mlp_ratio=given["prime_m_mlp"],
        scaled=given["prime_res_scale"],
        spread=given["prime_spread"] or 1,
    )
    return LyricsConfig(
        alphabet_size=given["n_vocab"],
        num_characters=given["n_tokens"],
        encoder=None if given["single_enc_dec"] else encoder,
        loss_weight=given["prime_loss_fraction"],
        alignment_layer=given["alignment_layer"],
        alignment_head=given["alignment_head"],
    )
