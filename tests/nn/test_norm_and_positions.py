"""Norm and positions against torch's own and against their formulas; gradients against differences."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from orchestrion.errors import UserError
from orchestrion.nn.embed import RangeEmbedding, Rotary, rotate
from orchestrion.nn.norm import unit_rms


def test_unit_rms_is_torchs_rms_norm() -> None:
    vectors = torch.randn(3, 5, 8, requires_grad=True)
    other = vectors.detach().clone().requires_grad_()
    weights = torch.randn(3, 5, 8)
    (unit_rms(vectors) * weights).sum().backward()
    (F.rms_norm(other, (8,), eps=0.0) * weights).sum().backward()
    assert_close(unit_rms(vectors), F.rms_norm(other, (8,), eps=0.0), rtol=1e-4, atol=1e-4)
    assert_close(vectors.grad, other.grad, rtol=1e-3, atol=1e-3)


def test_unit_rms_bears_zeros() -> None:
    vectors = torch.zeros(2, 4, requires_grad=True)
    unit_rms(vectors).sum().backward()
    assert unit_rms(vectors).abs().max() == 0
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


def test_rotation_multiplies_by_a_turning_complex_number() -> None:
    rotary, vectors = Rotary(8, 16, 100.0), torch.randn(2, 5, 3, 8)
    turned = rotate(vectors, *rotary.at(4, 9, vectors))
    frequency = 100.0 ** (-torch.arange(4) / 4)
    turn = torch.exp(1j * torch.arange(4, 9)[:, None] * frequency)[:, None]
    expected = torch.complex(vectors[..., :4], vectors[..., 4:]) * turn
    assert_close(turned, torch.cat((expected.real, expected.imag), -1))


def test_rotation_has_its_gradient() -> None:
    rotary = Rotary(4, 8, 100.0).double()
    vectors = torch.randn(1, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: rotate(given, *rotary.at(2, 5, given)), vectors)


def test_only_the_distance_of_positions_matters() -> None:
    rotary, query, key = Rotary(8, 64, 100.0), torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(query_place: int, key_place: int) -> torch.Tensor:
        places = [rotary.at(place, place + 1, query) for place in (query_place, key_place)]
        return (rotate(query, *places[0]) * rotate(key, *places[1])).sum()

    assert_close(score(9, 4), score(50, 45), rtol=1e-4, atol=1e-5)


def test_bins_are_equal_and_their_lower_ends_belong_to_them() -> None:
    table = RangeEmbedding(4, 2, 10.0, 30.0, clamp=True, what="a number")
    given = torch.tensor([10.0, 14.9, 15.0, 29.9, 30.0, 99.0, -5.0])
    assert table.bins(given).tolist() == [0, 0, 1, 3, 3, 3, 0]


@pytest.mark.parametrize("wrong", [9.9, 30.0])
def test_an_unclamped_range_refuses_what_is_outside(wrong: float) -> None:
    table = RangeEmbedding(4, 2, 10.0, 30.0, clamp=False, what="a number")
    with pytest.raises(UserError, match="a number"):
        table.bins(torch.tensor([12.0, wrong]))
