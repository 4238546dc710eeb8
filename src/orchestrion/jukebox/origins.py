"""What a song takes over from the one that it is made from."""

import math

from orchestrion.codes import HIDDEN, Codes
from orchestrion.errors import UserError
from orchestrion.generate.request import Origin
from orchestrion.grid import INEXACT_SECONDS, Grid
from orchestrion.library.folder import codes_sha256


def kept(origin: Origin, source: Codes) -> Codes:
    """The codes that a song begins with: all of `source`, its beginning, its top level, or all but a part of it."""
    grid = source.grid
    if origin.act == "continue":
        return source if origin.stop_seconds is None else source.until(origin.stop_seconds)
    if origin.act == "upsample":
        return Codes.empty(grid).replace(grid.top, source[grid.top])
    if origin.act != "repaint" or origin.start_seconds is None or origin.stop_seconds is None:
        raise UserError(f"there is no way of making songs from others that is called {origin.act!r}", "check the file")
    first, stop = _top_frames(grid, origin.start_seconds, origin.stop_seconds, source[grid.top].shape[1])
    codes = source
    for level, hop in enumerate(grid.hop_lengths):
        part, ratio = codes.levels[level], grid.hop_lengths[grid.top] // hop
        if part is not None:
            part = part.clone()
            part[:, first * ratio : stop * ratio] = HIDDEN
            codes = codes.replace(level, part)
    return codes


def is_of(origin: Origin, source: Codes) -> bool:
    """Whether `source` still has the codes that a song was made from."""
    stood_on = kept(origin, source) if origin.act == "upsample" else source
    return codes_sha256(stood_on) == origin.codes_sha256


def _top_frames(grid: Grid, start_seconds: float, stop_seconds: float, frames: int) -> tuple[int, int]:
    """The frames of the top level that a part of a song covers; UserError where it is not inside the song."""
    seconds = grid.seconds(frames * grid.hop_lengths[grid.top])
    if not 0 <= start_seconds < stop_seconds < math.inf:
        raise UserError(f"there is no part from {start_seconds} s to {stop_seconds} s", "give a start and a later end")
    if start_seconds >= seconds or stop_seconds > seconds + INEXACT_SECONDS:
        raise UserError(f"the song ends at {seconds:.2f} s", "choose a part inside it")
    rate = grid.frame_rate(grid.top)
    first = min(int(start_seconds * rate), frames - 1)
    return first, min(max(math.ceil(stop_seconds * rate), first + 1), frames)
