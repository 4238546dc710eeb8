"""The hierarchical VQ-VAE: every level encodes the waveform by itself."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from orchestrion.codec.codebook import Codebook, MappedCodebook
from orchestrion.codec.decoder import Decoder
from orchestrion.codec.encoder import Encoder
from orchestrion.codec.loss import ReconstructionLoss, magnitude_loss, reconstruction_loss
from orchestrion.codec.phases import logs_of, magnitudes_of
from orchestrion.codec.principal import begin_principal
from orchestrion.codec.quantizer import Quantized, Quantizer, vectors_of
from orchestrion.codec.residual import ResidualCodebook
from orchestrion.codec.scalars import ScalarGrid
from orchestrion.codes import HIDDEN, Codes
from orchestrion.config import CodebookConfig, CodecConfig, LevelConfig
from orchestrion.errors import UserError
from orchestrion.nn.pieces import rows_of_piece, through

WINDOW_SECONDS = 10.0
"""How much audio `stream` yields at once where nothing else is asked for."""


class Choice(NamedTuple):
    """Vectors of a level, without a gradient, and the codes that were chosen for them."""

    vectors: Float[Tensor, "batch width frame"]
    codes: Int[Tensor, "batch code"]


class LevelOutput(NamedTuple):
    """What one level makes of a training batch; `loss` is that of the reconstruction and that of the quantizer."""

    true: Float[Tensor, "batch made_width made_frame"]
    """What the decoder should write: the audio, or numbers that stand for its magnitudes."""
    made: Float[Tensor, "batch made_width made_frame"]
    """What it wrote."""
    codes: Int[Tensor, "batch code"]
    loss: Float[Tensor, ""]
    reconstruction: ReconstructionLoss
    quantizer_loss: Float[Tensor, ""]
    commitment: Float[Tensor, ""]
    vectors: Float[Tensor, "batch width frame"]
    """What was quantized, without a gradient."""
    quantized: Float[Tensor, "batch width frame"]
    """What became of it, through which a gradient reaches the encoder."""


def quantizer(config: CodebookConfig, depth: int = 1) -> Quantizer:
    """The quantizer of the kind that is asked for, with `depth` codes for each vector."""
    if depth > 1:
        return ResidualCodebook(config, depth)
    match config.kind:
        case "nearest":
            return Codebook(config)
        case "mapped":
            return MappedCodebook(config)
        case "scalars":
            return ScalarGrid(config)


def level_of(name: str) -> int:
    """Which level a weight of a codec belongs to, by its name."""
    return int(name.split(".")[1])


class CodecLevel(nn.Module):
    """One autoencoder: encoder, codebook, decoder."""

    def __init__(self, config: CodecConfig, level: LevelConfig) -> None:
        super().__init__()
        width, periodic = config.codebook.width, config.activation == "snake"
        self.encoder = Encoder(level, config.channels, width, sample_rate=config.sample_rate, periodic=periodic)
        self.codebook = quantizer(config.codebook, level.depth)
        self.decoder = Decoder(
            level,
            config.channels,
            width,
            final_convolution=config.final_convolution,
            reverse_dilations=config.reverse_dilations,
            periodic=periodic,
        )
        self.hop_length, self.vector_length = level.hop_length, level.vector_length
        self._outer = level.stages[0]

    def encode(self, audio: Float[Tensor, "batch channel sample"]) -> Int[Tensor, "batch code"]:
        """The numbers of encoder and codebook on the whole audio, made piece by piece."""
        return torch.stack([torch.cat(list(self._codes(item))) for item in audio])

    def _codes(self, audio: Float[Tensor, "channel sample"]) -> Iterator[Int[Tensor, " code"]]:
        pieces = torch.split(audio.T, self._piece_vectors(audio.device) * self.vector_length)
        for vectors in through(self.encoder.layers, pieces):
            yield self.codebook.nearest(vectors)

    def decode(
        self, codes: Int[Tensor, "batch code"], window_frames: int
    ) -> Iterator[Float[Tensor, "batch channel sample"]]:
        """The numbers of codebook and decoder on all codes, in windows of that many frames."""
        sounds = [_windows(self.sound([item]), window_frames * self.hop_length) for item in codes]
        for windows in zip(*sounds, strict=True):
            yield torch.stack(windows).transpose(1, 2)

    def sound(self, pieces: Iterable[Int[Tensor, " _"]]) -> Iterator[Float[Tensor, "sample channel"]]:
        """The numbers of codebook and decoder on codes that come piece by piece; those of an unfinished vector wait."""
        entries, depth = self.codebook.table().detach(), self.codebook.depth

        def vectors() -> Iterator[Float[Tensor, "_ width"]]:
            held: Tensor | None = None
            for piece in pieces:
                codes = piece if held is None else torch.cat((held, piece))
                whole = len(codes) // depth * depth
                held = codes[whole:] if whole < len(codes) else None
                for part in torch.split(codes[:whole], self._piece_vectors(piece.device) * depth):
                    yield vectors_of(entries, part, depth)

        return through(self.decoder.whole, vectors())

    def _piece_vectors(self, device: torch.device) -> int:
        """So many that the layers next to the samples, the longest, have as many rows as they should."""
        return max(1, rows_of_piece(self._outer.width, device) * self._outer.stride // self.vector_length)


def _windows(
    pieces: Iterator[Float[Tensor, "sample channel"]], length: int
) -> Iterator[Float[Tensor, "sample_of_window channel"]]:
    """The same samples in windows of `length`, and what is left in a last one."""
    held: list[Tensor] = []
    for piece in pieces:
        held.append(piece)
        while sum(map(len, held)) >= length:
            joined = torch.cat(held)
            yield joined[:length]
            held = [joined[length:]]
    rest = torch.cat(held) if held else None
    if rest is not None and len(rest):
        yield rest


class Codec(nn.Module):
    """Audio to codes and back (paper, section 3).

    Audio is `batch channel sample` in [-1, 1] at `config.sample_rate`, with `config.channels` channels.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.grid = config.grid
        self.levels = nn.ModuleList(CodecLevel(config, level) for level in config.levels)

    def _level(self, level: int) -> CodecLevel:
        found = self.levels[level]
        assert isinstance(found, CodecLevel)
        return found

    def learn(self, levels: Collection[int], *, decoders_only: bool = False) -> None:
        """Let these levels alone learn by gradient, or their decoders alone."""
        for level in range(self.grid.num_levels):
            part = self._level(level)
            part.requires_grad_(level in levels and not decoders_only)
            part.decoder.requires_grad_(level in levels)

    def filled(self, level: int) -> bool:
        """Whether the codebook of a level has begun, where music is."""
        return bool(self._level(level).codebook.filled)

    def begin_principal(self, level: int, audio: Float[Tensor, "clip channel sample"]) -> None:
        """Let a level begin as principal components of `audio` (`codec.principal.begin_principal`)."""
        part = self._level(level)
        begin_principal(part.encoder, part.decoder, audio)

    def entries(self, level: int) -> Float[Tensor, "entry width"]:
        """The codebook of a level; where that has several, those of the first codes of a vector before the others."""
        return self._level(level).codebook.table().detach()

    @torch.no_grad()
    def quantized(self, codes: Int[Tensor, "batch code"], level: int) -> Float[Tensor, "batch width frame"]:
        """The vectors that the codes of a level stand for."""
        return self._level(level).codebook.decode(codes)

    def _window_frames(self, level: int) -> int:
        return max(1, int(WINDOW_SECONDS * self.grid.frame_rate(level)))

    @torch.no_grad()
    def encode(self, audio: Float[Tensor, "batch channel sample"], levels: Collection[int] | None = None) -> Codes:
        """The codes of every level, or of `levels`: each reads the audio itself, in bounded memory.

        Samples past the last whole frame of a level are left out of it. UserError for another number of
        channels, or audio shorter than one frame of the coarsest level.
        """
        if audio.shape[1] != self.config.channels:
            raise UserError(
                f"this codec hears {self.config.channels} channel(s) and the audio has {audio.shape[1]}",
                "mix it to that number first",
            )
        if audio.shape[-1] < self.grid.hop_lengths[-1]:
            raise UserError(
                f"{audio.shape[-1]} samples are less than one frame of {self.grid.hop_lengths[-1]}",
                "give longer audio",
            )
        wanted = range(self.grid.num_levels) if levels is None else levels
        codes = Codes.empty(self.grid)
        for level in wanted:
            codes = codes.replace(level, self._level(level).encode(audio))
        return codes

    @torch.no_grad()
    def decode(self, codes: Codes, level: int) -> Float[Tensor, "batch channel sample"]:
        """Audio from one level's codes alone; the other levels are not needed."""
        return torch.cat(list(self.stream(codes, level)), -1)

    def stream(
        self, codes: Codes, level: int, window_frames: int | None = None
    ) -> Iterator[Float[Tensor, "batch channel sample"]]:
        """The same samples as `decode`, a window at a time, in memory that does not grow with the length."""
        if codes.grid != self.grid:
            raise UserError(
                f"these codes are on {codes.grid} and this codec on {self.grid}",
                "use the codec that made them",
            )
        window_frames = window_frames or self._window_frames(level)
        yield from self._level(level).decode(codes[level], window_frames)

    def follow(self, pieces: Iterable[Int[Tensor, " _"]], level: int) -> Iterator[Float[Tensor, "channel sample"]]:
        """The same samples for one item whose codes come piece by piece, each as soon as the codes around it are there.

        Where the decoder writes magnitudes that is a block of `phases.BLOCK` frames at a time. A piece is asked for
        when all that can be heard without it has been given.
        """
        for audio in self._level(level).sound(pieces):
            yield audio.T

    def forward(self, audio: Float[Tensor, "batch channel sample"], rng: Generator | None = None) -> list[LevelOutput]:
        """One training step of every level: its loss, and in training mode its codebook brought up to date.

        Quantizes with the codebook as it is, then moves it. `rng` draws the first and the revived entries and is
        needed in training mode only. `fill`, `outputs` and `move` are its parts, for batches that come in pieces.
        """
        if not self.training:
            return self.outputs(audio)
        assert rng is not None, "training needs a generator"
        outputs = []
        for level in range(self.grid.num_levels):  # level by level, the order in which the original draws
            self.fill(audio, rng, [level])
            (output,) = self.outputs(audio, [level])
            self.move([[Choice(output.vectors, output.codes)]], rng, [level])
            outputs.append(output)
        return outputs

    @torch.no_grad()
    def fill(
        self, audio: Float[Tensor, "batch channel sample"], rng: Generator, levels: Sequence[int] | None = None
    ) -> None:
        """Begin the codebooks of all levels, or of `levels`, where the data is, once; later calls change nothing."""
        for level in self._wanted(levels):
            part = self._level(level)
            if not part.codebook.filled:
                part.codebook.fill(part.encoder(audio).float(), rng)

    def move(self, parts: Sequence[list[Choice]], rng: Generator, levels: Sequence[int] | None = None) -> list[int]:
        """Move codebooks after what each level, or each of `levels`, chose for all parts of a batch.

        Returns how many entries were revived.
        """
        revived = []
        for place, level in enumerate(self._wanted(levels)):
            vectors = torch.cat([chosen[place].vectors for chosen in parts])
            codes = torch.cat([chosen[place].codes for chosen in parts])
            revived.append(self._level(level).codebook.update(vectors, codes, rng))
        return revived

    def outputs(
        self,
        audio: Float[Tensor, "batch channel sample"],
        levels: Sequence[int] | None = None,
        given: Mapping[int, Int[Tensor, "batch code"]] | None = None,
    ) -> list[LevelOutput]:
        """What every level, or each of `levels`, makes of the audio, with the codebooks as they are.

        A level in `given` decodes these codes in the place of its own; items all of whose codes are `HIDDEN` there have
        their own.
        """
        given = given or {}
        return [self._output(self._level(level), audio, given.get(level)) for level in self._wanted(levels)]

    def _wanted(self, levels: Sequence[int] | None) -> Sequence[int]:
        return range(self.grid.num_levels) if levels is None else levels

    def _quantized(self, part: CodecLevel, audio: Tensor, given: Tensor | None) -> tuple[Tensor, Quantized]:
        """Vectors as they are and quantized; those of given codes are their entries, with nothing between them."""
        if given is None:
            vectors = part.encoder(audio).float()
            with torch.autocast(audio.device.type, enabled=False):
                return vectors, part.codebook(vectors)
        own = (given == HIDDEN).all(1)
        with torch.autocast(audio.device.type, enabled=False):
            entries = part.codebook.decode(given.clamp_min(0))
        if not own.any():
            nothing = entries.new_zeros(())
            return entries.detach(), Quantized(given, entries, nothing, nothing)
        vectors, found = self._quantized(part, audio[own], None)
        share = own.float().mean()
        return entries.detach().index_put((own,), vectors), Quantized(
            codes=given.index_put((own,), found.codes),
            vectors=entries.index_put((own,), found.vectors),
            commitment=found.commitment * share,
            attraction=found.attraction * share,
        )

    def _output(self, part: CodecLevel, audio: Tensor, given: Tensor | None) -> LevelOutput:
        weights = self.config.loss
        vectors, quantized = self._quantized(part, audio, given)
        true, made = audio, part.decoder(quantized.vectors).float()
        with torch.autocast(audio.device.type, enabled=False):
            if part.decoder.phases is None:
                reconstruction = reconstruction_loss(audio, made, weights, self.config.sample_rate)
            else:
                batch, _, frames = made.shape
                magnitudes = magnitudes_of(made).view(batch, audio.shape[1], -1, frames).transpose(2, 3)
                aim = part.decoder.phases.target(audio)
                reconstruction = magnitude_loss(aim, magnitudes, weights, self.config.sample_rate)
                true = logs_of(aim).transpose(2, 3).flatten(1, 2)
        quantizer_loss = weights.commitment * quantized.commitment + weights.attraction * quantized.attraction
        return LevelOutput(
            true=true,
            made=made,
            codes=quantized.codes,
            loss=reconstruction.total + quantizer_loss,
            reconstruction=reconstruction,
            quantizer_loss=quantizer_loss,
            commitment=quantized.commitment,
            vectors=vectors.detach(),
            quantized=quantized.vectors,
        )
