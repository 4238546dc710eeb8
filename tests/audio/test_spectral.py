"""Spectra and distances against what is known of them."""

import numpy as np
import pytest
import scipy.signal
import torch

from orchestrion.audio.spectral import (
    MEL_SIZES,
    decibels,
    distance,
    magnitudes,
    mel_distance,
    mel_filters,
    mel_magnitudes,
    signal_to_noise,
)


def test_magnitudes_are_those_of_scipy(rng):
    audio = torch.randn(3000, generator=rng)
    ours = magnitudes(audio, 256, 64, 256)
    padded = np.pad(audio.numpy(), 128, mode="reflect")
    _, _, theirs = scipy.signal.stft(
        padded, window=scipy.signal.get_window("hann", 256), nperseg=256, noverlap=192, boundary=None, padded=False
    )
    scale = scipy.signal.get_window("hann", 256).sum()
    np.testing.assert_allclose(ours.numpy(), np.abs(theirs) * scale, atol=2e-3)


def test_a_sound_is_at_no_distance_from_itself_and_silence_at_one(rng):
    audio = torch.randn(2, 1, 8000, generator=rng)
    same = distance(audio, audio.clone())
    assert same.convergence.max() == 0
    assert same.log_difference.max() == 0
    torch.testing.assert_close(distance(audio, torch.zeros_like(audio)).convergence, torch.ones(2), atol=1e-3, rtol=0)


def test_distance_grows_with_noise(rng):
    audio = torch.sin(torch.arange(16000) * 0.1)[None, None]
    noise = torch.randn(1, 1, 16000, generator=rng)
    measured = [distance(audio, audio + level * noise) for level in (0.001, 0.01, 0.1)]
    assert measured[0].convergence < measured[1].convergence < measured[2].convergence
    assert measured[0].log_difference < measured[1].log_difference < measured[2].log_difference


def test_signal_to_noise_of_a_known_mix(rng):
    audio = torch.sin(torch.arange(44100) * 0.05)[None, None]
    noise = torch.cos(torch.arange(44100) * 0.31)[None, None]
    assert float(signal_to_noise(audio, audio + 0.1 * noise)) == pytest.approx(20.0, abs=0.05)


def test_decibels():
    torch.testing.assert_close(decibels(torch.tensor([1.0, 10.0, 0.1])), torch.tensor([0.0, 20.0, -20.0]))


def test_silence_has_a_finite_gradient():
    silent = torch.zeros(1, 1, 4000, requires_grad=True)
    together = distance(torch.zeros(1, 1, 4000), silent)
    (together.convergence.sum() + together.log_difference.sum()).backward()
    assert silent.grad.isfinite().all()


@pytest.mark.parametrize("sample_rate", [22_050, 44_100])
def test_every_mel_band_hears_something_and_is_a_mean(sample_rate):
    for window, num_bands in MEL_SIZES:
        filters = mel_filters(num_bands, window // 2 + 1, sample_rate)
        assert filters.min() >= 0
        torch.testing.assert_close(filters.sum(1), torch.ones(num_bands))
        centres = filters @ torch.arange(window // 2 + 1.0)
        assert (centres.diff() >= 0).all()


def test_a_tone_is_loudest_in_the_band_around_it():
    tone = torch.sin(2 * torch.pi * 1000 / 16_000 * torch.arange(16_000))
    loudest = int(mel_magnitudes(tone, 1024, 40, 16_000).mean(-1).argmax())
    mels = 2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + 8000 / 700)) * 41
    assert abs(loudest + 1 - mels) < 0.6  # peaks stand at 1 to 40 of 41 parts


def test_the_mel_distance_is_none_from_itself_grows_with_noise_and_knows_each_item(rng):
    audio = torch.sin(torch.arange(8000) * 0.1).expand(2, 1, -1)
    assert mel_distance(audio, audio.clone(), 16_000).max() == 0
    noise = torch.randn(1, 1, 8000, generator=rng) * torch.tensor([0.01, 0.1])[:, None, None]
    near, far = mel_distance(audio, audio + noise, 16_000)
    assert 0 < near < far


def test_mel_filters_kept_in_inference_serve_training():
    with torch.inference_mode():
        mel_magnitudes(torch.zeros(400), 64, 7, 999)
    sound = torch.ones(400, requires_grad=True)
    mel_magnitudes(sound, 64, 7, 999).sum().backward()
    assert sound.grad.isfinite().all()
