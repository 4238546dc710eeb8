"""Masked priors over vectors of several codes."""

import math

import pytest
import torch
from torch import Tensor

import tiny
from orchestrion.codes import HIDDEN
from orchestrion.config.base import plain, read_settings
from orchestrion.config.prior import PriorConfig
from orchestrion.errors import UserError
from orchestrion.prior.labels import Conditions
from orchestrion.prior.masked import MaskedPrior, hide, hide_evenly, next_hidden

DEPTH = 2
FRAMES = 48


def deep_config() -> PriorConfig:
    config = tiny.masked_config()
    assert config.conditioner is not None
    conditioner = config.conditioner.model_copy(update={"strides": (2,)})
    return config.model_copy(update={"depth": DEPTH, "conditioner": conditioner})


def deep_prior() -> MaskedPrior:
    with torch.random.fork_rng(devices=[]):
        return tiny.scrambled(MaskedPrior(deep_config()), 12)


def told(batch: int = 2) -> Conditions:
    conditions = tiny.conditions(batch)
    coarser = torch.randint(tiny.CODEBOOK_SIZE, (batch, 12), generator=torch.Generator().manual_seed(1))
    return type(conditions)(**{**vars(conditions), "coarser": coarser})


@pytest.fixture
def codes() -> Tensor:
    return torch.randint(tiny.CODEBOOK_SIZE, (2, FRAMES), generator=torch.Generator().manual_seed(2))


def test_a_vector_is_one_token_with_scores_for_each_of_its_codes(codes: Tensor) -> None:
    prior = deep_prior()
    assert prior.config.context_tokens == FRAMES // DEPTH
    codes[:, [4, 21]] = HIDDEN
    conditions = prior.tell(told(), FRAMES)
    for place, hidden in ((0, 4), (1, 21)):
        base = prior.score(codes, conditions, place)
        assert base.shape == (2, tiny.CODEBOOK_SIZE)
        for frame in (0, 1, 5, 20, 47):
            changed = codes.clone()
            changed[:, frame] = (changed[:, frame] + 1) % tiny.CODEBOOK_SIZE
            difference = (prior.score(changed, conditions, place) - base).abs().amax(1)
            assert (difference > 1e-6).all(), (hidden, frame)


def test_the_same_code_means_another_thing_at_another_place(codes: Tensor) -> None:
    prior = deep_prior()
    codes[:, 40:] = HIDDEN
    swapped = codes.clone()
    swapped[:, [0, 1]] = codes[:, [1, 0]]
    assert (codes[:, 0] != codes[:, 1]).all()
    conditions = prior.tell(told(), FRAMES)
    assert not torch.allclose(prior.score(codes, conditions, 0), prior.score(swapped, conditions, 0))


def test_the_loss_is_that_of_the_codes_to_be_filled_next(codes: Tensor) -> None:
    prior = deep_prior()
    hidden = torch.zeros(2, FRAMES, dtype=torch.bool)
    hidden[0, [10, 11, 20, 21]] = True  # first and second codes of two vectors: the first ones are next
    hidden[1, [31, 41, 43]] = True  # second codes alone
    loss = prior.loss(codes, hidden, told())
    given = codes.masked_fill(hidden, HIDDEN)
    first = prior.score(given[:1], prior.tell(told().rows(0, 1), FRAMES), 0).log_softmax(-1)
    second = prior.score(given[1:], prior.tell(told().rows(1, 2), FRAMES), 1).log_softmax(-1)
    nats = [-first[i, codes[0, at]] for i, at in enumerate((10, 20))]
    others = [-second[i, codes[1, at]] for i, at in enumerate((31, 41, 43))]
    torch.testing.assert_close(loss.total, torch.stack(nats + others).mean())
    mean = (torch.stack(nats).mean() + torch.stack(others).mean()) / 2
    torch.testing.assert_close(loss.bits_per_code, mean / math.log(2))
    loss.total.backward()
    assert all(weight.grad is not None for weight in prior.tokens.output.parameters())


def test_a_fresh_prior_finds_every_code_equally_likely(codes: Tensor) -> None:
    prior = MaskedPrior(deep_config(), torch.Generator().manual_seed(0))
    hidden = hide(2, FRAMES, torch.Generator().manual_seed(3), DEPTH)
    assert float(prior.loss(codes, hidden, told()).bits_per_code) == pytest.approx(math.log2(tiny.CODEBOOK_SIZE))


def test_hiding_leaves_first_codes_known_before_second_ones_are_filled() -> None:
    rng = torch.Generator().manual_seed(0)
    places = set()
    for hidden in torch.cat([hide(200, FRAMES, rng, DEPTH), hide_evenly(200, FRAMES, 0, DEPTH)]):
        first, second = hidden.view(-1, DEPTH).T
        assert hidden.any()
        if first.any():
            places.add(0)
            assert (second | ~first).all()
        else:
            places.add(1)
        wanted = next_hidden(hidden[None], DEPTH)[0].view(-1, DEPTH)
        assert torch.equal(wanted[:, 0], first) and torch.equal(wanted[:, 1], second & ~first.any())
    assert places == {0, 1}


def test_hiding_evenly_hides_every_number_of_codes_at_every_place() -> None:
    counts = next_hidden(hide_evenly(400, FRAMES, 0, DEPTH), DEPTH).view(400, -1, DEPTH).sum(1)
    for place in range(DEPTH):
        own = counts[:, place][counts[:, place] > 0]
        assert len(own) == 200 and set(own.tolist()) == set(range(1, FRAMES // DEPTH + 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"transformer": plain(tiny.prior_config(0).transformer)},
        {"context_frames": 46},
        {"timing": plain(tiny.prior_config(1).timing)},
        {"tied_output": True},
    ],
)
def test_what_a_depth_does_not_go_with_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UserError):
        read_settings(PriorConfig, plain(deep_config()) | changes)
