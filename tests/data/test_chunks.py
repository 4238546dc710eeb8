"""Which part of which track: laws of pure functions."""

from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrion.data.chunks import Draw, chance, spread, track_weights

lengths = st.lists(st.integers(0, 500), min_size=1, max_size=8)


def test_chance_is_the_same_for_ever():
    """Golden numbers: if they change, resumed runs would see other music than they would have."""
    assert chance(0) == pytest.approx(0.09686719122320409, abs=1e-15)
    assert chance(1, 2, 3) == pytest.approx(0.7069603535111167, abs=1e-15)


def test_chance_is_evenly_spread_and_keys_differ():
    numbers = [chance(seed, step) for seed in range(20) for step in range(100)]
    assert len(set(numbers)) == 2000
    assert all(0 <= number < 1 for number in numbers)
    tenths = Counter(int(number * 10) for number in numbers)
    assert min(tenths.values()) > 140


@settings(deadline=None, max_examples=40)
@given(lengths, st.floats(0, 1))
def test_weights_sum_to_one_and_empty_tracks_have_none(totals, balance):
    assume(any(totals))
    weights = track_weights(totals, [None] * len(totals), balance)
    assert sum(weights) == pytest.approx(1)
    assert all((weight == 0) == (total == 0) for weight, total in zip(weights, totals, strict=True))


def test_balance_goes_from_seconds_to_artists():
    totals, artists = [60, 30, 10], ["Ada", "Ada", "Bix"]
    assert track_weights(totals, artists, 0.0) == pytest.approx([0.6, 0.3, 0.1])
    assert track_weights(totals, artists, 1.0) == pytest.approx([1 / 3, 1 / 6, 1 / 2])


def test_spellings_of_one_artist_are_balanced_as_one_and_unknown_is_nobody():
    told = track_weights([60, 30, 10, 5, 5], ["Ada", "Ada", "Bix", None, None], 0.7)
    assert track_weights([60, 30, 10, 5, 5], ["Ada", " ADA", "Bix", "Unknown", None], 0.7) == told


@settings(deadline=None, max_examples=40)
@given(lengths, st.integers(1, 60), st.integers(1, 8), st.integers(0, 2**40))
def test_a_drawn_chunk_lies_inside_its_track_at_a_whole_place(totals, length, ratio, key):
    assume(any(totals))
    draw = Draw(totals, track_weights(totals, [None] * len(totals), 0.5))
    chunk = draw.chunk(length, key, ratio=ratio)
    assert totals[chunk.track] > 0
    assert chunk.start % ratio == 0
    assert chunk.start == 0 or chunk.start + length <= totals[chunk.track]
    assert draw.chunk(length, key, ratio=ratio) == chunk


def test_draws_follow_the_weights_and_reach_both_ends():
    draw = Draw([100, 20], [0.75, 0.25])
    chunks = [draw.chunk(10, step) for step in range(2000)]
    assert 0.71 < sum(chunk.track == 0 for chunk in chunks) / 2000 < 0.79
    assert {chunk.start for chunk in chunks if chunk.track == 1} == set(range(11))


@settings(deadline=None, max_examples=40)
@given(lengths, st.integers(1, 60), st.integers(0, 50))
def test_spread_chunks_never_overlap_and_stay_inside(totals, length, number):
    chunks = spread(totals, length, number)
    assert len(chunks) <= number
    assert chunks == sorted(set(chunks))
    for chunk in chunks:
        assert chunk.start % length == 0
        assert chunk.start + length <= max(length, totals[chunk.track])


@settings(deadline=None, max_examples=40)
@given(lengths, st.integers(1, 60))
def test_enough_spread_chunks_cover_everything_but_rests(totals, length):
    chunks = spread(totals, length, 10_000)
    assert len(chunks) == sum(max(1, total // length) for total in totals if total)
