"""What a model learned from, beside it on disk: `memory.safetensors` (docs/formats.md)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Int
from pydantic import Field, NonNegativeInt
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from orchestrion.config import Settings, check_version, plain, read_settings
from orchestrion.errors import UserError
from orchestrion.files import replacing

MEMORY = "memory.safetensors"
FORMAT, VERSION = "orchestrion.memory", 1


class Limit(Settings):
    """How long a run of codes a piece of so many seconds may share with the tracks: as long as `pieces` held-out ones.

    `evaluate.memory.limit` says how that is meant.
    """

    seconds: float = Field(gt=0)
    codes: float = Field(ge=0)
    pieces: int = Field(ge=1)


class MemoryInfo(Settings):
    """The training tracks and their variations, which codes of the top level are whose; limits from short to long.

    `variations` has the number of each, 0 for a track as it is, and `content_hashes` says of which recording it is;
    both are empty in files written before there were such.
    """

    format: str = FORMAT
    version: int = VERSION
    codec_sha256: str
    codebook_size: int = Field(ge=2)
    tracks: tuple[str, ...]
    num_frames: tuple[NonNegativeInt, ...]
    variations: tuple[NonNegativeInt, ...] = ()
    content_hashes: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")], ...] = ()
    limits: tuple[Limit, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Memory:
    """The codes of the tracks of `info`, one after another."""

    info: MemoryInfo
    codes: Int[Tensor, " frame"]

    @property
    def tracks(self) -> tuple[Int[Tensor, " _"], ...]:
        """The codes of each track."""
        return torch.split(self.codes, list(self.info.num_frames))


def write_memory(folder: Path, memory: Memory) -> Path:
    """Put the memory of the model in `folder` beside its weights; returns where. It changes nothing of the model."""
    kind = torch.int16 if memory.info.codebook_size <= 2**15 else torch.int32
    with replacing(folder / MEMORY) as part:
        # One key only: the order in which safetensors writes several is left to chance.
        save_file({"codes": memory.codes.to(kind)}, part, {"orchestrion": json.dumps(plain(memory.info))})
    return folder / MEMORY


def read_memory(folder: Path, codec_sha256: str) -> Memory | None:
    """The memory of the model in `folder`, None if it has none.

    UserError for one that is damaged, of a later version, or of another codec than the one of that hash.
    """
    path = folder / MEMORY
    if not path.is_file():
        return None
    broken = UserError(f"{path} is damaged or something else", "make it anew, or delete it")
    try:
        with safe_open(path, "pt") as file:
            data = json.loads((file.metadata() or {}).get("orchestrion", "null"))
            codes = file.get_tensor("codes").long()
    except (SafetensorError, OSError, ValueError) as error:
        raise broken from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise broken
    check_version(MemoryInfo, data, f"{path} is a memory")
    info = read_settings(MemoryInfo, data, str(path))
    if codes.ndim != 1 or sum(info.num_frames) != len(codes) or len(info.tracks) != len(info.num_frames):
        raise broken
    if len(info.variations) != len(info.content_hashes) or len(info.variations) not in (0, len(info.tracks)):
        raise broken
    if not torch.all((codes >= 0) & (codes < info.codebook_size)):
        raise broken
    if info.codec_sha256 != codec_sha256:
        raise UserError(f"{path} has the codes of another codec", "make it anew, or delete it")
    return Memory(info, codes)
