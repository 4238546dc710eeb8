from contextlib import contextmanager

import pytest
import torch

import tiny
from orchestrion.codes import Codes
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.generate.song import Plan, fill_song
from orchestrion.generate.told import Told
from orchestrion.grid import Grid

GRID = Grid(1000, (2, 4, 20))


class Shelf:
    """Hands out counting priors, and notes what is open."""

    def __init__(self):
        self.open, self.log = set(), []

    @contextmanager
    def __call__(self, level):
        assert not self.open, "two levels in memory at a time"
        self.open.add(level)
        self.log.append(level)
        yield tiny.CountingPrior(GRID.hop_lengths[level], GRID.ratio(level) if level < 2 else 1, 600)
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
    return list(fill_song(shelf, codes, plan, tell=lambda level: Told(tiny.conditions()), seeds=[0])), shelf


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
