"""Attention: which tokens each token sees, all at once or one after another.

With T tokens in rows of R, the token at row r and column c sees
- full: every token up to itself;
- sliding: the last R tokens, itself among them (Beltagy et al. 2020, section 3.1);
- row: the tokens of row r up to column c;
- column: column c of the rows up to r;
- previous_row: all of row r-1 (in row 0, a zero);
- summary: a zero, and the last token of each row but the final one, as far as it is not later;
- summary_spread: as many zeros as `spread`, and likewise the last `spread` tokens of each row;
- prefix: the first `prefix_tokens` tokens up to itself;
- lyrics: all of the encoded lyrics;
- all: every token, later ones too.
(Paper, section 4 and appendix A; Child et al. 2019.)
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from orchestrion.config.prior import Pattern, TransformerConfig, sliding_piece
from orchestrion.nn.cache import LayerCache, Layout
from orchestrion.nn.embed import rotate, rotate_in_place
from orchestrion.nn.linear import Linear
from orchestrion.nn.norm import unit_rms, unit_rms_in_place
from orchestrion.nn.precision import multiplies_well

Angles = tuple[Tensor, Tensor] | None
"""Cosines and signed sines of rotary positions, or None where positions are learned."""


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
        self.context_tokens = context_tokens
        self.row_length = context_tokens // config.num_rows
        self.final_row = config.num_rows - 1
        self.spread = 1 if pattern == "summary" else config.spread
        self.prefix_tokens = config.prefix_tokens
        self.normalize = config.normalize_queries
        self.inputs = Linear(width, inner if pattern == "lyrics" else 3 * inner, bias=config.biases)
        if pattern == "lyrics":
            assert memory_width is not None, "lyrics need a memory"
            self.memory = Linear(memory_width, 2 * inner, bias=config.biases)
        self.output = Linear(inner, width, bias=config.biases)

    def forward(
        self,
        x: Float[Tensor, "batch token width"],
        angles: Angles,
        memory: Float[Tensor, "batch character memory"] | None = None,
    ) -> Float[Tensor, "batch token width"]:
        """The whole sequence from its first token on."""
        return self.close(self._attend(*self._parts(x, angles, memory)))

    def begin(
        self,
        x: Float[Tensor, "batch token width"],
        num_tokens: int,
        memory: Float[Tensor, "batch character memory"] | None = None,
    ) -> LayerCache:
        """A cache for `num_tokens` tokens, in batch size and dtype like `x`."""
        assert self.pattern != "all", "a layer that sees all of a sequence cannot go on from a part of it"
        recalled = self._recall(memory) if self.pattern == "lyrics" else None
        layout = self.layout(num_tokens if recalled is None else recalled[0].shape[1])
        if recalled is not None:
            return LayerCache(layout, torch.stack(recalled).transpose(2, 3).contiguous())
        return LayerCache(layout, x.new_zeros(2, x.shape[0], self.num_heads, layout.num_slots, self.head_width))

    def layout(self, num_tokens: int) -> Layout:
        """Where a cache of `num_tokens` tokens keeps which, or of so many characters of lyrics."""
        return Layout(
            pattern=self.pattern,
            num_tokens=num_tokens,
            row_length=self.row_length,
            final_row=self.final_row,
            spread=self.spread,
            prefix_tokens=self.prefix_tokens,
        )

    def advance(
        self, x: Float[Tensor, "batch new width"], start: int, angles: Angles, cache: LayerCache, kept: int = 0
    ) -> Float[Tensor, "batch asked width"]:
        """The next tokens, from `start` on, where `cache` holds what came before; the first `kept` are only kept."""
        if x.shape[1] == 1:
            return self.step(x.squeeze(1), start, angles, cache).unsqueeze(1)
        return self.close(self.mixed(self.inputs(x), start, angles, cache, kept))

    def mixed(
        self, new: Float[Tensor, "batch new parts"], start: int, angles: Angles, cache: LayerCache, kept: int = 0
    ) -> Float[Tensor, "batch asked head head_width"]:
        """What the heads find for the next tokens, of which the layer of inputs has made `new`.

        The first `kept` of them are written to the cache and not asked for.
        """
        if self.pattern == "lyrics":
            return _mix(self._query(new[:, kept:]), *cache.seen(start))
        queries, keys, values = self._project(new, angles)
        if kept:
            cache.write(keys[:, :kept], values[:, :kept], start)
            queries, keys, values = (part[:, kept:] for part in (queries, keys, values))
            start += kept
        if start:
            return self._continue(queries, keys, values, start, cache)
        cache.write(keys, values, start)
        return self._attend(queries, keys, values)

    def step(
        self, x: Float[Tensor, "batch width"], start: int, angles: Angles, cache: LayerCache
    ) -> Float[Tensor, "batch width"]:
        """The token at `start` alone: written to the cache, then one stretch of it is read."""
        new = self.inputs(x).view(len(x), -1, self.num_heads, self.head_width)
        turning = new.narrow(1, 0, min(new.shape[1], 2))
        if self.normalize:
            unit_rms_in_place(turning)
        if self.pattern != "lyrics":
            if angles is not None:
                rotate_in_place(turning, *angles)
            kept, slots = cache.layout.places(start, start + 1)
            if kept.stop > kept.start:
                cache.memory.select(3, slots.start).copy_(new.narrow(1, 1, 2).transpose(0, 1))
        seen = cache.layout.seen(start)
        query = new.select(1, 0).unsqueeze(2)
        if seen.stop > seen.start:
            keys, values = cache.memory.narrow(3, seen.start, seen.stop - seen.start).unbind()
            query = F.scaled_dot_product_attention(query, keys, values)
        else:
            query = torch.zeros_like(query)
        out: Tensor = self.output(query.reshape(len(x), -1))
        return out

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
            case "sliding":
                return (key <= query) & (key > query - self.row_length)
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
            case "lyrics" | "all":
                return torch.ones_like(query + key, dtype=torch.bool)

    def _parts(self, x: Tensor, angles: Angles, memory: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, `batch token head width`."""
        if self.pattern == "lyrics":
            return self._query(self.inputs(x)), *self._recall(memory)
        return self._project(self.inputs(x), angles)

    def _query(self, new: Tensor) -> Tensor:
        queries = _heads(new, self.head_width)
        return unit_rms(queries) if self.normalize else queries

    def _recall(self, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """Keys and values of the encoded lyrics, `batch character head width`."""
        assert memory is not None, "a layer that reads lyrics was given none"
        keys, values = _heads(self.memory(memory), self.head_width).chunk(2, 2)
        return unit_rms(keys) if self.normalize else keys, values

    def _project(self, new: Tensor, angles: Angles) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, `batch token head width`."""
        all_three = _heads(new, self.head_width)
        pair, values = all_three[:, :, : 2 * self.num_heads], all_three[:, :, 2 * self.num_heads :]
        if self.normalize:
            pair = unit_rms(pair)
        if angles is not None:
            pair = rotate(pair, *angles)
        queries, keys = pair.chunk(2, 2)
        return queries, keys, values

    def close(self, mixed: Float[Tensor, "batch token head head_width"]) -> Float[Tensor, "batch token width"]:
        """What the layer of outputs makes of what the heads found."""
        out: Tensor = self.output(mixed.flatten(2))
        return out

    def _attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, before: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """All tokens from the first on at once, `batch token head width`; patterns become reshapes.

        For the patterns within rows the first token may begin any row; `before` are then the keys and values of the
        row ahead of it.
        """
        match self.pattern:
            case "full":
                return _mix(queries, keys, values, causal=True)
            case "sliding":
                return self._slide(queries, keys, values)
            case "lyrics" | "all":
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
                mixed = self._attend_rows(self._rows(queries), self._rows(keys), self._rows(values), before)
                return mixed.reshape(len(queries), -1, *queries.shape[2:])[:, :length]

    def _attend_rows(
        self, queries: Tensor, keys: Tensor, values: Tensor, before: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """The patterns within rows, `batch row column head width`."""
        if self.pattern == "column":
            queries, keys, values = (part.transpose(1, 2) for part in (queries, keys, values))
        elif self.pattern == "previous_row":
            earlier = before or (torch.zeros_like(keys[:, 0]), torch.zeros_like(values[:, 0]))
            keys, values = (
                torch.cat((first.unsqueeze(1), part[:, :-1]), 1)
                for first, part in zip(earlier, (keys, values), strict=True)
            )
        mixed = _mix(
            queries.flatten(0, 1),
            keys.flatten(0, 1),
            values.flatten(0, 1),
            causal=self.pattern != "previous_row",
        )
        mixed = mixed.view(len(queries), -1, *mixed.shape[1:])
        return mixed.transpose(1, 2) if self.pattern == "column" else mixed

    def _slide(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The first row, which sees all before; then pieces of a row, each beside the row's length before it."""
        row, length = self.row_length, queries.shape[1]
        opening = _mix(queries[:, :row], keys[:, :row], values[:, :row], causal=True)
        if length <= row:
            return opening
        size = sliding_piece(row)
        queries, keys, values = (_cut(part, size) for part in (queries[:, row:], keys, values))
        count, before = queries.shape[1], row // size
        near = ([part[:, first : first + count] for first in range(before + 1)] for part in (keys, values))
        keys, values = (torch.cat(parts, 2).flatten(0, 1) for parts in near)
        query = torch.arange(row, row + size, device=queries.device)
        seen = self.visible(query, torch.arange(row + size, device=queries.device))
        mixed = _mix(queries.flatten(0, 1), keys, values, seen=seen).reshape(len(opening), -1, *opening.shape[2:])
        return torch.cat((opening, mixed[:, : length - row]), 1)

    def _rows(self, part: Tensor) -> Tensor:
        """Cut tokens into rows, the last one filled up with zeros that nothing real can see."""
        return _cut(part, self.row_length)

    def _summary(self, queries: Tensor, keys: Tensor, values: Tensor, position: Tensor) -> Tensor:
        """Attention of queries at `position` to zeros and the ends of rows, `batch token head width`."""
        place = torch.arange(keys.shape[1], device=keys.device)
        ends = place[place % self.row_length >= self.row_length - self.spread]
        seen = F.pad(self.visible(position, ends), (self.spread, 0), value=True)
        keys, values = (F.pad(part[:, ends], (0, 0, 0, 0, self.spread, 0)) for part in (keys, values))
        return _mix(queries, keys, values, seen=seen)

    def _continue(self, queries: Tensor, keys: Tensor, values: Tensor, start: int, cache: LayerCache) -> Tensor:
        """Several tokens from `start` on."""
        stop = start + queries.shape[1]
        if self.pattern in ("row", "column", "previous_row"):
            return self._continue_rows(queries, keys, values, start, cache)
        if self.pattern == "sliding":
            return self._continue_sliding(queries, keys, values, start, cache)
        cache.write(keys, values, start)
        keys, values = cache.seen(stop - 1)
        position = torch.arange(start, stop, device=queries.device)
        held, zeros = torch.arange(keys.shape[1], device=queries.device), 0
        if self.pattern in ("summary", "summary_spread"):
            held, zeros, ends = held[: -self.spread], self.spread, cache.layout.ends
            held = held // ends * self.row_length + self.row_length - ends + held % ends
        return _mix(queries, keys, values, seen=F.pad(self.visible(position, held), (zeros, 0), value=True))

    def _continue_sliding(self, queries: Tensor, keys: Tensor, values: Tensor, start: int, cache: LayerCache) -> Tensor:
        """At most a row's length at once, which is written last: it takes the place of what its first tokens see."""
        pieces = (torch.split(part, self.row_length, 1) for part in (queries, keys, values))
        mixed = []
        for query, key, value in zip(*pieces, strict=True):
            last = start - 1
            held_keys, held_values = cache.seen(last)
            held = last - (last - torch.arange(held_keys.shape[1], device=query.device)) % self.row_length
            position = torch.arange(start, start + query.shape[1], device=query.device)
            seen = self.visible(position, torch.cat((held, position)))
            mixed.append(_mix(query, torch.cat((held_keys, key), 1), torch.cat((held_values, value), 1), seen=seen))
            cache.write(key, value, start)
            start += query.shape[1]
        return torch.cat(mixed, 1)

    def _continue_rows(self, queries: Tensor, keys: Tensor, values: Tensor, start: int, cache: LayerCache) -> Tensor:
        """Several tokens of a pattern within rows: the rest of a row, then whole rows, then the beginning of one."""
        stop = queries.shape[1]
        rest = min(-start % self.row_length, stop)
        whole = stop - (stop - rest) % self.row_length
        parts = []
        for first, last in ((0, rest), (rest, whole), (whole, stop)):
            if first < last:
                piece = slice(first, last)
                parts.append(
                    self._continue_row(queries[:, piece], keys[:, piece], values[:, piece], start + first, cache)
                )
        return torch.cat(parts, 1)

    def _continue_row(self, queries: Tensor, keys: Tensor, values: Tensor, start: int, cache: LayerCache) -> Tensor:
        """Tokens that stay in one row, or begin with one."""
        row, column = divmod(start, self.row_length)
        if self.pattern == "previous_row":
            before = cache.seen(start)
            if column:
                mixed = _mix(queries, *before) if row else torch.zeros_like(queries)
            else:
                mixed = self._attend(queries, keys, values, before)
            cache.write(keys, values, start)  # last: it may take the place of `before`
            return mixed
        cache.write(keys, values, start)
        if self.pattern == "column":
            return self._continue_columns(queries, start, cache)
        if not column:
            return self._attend(queries, keys, values)
        keys, values = cache.seen(start + queries.shape[1] - 1)
        held = torch.arange(keys.shape[1], device=queries.device)
        return _mix(queries, keys, values, seen=held <= held[column:, None])

    def _continue_columns(self, queries: Tensor, start: int, cache: LayerCache) -> Tensor:
        """Tokens that stay in one row, or begin with one, and are in the cache already."""
        row, column = divmod(start, self.row_length)
        length = queries.shape[1]
        queries = queries.unsqueeze(1) if column else self._rows(queries)
        batch, num_rows, num_columns, num_heads, _ = queries.shape
        columns = cache.memory.view(2, batch * num_heads, -1, cache.layout.num_rows, self.head_width)
        keys, values = columns[:, :, column : column + num_columns, : row + num_rows]
        held = torch.arange(row + num_rows, device=queries.device)
        seen = held <= held[row:, None]
        mixed = _mix_heads(queries.permute(0, 3, 2, 1, 4).flatten(0, 1), keys, values, seen=seen)
        mixed = mixed.view(batch, num_heads, num_columns, num_rows, -1).permute(0, 3, 2, 1, 4)
        return mixed.flatten(1, 2)[:, :length]


def _heads(flat: Tensor, head_width: int) -> Tensor:
    return flat.view(*flat.shape[:-1], -1, head_width)


def _cut(part: Tensor, size: int) -> Tensor:
    """Tokens in pieces of a size, the last one filled up with zeros."""
    missing = -part.shape[1] % size
    filled = F.pad(part, (0, 0, 0, 0, 0, missing)) if missing else part
    return filled.reshape(len(part), -1, size, *part.shape[2:])


def _mix(queries: Tensor, keys: Tensor, values: Tensor, *, causal: bool = False, seen: Tensor | None = None) -> Tensor:
    """Attention over `batch token head width`."""
    parts = (part.transpose(1, 2) for part in (queries, keys, values))
    return _mix_heads(*parts, causal=causal, seen=seen).transpose(1, 2)


def _mix_heads(
    queries: Tensor, keys: Tensor, values: Tensor, *, causal: bool = False, seen: Tensor | None = None
) -> Tensor:
    """Attention over `batch head token width`, in single precision where the machine is slow in theirs."""
    dtype, device = queries.dtype, queries.device.type
    if not multiplies_well(dtype, device) and not torch.is_autocast_enabled(device):
        return _mix_heads(queries.float(), keys.float(), values.float(), causal=causal, seen=seen).to(dtype)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen, is_causal=causal)
