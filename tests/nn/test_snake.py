"""The periodic activation: what its authors say of it, and that a codec can learn with it."""

import math

import pytest
import torch

import tiny
from orchestrion.codec.model import Codec
from orchestrion.nn.conv import ResidualStack, Snake, snake


def test_it_adds_half_of_what_a_shifted_cosine_lacks(rng):
    x, frequency = torch.randn(2, 3, 50, generator=rng, dtype=torch.float64), torch.tensor([0.3, 1.0, 7.0]).double()
    activation = Snake(3).double()
    with torch.no_grad():
        activation.log_frequency.copy_(frequency.log())
    each = frequency[:, None]
    torch.testing.assert_close(activation(x), x + (1 - (2 * each * x).cos()) / (2 * each))


def test_beyond_the_line_it_repeats_itself():
    x, frequency = torch.linspace(-5, 5, 101, dtype=torch.float64), torch.tensor(2.5, dtype=torch.float64)
    period = math.pi / 2.5
    torch.testing.assert_close(snake(x + period, frequency) - snake(x, frequency), torch.full_like(x, period))


def test_frequencies_begin_at_one_and_stay_above_zero():
    activation = Snake(5)
    assert torch.equal(activation.log_frequency.exp(), torch.ones(5))
    with torch.no_grad():
        activation.log_frequency.fill_(-30.0)
    x = torch.linspace(-3, 3, 7).expand(1, 5, 7)
    torch.testing.assert_close(activation(x), x)


def test_every_frequency_of_a_stack_learns(rng):
    stack = ResidualStack(3, 4, (1, 3), periodic=True)
    stack(torch.randn(2, 3, 20, generator=rng)).square().sum().backward()
    learned = [one.grad for name, one in stack.named_parameters() if name.endswith("log_frequency")]
    assert [len(grad) for grad in learned] == [3, 4, 3, 4]
    assert all((grad != 0).all() for grad in learned)


@pytest.mark.parametrize("level", [0, 1])
def test_a_periodic_codec_decodes_in_pieces_what_its_decoder_makes_of_the_whole(level, rng):
    codec = Codec(tiny.codec_config().model_copy(update={"activation": "snake"}))
    codec = tiny.scrambled(codec, 3)
    codes = codec.encode(0.3 * torch.randn(1, 1, 640, generator=rng))
    part = codec.levels[level]
    whole = part.decoder(codec.entries(level)[codes[level]].transpose(1, 2))
    # The drawn weights make large numbers, whose rounding sines do not forgive.
    torch.testing.assert_close(codec.decode(codes, level), whole.detach(), atol=2e-3, rtol=0)
