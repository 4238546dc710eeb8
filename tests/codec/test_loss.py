"""Laws of what the codec is trained to make small."""

import math

import pytest
import torch
from torch import Tensor

from orchestrion.audio.spectral import mel_distance
from orchestrion.codec.loss import QUIET, loss_scales, reconstruction_loss
from orchestrion.config import CodecLossConfig

RATE = 16_000
SIZES = ((128, 32, 128), (64, 16, 64))


@pytest.fixture
def pair(rng: torch.Generator) -> tuple[Tensor, Tensor]:
    target = torch.randn(3, 2, 900, generator=rng) * 0.3
    return target, target + torch.randn(3, 2, 900, generator=rng) * 0.1


@pytest.mark.parametrize("relative", [True, False])
def test_a_perfect_reconstruction_costs_nothing(pair, relative):
    loss = CodecLossConfig(largest=1.0, num_largest=9, absolute=1.0, relative=relative, spectral_sizes=SIZES)
    assert float(reconstruction_loss(pair[0], pair[0].clone(), loss, RATE).total) == 0


def test_the_total_is_the_weighted_sum_of_its_parts(pair):
    loss = CodecLossConfig(waveform=0.3, spectral=0.7, log_spectral=0.2, spectral_sizes=SIZES)
    found = reconstruction_loss(*pair, loss, RATE)
    expected = 0.3 * found.waveform + 0.7 * found.spectral + 0.2 * found.log_spectral
    torch.testing.assert_close(found.total, expected)


def test_silence_costs_one_of_each_relative_part(pair):
    found = reconstruction_loss(pair[0], torch.zeros_like(pair[0]), CodecLossConfig(spectral_sizes=SIZES), RATE)
    torch.testing.assert_close(found.waveform, torch.tensor(1.0))
    torch.testing.assert_close(found.spectral, torch.tensor(1.0), atol=1e-4, rtol=0)


def test_relative_parts_do_not_ask_how_loud_a_clip_is(pair):
    loss = CodecLossConfig(spectral_sizes=SIZES)
    loudness = torch.tensor([0.5, 1.0, 3.0])[:, None, None]
    here, there = (
        reconstruction_loss(*pair, loss, RATE),
        reconstruction_loss(*(loudness * audio for audio in pair), loss, RATE),
    )
    torch.testing.assert_close(here.waveform, there.waveform)
    torch.testing.assert_close(here.spectral, there.spectral)


def test_near_silence_does_not_rule_a_batch(pair):
    loss = CodecLossConfig(log_spectral=0.0, spectral_sizes=SIZES)
    quiet = [audio * 1e-6 for audio in pair]
    assert float(reconstruction_loss(quiet[0], quiet[1], loss, RATE).total) < 1e-4
    silent = torch.zeros_like(pair[0])
    at_the_floor = torch.full_like(silent, QUIET)
    torch.testing.assert_close(reconstruction_loss(silent, at_the_floor, loss, RATE).waveform, torch.tensor(1.0))


def test_scales_divide_what_is_not_relative(pair):
    one = CodecLossConfig(largest=1.0, num_largest=50, absolute=1.0, relative=False, spectral_sizes=SIZES)
    scaled = one.model_copy(update={"waveform_scale": 2.0, "spectral_scale": 4.0, "absolute_scale": 8.0})
    squares, sizes = (pair[0] - pair[1]).flatten(1).square(), (pair[0] - pair[1]).abs()
    here, there = reconstruction_loss(*pair, one, RATE), reconstruction_loss(*pair, scaled, RATE)
    torch.testing.assert_close(here.waveform, squares.mean())
    torch.testing.assert_close(there.waveform, here.waveform / 2)
    torch.testing.assert_close(there.spectral, here.spectral / 4)
    largest = squares.sort(dim=1, descending=True).values[:, :50].mean()
    expected = 0.25 * squares.mean() + sizes.mean() / 8 + largest / 2 + here.spectral / 4 + 0.5 * here.log_spectral
    torch.testing.assert_close(there.total, expected)


def test_the_gradient_of_silence_against_silence_is_finite():
    made = torch.zeros(1, 1, 400, requires_grad=True)
    reconstruction_loss(torch.zeros(1, 1, 400), made, CodecLossConfig(spectral_sizes=SIZES), RATE).total.backward()
    assert made.grad is not None and made.grad.isfinite().all()


def test_scales_of_a_sine():
    sine = 0.5 * torch.sin(2 * torch.pi * 8 / 128 * torch.arange(12800))
    scales = loss_scales([sine[None], sine[None]], (128, 32, 128))
    assert scales.waveform_scale == pytest.approx(0.125, rel=1e-4)
    assert scales.absolute_scale == pytest.approx(1 / math.pi, rel=0.02)
    # The peak of a Hann window's magnitudes is half its sum, 0.5 · 64 · 0.5, and half of that in each bin beside it.
    frames = 12800 // 32 + 1
    assert scales.spectral_scale == pytest.approx(16 * math.sqrt(1.5 * frames), rel=0.01)


def test_the_mel_term_is_added_with_its_weight_and_moves_nothing_else(pair):
    plain = CodecLossConfig(spectral_sizes=SIZES)
    with_mel = plain.model_copy(update={"mel": 0.6, "mel_sizes": ((128, 12), (64, 5))})
    here, there = reconstruction_loss(*pair, plain, RATE), reconstruction_loss(*pair, with_mel, RATE)
    assert there[1:4] == here[1:4]
    assert float(here.mel) == 0
    expected = mel_distance(*pair, RATE, ((128, 12), (64, 5))).mean()
    torch.testing.assert_close(there.mel, expected)
    torch.testing.assert_close(there.total, here.total + 0.6 * expected)
