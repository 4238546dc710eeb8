import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrion.config.sampling import LevelSampling
from orchestrion.generate.pick import _ranked, chances, pick, pick_many

PROBS = torch.tensor([0.04, 0.64, 0.09, 0.23])
MANY = 20_000


def draw(probs=PROBS, *, seed=0, **sampling):
    chance = torch.rand(MANY, generator=torch.Generator().manual_seed(seed))
    return pick(probs.log().expand(MANY, -1), chance, LevelSampling(**sampling))


def shares(drawn, size=4):
    return torch.bincount(drawn, minlength=size) / len(drawn)


def test_codes_come_as_often_as_they_are_likely():
    torch.testing.assert_close(shares(draw()), PROBS, atol=0.01, rtol=0)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_is_a_power_of_the_probabilities(temperature):
    expected = PROBS ** (1 / temperature)
    torch.testing.assert_close(shares(draw(temperature=temperature)), expected / expected.sum(), atol=0.01, rtol=0)


def test_temperature_zero_and_one_choice_are_both_the_likeliest():
    assert set(draw(temperature=0.0).tolist()) == {1}
    assert set(draw(top_k=1).tolist()) == {1}
    assert set(draw(temperature=1e-9).tolist()) == {1}


@pytest.mark.parametrize("temperature", [1e-38, 1e-40, 1e-46, 1e-300, 5e-324])
def test_no_temperature_is_too_small(temperature):
    logits, chance = torch.randn(64, 300, generator=torch.Generator().manual_seed(0)), torch.full((64,), 0.5)
    codes, shares = pick_many(logits, chance, LevelSampling(temperature=temperature))
    assert codes.equal(logits.argmax(-1)) and (shares == 1).all()
    assert pick(logits, chance, LevelSampling(temperature=temperature)).equal(codes)


def test_top_k_keeps_the_likeliest_in_their_proportions():
    torch.testing.assert_close(shares(draw(top_k=2)), torch.tensor([0, 64 / 87, 0, 23 / 87]), atol=0.01, rtol=0)


def test_top_k_keeps_exactly_that_many_of_equals():
    assert set(draw(torch.full((8,), 1 / 8), top_k=3).tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    "top_p, kept", [(0.01, {1}), (0.63, {1}), (0.8, {1, 3}), (0.9, {1, 2, 3}), (1.0, {0, 1, 2, 3})]
)
def test_top_p_never_leaves_the_nucleus(top_p, kept):
    assert set(draw(top_p=top_p).tolist()) == kept


def test_top_p_is_of_what_top_k_left():
    assert set(draw(torch.tensor([0.4, 0.3, 0.2, 0.1]), top_k=2, top_p=0.5).tolist()) == {0}


@given(
    st.lists(st.floats(-50, 50, width=32) | st.just(float("-inf")), min_size=2, max_size=20),
    st.floats(0, 1, exclude_max=True, width=32),
    st.floats(0.01, 10),
)
def test_what_cannot_be_is_never_drawn(logits, chance, temperature):
    logits[0] = 0.0
    code = pick(torch.tensor([logits]), torch.tensor([chance]), LevelSampling(temperature=temperature))
    assert logits[int(code)] > float("-inf")


def test_the_last_chance_still_points_at_a_code():
    chance = torch.tensor([1 - 2**-24])
    assert int(pick(PROBS.log()[None], chance, LevelSampling())) == 0


@given(st.lists(st.sampled_from([0.0, -0.5, -3.0, -90.0, float("-inf")]), min_size=1, max_size=40))
def test_codes_are_ranked_as_by_a_stable_sort(logits):
    probs = torch.tensor([[*logits[::-1], 0.0], [0.0, *logits]]).softmax(-1)
    expected = probs.sort(dim=-1, descending=True, stable=True)
    found = _ranked(probs)
    assert torch.equal(found[0], expected.values) and torch.equal(found[1], expected.indices)


def test_rows_are_strangers():
    logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(1))
    chance = torch.rand(5, generator=torch.Generator().manual_seed(2))
    together = pick(logits, chance, LevelSampling(top_p=0.9))
    alone = [int(pick(logits[i : i + 1], chance[i : i + 1], LevelSampling(top_p=0.9))) for i in range(5)]
    assert together.tolist() == alone


@given(st.integers(0, 3000), st.integers(1, 1500), st.integers(0, 100))
def test_the_chance_of_a_frame_does_not_depend_on_where_the_window_is(start, length, inset):
    whole = chances([7], 1, 0, start + length + inset)
    torch.testing.assert_close(chances([7], 1, start, start + length), whole[:, start : start + length], atol=0, rtol=0)


def test_chances_differ_between_seeds_levels_and_frames_and_are_spread_evenly():
    drawn = chances(range(4), 0, 0, 4096)
    assert (drawn[0] != drawn[1]).all()
    assert (drawn[0] != chances([0], 1, 0, 4096)[0]).all()
    assert drawn.unique().numel() > 0.999 * drawn.numel()
    torch.testing.assert_close(torch.histc(drawn, 8, 0, 1) / drawn.numel(), torch.full((8,), 1 / 8), atol=0.01, rtol=0)


def test_a_row_of_chances_does_not_depend_on_the_others():
    assert torch.equal(chances([3, 9], 2, 5, 50)[1], chances([9], 2, 5, 50)[0])
