"""Settings of training: how long, how fast, what is written on the way."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrion.config.base import Settings, plain, read_settings
from orchestrion.config.codec import CodecConfig, Window
from orchestrion.config.prior import (
    ConditionerConfig,
    LabelConfig,
    LyricsConfig,
    PriorConfig,
    TimingConfig,
    TransformerConfig,
)

_Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Settings):
    """Optimizer and schedule.

    `muon` trains the matrices inside the blocks by Muon (Jordan et al. 2024) at `matrix_learning_rate` and all
    the rest by AdamW at `learning_rate`. The rate climbs linearly for `warmup_steps`, stays, and over the last
    `decay_share` of the steps falls to zero as the square root of what is left.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(default=8e-4, gt=0)
    matrix_learning_rate: float = Field(default=3e-3, gt=0)
    betas: tuple[_Beta, _Beta] = (0.9, 0.99)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_steps: int = Field(default=100, ge=0)
    decay_share: float = Field(default=1.0, ge=0, le=1)
    clip_norm: float = Field(default=1.0, gt=0)


HOW_SHARED = ("parallel", "accumulate", "recompute", "compile_blocks", "save_behind")
"""Settings of a training that change how it is computed, not what is learned."""

WHEN_LOOKED_AT = ("log_every", "validate_every", "save_every")
"""Those that change what is written meanwhile, and nothing that is learned."""


class TrainingConfig(Settings):
    """One run of the training loop."""

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    seed: int = 0
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """"auto" takes bfloat16 where the machine multiplies matrices faster in it."""
    average_decay: float = Field(default=0.999, ge=0, lt=1)
    """Of the averaged weights, which are the ones that are validated and kept."""
    log_every: int = Field(default=10, ge=1)
    validate_every: int = Field(default=250, ge=1)
    save_every: int = Field(default=250, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig()
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How several devices share the work: each has the whole model, or a part of every weight."""
    accumulate: int = Field(default=1, ge=1)
    """In so many parts, one after another, each device takes its items of a batch."""
    recompute: bool = False
    """Keep only what goes into each block of a prior and compute the rest again for the gradient."""
    compile_blocks: bool = False
    """Give each block of a prior to `torch.compile`: slow at first, the same numbers but for rounding."""
    save_behind: bool = False
    """Write checkpoints while the training goes on: takes the memory of one more copy of all that is kept."""


class AdversarialConfig(Settings):
    """The second phase of a codec's training: each level against a discriminator.

    The discriminator sees complex spectra with `windows` samples, or the magnitudes where the level writes these,
    through convolutions `width` wide. On what the decoder writes, its gradient is made `weight` times as long as that
    of the reconstruction; `features` weighs the distance of its features beside its judgement. `optimizer` is the
    discriminator's, and counts its steps from the phase's first.
    """

    start_share: float = Field(default=0.5, ge=0, lt=1)
    """The share of all steps after which the phase begins."""
    weight: float = Field(default=0.3, gt=0)
    ramp_steps: int = Field(default=200, ge=0)
    """Over so many steps from its first on the weight grows to what it is: a discriminator that has learned nothing yet
    pushes nowhere in particular."""
    features: float = Field(default=2.0, ge=0)
    loss: Literal["hinge", "least_squares"] = "hinge"
    windows: tuple[Window, ...] = Field(default=(1024, 512, 256), min_length=1)
    width: int = Field(default=16, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=5e-4, betas=(0.8, 0.99), warmup_steps=20, decay_share=0.0, clip_norm=10.0
    )


class ComposedConfig(Settings):
    """What decoders hear beside the codes of music itself: codes that a model's priors compose to those of the level
    above, as in the first window of a song. The music is what is to be made of both.

    (As vocoders learn on from what an acoustic model predicts: Kong et al. 2020, arXiv 2010.05646, section 4.4.)
    """

    share: float = Field(default=0.5, gt=0, le=1)
    """The share of all clips that is heard so."""

    def hears(self, clip: int) -> bool:
        """Whether this clip of a training, all of whose clips are counted, is one of them: they are evenly spread."""
        return int((clip + 1) * self.share) > int(clip * self.share)


class SpeechConfig(Settings):
    """What keeps the words of singing in the codes of the top level: they are to tell which speech sound is sung.

    A convolution over `kernel` frames of what was quantized, which is thrown away afterwards, says so where the sounds
    of a track have times; `weight` weighs its cross-entropy. (Zhang et al. 2023, arXiv 2308.16692, let codes tell what
    another model hears.)
    """

    weight: float = Field(default=0.3, gt=0)
    kernel: int = Field(default=3, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=2e-3, warmup_steps=20)


class CodecTrainingConfig(Settings):
    """All that decides a codec's training, but for the music."""

    codec: CodecConfig
    training: TrainingConfig
    chunk_seconds: float = Field(default=1.5, gt=0)
    artist_balance: float = Field(default=0.5, ge=0, le=1)
    """0 draws artists in proportion to their music, 1 all alike."""
    validation_clips: int = Field(default=10, ge=1)
    validation_seconds: float = Field(default=5.0, gt=0)
    adversarial: AdversarialConfig | None = None
    composed: ComposedConfig | None = None
    speech: SpeechConfig | None = None
    levels: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Which levels learn, where not all do: the others stay as they are in the codec that this begins with."""
    decoders_only: bool = False
    """Let these levels' decoders alone learn: the codes of music stay what they are, and priors that know them fit."""
    principal_batches: int = Field(default=0, ge=0)
    """Begin levels that hear bands and write magnitudes, and have nothing to begin with, as principal components of so
    many batches (`codec.principal`)."""

    @property
    def learning(self) -> tuple[int, ...]:
        """The levels that learn, from the finest on."""
        return tuple(sorted(set(self.levels))) or tuple(range(len(self.codec.levels)))

    @property
    def writing_magnitudes(self) -> frozenset[int]:
        """Those of `learning` whose decoders write magnitudes."""
        return frozenset(level for level in self.learning if self.codec.levels[level].spectrum)

    @property
    def windows_heard(self) -> tuple[Window, ...]:
        """The windows, in samples, that discriminators hear sound with."""
        if self.adversarial is None or self.writing_magnitudes == set(self.learning):
            return ()
        return self.adversarial.windows

    @property
    def refused(self) -> frozenset[str]:
        """Which of `HOW_SHARED` must stay as they are by default."""
        return frozenset(self._reasons)

    @property
    def _reasons(self) -> dict[str, str]:
        found = {}
        if self.adversarial or self.speech:
            found["accumulate"] = "adversarial and speech see whole batches: set training.accumulate to 1"
        if self.principal_batches:
            found["parallel"] = "principal_batches sets weights that are not sharded: set training.parallel to 'ddp'"
        elif self.codec.codebook.kind != "nearest":
            found["parallel"] = "codebooks that are learned by gradient are not sharded: set training.parallel to 'ddp'"
        return found

    @model_validator(mode="after")
    def _parts_fit(self) -> "CodecTrainingConfig":
        for name, why in self._reasons.items():
            if getattr(self.training, name) != TrainingConfig.model_fields[name].default:
                raise ValueError(why)
        if max(self.levels, default=0) >= len(self.codec.levels):
            raise ValueError(f"levels are 0 to {len(self.codec.levels) - 1}")
        fit = all(level.bands and level.spectrum for level in (self.codec.levels[at] for at in self.learning))
        projects = any(stage.project for at in self.learning for stage in self.codec.levels[at].stages)
        if self.principal_batches and (not fit or projects or self.decoders_only or self.codec.final_convolution):
            raise ValueError("principal_batches is for levels with bands and a spectrum, all of which learns")
        if self.composed and (not self.decoders_only or len(self.codec.levels) - 1 in self.learning):
            raise ValueError("composed is for decoders below the top level: set decoders_only, and levels without it")
        if self.speech and len(self.codec.levels) - 1 not in self.learning:
            raise ValueError("speech is for the top level, which does not learn")
        if self.speech and self.decoders_only:
            raise ValueError("speech is for an encoder, and none learns where decoders_only is set")
        if self.speech and self.codec.levels[-1].depth > 1:
            raise ValueError("speech is for a top level of one code a vector: put a coarser level above this one")
        if self.speech and self.speech.kernel % 2 == 0:
            raise ValueError("speech.kernel must be odd")
        return self


class LyricsTrainingConfig(Settings):
    """How a prior learns to follow lyrics: `num_characters` of them are seen beside a window of music.

    An `encoder` reads them for layers with the pattern "lyrics"; without one they stand ahead of the codes in one
    sequence.
    """

    num_characters: int = Field(ge=1)
    encoder: TransformerConfig | None = None
    loss_weight: float = Field(default=0.1, ge=0)
    """Weight of a character's loss where a code's is 1."""
    paced: bool = False
    """Tell at each frame which character is sung there, where its times are known (`LyricsConfig.paced`)."""
    pace_dropout: float = Field(default=0.15, ge=0, le=1)
    """Chance that a window is not told so."""
    dropout: float = Field(default=0.15, ge=0, le=1)
    """Chance that a window is told no lyrics."""
    jitter: float = Field(default=0.25, ge=0, le=0.5)
    """Up to this share of `num_characters` what is seen of long lyrics is moved to and fro: a song that is composed
    sees them where they would be if all were sung evenly, which they are not."""
    attention_weight: float = Field(default=0.1, ge=0)
    """Weight of the loss that draws the attention of one head, the first of the last layer that attends to lyrics, to
    the word that is sung, where its times are known; a code's is 1."""

    def spelled(self, alphabet_size: int) -> LyricsConfig:
        """What a prior is made of that learns so, with lyrics of so many different ids."""
        return LyricsConfig(
            alphabet_size=alphabet_size,
            num_characters=self.num_characters,
            encoder=self.encoder,
            loss_weight=self.loss_weight,
            paced=self.paced,
        )


class PriorTrainingConfig(Settings):
    """All that decides the training of one level's prior, but for the codes.

    A level below the top needs a `conditioner`, whose strides multiply to the frames under one of the level above.
    """

    context_frames: int = Field(ge=1)
    transformer: TransformerConfig
    training: TrainingConfig
    use_labels: bool = True
    labels_every_frame: bool = False
    """Add artist and genres to every frame (`LabelConfig.every_frame`)."""
    timing: TimingConfig | None = None
    conditioner: ConditionerConfig | None = None
    lyrics: LyricsTrainingConfig | None = None
    label_dropout: float = Field(default=0.15, ge=0, le=1)
    """Chance that the artist is unknown, and apart from that the chance that the genres are."""
    condition_dropout: float = Field(default=0.0, ge=0, le=1)
    """Chance that artist and genres are unknown and no lyrics told, all together: what guidance compares with."""
    noise_above: float = Field(default=0.0, ge=0, le=1)
    """Most of the codes of the level above that are random ones: each window has its own share, evenly from 0 to this.
    An upsampler so learns to make do with codes that were composed (conditioning augmentation, Ho et al. 2021, arXiv
    2106.15282)."""
    artist_balance: float = Field(default=0.5, ge=0, le=1)
    codebook_embedding: bool = True
    """Begin with embeddings in which codes are as close as their entries in the codec's codebook."""
    validation_windows: int = Field(default=64, ge=1)
    teacher_share: float = Field(default=0.5, ge=0, le=1)
    """How much of what a masked prior is to predict is what its teacher expects, where it has one."""

    def prior(self, labels: LabelConfig, alphabet_size: int, source: str, **of_codes: int) -> PriorConfig:
        """The prior that learns; `of_codes` are the other settings of `PriorConfig`: rate, hop, codebook and depth.

        UserError, which calls these settings `source`, where its parts do not fit.
        """
        parts: dict[str, Settings | None] = {
            "transformer": self.transformer,
            "labels": labels if self.use_labels else None,
            "timing": self.timing,
            "conditioner": self.conditioner,
            "lyrics": self.lyrics.spelled(alphabet_size) if self.lyrics else None,
        }
        given = {name: plain(part) for name, part in parts.items() if part is not None}
        return read_settings(PriorConfig, {**of_codes, "context_frames": self.context_frames, **given}, source)


class ModelTrainingConfig(Settings):
    """The trainings that make a whole model: its codec, and its priors from the finest level to the top."""

    codec: CodecTrainingConfig
    priors: tuple[PriorTrainingConfig, ...]

    @model_validator(mode="after")
    def _a_prior_for_each_level(self) -> "ModelTrainingConfig":
        levels = len(self.codec.codec.levels)
        if len(self.priors) != levels:
            raise ValueError(f"the codec has {levels} levels and there are priors for {len(self.priors)}")
        return self


class AdapterConfig(Settings):
    """A low-rank update of each matrix of a prior: `alpha / rank · up @ down` (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


class FinetuneConfig(Settings):
    """All that decides how a trained model goes on learning, but for the model and the music.

    With an `adapter` only that is learned and the rows of new names; without one, all weights of its priors.
    """

    training: TrainingConfig
    adapter: AdapterConfig | None = AdapterConfig()
    first_embedding: Literal["nearest", "mean"] = "nearest"
    """Where the row of a new name begins: at that of the known name under which the prior finds the new music the least
    surprising, or at the mean of all known names."""
    variations: int = Field(default=4, ge=0)
    """How often training tracks are encoded besides at other speeds, at the top level."""
    label_dropout: float = Field(default=0.1, ge=0, le=1)
    condition_dropout: float = Field(default=0.1, ge=0, le=1)
    """How often a window is told nothing at all, which guidance moves away from."""
    artist_balance: float = Field(default=0.5, ge=0, le=1)
    validation_windows: int = Field(default=64, ge=1)
    window_frames: int = Field(default=1024, ge=1)
    """Most frames of a window of music at the top level, where the prior sees more at once: windows cost what they
    last, and what it makes of what is farther apart stays as it was learned."""
