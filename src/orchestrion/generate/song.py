"""A whole song: every level from the top down, each from the one above it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from orchestrion.codes import Codes
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.generate.level import LevelShape, Predictor, fill_level
from orchestrion.generate.told import Told
from orchestrion.grid import Grid

OpenPrior = Callable[[int], AbstractContextManager[Predictor]]
"""Gives the prior of a level for as long as it is needed."""


@dataclass(frozen=True)
class Drawn:
    """How far a song is. `codes` holds all of it so far after each window, and nothing in between."""

    level: int
    frames_done: int
    frames_total: int
    codes: Codes | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be made: how long, by which windows, drawn how, down to which level.

    `contexts` are the frames that each level's prior can see; `sampling` has one entry per level. `most_songs` is how
    many are drawn together at most, which bounds the memory.
    """

    grid: Grid
    num_samples: int
    contexts: tuple[int, ...]
    sampling: tuple[LevelSampling, ...]
    finest_level: int = 0
    most_songs: int | None = None

    def num_frames(self, level: int) -> int:
        """Frames of `level` in the song, whole ones of the top level throughout."""
        return self.grid.whole(self.num_samples) // self.grid.hop_lengths[level]

    def shape(self, level: int) -> LevelShape:
        ratio = 1 if level == self.grid.top else self.grid.ratio(level)
        return LevelShape(level, self.contexts[level], self.grid.hop_lengths[level], ratio)

    def missing(self, codes: Codes) -> dict[int, tuple[int, int]]:
        """For each level that is not complete, from the top: the frames there are, and those there will be."""
        found = {}
        for level in range(self.grid.top, self.finest_level - 1, -1):
            part = codes.levels[level]
            known, total = 0 if part is None else part.shape[1], self.num_frames(level)
            if known < total:
                found[level] = (known, total)
        return found


def fill_song(
    open_prior: OpenPrior, codes: Codes, plan: Plan, *, tell: Callable[[int], Told], seeds: Sequence[int]
) -> Iterator[Drawn]:
    """Complete `codes` as planned, from the top level down; rows are songs, each with its own seed.

    What is there at the start of each level stays: the codes of a prompt, of a song to go on from, of a run
    that was stopped, or of a whole level to be upsampled. `tell` gives what the prior of a level is told about the
    songs, without coarser codes.
    """
    if codes.grid != plan.grid:
        raise UserError(
            f"these codes are on {codes.grid} and the model's on {plan.grid}", "use the model that made them"
        )
    for level, (_, total) in plan.missing(codes).items():
        known, told = codes.levels[level], tell(level)
        if known is None:
            known = told.conditions.artist.new_zeros(len(seeds), 0)
        with open_prior(level) as prior:
            events = fill_level(
                prior,
                known,
                total,
                shape=plan.shape(level),
                told=told.over(None if level == plan.grid.top else codes[level + 1]),
                seeds=seeds,
                sampling=plan.sampling[level],
                most_rows=plan.most_songs,
            )
            for event in events:
                if event.codes is not None:
                    codes = codes.replace(level, event.codes)
                yield Drawn(level, event.frames_done, total, None if event.codes is None else codes)
        del prior, events  # before the next is opened: one level's weights in memory at a time
