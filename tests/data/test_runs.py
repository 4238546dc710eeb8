"""Runs of codes that were planted are found, where they were planted."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrion.data.runs import CodeIndex, Run


def slow_longest_run(song, tracks):
    """The length, by trying everything; codes that are held count once."""
    song, *tracks = ([code for code, _ in itertools.groupby(codes)] for codes in (song, *tracks))
    return max(
        (
            length
            for track in tracks
            for start in range(len(track))
            for song_start in range(len(song))
            for length in range(1, min(len(track) - start, len(song) - song_start) + 1)
            if track[start : start + length] == song[song_start : song_start + length]
        ),
        default=0,
    )


def changing_codes(count, rng):
    """No code twice in a row."""
    return torch.randint(1, 1000, (count,), generator=rng).cumsum(0) % 2048


few_codes = st.lists(st.integers(0, 2), max_size=9)


@given(few_codes, st.lists(few_codes, min_size=1, max_size=3).filter(any))
def test_the_longest_run_is_that_of_trying_everything(song, tracks):
    index = CodeIndex([torch.tensor(track, dtype=torch.long) for track in tracks], 3)
    found = index.longest_run(torch.tensor(song, dtype=torch.long))
    assert found.length == slow_longest_run(song, tracks)
    there, here = tracks[found.track][found.start :], song[found.song_start :]
    first = [[code for code, _ in itertools.groupby(codes)][: found.length] for codes in (there, here)]
    assert first[0] == first[1]


@pytest.mark.parametrize("length", [7, 100, 333])
def test_a_planted_copy_is_found_with_its_place_and_length(rng, length):
    tracks = [changing_codes(count, rng) for count in (5000, 400, 8000)]
    song = changing_codes(900, rng)
    song[200 : 200 + length] = tracks[2][4321 : 4321 + length]
    song[199], song[200 + length] = (tracks[2][4320] + 1) % 2048, (tracks[2][4321 + length] + 1) % 2048
    assert CodeIndex(tracks, 2048).longest_run(song) == Run(length, 200, 2, 4321)


def test_a_held_code_is_no_long_run(rng):
    silence = torch.full((500,), 7)
    index = CodeIndex([torch.cat([changing_codes(100, rng), silence])], 2048)
    assert index.longest_run(silence).length == 1


def test_a_run_does_not_reach_from_one_track_into_the_next():
    index = CodeIndex([torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])], 8)
    assert index.longest_run(torch.tensor([1, 2, 3, 4, 5, 6])).length == 3
