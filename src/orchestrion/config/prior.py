"""Settings of a prior: what it reads, what it is told, and the transformer in between."""

from typing import Literal

from pydantic import Field, model_validator

from orchestrion.config.base import Settings

Pattern = Literal[
    "full", "sliding", "row", "column", "previous_row", "summary", "summary_spread", "lyrics", "prefix", "all"
]
"""Which tokens a layer attends to; `orchestrion.nn.attention` says what each one sees."""


def sliding_piece(row_length: int) -> int:
    """Tokens that sliding attention works on at once, beside the `row_length` before them: fewer keys go unseen."""
    return row_length // 4 if row_length % 4 == 0 else row_length


class TransformerConfig(Settings):
    """A stack of attention and MLP blocks; the defaults are our own dialect, `presets` has the published one.

    `patterns` has one entry per layer. The factored patterns see the sequence as `num_rows` rows of equal length,
    and "sliding" sees as many tokens as a row has; "summary_spread" keeps the last `spread` tokens of each row,
    "prefix" sees the first `prefix_tokens` tokens, and "lyrics" the encoded lyrics. The widths of attention and MLP
    are given as ratios to `width`.
    """

    width: int = Field(ge=1)
    num_heads: int = Field(ge=1)
    patterns: tuple[Pattern, ...] = Field(min_length=1)
    attention_ratio: float = Field(default=1.0, gt=0)
    mlp_ratio: float = Field(default=4.0, gt=0)
    num_rows: int = Field(default=1, ge=1)
    spread: int = Field(default=1, ge=1)
    prefix_tokens: int = Field(default=0, ge=0)
    positions: Literal["rotary", "learned"] = "rotary"
    rotary_base: float = Field(default=10_000.0, gt=1)
    norm: Literal["rms", "layer"] = "rms"
    """"rms" has no weights; "layer" has weights and biases."""
    final_norm: bool = True
    normalize_queries: bool = True
    """Give queries and keys unit root mean square before they meet."""
    activation: Literal["squared_relu", "quick_gelu"] = "squared_relu"
    biases: bool = False
    residual_scale: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Chance that a channel of a block's output is dropped, for a whole sequence at once, which is cheap."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "TransformerConfig":
        if self.attention_width % self.num_heads:
            raise ValueError(f"attention width {self.attention_width} cannot be shared by {self.num_heads} heads")
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(f"rotary positions need an even head width, not {self.head_width}")
        if "prefix" in self.patterns and not self.prefix_tokens:
            raise ValueError("the pattern 'prefix' needs prefix_tokens")
        if "all" in self.patterns and set(self.patterns) != {"all"}:
            raise ValueError("the pattern 'all' sees what comes later: use it in every layer or in none")
        return self

    @property
    def sees_ahead(self) -> bool:
        """Whether tokens see those after them."""
        return "all" in self.patterns

    @property
    def num_layers(self) -> int:
        return len(self.patterns)

    @property
    def attention_width(self) -> int:
        return int(self.width * self.attention_ratio)

    @property
    def mlp_width(self) -> int:
        return int(self.width * self.mlp_ratio)

    @property
    def head_width(self) -> int:
        return self.attention_width // self.num_heads


class LabelConfig(Settings):
    """How many artists and genres there are, "unknown" (id 0) included."""

    num_artists: int = Field(ge=1)
    num_genres: int = Field(ge=1)
    every_frame: bool = False
    """Add their vector to every frame, and not to the start alone, which frames far from it hardly heed."""


class TimingConfig(Settings):
    """Total length, position and relative position, each cut into `num_bins`.

    What lies outside the range is clamped to it, or else refused (the published way).
    """

    num_bins: int = Field(ge=1)
    min_total_seconds: float = Field(ge=0)
    max_total_seconds: float = Field(gt=0)
    clamp: bool = True

    @model_validator(mode="after")
    def _range_is_one(self) -> "TimingConfig":
        if self.min_total_seconds >= self.max_total_seconds:
            raise ValueError("min_total_seconds must be below max_total_seconds")
        return self


class ConditionerConfig(Settings):
    """From coarser codes up to a vector per frame: a residual stack, then a stride, for each stage."""

    width: int = Field(ge=1)
    strides: tuple[int, ...] = Field(min_length=1)
    dilations: tuple[int, ...]
    scale: float = Field(default=1.0, gt=0)
    """Factor of each residual block's update."""

    @model_validator(mode="after")
    def _strides_are_even(self) -> "ConditionerConfig":
        if any(stride < 1 or (stride % 2 and stride > 1) for stride in self.strides):
            raise ValueError(f"strides {list(self.strides)} must be 1 or even")
        return self

    @property
    def ratio(self) -> int:
        """Frames under one coarser frame."""
        product = 1
        for stride in self.strides:
            product *= stride
        return product


SUNG_AROUND = 9
"""Characters that say how one of them is sung, where a prior is told which: itself, and as many before as after it."""
SUNG_WIDTH = 64
"""Numbers for each of them."""


class LyricsConfig(Settings):
    """Lyrics as `num_characters` ids, read by an `encoder`, or else in one sequence with the codes."""

    alphabet_size: int = Field(ge=1)
    num_characters: int = Field(ge=1)
    encoder: TransformerConfig | None = None
    loss_weight: float = Field(default=0.4, ge=0)
    """Weight of a character's loss where a code's is 1."""
    paced: bool = False
    """Tell at each frame which character is sung there: words are learned from far less music, and are sung when they
    are planned to be (`text.pace`)."""
    alignment_layer: int | None = Field(default=None, ge=0)
    alignment_head: int | None = Field(default=None, ge=0)
    """The layer, from 0, and the head of it whose attention follows the words, where that is known."""


class PriorConfig(Settings):
    """A model of one level's codes; labels, timing, coarser codes and lyrics are told where configured.

    With the pattern "all" it is masked: it fills many frames at once, and has no lyrics. With a `depth` above 1, which
    is that of the codec's level, a token stands for that many codes, those of one vector; such a prior is masked.
    """

    sample_rate: int = Field(ge=1)
    hop_length: int = Field(ge=1)
    codebook_size: int = Field(ge=2)
    context_frames: int = Field(ge=1)
    transformer: TransformerConfig
    labels: LabelConfig | None = None
    timing: TimingConfig | None = None
    conditioner: ConditionerConfig | None = None
    lyrics: LyricsConfig | None = None
    tied_output: bool = False
    """Score codes with the table that embeds them."""
    condition_output: bool = False
    """Add the conditioning per frame once more after the transformer."""
    depth: int = Field(default=1, ge=1)
    """Codes of one vector (`config.codec.LevelConfig`)."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "PriorConfig":
        stack = self.transformer
        if self.context_tokens % stack.num_rows:
            raise ValueError(f"{self.context_tokens} tokens of context cannot be cut into {stack.num_rows} rows")
        ratio = self.conditioner.ratio if self.conditioner else 1
        if self.context_frames % (ratio * self.depth):
            raise ValueError(
                f"context_frames {self.context_frames} must be a multiple of {ratio * self.depth}, "
                "the product of the conditioner's strides and the depth"
            )
        if stack.sees_ahead and self.labels and self.labels.every_frame:
            raise ValueError("with the pattern 'all' labels are added to every frame anyway: leave out every_frame")
        if self.depth > 1 and (not stack.sees_ahead or self.timing or self.tied_output or self.condition_output):
            raise ValueError("a depth above 1 needs the pattern 'all', no timing and an output of its own")
        if self.depth > 1 and self.conditioner is None:
            raise ValueError("a depth above 1 is for a level below another, whose frames its vectors lie under")
        encoder = self.lyrics.encoder if self.lyrics else None
        if self.lyrics and (stack.sees_ahead or (encoder and encoder.sees_ahead)):
            raise ValueError("lyrics cannot be combined with the pattern 'all'")
        if "lyrics" in stack.patterns and encoder is None:
            raise ValueError("the pattern 'lyrics' needs lyrics with an encoder")
        if self.lyrics and encoder:
            if "lyrics" not in stack.patterns:
                raise ValueError("lyrics with an encoder need a layer with the pattern 'lyrics'")
            if {"lyrics", "prefix"} & set(encoder.patterns):
                raise ValueError("the lyrics' encoder cannot attend to lyrics itself")
            if self.lyrics.num_characters % encoder.num_rows:
                raise ValueError(f"{self.lyrics.num_characters} characters cannot be cut into {encoder.num_rows} rows")
        return self

    @property
    def paced(self) -> bool:
        """Whether it is told what is sung at each frame."""
        return self.lyrics is not None and self.lyrics.paced

    @property
    def latest_start(self) -> int | None:
        """The last sample of a piece at which a window may begin that this prior is told of; None: wherever it is."""
        if self.timing is None or self.timing.clamp:
            return None
        return int(self.timing.max_total_seconds * self.sample_rate) - self.context_frames * self.hop_length

    @property
    def masked(self) -> bool:
        """Whether it fills frames in any order, many at once, rather than one after another."""
        return self.transformer.sees_ahead

    @property
    def takes_short_tracks(self) -> bool:
        """Whether it can learn from music that ends within its context: it sees what is before alone.

        Not where lengths are refused that its timing does not know.
        """
        return not self.masked and self.conditioner is None and (self.timing is None or self.timing.clamp)

    @property
    def first_code(self) -> int:
        """The token that stands for code 0: lyrics in the same sequence come before."""
        return self.lyrics.alphabet_size if self.lyrics and not self.lyrics.encoder else 0

    @property
    def aligned_layers(self) -> tuple[int, ...]:
        """The layers, from 0, that attend to lyrics alone or nearly so."""
        reading = "lyrics" if self.lyrics and self.lyrics.encoder else "prefix"
        return tuple(layer for layer, pattern in enumerate(self.transformer.patterns) if pattern == reading)

    @property
    def num_characters(self) -> int | None:
        """Ids of lyrics that it is told, or None."""
        return self.lyrics.num_characters if self.lyrics else None

    @property
    def lyric_tokens(self) -> int:
        """Tokens of lyrics ahead of the codes in one sequence with them."""
        return self.lyrics.num_characters if self.lyrics and not self.lyrics.encoder else 0

    @property
    def context_tokens(self) -> int:
        return self.lyric_tokens + self.context_frames // self.depth
