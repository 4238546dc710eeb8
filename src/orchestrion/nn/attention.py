"""Attention: which earlier tokens each token sees, all at once or one after another.

With T tokens in rows of R, the token at row r and column c sees
- full: every token up to itself;
- row: the tokens of row r up to column c;
- column: column c of the rows up to r;
- previous_row: all of row r-1 (in row 0, a zero);
- summary: a zero, and the last token of each row but the final one, as far as it is not later;
- summary_spread: as many zeros as `spread`, and likewise the last `spread` tokens of each row;
- prefix: the first `prefix_tokens` tokens up to itself;
- lyrics: all of the encoded lyrics.
(Paper, section 4 and appendix A; Child et al. 2019.)
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from orchestrion.config.prior import Pattern, TransformerConfig
from orchestrion.nn.cache import LayerCache
from orchestrion.nn.embed import rotate
from orchestrion.nn.norm import unit_rms

Angles = tuple[Tensor, Tensor] | None
"""Cosines and sines of rotary positions, or None where positions are learned."""


class Attention(nn.Module):
    """Multi-head attention by one pattern over a sequence of at most `context_tokens`."""

    def __init__(
        self,
        config: TransformerConfig,
        pattern: Pattern,
        context_tokens: int,
        memory_width: int | None = None,
    ) -> None:
        super().__init__()
        width, inner = config.width, config.attention_width
        self.pattern = pattern
        self.num_heads, self.head_width = config.num_heads, config.head_width
        self.row_length = context_tokens // config.num_rows
        self.final_row = config.num_rows - 1
        self.spread = 1 if pattern == "summary" else config.spread
        self.prefix_tokens = config.prefix_tokens
        self.normalize = config.normalize_queries
        self.inputs = nn.Linear(width, inner if pattern == "lyrics" else 3 * inner, bias=config.biases)
        if pattern == "lyrics":
            assert memory_width is not None, "lyrics need a memory"
            self.memory = nn.Linear(memory_width, 2 * inner, bias=config.biases)
        self.output = nn.Linear(inner, width, bias=config.biases)

    def forward(
        self,
        x: Float[Tensor, "batch token width"],
        angles: Angles,
        memory: Float[Tensor, "batch character memory"] | None = None,
    ) -> Float[Tensor, "batch token width"]:
        """The whole sequence from its first token on."""
        return self._close(self._attend(*self._parts(x, angles, memory)))

    def begin(
        self,
        x: Float[Tensor, "batch token width"],
        num_tokens: int,
        memory: Float[Tensor, "batch character memory"] | None = None,
    ) -> LayerCache:
        """A cache for `num_tokens` tokens, in batch size and dtype like `x`."""
        if self.pattern == "lyrics":
            keys, values = self._recall(memory)
            return LayerCache(keys.transpose(1, 2), values.transpose(1, 2), keys.shape[1])
        if self.pattern == "prefix":
            num_tokens = min(num_tokens, self.prefix_tokens)
        shape = (x.shape[0], self.num_heads, num_tokens, self.head_width)
        return LayerCache(x.new_zeros(shape), x.new_zeros(shape))

    def advance(
        self, x: Float[Tensor, "batch new width"], start: int, angles: Angles, cache: LayerCache
    ) -> Float[Tensor, "batch new width"]:
        """The next tokens, from `start` on, where `cache` holds what came before."""
        if self.pattern == "lyrics":
            return self._close(_mix(self._query(x), *cache.past()))
        queries, keys, values = self._project(x, angles)
        room = cache.keys.shape[2] - cache.length if self.pattern == "prefix" else x.shape[1]
        cache.append(keys[:, :room], values[:, :room])
        if start == 0:
            return self._close(self._attend(queries, keys, values))
        act = self._step if x.shape[1] == 1 else self._chunk
        return self._close(act(queries, *cache.past(), start))

    def weights(
        self,
        x: Float[Tensor, "batch token width"],
        angles: Angles,
        memory: Float[Tensor, "batch character memory"] | None = None,
    ) -> Float[Tensor, "batch head token key"]:
        """How much each token attends to each key (a character with "lyrics", else a token)."""
        assert self.pattern not in ("previous_row", "summary", "summary_spread"), "zeros take part there"
        queries, keys, _ = self._parts(x, angles, memory)
        scores = queries.transpose(1, 2) @ keys.permute(0, 2, 3, 1) * self.head_width**-0.5
        place = torch.arange(keys.shape[1], device=x.device)
        seen = self.visible(torch.arange(x.shape[1], device=x.device), place)
        shares: Tensor = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        return shares

    def visible(self, query: Int[Tensor, " query"], key: Int[Tensor, " key"]) -> Bool[Tensor, "query key"]:
        """Whether the token at each `query` position sees that at each `key` position, zeros left out."""
        query, key = query[:, None], key[None]
        row, key_row = query // self.row_length, key // self.row_length
        match self.pattern:
            case "full":
                return key <= query
            case "row":
                return (key_row == row) & (key <= query)
            case "column":
                return (query % self.row_length == key % self.row_length) & (key <= query)
            case "previous_row":
                return key_row == row - 1
            case "summary" | "summary_spread":
                ends = key % self.row_length >= self.row_length - self.spread
                return ends & (key <= query) & (key_row < self.final_row)
            case "prefix":
                return (key <= query) & (key < self.prefix_tokens)
            case "lyrics":
                return torch.ones_like(query + key, dtype=torch.bool)

    def _parts(self, x: Tensor, angles: Angles, memory: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, `batch token head width`."""
        if self.pattern == "lyrics":
            return self._query(x), *self._recall(memory)
        return self._project(x, angles)

    def _query(self, x: Tensor) -> Tensor:
        queries = _heads(self.inputs(x), self.head_width)
        return unit_rms(queries) if self.normalize else queries

    def _recall(self, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """Keys and values of the encoded lyrics, `batch character head width`."""
        assert memory is not None, "a layer that reads lyrics was given none"
        keys, values = _heads(self.memory(memory), self.head_width).chunk(2, 2)
        return unit_rms(keys) if self.normalize else keys, values

    def _project(self, x: Tensor, angles: Angles) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, `batch token head width`."""
        all_three = _heads(self.inputs(x), self.head_width)
        pair, values = all_three[:, :, : 2 * self.num_heads], all_three[:, :, 2 * self.num_heads :]
        if self.normalize:
            pair = unit_rms(pair)
        if angles is not None:
            pair = rotate(pair, *angles)
        queries, keys = pair.chunk(2, 2)
        return queries, keys, values

    def _close(self, mixed: Tensor) -> Tensor:
        out: Tensor = self.output(mixed.flatten(2))
        return out

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """All tokens from the first on at once, `batch token head width`; patterns become reshapes."""
        match self.pattern:
            case "full":
                return _mix(queries, keys, values, causal=True)
            case "lyrics":
                return _mix(queries, keys, values)
            case "prefix":
                kept = self.prefix_tokens
                if keys.shape[1] <= kept:
                    return _mix(queries, keys, values, causal=True)
                keys, values = keys[:, :kept], values[:, :kept]
                opening = _mix(queries[:, :kept], keys, values, causal=True)
                return torch.cat((opening, _mix(queries[:, kept:], keys, values)), 1)
            case "summary" | "summary_spread":
                position = torch.arange(queries.shape[1], device=queries.device)
                return self._summary(queries, keys, values, position)
            case "row" | "column" | "previous_row":
                length = queries.shape[1]
                mixed = self._attend_rows(*(self._rows(part) for part in (queries, keys, values)))
                return mixed.reshape(len(queries), -1, *queries.shape[2:])[:, :length]

    def _attend_rows(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The patterns within rows, `batch row column head width`."""
        if self.pattern == "column":
            queries, keys, values = (part.transpose(1, 2) for part in (queries, keys, values))
        elif self.pattern == "previous_row":
            keys, values = (F.pad(part, (0, 0, 0, 0, 0, 0, 1, -1)) for part in (keys, values))
        mixed = _mix(
            queries.flatten(0, 1),
            keys.flatten(0, 1),
            values.flatten(0, 1),
            causal=self.pattern != "previous_row",
        )
        mixed = mixed.view(len(queries), -1, *mixed.shape[1:])
        return mixed.transpose(1, 2) if self.pattern == "column" else mixed

    def _rows(self, part: Tensor) -> Tensor:
        """Cut tokens into rows, the last one filled up with zeros that nothing real can see."""
        padded = F.pad(part, (0, 0, 0, 0, 0, -part.shape[1] % self.row_length))
        return padded.view(len(part), -1, self.row_length, *part.shape[2:])

    def _summary(self, queries: Tensor, keys: Tensor, values: Tensor, position: Tensor) -> Tensor:
        """Attention of queries at `position` to zeros and the ends of rows, `batch token head width`."""
        place = torch.arange(keys.shape[1], device=keys.device)
        ends = place[place % self.row_length >= self.row_length - self.spread]
        seen = F.pad(self.visible(position, ends), (self.spread, 0), value=True)
        keys, values = (F.pad(part[:, ends], (0, 0, 0, 0, self.spread, 0)) for part in (keys, values))
        return _mix(queries, keys, values, seen=seen)

    def _step(self, query: Tensor, keys: Tensor, values: Tensor, start: int) -> Tensor:
        """One token at `start`, which sees a slice of the past."""
        row = start // self.row_length
        match self.pattern:
            case "row":
                seen = slice(row * self.row_length, None)
            case "column":
                seen = slice(start % self.row_length, None, self.row_length)
            case "previous_row":
                seen = slice(max(row - 1, 0) * self.row_length, row * self.row_length)
            case "summary" | "summary_spread":
                return self._chunk(query, keys, values, start)
            case _:
                seen = slice(None)
        keys, values = keys[:, seen], values[:, seen]
        return _mix(query, keys, values) if keys.shape[1] else torch.zeros_like(query)

    def _chunk(self, queries: Tensor, keys: Tensor, values: Tensor, start: int) -> Tensor:
        """Several tokens from `start` on, by a mask over the past and themselves."""
        position = torch.arange(start, start + queries.shape[1], device=queries.device)
        if self.pattern in ("summary", "summary_spread"):
            return self._summary(queries, keys, values, position)
        seen = self.visible(position, torch.arange(keys.shape[1], device=keys.device))
        # A token that sees nothing, as in the first row of "previous_row", gets zeros.
        return _mix(queries, keys, values, seen=seen).masked_fill(~seen.any(-1)[:, None, None], 0)


def _heads(flat: Tensor, head_width: int) -> Tensor:
    return flat.view(*flat.shape[:-1], -1, head_width)


def _mix(queries: Tensor, keys: Tensor, values: Tensor, *, causal: bool = False, seen: Tensor | None = None) -> Tensor:
    """Attention over `batch token head width`."""
    mixed = F.scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=seen, is_causal=causal
    )
    return mixed.transpose(1, 2)
