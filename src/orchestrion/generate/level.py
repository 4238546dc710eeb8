"""Filling one level with codes, window by window."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from orchestrion.codes import HIDDEN, frames_made, num_made
from orchestrion.config.sampling import LevelSampling
from orchestrion.generate.draw import Predictor, draw_window, likelihood
from orchestrion.generate.parallel import Filler, fill_window
from orchestrion.generate.pick import seed_of_take
from orchestrion.generate.reprise import towards
from orchestrion.generate.told import Told
from orchestrion.generate.windows import Window, stride_frames, window_around, windows
from orchestrion.prior.labels import Conditions

HOLE_TAKES = 8
"""How many takes of a hole are drawn where a prior sees only what is before it; the one that leads best to what comes
after is kept."""
JUDGED_FRAMES = 64
"""After how many frames behind the hole that is judged."""

Above = Callable[[int], Int[Tensor, "batch frame_above"]]
"""Gives the codes of the level above, so many frames of them or more."""


def finished(codes: Int[Tensor, "batch frame_above"]) -> Above:
    """A level above of which all is there."""
    return lambda frames: codes


class LevelShape(NamedTuple):
    """The numbers of a level that its windows are laid by."""

    level: int
    context: int  # frames that the prior can see
    hop_length: int  # audio samples per frame
    ratio: int  # frames under one of the level above; 1 at the top


@dataclass(frozen=True)
class Filled:
    """How far a level is, `frames_done` of `frames_total`, those that were there before included.

    `codes` holds all of it so far after each window, and nothing in between. In between `latest` are the codes of one
    more frame, where frames are drawn one after another and all songs together.
    """

    level: int
    frames_done: int
    frames_total: int
    codes: Int[Tensor, "batch frame"] | None = None
    latest: Int[Tensor, " batch"] | None = None


@dataclass(frozen=True)
class LevelTask:
    """What is to be done at one level, for one song in each row.

    There is one seed for each row, and a row comes out the same whatever the others are. `above` gives coarser codes,
    where there are any, `sources` the earlier frames that each resembles (`generate.reprise`). `most_rows` bounds the
    memory: so many songs, or all, are drawn together in each window. Songs whose windows are filled in passes are made
    one by one: a product of more rows may round another way, and where what is surest is kept first, a last bit changes
    all that follows.
    """

    prior: Predictor | Filler
    total: int
    shape: LevelShape
    told: Told
    seeds: Sequence[int]
    sampling: LevelSampling
    above: Above | None = None
    most_rows: int | None = None
    sources: Int[Tensor, "row frame_of_song"] | None = None

    @property
    def stride(self) -> int:
        return stride_frames(self.shape.context, self.sampling.hop_fraction, self.shape.ratio)


def fill_level(task: LevelTask, known: Int[Tensor, "batch frame"]) -> Iterator[Filled]:
    """Make the `HIDDEN` frames of the codes `known`, the same ones in every row, and then all that is missing after."""
    codes = known
    while (hole := _first_hole(codes)) is not None:
        codes = yield from _fill_hole(task, codes, *hole)
    for window in windows(task.total, context=task.shape.context, stride=task.stride, known=codes.shape[1]):
        codes = torch.cat([codes, (yield from _invent(task, codes, window))], 1)
        yield _filled(task, codes)


def _first_hole(codes: Int[Tensor, "batch frame"]) -> tuple[int, int] | None:
    """Start and stop of the first run of hidden frames."""
    edges = F.pad((codes[:1] == HIDDEN).int(), (1, 1)).diff()[0].nonzero().flatten().tolist()
    return (edges[0], edges[1]) if edges else None


def _filled(task: LevelTask, codes: Tensor) -> Filled:
    """The event after a window."""
    return Filled(task.shape.level, num_made(codes), task.total, codes)


def _invent(task: LevelTask, codes: Tensor, window: Window) -> Generator[Filled, None, Tensor]:
    """The frames of `window` from the first unknown one on, of all songs."""
    songs = len(task.seeds)
    new = window.stop - window.known - num_made(codes[:, window.known : window.stop])
    at_once = 1 if isinstance(task.prior, Filler) else task.most_rows or songs
    before = num_made(codes)
    found: list[Tensor] = []
    for first in range(0, songs, at_once):
        rows = slice(first, min(first + at_once, songs))
        steps = _window_steps(task, codes, window, rows)
        while True:
            try:
                frames, latest = next(steps)
            except StopIteration as end:
                found.append(end.value)
                break
            fresh = (first * new + frames * (rows.stop - first)) // songs
            if fresh:
                together = latest if at_once >= songs else None
                yield Filled(task.shape.level, before + fresh, task.total, latest=together)
    return torch.cat(found)


def _window_steps(
    task: LevelTask, codes: Tensor, window: Window, rows: slice
) -> Generator[tuple[int, Tensor | None], None, Tensor]:
    """A window of some of the songs: yields frames done and the latest, returns all that it invents."""
    shape, seeds = task.shape, task.seeds[rows]
    coarser = _coarser(task, window)
    told = task.told.rows(rows.start, rows.stop)
    conditions = _conditions(told, shape, window, None if coarser is None else coarser[rows])
    sources = None if task.sources is None else task.sources[rows]
    if isinstance(task.prior, Filler):
        seen = F.pad(codes, (0, max(window.stop - codes.shape[1], 0)), value=HIDDEN)[rows, window.start : window.stop]
        earlier = None if sources is None else towards(sources[:, window.start : window.stop], codes[rows])
        whole = yield from fill_window(
            task.prior,
            seen,
            conditions,
            seeds,
            level=shape.level,
            start=window.start,
            sampling=task.sampling,
            earlier=earlier,
        )
        return whole[:, window.known - window.start :]
    return (
        yield from draw_window(task.prior, codes[rows], window, conditions, seeds, shape.level, task.sampling, sources)
    )


def _conditions(told: Told, shape: LevelShape, window: Window, coarser: Tensor | None) -> Conditions:
    """What is told about a window, the words around what it invents."""
    middle = (window.known + window.stop) / 2
    return told.window(window.start * shape.hop_length, coarser, middle * shape.hop_length)


def _coarser(task: LevelTask, window: Window) -> Tensor | None:
    """The codes of the level above over a window."""
    if task.above is None:
        return None
    start, stop = window.start // task.shape.ratio, -(-window.stop // task.shape.ratio)
    coarser = task.above(stop)
    assert window.start % task.shape.ratio == 0 and coarser.shape[1] >= stop, (window, task.shape, coarser.shape)
    return coarser[:, start:stop]


def _fill_hole(task: LevelTask, codes: Tensor, first: int, stop: int) -> Generator[Filled, None, Tensor]:
    """The codes with the frames [first, stop) made, or some of them."""
    if isinstance(task.prior, Filler):
        context, ratio = task.shape.context, task.shape.ratio
        window = window_around(first, stop, codes.shape[1], context=context, stride=task.stride, ratio=ratio)
        new = yield from _invent(task, codes, window)
        codes = torch.cat([codes[:, :first], new, codes[:, window.stop :]], 1)
    else:
        best = []
        for row in range(len(codes)):
            best.append((yield from _best_take(task, task.prior, codes, row, first, stop)))
        codes = torch.cat(best)
    yield _filled(task, codes)
    return codes


def _best_take(
    task: LevelTask, prior: Predictor, codes: Tensor, row: int, first: int, stop: int
) -> Generator[Filled, None, Tensor]:
    """One song with a hole filled, by the take of several after which what comes next is the likeliest."""
    context, ratio = task.shape.context, task.shape.ratio
    after = codes[row : row + 1, stop : stop + min(JUDGED_FRAMES, context // 2, context - ratio)]
    after = after[0, : frames_made(after)]
    count = HOLE_TAKES if len(after) else 1
    above = task.above
    alone = replace(
        task,
        total=stop,
        told=task.told.rows(row, row + 1).repeated(count),
        seeds=[seed_of_take(task.seeds[row], take) for take in range(count)],
        above=None if above is None else lambda frames: above(frames)[row].expand(count, -1),
        sources=None if task.sources is None else task.sources[row].expand(count, -1),
    )
    takes = codes[row, :first].expand(count, -1)
    before, songs = num_made(codes), len(codes)
    for event in fill_level(alone, takes):
        takes = takes if event.codes is None else event.codes
        fresh = (row * (stop - first) + event.frames_done - first) // songs
        if fresh:
            yield Filled(task.shape.level, before + fresh, task.total)
    best = 0
    if count > 1:
        whole = torch.cat([takes, after.expand(count, -1)], 1)
        end = whole.shape[1]
        window = Window(-(-max(0, end - context) // ratio) * ratio, stop, end)
        conditions = _conditions(alone.told, alone.shape, window, _coarser(alone, window))
        at_once = task.most_rows or count
        parts = [(begin, begin + at_once) for begin in range(0, count, at_once)]
        scores = [likelihood(prior, whole[slice(*part)], window, conditions.rows(*part)) for part in parts]
        best = int(torch.cat(scores).argmax())
    return torch.cat([takes[best], codes[row, stop:]])[None]
