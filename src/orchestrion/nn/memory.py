"""Memory of a processor, which costs time to be given back and asked for again.

A layer makes and drops a few matrices of megabytes. The C library gives such memory back to the system when it is
dropped, and the system clears every page of it again when the next layer asks: 7 to 12 % of the time of reading, in
the 160M-parameter configuration (docs/experiments.md, 2026-11-29).
"""

import ctypes
import functools

KEPT_BYTES = 1 << 30
"""So much dropped memory at the end of the heap stays with the process, and pieces up to this size come from there."""
_MOST_BYTES = 1 << 25
"""The largest piece that every version of glibc lets come from the heap."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, see malloc.h


@functools.cache
def keep_dropped_memory() -> bool:
    """Let this process hold on to the memory that it drops, for what it makes next; once for all of it.

    False where the C library is none that knows how (it is glibc's `mallopt`): nothing changes there.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # First the pieces: the other alone would fix their limit at its start, where each of 128 kB is given back.
    taken = mallopt(_MMAP_THRESHOLD, KEPT_BYTES) or mallopt(_MMAP_THRESHOLD, _MOST_BYTES)
    return bool(taken and mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
