"""How a level is cut into windows that fit a prior's context: integers only."""

from collections.abc import Iterator
from typing import NamedTuple


class Window(NamedTuple):
    """Frames [start, stop) of a level, of which [start, known) are there already and the rest is to be invented."""

    start: int
    known: int
    stop: int


def windows(total: int, *, context: int, stride: int, known: int = 0) -> Iterator[Window]:
    """Windows that invent each of the frames [known, total) exactly once.

    Windows end at fixed places, `context` and then every `stride` frames, whatever is known; so a run that
    stops after some window goes on with the very windows it would have had. Every window but one of a song
    shorter than the context is `context` frames long.

    >>> list(windows(10, context=6, stride=3))
    [Window(start=0, known=0, stop=6), Window(start=3, known=6, stop=9), Window(start=4, known=9, stop=10)]
    >>> list(windows(10, context=6, stride=3, known=7))
    [Window(start=3, known=7, stop=9), Window(start=4, known=9, stop=10)]
    """
    assert 0 < stride <= context, (stride, context)
    stop = min(context, total)
    while known < total:
        if stop > known:
            yield Window(max(0, stop - context), known, stop)
            known = stop
        stop = min(stop + stride, total)


def window_around(first: int, stop: int, total: int, *, context: int, stride: int, ratio: int) -> Window:
    """The window that fills a hole of the frames [first, stop), or its beginning: what is there on both sides is seen.

    A hole of at most `stride` frames stands in the middle of the window. A longer one is filled from its start, with as
    much before it as a window after another has. Windows begin at whole frames of the level above, `ratio` frames each.

    >>> window_around(20, 24, 100, context=16, stride=8, ratio=4)
    Window(start=12, known=20, stop=28)
    >>> window_around(20, 60, 100, context=16, stride=8, ratio=4)
    Window(start=12, known=20, stop=28)
    >>> window_around(28, 60, 100, context=16, stride=8, ratio=4)
    Window(start=20, known=28, stop=36)
    """
    count = stop - first
    before = (context - count) // 2 if count <= stride else context - stride
    start = max(min(first - before, total - context), 0) // ratio * ratio
    return Window(start, first, min(start + context, total))


def stride_frames(context: int, hop_fraction: float, ratio: int) -> int:
    """Frames that each window invents: `hop_fraction` of the context, in whole frames of the level above.

    `ratio` is the number of frames under one of the level above, 1 at the top. Never less than `ratio`.

    >>> stride_frames(512, 0.5, 8)
    256
    >>> stride_frames(20, 0.3, 4)
    4
    """
    assert context % ratio == 0, (context, ratio)
    return max(int(context * hop_fraction) // ratio, 1) * ratio
