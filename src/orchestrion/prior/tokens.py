"""Tokens: what the transformer reads and predicts. Each position reads the token before it, or what is filled in."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from orchestrion.config.prior import TransformerConfig
from orchestrion.nn.cache import Cache
from orchestrion.nn.linear import Linear, Tied
from orchestrion.nn.transformer import Transformer


@dataclass
class TokenState:
    """A sequence that is being made: what conditions it, and what has been read of it."""

    start: Float[Tensor, "batch width"]
    conditioning: Float[Tensor, "batch token width"] | None
    cache: Cache
    logits: Float[Tensor, "batch token"] | None = None
    """Scores of the next token, once the start has been read."""


class TokenModel(nn.Module):
    """A transformer over `num_tokens` kinds of token: position p reads token p-1, position 0 a start vector.

    The start vector is given, or the model's own with `own_start`. Conditioning is added to every position as it
    is, unshifted. Without `predicts` the model only encodes. With a `depth` above 1 a position has that many tokens,
    each of a kind of its own: the tables of the first come before those of the others.
    """

    def __init__(
        self,
        config: TransformerConfig,
        num_tokens: int,
        context_tokens: int,
        *,
        own_start: bool,
        memory_width: int | None = None,
        predicts: bool = True,
        tied_output: bool = False,
        condition_output: bool = False,
        depth: int = 1,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(depth * num_tokens, config.width)
        self.start = nn.Parameter(torch.empty(config.width)) if own_start else None
        self.positions = (
            nn.Parameter(torch.empty(context_tokens, config.width)) if config.positions == "learned" else None
        )
        self.transformer = Transformer(config, context_tokens, memory_width)
        self.output: nn.Module | None = None
        if predicts:
            self.output = Tied(self.embedding) if tied_output else Linear(config.width, num_tokens, bias=False)
        self.context_tokens = context_tokens
        self.condition_output = condition_output

    def read(
        self,
        tokens: Int[Tensor, "batch token"],
        start: Float[Tensor, "batch width"] | None = None,
        conditioning: Float[Tensor, "batch token width"] | None = None,
    ) -> Float[Tensor, "batch token width"]:
        """What the transformer gets at each position, from the tokens before it."""
        vectors = torch.cat((self._start(start, tokens)[:, None], self.embedding(tokens[:, :-1])), 1)
        return self._placed(vectors, 0, conditioning)

    def encode(
        self,
        tokens: Int[Tensor, "batch token"],
        start: Float[Tensor, "batch width"] | None = None,
        conditioning: Float[Tensor, "batch token width"] | None = None,
        memory: Float[Tensor, "batch character memory"] | None = None,
        *,
        rng: Generator | None = None,
    ) -> Float[Tensor, "batch token width"]:
        """The transformer's output, before it is turned into scores."""
        encoded: Tensor = self.transformer(self.read(tokens, start, conditioning), memory, rng=rng)
        return encoded

    def watched(
        self,
        tokens: Int[Tensor, "batch token"],
        start: Float[Tensor, "batch width"] | None,
        conditioning: Float[Tensor, "batch token width"] | None,
        memory: Float[Tensor, "batch character memory"] | None,
        layer: int | None,
        *,
        rng: Generator | None = None,
    ) -> tuple[Float[Tensor, "batch token score"], Float[Tensor, "batch head token key"] | None]:
        """As `forward`, and the attention of one layer."""
        read = self.read(tokens, start, conditioning)
        encoded, weights = self.transformer.watched(read, memory, layer, rng=rng)
        return self._scores(encoded, conditioning), weights

    def fill(
        self,
        vectors: Float[Tensor, "batch token width"],
        start: Float[Tensor, "batch width"] | None,
        conditioning: Float[Tensor, "batch token width"] | None,
        *,
        rng: Generator | None = None,
    ) -> Float[Tensor, "batch token width"]:
        """The transformer's output where each position reads its own vector and the start's."""
        vectors = vectors + self._start(start, vectors)[:, None]
        encoded: Tensor = self.transformer(self._placed(vectors, 0, conditioning), rng=rng)
        return encoded

    def scores_of(
        self, encoded: Float[Tensor, "position width"], conditioning: Float[Tensor, "position width"] | None
    ) -> Float[Tensor, "position score"]:
        """Scores at single positions."""
        told = None if conditioning is None else conditioning[:, None]
        return self._scores(encoded[:, None], told)[:, 0]

    def forward(
        self,
        tokens: Int[Tensor, "batch token"],
        start: Float[Tensor, "batch width"] | None = None,
        conditioning: Float[Tensor, "batch token width"] | None = None,
        memory: Float[Tensor, "batch character memory"] | None = None,
        *,
        rng: Generator | None = None,
    ) -> Float[Tensor, "batch token score"]:
        """Scores of each token from those before it."""
        encoded = self.encode(tokens, start, conditioning, memory, rng=rng)
        return self._scores(encoded, conditioning)

    def begin(
        self,
        batch: int,
        num_tokens: int,
        start: Float[Tensor, "batch width"] | None = None,
        conditioning: Float[Tensor, "batch token width"] | None = None,
        memory: Float[Tensor, "batch character memory"] | None = None,
    ) -> TokenState:
        """A sequence of `num_tokens` of which nothing is read yet."""
        assert num_tokens <= self.context_tokens, f"{num_tokens} tokens, context {self.context_tokens}"
        like = self._working(self.embedding.weight[:1]).expand(batch, -1)
        cache = self.transformer.begin(like[:, None], num_tokens, memory)
        return TokenState(self._start(start, like), conditioning, cache)

    def advance(self, tokens: Int[Tensor, "batch new"], state: TokenState) -> Float[Tensor, "batch score"]:
        """Read the next tokens; returns the scores of the one that follows them."""
        vectors: Tensor = self.embedding(tokens)
        if state.logits is None:
            vectors = torch.cat((state.start[:, None].to(vectors.dtype), vectors), 1)
        elif not tokens.shape[1]:
            return state.logits
        first = state.cache.length
        stop = first + vectors.shape[1]
        conditioning = None if state.conditioning is None else state.conditioning[:, first:stop]
        encoded = self.transformer.advance(self._placed(vectors, first, conditioning), state.cache, last=True)
        state.logits = self._scores(encoded, None if conditioning is None else conditioning[:, -1:])[:, 0]
        return state.logits

    def _start(self, given: Tensor | None, like: Tensor) -> Tensor:
        if given is not None:
            return given
        assert self.start is not None, "this model needs a start vector"
        return self.start.expand(like.shape[0], -1)

    def _placed(self, vectors: Tensor, first: int, conditioning: Tensor | None) -> Tensor:
        stop = first + vectors.shape[1]
        assert stop <= self.context_tokens, f"{stop} tokens, context {self.context_tokens}"
        if self.positions is not None:
            vectors = vectors + self.positions[first:stop]
        if conditioning is not None:
            vectors = vectors + conditioning[:, : vectors.shape[1]]
        return self._working(vectors)

    def _working(self, vectors: Tensor) -> Tensor:
        """In the precision of autocast where it is on: the residual stream is half the memory then."""
        kind = vectors.device.type
        return vectors.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else vectors

    def _scores(self, encoded: Tensor, conditioning: Tensor | None) -> Tensor:
        if self.condition_output and conditioning is not None:
            encoded = encoded + conditioning[:, : encoded.shape[1]]
        assert self.output is not None, "this model only encodes"
        scores: Tensor = self.output(encoded)
        return scores
