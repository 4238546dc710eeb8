"""Writing safetensors one tensor after the other, so that only one needs to be in memory."""

import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from orchestrion.errors import UserError
from orchestrion.files import replacing

_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL"}
_CHECKED_AT_ONCE = 1 << 20  # elements


@dataclass(frozen=True)
class Entry:
    """A tensor that is still to be made: `read` gives it, contiguous, with this type and shape."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    read: Callable[[], Tensor]

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def write_stream(path: Path, entries: Sequence[Entry]) -> str:
    """Write `entries` as safetensors, whole or not at all; returns the SHA-256 of the file.

    Each tensor is made, written and let go before the next. UserError for one that is not finite.
    """
    ordered = sorted(entries, key=lambda entry: (-entry.dtype.itemsize, entry.name))  # keeps each one aligned
    header, position = {}, 0
    for entry in ordered:
        stop = position + entry.num_bytes
        header[entry.name] = {
            "dtype": _NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [position, stop],
        }
        position = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with replacing(path) as part, part.open("wb") as file:
        for start in (struct.pack("<Q", len(text)), text):
            digest.update(start)
            file.write(start)
        for entry in ordered:
            data = _bytes(entry).numpy().data
            digest.update(data)
            file.write(data)
            del data  # or it would live on while the next is made
    return digest.hexdigest()


def _bytes(entry: Entry) -> Tensor:
    tensor = entry.read()
    assert (tensor.dtype, tuple(tensor.shape)) == (entry.dtype, entry.shape) and tensor.is_contiguous(), entry.name
    flat = tensor.reshape(-1)
    for start in range(0, len(flat), _CHECKED_AT_ONCE):
        if not flat[start : start + _CHECKED_AT_ONCE].isfinite().all():
            raise UserError(f"{entry.name} is not finite as {entry.dtype}", "store it with a wider range")
    return flat.view(torch.uint8)
