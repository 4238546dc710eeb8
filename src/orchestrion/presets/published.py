"""The published Jukebox models, in our words (Dhariwal et al. 2020)."""

from orchestrion.config.codec import CodebookConfig, CodecConfig, CodecLossConfig, LevelConfig, StageConfig
from orchestrion.config.prior import (
    ConditionerConfig,
    LabelConfig,
    LyricsConfig,
    Pattern,
    PriorConfig,
    TimingConfig,
    TransformerConfig,
)
from orchestrion.config.training import OptimizerConfig, TrainingConfig


def codec() -> CodecConfig:
    """The VQ-VAE of all published models: 8, 32 and 128 samples per frame at 44.1 kHz."""
    return CodecConfig(
        sample_rate=44_100,
        levels=tuple(
            codec_level((3, 2, 2)[: level + 1], width=32 * factor, dilations=dilations(4 * factor, 3, 4 * factor))
            for level, factor in enumerate((2, 1, 1))
        ),
        codebook=CodebookConfig(
            size=2048,
            width=64,
            first_means=0,
            decay=0.99,
            revive_below_count=1.0,
            revive_below_share=0.0,
            revived_share=None,
        ),
        loss=CodecLossConfig(
            waveform=1.0,
            spectral=1.0,
            log_spectral=0.0,
            commitment=0.02,
            largest=0.02,
            num_largest=2048,
            relative=False,
            spectral_sizes=((2048, 240, 1200), (1024, 120, 600), (512, 50, 240)),
        ),
        final_convolution=True,
        reverse_dilations=True,
    )


def codec_level(
    downs: tuple[int, ...], *, width: int, dilations: tuple[int, ...], residual_width: int | None = None
) -> LevelConfig:
    """One autoencoder: for each of `downs` that many halvings of the rate, then the codebook's width."""
    stage = StageConfig(stride=2, kernel=4, width=width, dilations=dilations, residual_width=residual_width or width)
    ending = stage.model_copy(update={"project": True})
    return LevelConfig(stages=tuple(part for down in downs for part in (*(stage,) * (down - 1), ending)))


def codec_training() -> TrainingConfig:
    """How the VQ-VAE was trained (paper, appendix B); clips of 393,216 samples."""
    return _training(steps=384_618, batch_size=256, learning_rate=3e-4)


def top_training() -> TrainingConfig:
    """How the top prior of 5 billion weights was trained (paper, appendix B)."""
    return _training(steps=310_500, batch_size=512, learning_rate=1.5e-4)


def upsampler_training() -> TrainingConfig:
    """How the upsamplers were trained (paper, appendix B)."""
    return _training(steps=265_000, batch_size=192, learning_rate=3e-4)


def _training(steps: int, batch_size: int, learning_rate: float) -> TrainingConfig:
    optimizer = OptimizerConfig(learning_rate=learning_rate, warmup_steps=1000, decay_share=0.0)
    return TrainingConfig(steps=steps, batch_size=batch_size, precision="bfloat16", optimizer=optimizer)


def top_5b() -> PriorConfig:
    """The top prior of `5b`: labels, no lyrics."""
    return _top_5b(
        patterns=attention_patterns(2, 72),
        timing=TimingConfig(num_bins=128, min_total_seconds=60.0, max_total_seconds=600.0, clamp=False),
    )


def top_5b_lyrics() -> PriorConfig:
    """The top prior of `5b_lyrics`: lyrics by an encoder of their own."""
    encoder = stack(width=1280, num_heads=4, patterns=attention_patterns(2, 18), num_rows=32)
    return _top_5b(
        patterns=attention_patterns(10, 79),
        timing=TimingConfig(num_bins=128, min_total_seconds=23.8, max_total_seconds=600.0, clamp=False),
        lyrics=LyricsConfig(
            alphabet_size=80, num_characters=512, encoder=encoder, alignment_layer=68, alignment_head=2
        ),
    )


def top_1b_lyrics() -> PriorConfig:
    """The top prior of `1b_lyrics`: lyrics and codes in one sequence."""
    return PriorConfig(
        sample_rate=44_100,
        hop_length=128,
        codebook_size=2048,
        context_frames=6144,
        transformer=stack(width=2048, num_heads=2, patterns=attention_patterns(12, 72), num_rows=64, lyric_tokens=384),
        labels=LabelConfig(num_genres=604, num_artists=7898),
        timing=TimingConfig(num_bins=64, min_total_seconds=17.84, max_total_seconds=600.0, clamp=False),
        lyrics=LyricsConfig(alphabet_size=79, num_characters=384, alignment_layer=63, alignment_head=0),
        tied_output=True,
        condition_output=True,
    )


def upsampler(level: int) -> PriorConfig:
    """The upsampler of level 0 or 1, the same for all published models."""
    return PriorConfig(
        sample_rate=44_100,
        hop_length=(8, 32)[level],
        codebook_size=2048,
        context_frames=8192,
        transformer=stack(width=1920, num_heads=1, patterns=attention_patterns(2, 72), num_rows=128),
        labels=LabelConfig(num_genres=120, num_artists=4111),
        conditioner=ConditionerConfig(
            width=1024,
            strides=(2, 2),
            dilations=dilations(16, 3, 8),
            scale=16**-0.5 if level == 1 else 1.0,
        ),
        tied_output=True,
        condition_output=True,
    )


def _top_5b(patterns: tuple[Pattern, ...], timing: TimingConfig, lyrics: LyricsConfig | None = None) -> PriorConfig:
    return PriorConfig(
        sample_rate=44_100,
        hop_length=128,
        codebook_size=2048,
        context_frames=8192,
        transformer=stack(width=4800, num_heads=8, patterns=patterns, num_rows=128),
        labels=LabelConfig(num_genres=120, num_artists=4111),
        timing=timing,
        lyrics=lyrics,
    )


def stack(
    *,
    width: int,
    num_heads: int,
    patterns: tuple[Pattern, ...],
    num_rows: int,
    lyric_tokens: int = 0,
    attention_ratio: float = 0.25,
    mlp_ratio: float = 1.0,
    scaled: bool = False,
    spread: int = 1,
) -> TransformerConfig:
    """The published dialect of the transformer.

    "prefix" reaches past the `lyric_tokens` to the next whole multiple of `num_rows` tokens.
    """
    return TransformerConfig(
        width=width,
        num_heads=num_heads,
        patterns=patterns,
        attention_ratio=attention_ratio,
        mlp_ratio=mlp_ratio,
        num_rows=num_rows,
        spread=spread,
        prefix_tokens=(lyric_tokens // num_rows + 1) * num_rows if lyric_tokens else 0,
        positions="learned",
        norm="layer",
        final_norm=False,
        normalize_queries=False,
        activation="quick_gelu",
        biases=True,
        residual_scale=1 / len(patterns) if scaled else 1.0,
    )


def attention_patterns(order: int, num_layers: int) -> tuple[Pattern, ...]:
    """The pattern of each layer by the published number of an attention order."""
    thirds: tuple[Pattern, ...] = ("row", "column", "previous_row")
    cycles: dict[int, tuple[Pattern, ...]] = {
        0: ("full",),
        1: ("row", "column"),
        2: thirds,
        3: ("row", "summary"),
        4: ("row", "summary_spread"),
        5: ("row", "summary", "row", "row"),
        6: (*thirds, "lyrics"),
        7: (*thirds * 5, "lyrics"),
        8: (*thirds * 3, "lyrics"),
        9: (*thirds, "full"),
        10: (*thirds * 3, *(*thirds * 3, "lyrics") * 7),
    }
    if order in (11, 12):
        last: tuple[Pattern, ...] = (("lyrics",) * 2 if order == 11 else ("prefix",) * 2) + ("full",)
        return tuple((last if layer % 16 == 15 else thirds)[layer % 3] for layer in range(num_layers))
    cycle = cycles[order]
    return (cycle * num_layers)[:num_layers]


def dilations(depth: int, growth: int, cycle: int) -> tuple[int, ...]:
    """Dilations that grow by a factor from block to block, and start anew after each cycle."""
    return tuple(growth ** (block % cycle) for block in range(depth))
