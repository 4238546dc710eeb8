"""Prior: the next code of one level, from those before it and from what is asked."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from orchestrion.config.prior import PriorConfig
from orchestrion.errors import UserError
from orchestrion.prior.labels import Conditions, LabelEmbedding, TimingEmbedding
from orchestrion.prior.lyrics import LyricEncoder
from orchestrion.prior.tokens import TokenModel, TokenState
from orchestrion.prior.upsample import Conditioner


@dataclass(frozen=True)
class PriorLoss:
    """How surprised a prior was: `total`, in nats, is to be minimised; the others are in bits."""

    total: Float[Tensor, ""]
    bits_per_code: Float[Tensor, ""]
    bits_per_character: Float[Tensor, ""] | None = None


@dataclass
class PriorState:
    """A window that is being filled; `num_codes` of `num_frames` are read."""

    tokens: TokenState
    prefix: Int[Tensor, "batch character"] | None
    num_frames: int
    num_codes: int = 0


@dataclass(frozen=True)
class _Told:
    """Conditions as vectors."""

    start: Tensor | None
    conditioning: Tensor | None
    memory: Tensor | None


class Prior(nn.Module):
    """A transformer over the codes of one level.

    Labels make the start vector, timing and coarser codes a vector added to each frame, lyrics a memory to attend
    to or else tokens ahead of the codes. Output column i scores code i - `first_code`: a prior with lyrics in the
    same sequence also scores characters, as negative codes, which it may be fed. Weights are drawn from `rng`,
    such that a fresh prior finds every code equally likely.
    """

    def __init__(self, config: PriorConfig, rng: Generator | None = None) -> None:
        super().__init__()
        width = config.transformer.width
        self.config = config
        self.first_code = config.lyrics.alphabet_size if config.lyrics and not config.lyrics.encoder else 0
        self.labels = LabelEmbedding(config.labels, width) if config.labels else None
        self.timing = (
            TimingEmbedding(
                config.timing,
                width,
                config.sample_rate,
                config.context_frames * config.hop_length,
                config.context_frames,
            )
            if config.timing
            else None
        )
        self.conditioner = Conditioner(config.conditioner, config.codebook_size, width) if config.conditioner else None
        self.lyrics = LyricEncoder(config.lyrics, width) if config.lyrics and config.lyrics.encoder else None
        self.tokens = TokenModel(
            config.transformer,
            self.first_code + config.codebook_size,
            config.context_tokens,
            own_start=config.labels is None,
            memory_width=width if self.lyrics else None,
            tied_output=config.tied_output,
            condition_output=config.condition_output,
        )
        self._initialise(rng)

    def forward(
        self,
        codes: Int[Tensor, "batch frame"],
        conditions: Conditions,
        *,
        rng: Generator | None = None,
    ) -> Float[Tensor, "batch frame score"]:
        """Scores of each code from those before it; `rng` draws dropout in training mode."""
        told = self._tell(conditions, codes.shape[1], rng)
        return self._scores(codes, conditions, told, rng)[:, self.config.lyric_tokens :]

    def loss(
        self,
        codes: Int[Tensor, "batch frame"],
        conditions: Conditions,
        *,
        rng: Generator | None = None,
    ) -> PriorLoss:
        """Cross-entropy of whole windows; characters count with their own weight."""
        told = self._tell(conditions, codes.shape[1], rng)
        scores = self._scores(codes, conditions, told, rng)
        nats = _cross_entropy(scores[:, self.config.lyric_tokens :], codes + self.first_code)
        bits = nats.detach() / math.log(2)
        if self.config.lyrics is None:
            return PriorLoss(nats, bits)
        lyrics = _given(conditions.lyrics, "lyrics")
        if self.lyrics is not None:
            assert told.memory is not None
            lyric_nats = self.lyrics.loss(told.memory, lyrics)
        else:
            lyric_nats = _cross_entropy(scores[:, : lyrics.shape[1]], lyrics)
        weight = self.config.lyrics.loss_weight * lyrics.shape[1]
        total = (nats * codes.shape[1] + lyric_nats * weight) / (codes.shape[1] + lyrics.shape[1])
        return PriorLoss(total, bits, lyric_nats.detach() / math.log(2))

    def begin(self, conditions: Conditions, num_frames: int) -> PriorState:
        """A window of `num_frames` with nothing in it: conditioning computed, caches reserved."""
        told = self._tell(conditions, num_frames, None)
        state = self.tokens.begin(
            conditions.artist.shape[0],
            self.config.lyric_tokens + num_frames,
            told.start,
            told.conditioning,
            told.memory,
        )
        prefix = _given(conditions.lyrics, "lyrics") if self.config.lyric_tokens else None
        return PriorState(state, prefix, num_frames)

    def advance(self, codes: Int[Tensor, "batch new"], state: PriorState) -> Float[Tensor, "batch score"]:
        """Read the next codes (at first there may be none); returns the scores of the code that follows."""
        assert state.num_codes + codes.shape[1] < state.num_frames, "this window is full"
        tokens = codes + self.first_code
        if state.prefix is not None:
            tokens = torch.cat((state.prefix, tokens), 1)
            state.prefix = None
        state.num_codes += codes.shape[1]
        return self.tokens.advance(tokens, state.tokens)

    def features(
        self, codes: Int[Tensor, "batch frame"], conditions: Conditions, num_layers: int
    ) -> Float[Tensor, "batch frame width"]:
        """What comes out of the first `num_layers` layers at each frame."""
        told = self._tell(conditions, codes.shape[1], None)
        x = self.tokens.read(self._all_tokens(codes, conditions), told.start, told.conditioning)
        return self.tokens.transformer.features(x, told.memory, num_layers)[:, self.config.lyric_tokens :]

    def alignment(
        self, codes: Int[Tensor, "batch frame"], conditions: Conditions, layer: int
    ) -> Float[Tensor, "batch head frame character"]:
        """How much each frame attends to each character of the lyrics in `layer`."""
        told = self._tell(conditions, codes.shape[1], None)
        x = self.tokens.read(self._all_tokens(codes, conditions), told.start, told.conditioning)
        weights = self.tokens.transformer.weights(x, told.memory, layer)
        return weights[:, :, self.config.lyric_tokens :, : _given(conditions.lyrics, "lyrics").shape[1]]

    def _scores(
        self, codes: Tensor, conditions: Conditions, told: _Told, rng: Generator | None
    ) -> Float[Tensor, "batch token score"]:
        """Scores at every token, lyrics in the same sequence included."""
        tokens = self._all_tokens(codes, conditions)
        scores: Tensor = self.tokens(tokens, told.start, told.conditioning, told.memory, rng=rng)
        return scores

    def _all_tokens(self, codes: Tensor, conditions: Conditions) -> Tensor:
        tokens = codes + self.first_code
        if self.config.lyric_tokens:
            tokens = torch.cat((_given(conditions.lyrics, "lyrics"), tokens), 1)
        return tokens

    def _tell(self, conditions: Conditions, num_frames: int, rng: Generator | None) -> _Told:
        assert num_frames <= self.config.context_frames, f"{num_frames} frames of {self.config.context_frames}"
        start = self.labels(conditions.artist, conditions.genres) if self.labels is not None else None
        per_frame = []
        if self.timing is not None:
            vectors = self.timing(conditions.total_samples, conditions.start_samples)
            per_frame.append(vectors[:, :num_frames])
        if self.conditioner is not None:
            coarser = _given(conditions.coarser, "codes of the level above")
            vectors = self.conditioner(coarser)
            assert vectors.shape[1] >= num_frames, f"{coarser.shape[1]} coarser codes for {num_frames} frames"
            per_frame.append(vectors[:, :num_frames])
        conditioning = sum(per_frame[1:], per_frame[0]) if per_frame else None
        if conditioning is not None and self.config.lyric_tokens:
            conditioning = F.pad(conditioning, (0, 0, self.config.lyric_tokens, 0))
        memory = None
        if self.lyrics is not None:
            memory = self.lyrics(_given(conditions.lyrics, "lyrics"), rng=rng)
        return _Told(start, conditioning, memory)

    @torch.no_grad()
    def _initialise(self, rng: Generator | None) -> None:
        """Linear layers keep the size of what goes through; what closes a branch starts at zero."""
        std = 0.02 if self.config.tied_output else 0.1
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0, std, generator=rng)
            elif isinstance(module, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
                inputs = module.weight[0].numel()
                if isinstance(module, nn.ConvTranspose1d):
                    inputs = module.in_channels * module.kernel_size[0] // module.stride[0]
                module.weight.normal_(0, inputs**-0.5, generator=rng)
                if module.bias is not None:
                    module.bias.zero_()
        for name, parameter in self.named_parameters():
            if name.endswith(
                ("attention.output.weight", "mlp.narrow.weight", "tokens.output.weight", "lyrics.output.weight")
            ):
                parameter.zero_()
            elif name.endswith(("tokens.start", "tokens.positions")):
                parameter.normal_(0, std, generator=rng)
            elif name == "conditioner.norm.weight":
                parameter.fill_(std)


def _cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean nats, in single precision whatever the scores come in."""
    return F.cross_entropy(scores.flatten(0, 1).float(), targets.flatten())


def _given(tensor: Tensor | None, name: str) -> Tensor:
    if tensor is None:
        raise UserError(f"this prior needs {name}", "give them with the conditions")
    return tensor
