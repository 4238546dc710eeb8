"""Intervals hold the truth about as often as they say."""

import pytest
import torch

from orchestrion.evaluate.interval import bootstrap, bootstrap_tracks, bootstrap_two, mean, share


def test_the_value_is_the_statistic_of_each_item_once():
    values = torch.tensor([1.0, 2.0, 6.0])
    assert mean(values).value == 3.0
    assert bootstrap(3, lambda drawn: float(values[drawn].amax())).value == 6.0


def test_intervals_hold_the_truth_about_nineteen_times_in_twenty():
    rng = torch.Generator().manual_seed(1)
    held = 0
    for trial in range(200):
        found = mean(torch.randn(40, generator=rng), draws=400, seed=trial)
        held += found.low <= 0.0 <= found.high
    assert 0.88 <= held / 200 <= 0.98


def test_more_items_make_narrower_intervals():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    few, many = mean(values[:40]), mean(values)
    assert (many.high - many.low) < 0.5 * (few.high - few.low)


def test_pieces_of_one_track_are_drawn_together(rng):
    of_tracks = torch.randn(20, generator=rng)
    tracks = torch.arange(20).repeat_interleave(5)
    pieces = of_tracks.repeat_interleave(5)
    found = bootstrap_tracks(tracks, lambda drawn: float(pieces[drawn].mean()))
    alone = mean(of_tracks)
    assert found.value == pytest.approx(alone.value, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=1e-6)
    one = bootstrap_tracks(torch.zeros(20, dtype=torch.long), lambda drawn: float(of_tracks[drawn].mean()))
    assert (one.low, one.high) == pytest.approx((alone.low, alone.high), abs=1e-6)  # nothing else to draw


def test_draws_in_which_items_are_missing_can_be_brought_to_the_value(rng):
    values = torch.arange(10.0)
    plain, centred = (bootstrap(10, lambda drawn: float(values[drawn].amax()), centred=each) for each in (False, True))
    assert plain.value == centred.value == 9 == plain.high
    assert centred.high - centred.low == pytest.approx(plain.high - plain.low)
    assert centred.low < 9 < centred.high


def test_a_share_of_none_may_have_been_one_of_a_few(rng):
    none = share(torch.zeros(64, dtype=torch.bool))
    assert (none.value, none.low) == (0, 0) and none.high == pytest.approx(0.0566, abs=1e-4)
    whole = share(torch.ones(64, dtype=torch.bool))
    assert (whole.value, whole.high) == (1, 1) and whole.low == pytest.approx(1 - none.high)
    half = share(torch.arange(100) < 50)
    assert (half.low, half.high) == pytest.approx((0.4038, 0.5962), abs=1e-3)


def test_nothing_has_no_mean():
    with pytest.raises(AssertionError, match="nothing"):
        mean(torch.zeros(0))


def test_two_sets_are_drawn_independently_and_the_interval_stands_around_the_value(rng):
    one, other = torch.randn(60, generator=rng), torch.randn(40, generator=rng) + 2
    found = bootstrap_two(60, 40, lambda drawn, other_drawn: float(other[other_drawn].mean() - one[drawn].mean()))
    assert found.value == pytest.approx(float(other.mean() - one.mean()))
    expected = (1 / 60 + 1 / 40) ** 0.5
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(expected, rel=0.25)
    assert found.low < found.value < found.high
