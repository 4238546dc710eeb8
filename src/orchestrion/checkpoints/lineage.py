"""Which codecs a codec began with, and whose codes it therefore knows: what `about["begun_with"]` of a model says."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from orchestrion.checkpoints.folder import CODEC, ModelInfo
from orchestrion.grid import Grid


class Before(NamedTuple):
    """What a level of a codec was in the one that this began with: the SHA-256 of its file, and its level there."""

    sha256: str
    level: int


def begun_with(info: ModelInfo, level: int) -> list[Before]:
    """Where a level of the codec of a model was taken over whole from the codec that this began with.

    And from the one that that one began with, and so on.
    """
    return _before(info, "levels", [level])


def unchanged_since(info: ModelInfo, level: int) -> list[Before]:
    """Where a prior of a level of the codec that this began with, or that one with, knows the codes of this level too.

    That is where this level, and the one above that the prior hears, did not learn.
    """
    return _before(info, "unchanged", range(level, min(level + 1, info.grid.top) + 1))


def knows_codes(info: ModelInfo, codec_hash: str, grid: Grid) -> bool:
    """Whether codes of music by the codec with this hash mean the same to the codec of a model.

    They do if it is that codec, or began with it and encodes as it did: with the same weights in half precision, or
    with other decoders.
    """
    if codec_hash == info.sha256.get(CODEC):
        return True
    levels = range(grid.num_levels)
    return grid == info.grid and all((codec_hash, level) in unchanged_since(info, level) for level in levels)


def kept_whole(info: ModelInfo) -> dict[str, Any]:
    """What a codec says of the one it began with that is the codec of `info`, in another precision at most."""
    levels = {str(level): level for level in range(info.grid.num_levels)}
    before = info.about.get("begun_with")
    return {"sha256": info.sha256[CODEC], "levels": levels, "unchanged": levels} | (
        {"before": before} if before else {}
    )


def _before(info: ModelInfo, what: str, heard: Sequence[int]) -> list[Before]:
    found, levels, before = list[Before](), list(heard), info.about.get("begun_with")
    while before is not None:
        levels = [before[what][str(level)] for level in levels if str(level) in before[what]]
        if len(levels) < len(heard):
            break
        found.append(Before(before["sha256"], levels[0]))
        before = before.get("before")
    return found
