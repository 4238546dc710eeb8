"""The small model that trains on two cores and ships with the package."""

from orchestrion.config.codec import (
    CodebookConfig,
    CodecConfig,
    CodecLossConfig,
    LevelConfig,
    SpectrumConfig,
    StageConfig,
)
from orchestrion.config.prior import ConditionerConfig, TimingConfig, TransformerConfig
from orchestrion.config.training import (
    CodecTrainingConfig,
    LyricsTrainingConfig,
    ModelTrainingConfig,
    OptimizerConfig,
    PriorTrainingConfig,
    SpeechConfig,
    TrainingConfig,
)


def mini() -> ModelTrainingConfig:
    """A codec of two levels, an upsampler that fills windows in passes and a top prior."""
    return ModelTrainingConfig(codec=mini_codec(), priors=(mini_upsampler(), mini_top()))


def mini_sequential() -> ModelTrainingConfig:
    """The same, but for an upsampler that draws one code after another."""
    return ModelTrainingConfig(codec=mini_codec(), priors=(mini_sequential_upsampler(), mini_top()))


def mini_song() -> ModelTrainingConfig:
    """A codec of two levels whose coarser one keeps words, an upsampler, and a prior that sings them."""
    return ModelTrainingConfig(codec=mini_song_codec(), priors=(mini_song_upsampler(), mini_song_top()))


def mini_codec() -> CodecTrainingConfig:
    """Two levels at 22.05 kHz: 345 and 43 codes a second, 3.8 and 0.47 kbit/s.

    A processor is slow at many narrow layers near the sample rate, so the first convolution leaves it at once.
    """

    fine = LevelConfig(stages=(_stage(64, 256, 192, (1, 3, 9) * 2),))
    top = LevelConfig(stages=(_stage(128, 512, 192, (1, 3, 9)), _stage(4, 8, 256, (1, 3, 9) * 2)))
    return CodecTrainingConfig(
        codec=CodecConfig(
            sample_rate=22_050,
            levels=(fine, top),
            codebook=CodebookConfig(size=2048, width=64),
            loss=CodecLossConfig(waveform=0.5, spectral=1.0, log_spectral=0.3),
        ),
        training=TrainingConfig(
            steps=3200, batch_size=8, optimizer=OptimizerConfig(learning_rate=8e-4, warmup_steps=100)
        ),
        chunk_seconds=0.75,
    )


def _stage(stride: int, kernel: int, width: int, dilations: tuple[int, ...]) -> StageConfig:
    return StageConfig(stride=stride, kernel=kernel, width=width, residual_width=width, dilations=dilations)


def mini_song_codec() -> CodecTrainingConfig:
    """Two levels at 22.05 kHz that hear mel bands and write magnitudes.

    The finer one has 86 vectors a second of four codes each, 3.8 kbit/s. The coarser one, 43 codes a second and 0.47
    kbit/s, is to tell what is sung. So few codes keep no phases: the waveform is not compared.
    """
    bands = ((2048, 160), (1024, 80), (512, 40), (256, 20))
    fine = (_stage(128, 512, 256, (1, 3, 9)), _stage(2, 4, 384, (1, 3, 9, 27)))
    top = (_stage(128, 512, 192, (1, 3, 9)), _stage(4, 8, 256, (1, 3, 9) * 2))
    return CodecTrainingConfig(
        codec=CodecConfig(
            sample_rate=22_050,
            levels=(
                LevelConfig(stages=fine, bands=bands, spectrum=SpectrumConfig(), depth=4),
                LevelConfig(stages=top, bands=bands[:3], spectrum=SpectrumConfig()),
            ),
            codebook=CodebookConfig(size=2048, width=64),
            loss=CodecLossConfig(waveform=0.0, spectral=1.0, log_spectral=1.0, mel=1.5, commitment=0.25),
        ),
        training=TrainingConfig(
            steps=3600,
            batch_size=8,
            optimizer=OptimizerConfig(learning_rate=4e-4, warmup_steps=100, decay_share=0.7),
        ),
        chunk_seconds=1.5,
        speech=SpeechConfig(weight=1.0),
        principal_batches=24,
    )


def _training(steps: int, batch_size: int, average_decay: float, validate_every: int) -> TrainingConfig:
    optimizer = OptimizerConfig(
        kind="muon", learning_rate=2e-3, matrix_learning_rate=3e-3, warmup_steps=30, decay_share=0.7
    )
    return TrainingConfig(
        steps=steps,
        batch_size=batch_size,
        average_decay=average_decay,
        validate_every=validate_every,
        save_every=50,
        optimizer=optimizer,
    )


def mini_top() -> PriorTrainingConfig:
    """Sees 12 seconds of music at 43 codes a second; for codes encoded with four variations."""
    return PriorTrainingConfig(
        context_frames=512,
        validation_windows=32,
        artist_balance=0.3,
        transformer=TransformerConfig(width=256, num_heads=4, patterns=("full",) * 6, dropout=0.05),
        training=_training(steps=1800, batch_size=8, average_decay=0.995, validate_every=300),
        timing=TimingConfig(num_bins=64, min_total_seconds=5.0, max_total_seconds=600.0),
    )


def mini_song_top() -> PriorTrainingConfig:
    """Sees 24 seconds of music, the 384 letters of its words that are sung around them, and which is sung when.

    For codes encoded with four variations. The times of words are told, so no head has to find them by attention.
    """
    encoder = TransformerConfig(width=192, num_heads=3, patterns=("full",) * 3, positions="learned", dropout=0.05)
    return PriorTrainingConfig(
        context_frames=1024,
        validation_windows=32,
        labels_every_frame=True,
        artist_balance=0.1,
        condition_dropout=0.1,
        transformer=TransformerConfig(
            width=256,
            num_heads=4,
            patterns=("full", "full", "lyrics", "full", "full", "lyrics", "full"),
            dropout=0.05,
        ),
        training=_training(steps=7000, batch_size=4, average_decay=0.995, validate_every=700),
        timing=TimingConfig(num_bins=64, min_total_seconds=5.0, max_total_seconds=600.0),
        lyrics=LyricsTrainingConfig(
            num_characters=384, encoder=encoder, attention_weight=0.0, paced=True, dropout=0.05, pace_dropout=0.05
        ),
    )


def mini_song_upsampler() -> PriorTrainingConfig:
    """Sees 6 seconds at 86 vectors of four codes a second, and the top codes under them, and fills them in passes."""
    return PriorTrainingConfig(
        context_frames=2048,
        validation_windows=32,
        artist_balance=0.4,
        transformer=TransformerConfig(width=256, num_heads=4, patterns=("all",) * 7),
        training=_training(steps=2400, batch_size=8, average_decay=0.995, validate_every=400),
        conditioner=ConditionerConfig(width=256, strides=(2,), dilations=(1, 3, 9, 27)),
    )


def mini_upsampler() -> PriorTrainingConfig:
    """Sees 1.5 seconds at 345 codes a second, and the top codes under them, and fills them in a few passes.

    It begins with what `mini_sequential_upsampler` learned, and learns from it (`--teacher`).
    """
    stack = TransformerConfig(width=256, num_heads=4, patterns=("all",) * 5)
    return _upsampler(stack, _training(steps=600, batch_size=12, average_decay=0.99, validate_every=200))


def mini_sequential_upsampler() -> PriorTrainingConfig:
    """The same, but draws one code after another."""
    stack = TransformerConfig(width=256, num_heads=4, patterns=("full",) * 5)
    return _upsampler(stack, _training(steps=420, batch_size=12, average_decay=0.99, validate_every=200))


def _upsampler(transformer: TransformerConfig, training: TrainingConfig) -> PriorTrainingConfig:
    return PriorTrainingConfig(
        context_frames=512,
        validation_windows=32,
        transformer=transformer,
        training=training,
        conditioner=ConditionerConfig(width=256, strides=(2, 4), dilations=(1, 3, 9)),
    )
