"""Laws of the grid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrion.errors import UserError
from orchestrion.grid import Grid

GRID = Grid(44_100, (8, 32, 128))


@given(st.integers(1, 10**9), st.sampled_from([0, 1, 2]))
def test_frames_cover_the_samples_and_no_more_than_a_hop_beyond(samples, level):
    frames, hop = GRID.num_frames(samples, level), GRID.hop_lengths[level]
    assert 0 <= frames * hop - samples < hop


@given(st.integers(1, 10**9))
def test_whole_lengths_are_whole_at_every_level(samples):
    whole = GRID.whole(samples)
    assert whole >= samples
    assert all(whole % hop == 0 for hop in GRID.hop_lengths)
    assert GRID.whole(whole) == whole


@given(st.integers(0, 10**8))
def test_samples_survive_being_seconds(samples):
    assert GRID.num_samples(GRID.seconds(samples)) == samples


@pytest.mark.parametrize(
    ("rate", "hops"), [(0, (8,)), (44_100, ()), (44_100, (8, 12)), (44_100, (8, 8)), (44_100, (0,))]
)
def test_a_grid_that_does_not_nest_is_refused(rate, hops):
    with pytest.raises(UserError):
        Grid(rate, hops)
