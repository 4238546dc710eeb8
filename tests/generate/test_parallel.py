import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from orchestrion.codes import HIDDEN
from orchestrion.config.sampling import LevelSampling
from orchestrion.generate.level import LevelShape, LevelTask, fill_level
from orchestrion.generate.parallel import fill_window
from orchestrion.generate.pick import pick_many
from orchestrion.generate.told import Told


def filled(prior, codes, seeds=(0,), start=0, **sampling):
    steps = fill_window(
        prior, codes, tiny.conditions(len(codes)), seeds, level=0, start=start, sampling=LevelSampling(**sampling)
    )
    kept = []
    while True:
        try:
            kept.append(next(steps)[0])
        except StopIteration as end:
            return end.value, kept


@given(
    hidden=st.lists(st.booleans(), min_size=1, max_size=60).filter(any),
    passes=st.integers(1, 80),
    batch=st.integers(1, 3),
    order=st.sampled_from(["confidence", "random"]),
)
def test_every_hidden_frame_is_filled_in_so_many_passes_and_the_others_stay(hidden, passes, batch, order):
    prior = tiny.CountingFiller(5, 1, 60)
    frames = torch.arange(len(hidden)).expand(batch, -1)
    codes = frames.masked_fill(torch.tensor(hidden), HIDDEN)
    found, kept = filled(prior, codes, range(batch), passes=passes, order=order)
    assert torch.equal(found, frames)
    assert len(prior.hidden) == min(passes, sum(hidden))
    assert prior.hidden == sorted(prior.hidden, reverse=True) and len(set(prior.hidden)) == len(prior.hidden)
    assert kept == [sum(hidden) - left for left in prior.hidden[1:]]


@pytest.mark.parametrize("order", ["confidence", "random"])
def test_the_codes_of_a_vector_are_filled_together_and_those_that_are_known_stay(order):
    prior = tiny.CountingFiller(5, 1, 60, depth=3)
    frames = torch.arange(60).expand(2, -1)
    hidden = torch.arange(60) >= 13  # of the vector from 12 on the first code is known
    found, kept = filled(prior, frames.masked_fill(hidden, HIDDEN), range(2), passes=4, order=order)
    assert torch.equal(found, frames)
    assert len(prior.hidden) == 4 and prior.hidden[0] == 16
    assert kept == [3 * (16 - left) for left in prior.hidden[1:]]


class Sure:
    """Is the surer of a frame the later it stands; notes what was hidden."""

    depth = 1

    def __init__(self):
        self.seen = []

    def tell(self, conditions, num_frames):
        return None

    def read(self, codes, told):
        self.seen.append(codes[0].tolist())
        return (codes == HIDDEN).nonzero()[:, 1:].float()

    def score(self, around, before):
        return torch.cat([around, torch.zeros_like(around)], 1)


def test_the_surest_frames_are_kept_first_where_the_order_has_no_chance_in_it():
    prior = Sure()
    filled(prior, torch.full((1, 12), HIDDEN), passes=4, temperature=0.0, order_temperature=0.0)
    for codes in prior.seen:
        left = codes.count(HIDDEN)
        assert codes == [HIDDEN] * left + [0] * (12 - left)


@pytest.mark.parametrize("order", ["confidence", "random"])
def test_chance_in_the_order_mixes_it_and_is_the_same_for_the_same_seed(order):
    seen = []
    for seed in (1, 1, 2):
        prior = Sure()
        filled(prior, torch.full((1, 30), HIDDEN), [seed], passes=4, order=order, order_temperature=99.0)
        seen.append(prior.seen)
    assert seen[0] == seen[1] != seen[2]
    assert seen[0][1][-seen[0][1].count(0) :] != [0] * seen[0][1].count(0)


def test_a_window_is_the_same_alone_and_among_others():
    prior = tiny.masked_prior()
    told = tiny.conditions(3)
    told = type(told)(**{**vars(told), "coarser": torch.arange(12).expand(3, -1) % 7})
    codes = torch.full((3, 48), HIDDEN)
    codes[:, 20:25] = 3

    def run(rows, seeds):
        steps = fill_window(
            prior, codes[:rows], told.rows(0, rows), seeds, level=0, start=96, sampling=LevelSampling(passes=5)
        )
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    together = run(3, [4, 5, 6])
    assert torch.equal(together[1:2], run(1, [5]))
    assert (together[:, 20:25] == 3).all() and not torch.equal(together[0], together[2])


@given(
    total=st.integers(1, 60),
    known=st.integers(0, 60),
    contexts=st.integers(2, 12),
    ratio=st.integers(1, 4),
    fraction=st.floats(0.05, 1),
    hole=st.tuples(st.integers(0, 50), st.integers(1, 30)),
    batch=st.integers(1, 2),
)
def test_windows_fill_what_is_hidden_or_missing_under_its_coarser_codes(
    total, known, contexts, ratio, fraction, hole, batch
):
    total, known = total * ratio, min(known, total) * ratio
    prior = tiny.CountingFiller(5, ratio, max(total, 1))
    coarser = torch.arange(total // ratio).expand(batch, -1)
    codes = torch.arange(known).expand(batch, -1).clone()
    codes[:, hole[0] * ratio : (hole[0] + hole[1]) * ratio] = HIDDEN
    task = LevelTask(
        prior,
        total,
        LevelShape(0, contexts * ratio, 5, ratio),
        Told(tiny.conditions(batch)),
        range(batch),
        LevelSampling(passes=3, hop_fraction=fraction),
        (lambda frames: coarser) if ratio > 1 else None,
    )
    for event in fill_level(task, codes):
        codes = codes if event.codes is None else event.codes
    assert torch.equal(codes, torch.arange(total).expand(batch, -1))
    assert all(stop - start <= contexts * ratio for start, stop in prior.windows)


def test_progress_counts_what_is_hidden_and_not_what_stands_behind_it():
    codes = torch.arange(40).expand(3, -1).clone()
    codes[:, 10:16] = HIDDEN
    task = LevelTask(
        tiny.CountingFiller(5, 1, 40),
        40,
        LevelShape(0, 24, 5, 1),
        Told(tiny.conditions(3)),
        range(3),
        LevelSampling(passes=3),
    )
    done = [event.frames_done for event in fill_level(task, codes)]
    assert done == sorted(done) and done[0] > 34 and done[-1] == 40


@pytest.mark.parametrize("sampling", [{}, {"top_k": 3}, {"top_p": 0.7}, {"temperature": 0.5, "top_p": 0.9}])
def test_codes_are_drawn_as_often_as_they_are_likely(sampling):
    settings = LevelSampling(**sampling)
    logits = torch.tensor([0.3, 2.0, -1.0, 1.0, -torch.inf, 0.0])
    probs = (logits / settings.temperature).softmax(-1)
    if settings.top_k:
        probs[probs < probs.topk(settings.top_k).values.min()] = 0
    if settings.top_p < 1:
        ranked = probs.sort(descending=True)
        probs[ranked.indices[ranked.values.cumsum(-1) - ranked.values >= settings.top_p]] = 0
    probs = probs / probs.sum()
    chance = (torch.arange(5000) + 0.5) / 5000
    codes, shares = pick_many(logits.expand(5000, -1), chance, settings)
    found = torch.bincount(codes, minlength=6) / 5000
    torch.testing.assert_close(found, probs, atol=5e-4, rtol=0)
    torch.testing.assert_close(shares, probs[codes])


def test_the_smallest_temperature_takes_the_likeliest():
    logits = torch.tensor([[30.0, 70.0, -9.0]])
    codes, shares = pick_many(logits, torch.tensor([0.99]), LevelSampling(temperature=1e-42))
    assert codes.tolist() == [1] and shares.tolist() == [1.0]


def test_the_largest_chance_never_draws_what_has_no_probability():
    chance = torch.tensor([1 - 2**-24] * 64)
    logits = torch.randn(64, 50, generator=torch.Generator().manual_seed(0)).fill_diagonal_(0)
    logits[:, 40:] = -torch.inf
    codes, shares = pick_many(logits, chance, LevelSampling())
    assert (codes < 40).all() and (shares > 0).all()
