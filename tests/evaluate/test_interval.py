"""Intervals hold the truth about as often as they say."""

import pytest
import torch

from orchestrion.evaluate.interval import bootstrap, bootstrap_two, mean


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
