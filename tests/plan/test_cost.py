"""Counted weights, arithmetic and memory against what torch allocates, multiplies and keeps."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import tiny
from orchestrion import presets
from orchestrion.checkpoints.folder import unfilled
from orchestrion.codec import Codec
from orchestrion.config import CodebookConfig, CodecConfig, CodecLossConfig, LevelConfig, StageConfig
from orchestrion.config.codec import SpectrumConfig
from orchestrion.config.prior import (
    ConditionerConfig,
    LabelConfig,
    LyricsConfig,
    PriorConfig,
    TimingConfig,
    TransformerConfig,
)
from orchestrion.config.training import CodecTrainingConfig, TrainingConfig
from orchestrion.plan import Cost, codec_cost, prior_cost
from orchestrion.prior.labels import Conditions
from orchestrion.prior.masked import MaskedPrior, make_prior
from orchestrion.prior.model import Following
from orchestrion.train.prior import block_matrices

BATCH = 2
OURS = {"dropout": 0.1, "num_rows": 8, "spread": 2, "prefix_tokens": 16}
PUBLISHED = {
    "num_rows": 8,
    "spread": 2,
    "prefix_tokens": 16,
    "positions": "learned",
    "norm": "layer",
    "normalize_queries": False,
    "activation": "quick_gelu",
    "biases": True,
    "final_norm": False,
}
FACTORED = ("row", "column", "previous_row", "full", "summary", "summary_spread", "prefix")


def stack(patterns: tuple[str, ...], dialect: dict[str, object], width: int = 48) -> TransformerConfig:
    return TransformerConfig(width=width, num_heads=4, patterns=patterns, attention_ratio=0.5, mlp_ratio=2.0, **dialect)


def prior(transformer: TransformerConfig, **settings: object) -> PriorConfig:
    given = {
        "labels": LabelConfig(num_artists=5, num_genres=7),
        "timing": TimingConfig(num_bins=16, min_total_seconds=1.0, max_total_seconds=60.0),
    }
    return PriorConfig(
        sample_rate=1600, hop_length=8, codebook_size=40, context_frames=128, transformer=transformer,
        **(given | settings),
    )  # fmt: skip


ENCODER = LyricsConfig(
    alphabet_size=20, num_characters=32, encoder=TransformerConfig(width=32, num_heads=2, patterns=("full", "full"))
)
PRIORS = {
    "ours": prior(stack(("full", "full"), OURS)),
    "factored": prior(stack(FACTORED, OURS)),
    "published": prior(stack(FACTORED, PUBLISHED), tied_output=True, condition_output=True),
    "rotary alone": prior(stack(FACTORED, OURS | {"normalize_queries": False})),
    "learned positions": prior(stack(FACTORED, OURS | {"positions": "learned"})),
    "sliding": prior(stack(("sliding", "full"), OURS | {"num_rows": 4})),
    "sliding, learned positions": prior(stack(("sliding", "sliding"), PUBLISHED)),
    "sliding over all": prior(stack(("sliding",), OURS | {"num_rows": 1})),
    "upsampler": prior(
        stack(("full",), OURS), timing=None, conditioner=ConditionerConfig(width=24, strides=(2, 4), dilations=(1, 3))
    ),
    "unlabelled": prior(stack(("full",), OURS), labels=None),
    "masked": prior(stack(("all", "all"), OURS)),
    "masked, several codes a vector": prior(
        stack(("all", "all"), OURS),
        timing=None,
        depth=4,
        conditioner=ConditionerConfig(width=24, strides=(2,), dilations=(1, 3)),
    ),
    "lyrics in the sequence": prior(
        stack(("full", "prefix"), PUBLISHED), lyrics=LyricsConfig(alphabet_size=20, num_characters=32)
    ),
    "lyrics encoded": prior(stack(("full", "lyrics", "row"), PUBLISHED), lyrics=ENCODER),
    "lyrics encoded, ours": prior(stack(("full", "lyrics", "row"), OURS), lyrics=ENCODER),
    "lyrics paced": prior(stack(("full", "lyrics"), OURS), lyrics=ENCODER.model_copy(update={"paced": True})),
}


class Followed(NamedTuple):
    """A prior whose attention is drawn to the words that are sung."""

    config: PriorConfig


FOLLOWING = {
    name: Followed(PRIORS[name]) for name in ("lyrics in the sequence", "lyrics encoded", "lyrics encoded, ours")
}


def codec(
    bands: tuple[tuple[int, int], ...] = (), depth: int = 1, spectrum: SpectrumConfig | None = None, **settings: object
) -> CodecConfig:
    def stage(stride: int, width: int, **more: object) -> StageConfig:
        return StageConfig(stride=stride, kernel=2 * stride, width=width, residual_width=20, dilations=(1, 3), **more)

    levels = (
        LevelConfig(stages=(stage(8, 24),), depth=depth, spectrum=spectrum),
        LevelConfig(stages=(stage(4, 24), stage(4, 28, project=True), stage(2, 24)), bands=bands, spectrum=spectrum),
    )
    given = {
        "codebook": CodebookConfig(size=64, width=16),
        "loss": CodecLossConfig(spectral_sizes=((128, 32, 128), (64, 16, 64))),
    }
    return CodecConfig(sample_rate=1600, levels=levels, **(given | settings))


CODECS = {
    "ours": codec(),
    "published": codec(
        final_convolution=True,
        loss=CodecLossConfig(log_spectral=0.0, relative=False, spectral_sizes=((128, 32, 128), (64, 16, 64))),
    ),
    "bands": codec(bands=((64, 10), (16, 3))),
    "mel": codec(loss=CodecLossConfig(spectral_sizes=((128, 32, 128),), mel=0.3, mel_sizes=((128, 20), (64, 10)))),
    "several codes a vector": codec(depth=4),
    "mapped": codec(codebook=CodebookConfig(size=64, width=16, kind="mapped")),
    "scalars": codec(codebook=CodebookConfig(size=64, width=16, kind="scalars", scalar_values=(8, 8))),
}
CODECS["magnitudes"] = codec(
    bands=((64, 10), (16, 3)),
    spectrum=SpectrumConfig(window=64),
    loss=CodecLossConfig(mel=0.3, mel_sizes=((64, 12), (32, 6))),
)
CODECS["snakes"] = codec(activation="snake")
CHUNK = 1600


def partly(config: CodecConfig, *levels: int, decoders_only: bool = False) -> CodecTrainingConfig:
    training = TrainingConfig(steps=1, batch_size=BATCH)
    return CodecTrainingConfig(codec=config, training=training, levels=levels, decoders_only=decoders_only)


PARTLY = {
    "one level": partly(codec(), 1),
    "decoders": partly(codec(), decoders_only=True),
    "one decoder": partly(CODECS["magnitudes"], 0, decoders_only=True),
}


def conditions(config: PriorConfig) -> Conditions:
    rng = torch.Generator().manual_seed(1)
    told = vars(tiny.conditions(BATCH, 20 * config.sample_rate))
    if config.conditioner:
        frames = config.context_frames // (config.conditioner.ratio * config.depth)
        told["coarser"] = torch.randint(config.codebook_size, (BATCH, frames), generator=rng)
    if config.lyrics:
        shape = (BATCH, config.lyrics.num_characters)
        told["lyrics"] = torch.randint(config.lyrics.alphabet_size, shape, generator=rng)
        if config.paced:
            told["sung"] = torch.randint(-2, shape[1], (BATCH, config.context_frames), generator=rng)
    return Conditions(**told)


Config = PriorConfig | Followed | CodecConfig | CodecTrainingConfig


def a_step(config: Config) -> tuple[nn.Module, Callable[[], Tensor]]:
    """A model and its loss on a batch."""
    rng = torch.Generator().manual_seed(0)
    if isinstance(config, CodecTrainingConfig):
        made, _ = a_step(config.codec)
        made.learn(config.learning, decoders_only=config.decoders_only)
        audio = torch.randn(BATCH, 1, CHUNK, generator=rng)
        return made, lambda: torch.stack([output.loss for output in made.outputs(audio, config.learning)]).sum()
    if isinstance(config, CodecConfig):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = Codec(config).train()
        audio = torch.randn(BATCH, 1, CHUNK, generator=rng)
        made(audio, rng)  # fills the codebooks
        return made, lambda: torch.stack([output.loss for output in made(audio, rng)]).sum()
    following = None
    if isinstance(config, Followed):
        config = config.config
        first = torch.randint(config.num_characters - 4, (BATCH, config.context_frames, 1), generator=rng)
        following = Following(torch.cat((first, first + 4), 2), config.aligned_layers[-1], 0, 0.1)
    model = make_prior(config, rng).train()
    codes = torch.randint(config.codebook_size, (BATCH, config.context_frames), generator=rng)
    told = conditions(config)
    if isinstance(model, MaskedPrior):
        return model, lambda: model.loss(codes, torch.ones_like(codes, dtype=torch.bool), told, rng=rng).total
    return model, lambda: model.loss(codes, told, rng=rng, following=following).total


def cost_of(config: Config) -> Cost:
    if isinstance(config, CodecTrainingConfig):
        return codec_cost(config.codec, CHUNK, learning=config.learning, decoders_only=config.decoders_only)
    if isinstance(config, CodecConfig):
        return codec_cost(config, CHUNK)
    return prior_cost(config.config, following=True) if isinstance(config, Followed) else prior_cost(config)


ALL = {
    **{f"prior, {name}": one for name, one in PRIORS.items()},
    **{f"prior, {name}, followed": one for name, one in FOLLOWING.items()},
    **{f"codec, {name}": one for name, one in CODECS.items()},
    **{f"codec in part, {name}": one for name, one in PARTLY.items()},
}
each = pytest.mark.parametrize("config", ALL.values(), ids=ALL.keys())


@each
def test_weights_are_counted_exactly(config):
    model, _ = a_step(config)
    cost = cost_of(config)
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert cost.learned == sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if isinstance(config, PriorConfig):
        assert sorted(cost.matrices) == sorted(tuple(weight.shape) for weight in block_matrices(model))
        largest = max(sum(p.numel() for p in block.parameters()) for block in model.tokens.transformer.blocks)
        assert cost.block >= largest
    else:
        assert cost.buffers == sum(one.numel() for name, one in model.state_dict().items()) - cost.parameters


@pytest.mark.parametrize(
    "config",
    [
        presets.published_5b_lyrics(),
        presets.published_1b_lyrics(),
        presets.published_upsampler(0),
    ],
    ids=["5b lyrics", "1b lyrics", "upsampler"],
)
def test_the_published_priors_are_counted_exactly(config):
    with torch.device("meta"):
        model = unfilled(make_prior, config)
    assert prior_cost(config).parameters == sum(parameter.numel() for parameter in model.parameters())


def test_the_published_codec_is_counted_exactly():
    config = presets.published_codec()
    with torch.device("meta"):
        model = unfilled(Codec, config)
    assert codec_cost(config, 393_216).parameters == sum(parameter.numel() for parameter in model.parameters())


@each
def test_arithmetic_is_counted_within_two_percent(config):
    _, loss = a_step(config)
    cost = cost_of(config)
    with sdpa_kernel(SDPBackend.MATH):  # products that the counter knows
        with FlopCounterMode(display=False) as forward:
            total = loss()
        with FlopCounterMode(display=False) as backward:
            total.backward()
    assert BATCH * cost.forward_flops == pytest.approx(forward.get_total_flops(), rel=0.02)
    assert BATCH * cost.backward_flops == pytest.approx(backward.get_total_flops(), rel=0.02)


@each
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_kept_for_the_backward_pass_is_counted_within_ten_percent(config, precision):
    model, loss = a_step(config)
    half = precision == "bfloat16"
    own = {part.untyped_storage().data_ptr() for part in [*model.parameters(), *model.buffers()]}
    kept: dict[int, tuple[int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with (
        torch.autocast("cpu", torch.bfloat16, enabled=half),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        loss()
    cost, size = cost_of(config), 2 if half else 4
    counted = BATCH * cost.saved.num_bytes(size) + cost.shared.num_bytes(4) + (2 * cost.cast if half else 0)
    assert counted == pytest.approx(sum(num for num, _ in kept.values()), rel=0.1)
