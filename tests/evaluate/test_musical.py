"""Figures of a piece of music are right where the truth is known, and do not change with what they are not about."""

import math
from dataclasses import astuple

import pytest
import torch

from orchestrion.errors import UserError
from orchestrion.evaluate.chroma import chroma, key_clarity, repetition
from orchestrion.evaluate.distance import with_noise
from orchestrion.evaluate.loudness import loudness
from orchestrion.evaluate.musical import SAMPLE_RATE, compare, high_share, musical, noise_share, tempo, wasserstein

C_MAJOR = (0, 2, 4, 5, 7, 9, 11, 12)


def tone(semitones, seconds):
    """A note above middle C with four partials."""
    time = torch.arange(round(seconds * SAMPLE_RATE), dtype=torch.float64) / SAMPLE_RATE
    hertz = 261.626 * 2 ** (semitones / 12)
    sound = sum((2 * math.pi * hertz * partial * time).sin() / partial for partial in range(1, 5))
    return (0.1 * sound * (1 - time / seconds / 2)).float()


def melody(notes, seconds=0.5):
    return torch.cat([tone(note, seconds) for note in notes])


def clicks(beats_per_minute, seconds=20):
    audio = torch.zeros(seconds * SAMPLE_RATE)
    audio[:: round(60 / beats_per_minute * SAMPLE_RATE)] = 0.9
    return audio


@pytest.mark.parametrize("beats", [90, 120, 150])
def test_clicks_have_the_tempo_they_are_played_at(beats):
    assert tempo(clicks(beats), SAMPLE_RATE) == pytest.approx(beats, abs=1)


def test_a_scale_has_a_clearer_key_than_noise(rng):
    scale = key_clarity(chroma(melody(C_MAJOR * 4), SAMPLE_RATE))
    noise = key_clarity(chroma(0.1 * torch.randn(20 * SAMPLE_RATE, generator=rng), SAMPLE_RATE))
    assert scale > 0.7
    assert scale > noise + 0.1


def test_chroma_says_which_note_sounds_and_not_how_loud():
    sound = melody([9] * 4)
    assert chroma(sound, SAMPLE_RATE)[5].argmax() == 9
    torch.testing.assert_close(chroma(0.1 * sound, SAMPLE_RATE), chroma(sound, SAMPLE_RATE), rtol=0, atol=1e-4)


def test_transposing_turns_the_chroma():
    low, high = chroma(melody(C_MAJOR), SAMPLE_RATE), chroma(melody([note + 3 for note in C_MAJOR]), SAMPLE_RATE)
    assert torch.nn.functional.cosine_similarity(low.roll(3, 1), high, dim=1).mean() > 0.95


def test_a_loop_repeats_and_a_piece_that_never_returns_does_not(rng):
    notes = torch.randint(12, (60,), generator=rng).tolist()
    assert repetition(chroma(melody(notes[:10] * 6), SAMPLE_RATE)) > 0.9
    assert repetition(chroma(melody(notes), SAMPLE_RATE)) < 0.4


def test_noise_raises_the_noise_share(rng):
    sound = melody(C_MAJOR * 4)[None]
    found = [noise_share(sound[0]), *(noise_share(with_noise(sound, level, rng)[0]) for level in (20.0, 10.0, 0.0))]
    assert found[0] < 0.02
    assert found == sorted(found)
    assert found[-1] == pytest.approx(0.5, abs=0.1)  # as much noise as music
    assert noise_share(torch.randn(10 * SAMPLE_RATE, generator=rng)) > 0.9


def test_the_high_share_of_white_noise_is_that_of_the_band(rng):
    noise = torch.randn(10 * SAMPLE_RATE, generator=rng)
    assert high_share(noise, SAMPLE_RATE) == pytest.approx(1 - 6000 / (SAMPLE_RATE / 2), abs=0.01)
    assert high_share(melody(C_MAJOR), SAMPLE_RATE) < 0.01


@pytest.mark.parametrize("sample_rate, within", [(22_050, 0.05), (44_100, 0.02), (48_000, 0.01)])
def test_the_reference_sine_has_the_reference_loudness(sample_rate, within):
    sine = (2 * math.pi * 997 * torch.arange(5 * sample_rate, dtype=torch.float64) / sample_rate).sin().float()
    assert loudness(sine[None], sample_rate) == pytest.approx(-3.01, abs=within)
    assert loudness(torch.stack([sine, sine]), sample_rate) == pytest.approx(0.0, abs=within)


def test_silence_around_music_does_not_make_it_less_loud():
    sound = melody(C_MAJOR * 2)[None]
    alone = loudness(sound, SAMPLE_RATE)
    assert loudness(torch.nn.functional.pad(sound, (0, 20 * SAMPLE_RATE)), SAMPLE_RATE) == pytest.approx(alone, abs=0.2)
    assert loudness(torch.zeros(1, SAMPLE_RATE), SAMPLE_RATE) == -math.inf


def test_gain_changes_the_loudness_by_its_decibels_and_nothing_else(rng):
    sound = with_noise(melody(C_MAJOR * 4)[None], 30.0, rng)
    loud, quiet = musical(sound, SAMPLE_RATE), musical(0.1 * sound, SAMPLE_RATE)
    assert quiet.loudness == pytest.approx(loud.loudness - 20, abs=0.01)
    for one, other in zip(astuple(loud), astuple(quiet), strict=True):
        assert one == pytest.approx(other, rel=1e-3) or one == loud.loudness


@pytest.mark.parametrize(
    "audio", [torch.zeros(1, 20 * SAMPLE_RATE), torch.ones(1, 5 * SAMPLE_RATE), torch.full((1, 20 * SAMPLE_RATE), 2e-3)]
)
def test_silence_and_moments_are_refused_with_the_way_out(audio):
    with pytest.raises(UserError, match="seconds of music"):
        musical(audio, SAMPLE_RATE)


def test_values_that_are_all_moved_are_so_far_apart(rng):
    values = torch.randn(50, generator=rng)
    assert wasserstein(values, values + 3).value == pytest.approx(3, abs=1e-5)
    assert wasserstein(values, values).value == 0
    assert wasserstein(values, values.repeat(2)).value == pytest.approx(0, abs=1e-5)


def test_sets_of_pieces_are_compared_figure_by_figure(rng):
    pieces = [musical(melody(torch.randint(12, (28,), generator=rng).tolist())[None], SAMPLE_RATE) for _ in range(4)]
    found = {each.name: each for each in compare(pieces, pieces)}
    assert set(found) == {"tempo", "key_clarity", "loudness", "repetition", "noise_share", "high_share"}
    assert all(each.apart.value == 0 and each.one == each.other for each in found.values())
