import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrion.align.monotonic import _FLOOR, _JUMP, follow


def price(shares: torch.Tensor, path: tuple[int, ...]) -> float:
    """Written out: what a path costs."""
    words = shares.shape[1]
    jumps = (
        (path[0] > 0) + (path[-1] < words - 1) + sum(after - before > 1 for before, after in itertools.pairwise(path))
    )
    attended = sum(float((shares[frame, word] + _FLOOR).log()) for frame, word in enumerate(path))
    return _JUMP * jumps - attended


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_no_other_way_through_the_words_is_likelier(frames, words, seed):
    shares = torch.rand(frames, words, generator=torch.Generator().manual_seed(seed)) ** 4
    found = tuple(follow(shares).tolist())
    ways = itertools.combinations_with_replacement(range(words), frames)
    assert price(shares, found) == pytest.approx(min(price(shares, way) for way in ways), abs=1e-4)
    assert list(found) == sorted(found)


def test_words_that_come_again_are_told_apart_by_their_order():
    shares = torch.full((30, 3), 0.05)
    shares[:10, [0, 2]] = 0.45
    shares[10:20, 1] = 0.9
    shares[20:, [0, 2]] = 0.45
    assert follow(shares).tolist() == [0] * 10 + [1] * 10 + [2] * 10


def test_a_moment_of_another_word_leads_nobody_astray():
    shares = torch.zeros(40, 4)
    shares[:20, 0], shares[20:, 1] = 0.9, 0.9
    shares[5] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    assert follow(shares)[:20].tolist() == [0] * 20
