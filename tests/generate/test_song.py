from contextlib import contextmanager

import pytest
import torch

import tiny
from orchestrion.codes import HIDDEN, Codes
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.generate.song import Plan, Songs, fill_song, stream_song
from orchestrion.generate.told import Told
from orchestrion.grid import Grid

GRID = Grid(1000, (2, 4, 20))


class Shelf:
    """Hands out counting priors, and notes what is open."""

    def __init__(self, together=False, fillers=()):
        self.open, self.log, self.together, self.fillers = set(), [], together, fillers

    @contextmanager
    def __call__(self, level):
        assert self.together or not self.open, "two levels in memory at a time"
        self.open.add(level)
        self.log.append(level)
        kind = tiny.CountingFiller if level in self.fillers else tiny.CountingPrior
        yield kind(GRID.hop_lengths[level], GRID.ratio(level) if level < 2 else 1, 600)
        self.open.discard(level)


def plan(num_samples=801, **changes):
    settings = {
        "contexts": (40, 30, 16),
        "sampling": (LevelSampling(temperature=0.0),) * 3,
    }
    return Plan(GRID, num_samples, **(settings | changes))


def counted(*frames):
    return Codes(GRID, tuple(None if n is None else torch.arange(n)[None] for n in frames))


def run(codes, plan, shelf=None):
    shelf = shelf or Shelf()
    return list(fill_song(shelf, songs(codes, plan))), shelf


def songs(codes, plan):
    return Songs(codes, plan, lambda level: Told(tiny.conditions()), [0])


def same(codes, other):
    return all(torch.equal(codes[level], other[level]) for level in range(3))


def test_levels_are_made_from_the_top_down_one_in_memory_at_a_time():
    events, shelf = run(Codes.empty(GRID), plan())
    assert shelf.log == [2, 1, 0] and not shelf.open
    assert same(events[-1].codes, counted(410, 205, 41))
    assert [e.level for e in events] == sorted((e.level for e in events), reverse=True)


@pytest.mark.parametrize("prompt", [(40, 20, 4), (410, 205, 40), (399, 3, 17)])
def test_a_prompt_stays_at_every_level(prompt):
    events, _ = run(counted(*prompt), plan())
    assert same(events[-1].codes, counted(410, 205, 41))


def test_only_what_is_missing_is_made():
    _, shelf = run(counted(None, None, 41), plan())
    assert shelf.log == [1, 0]
    events, shelf = run(counted(410, 205, 41), plan())
    assert events == [] and shelf.log == []


def test_a_draft_leaves_the_fine_levels_out():
    events, shelf = run(Codes.empty(GRID), plan(finest_level=2))
    assert shelf.log == [2]
    assert not events[-1].codes.has(0)


def test_every_window_is_reported_with_all_codes_so_far_and_can_be_gone_on_from():
    whole, _ = run(Codes.empty(GRID), plan())
    kept = [event.codes for event in whole if event.codes is not None]
    assert len(kept) > 20
    for codes in kept[::5]:
        events, _ = run(codes, plan())
        assert same(events[-1].codes, whole[-1].codes)


@pytest.mark.parametrize("num_samples", [1, 19, 20, 21])
def test_songs_shorter_than_a_window_are_made_shorter(num_samples):
    events, _ = run(Codes.empty(GRID), plan(num_samples))
    assert events[-1].codes[2].shape[1] == -(-num_samples // 20)


def test_codes_on_another_grid_are_refused():
    with pytest.raises(UserError, match="model that made them"):
        run(Codes.empty(Grid(1000, (2, 4, 40))), plan())


@pytest.mark.parametrize("fillers", [(), (0,), (0, 1, 2)])
@pytest.mark.parametrize("prompt", [(0, 0, 0), (40, 20, 4), (400, 205, 40), (399, 3, 17)])
def test_a_streamed_song_is_the_same_and_its_start_is_there_before_its_end_is_begun(prompt, fillers):
    shelf = Shelf(together=True, fillers=fillers)
    events = [event for event in stream_song(shelf, songs(counted(*prompt), plan())) if event.codes is not None]
    assert same(events[-1].codes, counted(410, 205, 41)) and not shelf.open
    assert events[0].level == 0
    first = events[0].codes
    if prompt == (0, 0, 0):
        assert first[0].shape[1] == 40 and first[2].shape[1] <= 16
    for event in events:
        again, _ = run(event.codes, plan())
        assert same(again[-1].codes if again else event.codes, counted(410, 205, 41))


@pytest.mark.parametrize("fillers", [(), (0,), (0, 1, 2)])
@pytest.mark.parametrize(("first", "stop"), [(0, 1), (3, 30), (20, 41), (40, 41), (0, 41)])
def test_holes_are_filled_at_every_level_and_what_is_around_them_stays(first, stop, fillers):
    codes = counted(410, 205, 41)
    for level, ratio in ((0, 10), (1, 5), (2, 1)):
        codes[level][:, first * ratio : stop * ratio] = HIDDEN
    assert plan().missing(codes)[2] == (41 - (stop - first), 41)
    events, _ = run(codes, plan(), Shelf(fillers=fillers))
    assert same(events[-1].codes, counted(410, 205, 41))
    done = [(event.frames_done, event.frames_total) for event in events if event.level == 0]
    assert done == sorted(done) and done[-1] == (410, 410)
    kept = [event.codes for event in events if event.codes is not None]
    for stopped in kept[::3]:
        rest, _ = run(stopped, plan(), Shelf(fillers=fillers))
        assert same(rest[-1].codes if rest else stopped, counted(410, 205, 41))
    for side_by_side in (False, True):
        shelf = Shelf(together=True, fillers=fillers)
        streamed = list(stream_song(shelf, songs(codes, plan()), side_by_side=side_by_side))
        assert same(streamed[-1].codes, counted(410, 205, 41))
        assert streamed[0].level == 2, "whoever waits for the hole of the top hears of it"
        for level, total in ((2, 41), (1, 205), (0, 410)):
            done = [event.frames_done for event in streamed if event.level == level]
            assert done == sorted(done) and done[-1] == total
