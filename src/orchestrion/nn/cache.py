"""Keys and values of the past, so that each new token costs one step.

A layer keeps no more than its pattern can still see, in an order in which a step reads one stretch of memory.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from orchestrion.config.prior import Pattern


@dataclass(frozen=True)
class Layout:
    """Where a pattern keeps which of `num_tokens` tokens, cut into rows.

    - full, prefix: in order, as far as they are ever seen;
    - sliding: a row's length, each token over the one that is no longer seen;
    - row: the present row, each over the one before;
    - previous_row: two rows, taken in turn;
    - column: column by column;
    - summary, summary_spread: `spread` zeros, then the ends of rows;
    - lyrics: characters, written once.
    """

    pattern: Pattern
    num_tokens: int
    row_length: int
    final_row: int
    spread: int
    prefix_tokens: int

    @property
    def num_slots(self) -> int:
        match self.pattern:
            case "prefix":
                return min(self.num_tokens, self.prefix_tokens)
            case "row" | "sliding":
                return min(self.num_tokens, self.row_length)
            case "previous_row":
                return min(self.num_tokens, 2 * self.row_length)
            case "column":
                return min(self.num_tokens, self.row_length) * self.num_rows
            case "summary" | "summary_spread":
                return self.spread + min(self.num_rows, self.final_row) * self.ends
            case _:
                return self.num_tokens

    @property
    def num_rows(self) -> int:
        """Rows that the tokens begin."""
        return -(-self.num_tokens // self.row_length)

    @property
    def ends(self) -> int:
        """Tokens at the end of a row that a summary keeps."""
        return min(self.spread, self.row_length)

    def places(self, start: int, stop: int) -> tuple[slice, slice]:
        """Of the tokens `start` to `stop`, all in one row: which are kept, counted from `start`, and in which slots."""
        row, column = divmod(start, self.row_length)
        first, count = start, stop - start
        match self.pattern:
            case "row" | "sliding":
                first = column
            case "previous_row":
                first = start % (2 * self.row_length)
            case "column":
                first = column * self.num_rows + row
                return slice(0, count), slice(first, first + (count - 1) * self.num_rows + 1, self.num_rows)
            case "prefix":
                count = max(min(stop, self.prefix_tokens) - start, 0)
            case "summary" | "summary_spread":
                passed = max(self.row_length - self.ends - column, 0)
                kept = max(count - passed, 0) if row < self.final_row else 0
                first = self.spread + row * self.ends + max(column - self.row_length + self.ends, 0)
                return slice(passed, passed + kept), slice(first, first + kept)
            case _:
                pass
        return slice(0, count), slice(first, first + count)

    def lasting(self, start: int, stop: int) -> int:
        """The first of the tokens `start` to `stop` that is not replaced by a later one of them."""
        if self.pattern == "sliding":
            return max(start, stop - self.row_length)
        rows = {"row": 1, "previous_row": 2}.get(self.pattern)
        if rows is None:
            return start
        return max(start, ((stop - 1) // self.row_length + 1 - rows) * self.row_length)

    def needed(self, first: int, start: int) -> int:
        """Of the tokens from `start` on, the first one that a layer must be told of.

        Its output is asked for from the token `first` on, and later tokens are to find in the cache what they see.
        """
        if self.pattern == "lyrics" or (self.pattern == "prefix" and start >= self.prefix_tokens):
            return first
        return self.lasting(start, first + 1)

    def seen(self, position: int) -> slice:
        """The slots that the token at `position` sees, itself among them."""
        row, column = divmod(position, self.row_length)
        match self.pattern:
            case "sliding":
                return slice(0, min(position + 1, self.row_length))
            case "row":
                return slice(0, column + 1)
            case "previous_row":
                first = (row - 1) % 2 * self.row_length
                return slice(first, first + self.row_length) if row else slice(0, 0)
            case "column":
                return slice(column * self.num_rows, column * self.num_rows + row + 1)
            case "summary" | "summary_spread":
                tail = max(column + 1 - self.row_length + self.ends, 0)
                return slice(0, self.spread + min(row * self.ends + tail, self.final_row * self.ends))
            case "prefix":
                return slice(0, min(position + 1, self.prefix_tokens))
            case "lyrics" | "all":
                return slice(0, self.num_tokens)
            case "full":
                return slice(0, position + 1)


@dataclass(frozen=True)
class LayerCache:
    """One layer's past: preallocated, written in place, keys first and then values."""

    layout: Layout
    memory: Float[Tensor, "2 batch head slot width"]

    def write(
        self,
        keys: Float[Tensor, "batch new head width"],
        values: Float[Tensor, "batch new head width"],
        start: int,
    ) -> None:
        """Keep what is needed of the tokens from `start` on, row by row; only of rows that no later one replaces."""
        stop, row_length = start + keys.shape[1], self.layout.row_length
        begun = self.layout.lasting(start, stop)
        if self.layout.pattern == "column" and begun % row_length == 0 == stop % row_length:
            self._write_columns(keys, values, begun // row_length, stop // row_length)
            return
        for first in range(begun - begun % row_length, stop, row_length):
            low, high = max(first, start), min(first + row_length, stop)
            kept, slots = self.layout.places(low, high)
            tokens = slice(low - start + kept.start, low - start + kept.stop)
            for part, new in zip(self.memory, (keys, values), strict=True):
                part[:, :, slots] = new[:, tokens].transpose(1, 2)

    def _write_columns(self, keys: Tensor, values: Tensor, first: int, last: int) -> None:
        """Whole rows at once, which lie across the columns."""
        _, batch, num_heads, _, width = self.memory.shape
        columns = self.memory.view(2, batch, num_heads, -1, self.layout.num_rows, width)[..., first:last, :]
        for part, new in zip(columns, (keys, values), strict=True):
            part.copy_(new.view(len(new), last - first, -1, *new.shape[2:]).permute(0, 3, 2, 1, 4))

    def seen(
        self, position: int
    ) -> tuple[Float[Tensor, "batch key head width"], Float[Tensor, "batch key head width"]]:
        """Keys and values that the token at `position` sees."""
        keys, values = self.memory[:, :, :, self.layout.seen(position)].transpose(2, 3)
        return keys, values


@dataclass
class Cache:
    """The past of a whole stack."""

    layers: list[LayerCache]
    length: int = 0
    """Tokens read so far."""
