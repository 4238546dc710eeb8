"""Keys and values of the past, so that each new token costs one step."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass
class LayerCache:
    """One layer's past: preallocated, written in place, `length` tokens long so far.

    `keys` and `values` are `batch head token width`. What a pattern sees of them is its own affair
    (`nn.attention`), so a layer may hold fewer tokens than the sequence has.
    """

    keys: Float[Tensor, "batch head token width"]
    values: Float[Tensor, "batch head token width"]
    length: int = 0

    def append(
        self, keys: Float[Tensor, "batch new head width"], values: Float[Tensor, "batch new head width"]
    ) -> None:
        stop = self.length + keys.shape[1]
        assert stop <= self.keys.shape[2], f"{stop} tokens do not fit a cache of {self.keys.shape[2]}"
        self.keys[:, :, self.length : stop] = keys.transpose(1, 2)
        self.values[:, :, self.length : stop] = values.transpose(1, 2)
        self.length = stop

    def past(self) -> tuple[Float[Tensor, "batch token head width"], Float[Tensor, "batch token head width"]]:
        """All keys and values so far."""
        keys, values = self.keys[:, :, : self.length], self.values[:, :, : self.length]
        return keys.transpose(1, 2), values.transpose(1, 2)


@dataclass
class Cache:
    """The past of a whole stack."""

    layers: list[LayerCache]
    length: int = 0
    """Tokens read so far."""
