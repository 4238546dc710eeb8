"""Variations of recordings: near the original, each its own, the same every time."""

import pytest
import torch

from orchestrion.audio.waveform import change_speed
from orchestrion.data.vary import SEMITONES, fills_a_frame, recorded_sample, semitones, varied_sample, vary

RATE = 8000
ONE, OTHER = "00000000000000aa", "00000000000000ab"


def tone(frequency: float, seconds: float = 1.0) -> torch.Tensor:
    return torch.sin(2 * torch.pi * frequency * torch.arange(int(seconds * RATE)) / RATE)[None]


def pitch(audio: torch.Tensor) -> float:
    spectrum = torch.fft.rfft(audio[0] * torch.hann_window(audio.shape[1]), n=2**17).abs()
    return float(spectrum.argmax()) * RATE / 2**17


def test_speed_raises_pitch_and_shortens_alike():
    faster = change_speed(tone(440.0), 1.25)
    assert faster.shape == (1, round(RATE / 1.25))
    assert pitch(faster) == pytest.approx(550.0, rel=1e-3)


def test_a_variation_is_as_much_higher_as_it_says():
    for variation in (1, 2, 3):
        varied = vary(tone(440.0), ONE, variation, 512)
        assert pitch(varied) == pytest.approx(440.0 * 2 ** (semitones(ONE, variation) / 12), rel=2e-3)


def test_variations_are_spread_within_bounds_and_differ_between_recordings():
    places = [semitones(ONE, variation) for variation in range(1, 9)]
    assert max(map(abs, places)) <= SEMITONES
    gaps = [high - low for low, high in zip(sorted(places), sorted(places)[1:], strict=False)]
    assert max(gaps) < 2 * SEMITONES / 4
    assert semitones(OTHER, 1) != semitones(ONE, 1)


def test_the_beginning_moves_by_less_than_a_frame():
    lengths = set()
    for variation in range(1, 6):
        varied = vary(tone(440.0), ONE, variation, 512)
        whole = RATE / 2 ** (semitones(ONE, variation) / 12)
        cut = whole - varied.shape[1]
        assert -1 <= cut <= 512
        lengths.add(round(cut))
    assert len(lengths) > 2


@pytest.mark.parametrize("num_samples", [1, 300, 512, 700, 1023, 1100, 1200])
def test_it_is_known_before_whether_a_variation_fills_a_frame(num_samples):
    for variation in range(1, 9):
        left = vary(torch.ones(1, num_samples), ONE, variation, 512).shape[1]
        assert fills_a_frame(num_samples, ONE, variation, 512) == (left >= 512)


@pytest.mark.parametrize("variation", range(4))
def test_a_place_in_a_variation_is_found_again_in_the_recording(variation):
    there = varied_sample(5000.0, ONE, variation, 512)
    assert (there == 5000) == (variation == 0)
    assert recorded_sample(there, ONE, variation, 512) == pytest.approx(5000)


def test_the_same_variation_is_the_same_and_none_is_the_recording():
    audio = tone(440.0)
    assert torch.equal(vary(audio, ONE, 2, 512), vary(audio, ONE, 2, 512))
    assert vary(audio, ONE, 0, 512) is audio
