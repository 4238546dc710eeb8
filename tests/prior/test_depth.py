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
from orchestrion.prior.masked import MaskedPrior, hide, hide_evenly

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


def test_a_vector_is_one_token_whose_codes_are_scored_one_after_another(codes: Tensor) -> None:
    prior = deep_prior()
    assert prior.config.context_tokens == FRAMES // DEPTH
    codes[:, [4, 5, 20, 21]] = HIDDEN
    conditions = prior.tell(told(), FRAMES)
    base = prior.read(codes, conditions)
    assert base.shape == (4, prior.config.transformer.width)
    for frame in (0, 1, 6, 19, 47):
        changed = codes.clone()
        changed[:, frame] = (changed[:, frame] + 1) % tiny.CODEBOOK_SIZE
        assert ((prior.read(changed, conditions) - base).abs().amax(1) > 1e-6).all(), frame
    before = torch.tensor([[3], [3], [1], [0]])
    first, second = prior.score(base, before[:, :0]), prior.score(base, before)
    assert first.shape == second.shape == (4, tiny.CODEBOOK_SIZE)
    other = prior.score(base, torch.tensor([[3], [2], [1], [0]]))
    assert ((second - other).abs().amax(1) > 1e-6).tolist() == [False, True, False, False]


def test_the_same_code_means_another_thing_at_another_place(codes: Tensor) -> None:
    prior = deep_prior()
    codes[:, 40:] = HIDDEN
    swapped = codes.clone()
    swapped[:, [0, 1]] = codes[:, [1, 0]]
    assert (codes[:, 0] != codes[:, 1]).all()
    conditions = prior.tell(told(), FRAMES)
    assert not torch.allclose(prior.read(codes, conditions), prior.read(swapped, conditions))


def test_what_is_known_of_a_vector_is_read_and_the_rest_alone_is_hidden(codes: Tensor) -> None:
    prior = deep_prior()
    codes[:, 41] = HIDDEN
    conditions = prior.tell(told(), FRAMES)
    base = prior.read(codes, conditions)
    assert len(base) == 2
    codes[:, 40] = (codes[:, 40] + 1) % tiny.CODEBOOK_SIZE
    assert not torch.allclose(prior.read(codes, conditions), base)
    codes[:, 40] = HIDDEN
    assert not torch.allclose(prior.read(codes, conditions), base)


def test_the_loss_is_that_of_the_hidden_codes_each_from_those_before_it_in_its_vector(codes: Tensor) -> None:
    prior = deep_prior()
    hidden = torch.zeros(2, FRAMES, dtype=torch.bool)
    hidden[0, [10, 11, 20, 21]] = True  # two vectors
    hidden[1, [31, 40, 41]] = True  # the second code of one, and another vector
    loss = prior.loss(codes, hidden, told())
    around = prior.read(codes.masked_fill(hidden, HIDDEN), prior.tell(told(), FRAMES))
    of_vectors = codes.view(2, -1, DEPTH)
    true = torch.stack([of_vectors[0, 5], of_vectors[0, 10], of_vectors[1, 15], of_vectors[1, 20]])
    first = -prior.score(around, true[:, :0]).log_softmax(-1).gather(1, true[:, :1])[:, 0]
    second = -prior.score(around, true[:, :1]).log_softmax(-1).gather(1, true[:, 1:])[:, 0]
    nats = [torch.cat((first[:2], second[:2])), torch.stack((second[2], first[3], second[3]))]
    torch.testing.assert_close(loss.total, torch.cat(nats).mean())
    torch.testing.assert_close(loss.bits_per_code, (nats[0].mean() + nats[1].mean()) / 2 / math.log(2))
    loss.total.backward()
    assert prior.head is not None and all(weight.grad is not None for weight in prior.head.parameters())


def test_a_fresh_prior_finds_every_code_equally_likely(codes: Tensor) -> None:
    prior = MaskedPrior(deep_config(), torch.Generator().manual_seed(0))
    hidden = hide(2, FRAMES, torch.Generator().manual_seed(3), DEPTH)
    assert float(prior.loss(codes, hidden, told()).bits_per_code) == pytest.approx(math.log2(tiny.CODEBOOK_SIZE))


def test_the_codes_of_a_vector_are_hidden_together_and_evenly_every_number_of_them() -> None:
    rng = torch.Generator().manual_seed(0)
    for hidden in (hide(200, FRAMES, rng, DEPTH), hide_evenly(200, FRAMES, 0, DEPTH)):
        first, second = hidden.view(200, -1, DEPTH).unbind(2)
        assert torch.equal(first, second) and first.any(1).all()
    counts = hide_evenly(400, FRAMES, 0, DEPTH).sum(1) // DEPTH
    assert set(counts.tolist()) == set(range(1, FRAMES // DEPTH + 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"transformer": plain(tiny.prior_config(0).transformer)},
        {"context_frames": 46},
        {"timing": plain(tiny.prior_config(1).timing)},
        {"tied_output": True},
        {"condition_output": True},
    ],
)
def test_what_a_depth_does_not_go_with_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UserError):
        read_settings(PriorConfig, plain(deep_config()) | changes)
