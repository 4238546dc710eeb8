"""Channels, rates and padding."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrion.audio import waveform


@settings(deadline=None, max_examples=30)
@given(channels=st.integers(1, 4), wanted=st.integers(1, 4))
def test_equal_channels_stay_what_they_were(channels, wanted):
    mono = torch.linspace(-1, 1, 7)
    audio = mono.expand(channels, 7)
    torch.testing.assert_close(waveform.mix(audio, wanted), mono.expand(wanted, 7))


def test_mono_is_the_mean_of_the_channels():
    audio = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    assert waveform.mix(audio, 1).tolist() == [[0.5, -0.5]]
    assert waveform.mix(audio[None], 1).shape == (1, 1, 2)


def test_resampling_there_and_back_keeps_a_tone():
    tone = torch.sin(torch.arange(4000) * 0.05)[None].repeat(2, 1)
    back = waveform.resample(waveform.resample(tone, 16_000, 44_100), 44_100, 16_000)
    assert abs(back.shape[1] - 4000) <= 1
    torch.testing.assert_close(back[:, 200:3800], tone[:, 200:3800], atol=1e-3, rtol=0)


def test_peak_of_nothing_is_zero():
    assert waveform.peak(torch.zeros(2, 0)) == 0
    assert waveform.peak(torch.tensor([[0.25, -0.5]])) == 0.5


@settings(deadline=None, max_examples=30)
@given(length=st.integers(0, 9), wanted=st.integers(0, 9))
def test_padding_adds_silence_at_the_end_only(length, wanted):
    padded = waveform.pad_to(torch.ones(1, length), wanted)
    assert padded.shape == (1, max(length, wanted))
    assert padded.sum() == length
    assert padded[0, :length].all()
