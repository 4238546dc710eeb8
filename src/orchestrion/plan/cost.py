"""Weights, arithmetic and memory of codecs and priors, counted from their settings."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from orchestrion.config.codec import CodecConfig, LevelConfig
from orchestrion.config.prior import (
    SUNG_AROUND,
    SUNG_WIDTH,
    ConditionerConfig,
    LyricsConfig,
    Pattern,
    PriorConfig,
    TransformerConfig,
    sliding_piece,
)


class Saved(NamedTuple):
    """What a forward pass keeps for the backward one: numbers in the working precision, numbers in float32, bytes."""

    working: int = 0
    single: int = 0
    raw_bytes: int = 0

    def plus(self, *others: "Saved") -> "Saved":
        return Saved(*(sum(parts) for parts in zip(self, *others, strict=True)))

    def times(self, factor: int) -> "Saved":
        return Saved(*(factor * part for part in self))

    def num_bytes(self, working_bytes: int) -> int:
        return working_bytes * self.working + 4 * self.single + self.raw_bytes


@dataclass(frozen=True)
class Cost:
    """One training's model, and what an item of a batch takes.

    Of its `parameters`, `learned` have a gradient. `matrices` are (rows, columns) of the weights that Muon may train,
    `cast` weights that are copied to the working precision. `block` is the largest part of the model that is used at
    once where it is sharded, in weights. FLOPs count a multiplication and an addition as two. `shared` is kept once a
    batch, `recomputed` is what is left of `saved` when blocks are computed again in the backward pass, `block_saved`
    what one block then takes. `refused` are the settings of `TrainingConfig` that this training cannot have another
    value of.
    """

    parameters: int
    learned: int
    buffers: int
    matrices: tuple[tuple[int, int], ...]
    cast: int
    block: int
    forward_flops: int
    backward_flops: int
    saved: Saved
    shared: Saved
    recomputed: Saved
    block_saved: Saved
    block_flops: int
    tokens: int
    refused: frozenset[str] = frozenset()


class _Part(NamedTuple):
    """A part of a model at one item: weights, those cast to the working precision, FLOPs forward and backward."""

    weights: int = 0
    cast: int = 0
    forward: int = 0
    backward: int = 0
    saved: Saved = Saved()
    shared: Saved = Saved()
    matrices: tuple[tuple[int, int], ...] = ()

    def plus(self, *others: "_Part") -> "_Part":
        parts = (self, *others)
        return _Part(
            sum(part.weights for part in parts),
            sum(part.cast for part in parts),
            sum(part.forward for part in parts),
            sum(part.backward for part in parts),
            Saved().plus(*(part.saved for part in parts)),
            Saved().plus(*(part.shared for part in parts)),
            tuple(matrix for part in parts for matrix in part.matrices),
        )


def prior_cost(config: PriorConfig, *, following: bool = False) -> Cost:
    """Of a prior; a masked one with all of a window hidden, its dearest case.

    With `following` attention is drawn to the words that are sung, and kept for that in one layer.
    """
    stack, width, frames = config.transformer, config.transformer.width, config.context_frames
    memory = config.lyrics.num_characters if config.lyrics and config.lyrics.encoder else 0
    blocks = [_block(stack, pattern, config.context_tokens, memory, width) for pattern in stack.patterns]
    if following and config.aligned_layers:
        layer = config.aligned_layers[-1]
        blocks[layer] = blocks[layer].plus(_watched(stack, stack.patterns[layer], config.context_tokens, memory, width))
    num_tokens, depth = config.first_code + config.codebook_size, config.depth
    parts = [*blocks, _ends(stack, num_tokens, config.context_tokens, tied=config.tied_output)]
    if config.labels:
        parts.append(_Part(weights=(config.labels.num_artists + config.labels.num_genres) * width))
    else:
        parts.append(_Part(weights=width))
    further = [_further_code(stack, num_tokens, config.context_tokens) for _ in range(depth - 1)]
    parts += further
    if config.masked:
        parts.append(_Part(weights=width))
    if config.timing:
        parts.append(_Part(weights=3 * config.timing.num_bins * width, saved=Saved(raw_bytes=16 * frames)))
    if config.conditioner:
        parts.append(_conditioner(config.conditioner, config.codebook_size, width, frames // depth))
    encoder_blocks: list[_Part] = []
    if config.lyrics and config.lyrics.encoder:
        encoder, characters, alphabet = config.lyrics.encoder, config.lyrics.num_characters, config.lyrics.alphabet_size
        encoder_blocks = [_block(encoder, pattern, characters, 0, 0) for pattern in encoder.patterns]
        parts += [*encoder_blocks, _encoder_ends(encoder, alphabet, characters, width)]
    if config.lyrics and config.paced:
        parts.append(_sung(config.lyrics, width, frames))
    whole = _Part().plus(*parts)
    blocks += encoder_blocks
    largest = max(blocks, key=lambda block: block.weights)
    kept = [
        Saved(working=(stack if i < stack.num_layers else encoder).width * length)
        for i, length in enumerate([config.context_tokens] * stack.num_layers + [memory] * len(encoder_blocks))
    ]
    in_blocks = Saved().plus(*(block.saved for block in blocks))
    return Cost(
        parameters=whole.weights,
        learned=whole.weights,
        buffers=0,
        matrices=tuple(matrix for part in (*blocks, *further) for matrix in part.matrices),
        cast=whole.cast,
        block=largest.weights,
        forward_flops=whole.forward,
        backward_flops=whole.backward,
        saved=whole.saved,
        shared=whole.shared,
        recomputed=whole.saved.plus(in_blocks.times(-1), *kept),
        block_saved=largest.saved,
        block_flops=sum(block.forward for block in blocks),
        tokens=frames,
    )


def _linear(inner: int, outer: int, rows: int, *, bias: bool, matrix: bool = True) -> _Part:
    flops = 2 * rows * inner * outer
    return _Part(
        inner * outer + bias * outer,
        inner * outer + bias * outer,
        flops,
        2 * flops,
        matrices=((outer, inner),) if matrix else (),
    )


def _block(stack: TransformerConfig, pattern: Pattern, tokens: int, memory: int, memory_width: int) -> _Part:
    """One block of attention and MLP over `tokens`, and over `memory` characters where it reads lyrics."""
    width, inner, hidden, bias = stack.width, stack.attention_width, stack.mlp_width, stack.biases
    norm_weights = 4 * width if stack.norm == "layer" else 0
    # What the norms keep: their result, and either the input with mean and deviation or one number.
    norms = Saved(4 * width, 4) if stack.norm == "layer" else Saved(2 * width + 2)
    bent = (2 if stack.activation == "squared_relu" else 3) * hidden
    per_token = norms.plus(Saved(bent), Saved(single=stack.num_heads))
    part = _Part(weights=norm_weights, saved=per_token.times(tokens)).plus(
        _linear(width, inner if pattern == "lyrics" else 3 * inner, tokens, bias=bias),
        _linear(inner, width, tokens, bias=bias),
        _linear(width, hidden, tokens, bias=bias),
        _linear(hidden, width, tokens, bias=bias),
        _attention(stack, pattern, tokens, memory),
    )
    return part.plus(_linear(memory_width, 2 * inner, memory, bias=bias)) if pattern == "lyrics" else part


def _attention(stack: TransformerConfig, pattern: Pattern, tokens: int, memory: int) -> _Part:
    """Products of queries with keys and of shares with values, as they are computed: whole rectangles."""
    inner, rows = stack.attention_width, stack.num_rows
    row, kept = tokens // rows, min(stack.prefix_tokens, tokens)
    spread = 1 if pattern == "summary" else stack.spread
    ends = spread * (rows + 1)
    piece, slid = sliding_piece(row), tokens - row
    pairs = {
        "full": tokens * tokens,
        "sliding": row * row + slid * (row + piece),
        "all": tokens * tokens,
        "row": tokens * row,
        "previous_row": tokens * row,
        "column": tokens * rows,
        "prefix": tokens * kept,
        "summary": tokens * ends,
        "summary_spread": tokens * ends,
        "lyrics": tokens * memory,
    }[pattern]
    normed = (2 * inner + 2 * stack.num_heads) * tokens if stack.normalize_queries else 0
    turned = 2 * inner * tokens if stack.positions == "rotary" else 0
    shared = Saved()
    match pattern:
        case "full" | "all":
            saved = 4 * inner * tokens + normed + turned
        case "sliding":
            copied = inner * slid * (2 * (row // piece + 1) + 1) + inner * tokens if slid else 0
            saved = 4 * inner * tokens + normed + turned + copied
            shared = Saved(piece * (row + piece) if slid else 0)
        case "prefix":
            saved = (4 * inner + (inner if kept < tokens else 0)) * tokens + normed + turned
        case "row" | "previous_row":
            saved = 4 * inner * tokens + normed
        case "column":
            saved = 5 * inner * tokens + normed
        case "summary" | "summary_spread":
            queries = 0 if normed and not turned else (2 if turned else 3) * inner * tokens
            saved = queries + inner * tokens + normed + 2 * ends * inner
            shared = Saved(tokens * ends)
        case "lyrics":
            normed = (tokens * stack.num_heads + memory * (inner + stack.num_heads)) if stack.normalize_queries else 0
            saved = 2 * inner * tokens + 2 * inner * memory + normed
    return _Part(forward=4 * pairs * inner, backward=8 * pairs * inner, saved=Saved(saved), shared=shared)


def _watched(stack: TransformerConfig, pattern: Pattern, tokens: int, memory: int, memory_width: int) -> _Part:
    """Shares of attention that are worked out once more, so that a loss can see them."""
    inner, heads = stack.attention_width, stack.num_heads
    reads, keys = pattern == "lyrics", memory if pattern == "lyrics" else tokens
    normed = (inner + heads) * (tokens + keys) if stack.normalize_queries else 0
    shares, mask = Saved(inner * (tokens + keys) + normed + heads * tokens * keys), Saved(raw_bytes=tokens * keys)
    products = 2 * tokens * keys * inner
    part = _Part(forward=products, backward=2 * products, saved=shares, shared=mask).plus(
        _linear(stack.width, inner if reads else 3 * inner, tokens, bias=False, matrix=False),
        _linear(memory_width, 2 * inner, memory if reads else 0, bias=False, matrix=False),
    )
    return part._replace(weights=0, cast=0)


def _ends(stack: TransformerConfig, num_tokens: int, context: int, *, tied: bool) -> _Part:
    """The table of tokens, learned positions, the last norm, and the scores with their logarithms."""
    width = stack.width
    weights = num_tokens * width
    if stack.positions == "learned":
        weights += context * width
    if stack.final_norm and stack.norm == "layer":
        weights += 2 * width
    last = Saved(width) if not stack.final_norm else Saved(2 * width, 2) if stack.norm == "layer" else Saved(width + 1)
    saved = last.plus(Saved(single=num_tokens, raw_bytes=16)).times(context)
    scores = _linear(width, num_tokens, context, bias=False, matrix=False)
    return _Part(weights=weights, saved=saved).plus(scores._replace(weights=0) if tied else scores)


def _further_code(stack: TransformerConfig, num_tokens: int, tokens: int) -> _Part:
    """What a code of a vector takes that is not its first: a table, a layer and scores."""
    width, hidden, bias = stack.width, stack.mlp_width, stack.biases
    bent = (2 if stack.activation == "squared_relu" else 3) * hidden
    saved = Saved(4 * width + 2 + bent, single=num_tokens, raw_bytes=16)
    return _Part(weights=num_tokens * width, saved=saved.times(tokens)).plus(
        _linear(width, width, tokens, bias=False),
        _linear(width, hidden, tokens, bias=bias),
        _linear(hidden, width, tokens, bias=bias),
        _linear(width, num_tokens, tokens, bias=False, matrix=False),
    )


def _encoder_ends(stack: TransformerConfig, alphabet: int, characters: int, width: int) -> _Part:
    """What the lyrics' encoder has besides its blocks; it predicts the lyrics too."""
    inside = stack.width
    weights = alphabet * inside + inside + 2 * width
    if stack.positions == "learned":
        weights += characters * inside
    if stack.final_norm and stack.norm == "layer":
        weights += 2 * inside
    last = (
        Saved(inside) if not stack.final_norm else Saved(2 * inside, 2) if stack.norm == "layer" else Saved(inside + 1)
    )
    saved = last.plus(Saved(2 * width, 2 + alphabet, 16)).times(characters)
    return _Part(weights=weights, saved=saved).plus(
        _linear(inside, width, characters, bias=True, matrix=False),
        _linear(width, alphabet, characters, bias=False, matrix=False),
    )


def _sung(config: LyricsConfig, width: int, frames: int) -> _Part:
    """What is sung at each frame: a convolution over the characters, and one of its vectors for each frame."""
    characters = config.num_characters
    table = _Part(weights=config.alphabet_size * SUNG_WIDTH + width, saved=Saved(SUNG_WIDTH * characters))
    chosen = _Part(saved=Saved(raw_bytes=(8 * width + 2) * frames))
    return table.plus(_conv(SUNG_WIDTH, width, SUNG_AROUND, characters), chosen)


def _conv(inner: int, outer: int, kernel: int, frames: int, *, bias: bool = True, input_gradient: bool = True) -> _Part:
    """A convolution that gives `frames`, or a transposed one that takes them; it keeps nothing but what it is given."""
    flops, weights = 2 * frames * inner * outer * kernel, inner * outer * kernel + bias * outer
    return _Part(weights, weights, flops, flops * (1 + input_gradient))


def _residual(width: int, inner: int, dilations: Iterable[int], frames: int, *, periodic: bool = False) -> _Part:
    bent = (width + inner) * frames
    # A relu keeps what it gives; a snake also what it is given, and on the way three numbers in float32.
    bending = _Part(weights=width + inner, saved=Saved(2 * bent, 3 * bent)) if periodic else _Part(saved=Saved(bent))
    parts = [_conv(width, inner, 3, frames).plus(_conv(inner, width, 1, frames), bending) for _ in dilations]
    return _Part().plus(*parts)


def _conditioner(config: ConditionerConfig, codes: int, width: int, frames: int) -> _Part:
    inside, above = config.width, frames // config.ratio
    part = _Part(weights=codes * width + 2 * width, saved=Saved(width * above, raw_bytes=8 * above))
    part = part.plus(_conv(width, inside, 3, above))
    for stage, stride in enumerate(config.strides):
        out = width if stage == len(config.strides) - 1 else inside
        part = part.plus(
            _residual(inside, inside, config.dilations, above),
            _conv(inside, out, max(3, 2 * stride), above),
            _Part(saved=Saved(inside * above)),
        )
        above *= stride
    return part.plus(_Part(saved=Saved(width, 2).times(frames)))


def codec_cost(
    config: CodecConfig, chunk_samples: int, *, learning: Collection[int] | None = None, decoders_only: bool = False
) -> Cost:
    """Of a codec that hears chunks of `chunk_samples`; Fourier transforms count in the memory, not in the FLOPs.

    All levels learn, or those that are `learning`, or their decoders alone.
    """
    sound = Saved(single=chunk_samples * config.channels)
    learning = range(len(config.levels)) if learning is None else learning
    learned, parts = 0, [_Part(saved=sound)]
    for number, level in enumerate(config.levels):
        choosing = _choosing(config, level, chunk_samples)
        making = _making(config, level, chunk_samples, input_gradient=not decoders_only)
        if number not in learning:
            parts.append(_Part(weights=choosing.weights + making.weights))
            continue
        if decoders_only:
            choosing = _Part(weights=choosing.weights, forward=choosing.forward)
        learned += making.weights + (0 if decoders_only else choosing.weights)
        compared = _magnitudes(config, level, chunk_samples) if level.spectrum else _spectra(config, chunk_samples)
        parts += [choosing, making, compared]
    whole = _Part().plus(*parts)
    book = config.codebook
    buffers = {
        "nearest": book.size * (2 * book.width + 1) + 1,
        "mapped": book.size * book.width + 1,
        "scalars": 1,
    }[book.kind] * sum(level.depth for level in config.levels)
    return Cost(
        parameters=whole.weights,
        learned=learned,
        buffers=buffers,
        matrices=(),
        cast=whole.cast,
        block=whole.weights,
        forward_flops=whole.forward,
        backward_flops=whole.backward,
        saved=whole.saved,
        shared=Saved(),
        recomputed=whole.saved,
        block_saved=Saved(),
        block_flops=0,
        tokens=sum(chunk_samples // config.levels[level].hop_length for level in learning),
    )


def _choosing(config: CodecConfig, level: LevelConfig, samples: int) -> _Part:
    """Encoder and codebook of a level."""
    between, channels, periodic = config.codebook.width, config.channels, config.activation == "snake"
    stages, parts, incoming, frames = level.stages, [], channels, samples
    for index, stage in enumerate(stages):
        kept = Saved(incoming * frames)  # what the convolution is given
        frames //= stage.stride
        last = index == len(stages) - 1
        if index == 0 and level.bands:
            bands = channels * sum(number for _, number in level.bands)
            parts += [_conv(bands, stage.width, 3, frames, input_gradient=False), _Part(saved=Saved(bands * frames))]
        else:
            parts += [
                _conv(incoming, stage.width, stage.kernel, frames, input_gradient=index > 0),
                _Part(saved=kept),
            ]
        parts.append(_residual(stage.width, stage.residual_width, stage.dilations, frames, periodic=periodic))
        incoming = stage.width
        if stage.project or last:
            parts += [_conv(stage.width, between, 3, frames), _Part(saved=Saved(stage.width * frames))]
            incoming = between
    return _Part().plus(*parts, _quantizer(config, level.depth, frames))


def _making(config: CodecConfig, level: LevelConfig, samples: int, *, input_gradient: bool) -> _Part:
    """Decoder of a level."""
    between, channels, periodic = config.codebook.width, config.channels, config.activation == "snake"
    stages, parts, frames = level.stages, [], samples // level.vector_length
    for index in reversed(range(len(stages))):
        stage, first = stages[index], index == len(stages) - 1
        if stage.project or first:
            entering = _conv(between, stage.width, 3, frames, input_gradient=input_gradient or not first)
            parts += [entering, _Part(saved=Saved(between * frames))]
        writes = index == 0 and not config.final_convolution
        joined = index > 0 and not stages[index - 1].project
        out = stages[index - 1].width if joined else channels if writes else between
        spectrum = level.spectrum if index == 0 else None
        parts += [
            _residual(stage.width, stage.residual_width, stage.dilations, frames, periodic=periodic),
            _conv(stage.width, channels * (spectrum.window // 2 + 1), 3, frames)
            if spectrum
            else _conv(stage.width, out, stage.kernel, frames, bias=not writes),
            _Part(saved=Saved(stage.width * frames)),
        ]
        frames *= stage.stride
    if config.final_convolution:
        parts += [_conv(between, channels, 3, frames), _Part(saved=Saved(between * frames))]
    return _Part().plus(*parts)


def _quantizer(config: CodecConfig, depth: int, frames: int) -> _Part:
    """The search for the nearest entry has no gradient; the error of the choice has."""
    book = config.codebook
    search = _Part(forward=2 * depth * frames * book.size * book.width, saved=Saved(single=book.width * frames))
    if book.kind == "nearest":
        return search
    if book.kind == "mapped":
        return search.plus(_Part(weights=book.width * (book.width + 1)))
    numbers = len(book.scalar_values)
    return _Part(weights=2 * numbers * book.width + numbers + book.width)


def _spectra(config: CodecConfig, samples: int) -> _Part:
    """The restored sound, its error, and its spectra on the way to the loss, in float32."""
    loss, numbers, mixed = config.loss, 2 * samples * config.channels, 0
    if loss.spectral or loss.log_spectral:
        for n_fft, hop, _ in loss.spectral_sizes:
            frames, bins = samples // hop + 1, n_fft // 2 + 1
            numbers += config.channels * frames * (n_fft + bins * (6 if loss.log_spectral else 4))
    if loss.mel:
        for window, bands in loss.mel_sizes:
            frames, bins = samples // (window // 4) + 1, window // 2 + 1
            numbers += config.channels * frames * (window + 3 * bins + 2 * bands)
            mixed += 2 * config.channels * frames * bins * bands
    return _Part(forward=2 * mixed, backward=mixed, saved=Saved(single=numbers))


def _magnitudes(config: CodecConfig, level: LevelConfig, samples: int) -> _Part:
    """Magnitudes that the decoder writes, and their differences on the way to the loss, in float32."""
    assert level.spectrum is not None
    frames, bins = config.channels * samples // level.stages[0].stride, level.spectrum.window // 2 + 1
    bands = sum(num_bands for _, num_bands in config.loss.mel_sizes)
    mixed = 2 * frames * bins * bands
    return _Part(forward=2 * mixed, backward=mixed, saved=Saved(single=frames * (5 * bins + 2 * bands)))
