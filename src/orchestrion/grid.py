"""Seconds, samples and frames: every conversion between them is made here, and rounded here once."""

import math
from dataclasses import dataclass
from itertools import pairwise

from orchestrion.errors import UserError

INEXACT_SECONDS = 1e-3
"""How far a part of a sound may seem to reach past its end: times are written in few digits."""


@dataclass(frozen=True)
class Grid:
    """How one stretch of audio is cut into frames; level 0 is the finest.

    `hop_lengths` are audio samples per frame, one for each level; each must divide the next.

    >>> grid = Grid(sample_rate=44_100, hop_lengths=(8, 32, 128))
    >>> grid.num_frames(44_100, level=2)
    345
    >>> grid.ratio(1)
    4
    >>> grid.frame_rate(2)
    344.53125
    """

    sample_rate: int
    hop_lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.sample_rate <= 0 or not self.hop_lengths or min(self.hop_lengths) <= 0:
            raise UserError(
                f"a grid of {self.hop_lengths} samples per frame at {self.sample_rate} Hz makes no sense",
                "rates and hop lengths are positive",
            )
        for finer, coarser in pairwise(self.hop_lengths):
            if coarser % finer or coarser == finer:
                raise UserError(
                    f"hop lengths {self.hop_lengths} do not nest",
                    "each level's hop length must be a multiple of the finer one before it",
                )

    @property
    def num_levels(self) -> int:
        return len(self.hop_lengths)

    @property
    def top(self) -> int:
        """The coarsest level."""
        return len(self.hop_lengths) - 1

    def frame_rate(self, level: int) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_lengths[level]

    def num_samples(self, seconds: float) -> int:
        """Samples nearest to `seconds`."""
        return round(seconds * self.sample_rate)

    def seconds(self, samples: int) -> float:
        return samples / self.sample_rate

    def num_frames(self, samples: int, level: int) -> int:
        """Frames needed to cover `samples`: the last one may reach past the end."""
        return math.ceil(samples / self.hop_lengths[level])

    def whole(self, samples: int) -> int:
        """`samples` rounded up to a whole number of frames of the coarsest level."""
        return self.num_frames(samples, self.top) * self.hop_lengths[self.top]

    def ratio(self, level: int) -> int:
        """Frames of `level` under one frame of the level above it."""
        return self.hop_lengths[level + 1] // self.hop_lengths[level]
