"""A whole song: every level from the top down, each from the one above it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from orchestrion.codes import Codes, frames_made
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.generate.ahead import ahead
from orchestrion.generate.draw import Predictor
from orchestrion.generate.guided import guided
from orchestrion.generate.level import Above, Filled, LevelShape, LevelTask, fill_level, finished
from orchestrion.generate.parallel import Filler
from orchestrion.generate.reprise import finer
from orchestrion.generate.told import Told
from orchestrion.grid import Grid

OpenPrior = Callable[[int], AbstractContextManager[Predictor | Filler]]
"""Gives the prior of a level for as long as it is needed."""


@dataclass(frozen=True)
class Drawn:
    """How far a song is. `codes` holds all of it so far after each window, and nothing in between.

    In between `latest` are the codes of one more frame of the level, where there are such (`level.Filled`).
    """

    level: int
    frames_done: int
    frames_total: int
    codes: Codes | None = None
    latest: Int[Tensor, " batch"] | None = None


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

    def num_rows(self, level: int, songs: int) -> int:
        """How many rows a prior draws at once at most, of so many songs: with guidance two for each."""
        at_once = min(songs, self.most_songs or songs)
        return at_once if self.sampling[level].guidance == 1 else 2 * at_once

    def missing(self, codes: Codes) -> dict[int, tuple[int, int]]:
        """For each level that is not complete, from the top: the frames there are, and those there will be."""
        found = {}
        for level in range(self.grid.top, self.finest_level - 1, -1):
            known, total = codes.num_made(level), self.num_frames(level)
            if known < total:
                found[level] = (known, total)
        return found


@dataclass(frozen=True)
class Songs:
    """Songs to be made together: each row of `codes` is one, with its own seed.

    What there is of a level stays: the codes of a prompt, of a song to go on from, of a run that was stopped, or of a
    whole level to be upsampled. `tell` gives what the prior of a level is told about the songs; `sources` has the
    frames of the top level that others resemble (`generate.reprise`).
    """

    codes: Codes
    plan: Plan
    tell: Callable[[int], Told]
    seeds: Sequence[int]
    sources: Int[Tensor, "row frame_of_song"] | None = None

    def __post_init__(self) -> None:
        if self.codes.grid != self.plan.grid:
            raise UserError(
                f"these codes are on {self.codes.grid} and the model's on {self.plan.grid}",
                "use the model that made them",
            )

    def task(self, level: int, prior: Predictor | Filler, above: Above | None) -> tuple[LevelTask, Tensor]:
        """What is to be done at a level, and the codes it starts with."""
        plan, told, known = self.plan, self.tell(level), self.codes.levels[level]
        hops = plan.grid.hop_lengths
        if known is None:
            known = told.conditions.artist.new_zeros(len(self.seeds), 0)
        task = LevelTask(
            prior=guided(prior, plan.sampling[level].guidance),
            total=plan.num_frames(level),
            shape=plan.shape(level),
            told=told,
            seeds=self.seeds,
            sampling=plan.sampling[level],
            above=above,
            most_rows=plan.most_songs,
            sources=None if self.sources is None else finer(self.sources, hops[plan.grid.top] // hops[level]),
        )
        return task, known


def fill_song(open_prior: OpenPrior, songs: Songs) -> Iterator[Drawn]:
    """Complete songs as planned, from the top level down, one level's weights in memory at a time."""
    codes = songs.codes
    for level in songs.plan.missing(codes):
        with open_prior(level) as prior:
            above = None if level == codes.grid.top else codes[level + 1]
            task, known = songs.task(level, prior, None if above is None else finished(above))
            events = fill_level(task, known)
            for event in events:
                if event.codes is not None:
                    codes = codes.replace(level, event.codes)
                yield _drawn(event, codes)
        del prior, task, events  # before the next is opened


def stream_song(open_prior: OpenPrior, songs: Songs, *, side_by_side: bool = False) -> Iterator[Drawn]:
    """Complete songs as planned, to the same codes, the finest level as early as can be.

    Each level is made only as far as the one below has need of it, or, with `side_by_side`, all of them at once: each
    but the finest in a thread of its own with a single processor. The weights of all are in memory. Holes are filled
    first, from the top down; what is left of the coarser levels comes last. So finer codes may be there whose coarser
    ones are not in a whole window yet.
    """
    plan, codes = songs.plan, songs.codes
    missing = plan.missing(codes)
    rising: dict[int, _Rising] = {}
    with ExitStack() as opened:
        for level in range(plan.grid.top, plan.finest_level - 1, -1):
            if level in missing:
                prior = opened.enter_context(open_prior(level))
                above = rising[level + 1].reach if level < plan.grid.top else None
                task, known = songs.task(level, prior, above)
                rising[level] = _Rising(known, fill_level(task, known))
            else:
                rising[level] = _Rising(codes[level], iter(()))
        apart = [rising[level] for level in missing if side_by_side and level > plan.finest_level]
        for event in _all_events(list(rising.values()), apart, opened):
            if event.codes is not None:
                for level, other in rising.items():
                    before, codes = codes.num_made(level), codes.replace(level, other.kept)
                    if level > event.level and codes.num_made(level) > before:
                        yield Drawn(level, codes.num_made(level), plan.num_frames(level))
            yield _drawn(event, codes)


def _drawn(event: Filled, codes: Codes) -> Drawn:
    """The same of a song, all of which so far is `codes`."""
    whole = None if event.codes is None else codes
    return Drawn(event.level, event.frames_done, event.frames_total, whole, event.latest)


def _all_events(rising: Sequence["_Rising"], apart: Sequence["_Rising"], opened: ExitStack) -> Iterator[Filled]:
    """Those of levels from the top down, as they are to come; the rest of some is made `apart`, in threads."""
    for part in rising:
        yield from part.holes()
    for part in apart:
        part.events = opened.enter_context(ahead(part.events))
    for part in reversed(rising):
        yield from part.rest()


class _Rising:
    """The codes of a level that is made as far as they are asked for; `kept` ends with its last whole window."""

    def __init__(self, known: Int[Tensor, "batch frame"], events: Iterator[Filled]) -> None:
        self.events = events
        self._keep(known)

    def reach(self, frames: int) -> Int[Tensor, "batch frame"]:
        """All that is made, at least so many frames."""
        while self._made + len(self._latest) < frames:
            self._take(next(self.events))
        return torch.cat([self.kept, torch.stack(self._latest, 1)], 1) if self._latest else self.kept

    def holes(self) -> Iterator[Filled]:
        """The events of all that is to be made between other frames."""
        while self._made < self.kept.shape[1]:
            event = next(self.events)
            self._take(event)
            yield event

    def rest(self) -> Iterator[Filled]:
        """The events of all that is not made yet."""
        for event in self.events:
            self._take(event)
            yield event

    def _keep(self, codes: Int[Tensor, "batch frame"]) -> None:
        self.kept, self._made = codes, frames_made(codes)
        self._latest: list[Int[Tensor, " batch"]] = []

    def _take(self, event: Filled) -> None:
        if event.codes is not None:
            self._keep(event.codes)
        elif event.latest is not None:
            self._latest.append(event.latest)
