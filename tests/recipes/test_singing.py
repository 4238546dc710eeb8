"""Singing: every syllable gets its time, the voice its pitch, and the same chance the same sound."""

from itertools import pairwise

import numpy as np
import pytest

from orchestrion.errors import UserError
from orchestrion.recipes import espeak
from orchestrion.recipes.espeak import check_espeak, speak
from orchestrion.recipes.musicxml import Syllable

pytest.importorskip("pyworld", reason="the extra sing is not installed")
from orchestrion.recipes.singing import (
    LEAD_SECONDS,
    SINGERS,
    Sung,
    SungNote,
    sing,
)
from orchestrion.recipes.speech_sounds import FRAME_SECONDS, SAMPLE_RATE

try:
    check_espeak()
    speaks = True
except UserError:
    speaks = False
needs_espeak = pytest.mark.skipif(not speaks, reason="eSpeak NG is not installed")

PITCHES = (69, 71, 72, 74, 76)
WORDS = (("Ro", True, False), ("se", False, True), ("rot", True, True), None, ("gut", True, True))


def melody() -> list[SungNote]:
    """Five notes of half a second, a rest before the last; the third syllable has two notes."""
    notes: list[SungNote] = []
    for at, (pitch, word) in enumerate(zip(PITCHES, WORDS, strict=True)):
        start = LEAD_SECONDS + 0.5 * at + (1.0 if at == 4 else 0.0)
        notes.append(SungNote(start, start + 0.5, float(pitch), Syllable(*word) if word else None))
    return notes


@pytest.fixture(scope="module")
def sung() -> Sung:
    return sing(melody(), "de", SINGERS[0], np.random.default_rng(0))


def frequency(audio: np.ndarray) -> float:
    """The pitch of a steady sound, from the first peak of its autocorrelation."""
    windowed = (audio - audio.mean()) * np.hanning(len(audio))
    power = np.abs(np.fft.rfft(windowed, 2 * len(audio))) ** 2
    correlation = np.fft.irfft(power)[: len(audio)]
    shortest = SAMPLE_RATE // 1200
    searched = correlation[shortest : SAMPLE_RATE // 80]
    inner = searched[1:-1]
    peaks = np.flatnonzero((inner > searched[:-2]) & (inner >= searched[2:]) & (inner > 0.8 * searched.max()))
    return SAMPLE_RATE / (shortest + 1 + int(peaks[0]))


@needs_espeak
def test_words_and_syllables_are_those_of_the_score(sung):
    assert [word.text for word in sung.words] == ["Rose", "rot", "gut"]
    assert [syllable.text for syllable in sung.words[0].syllables] == ["Ro", "se"]
    assert [len(syllable.notes) for word in sung.words for syllable in word.syllables] == [1, 1, 2, 1]


@needs_espeak
def test_everything_has_a_time_and_times_do_not_go_back(sung):
    syllables = [syllable for word in sung.words for syllable in word.syllables]
    sounds = [sound for syllable in syllables for sound in syllable.phonemes]
    for row in (sung.words, syllables, sounds):
        assert all(each.start is not None and each.end is not None for each in row)
        assert all(after.start >= before.end - 2e-3 for before, after in pairwise(row))


@needs_espeak
def test_vowels_begin_with_their_notes_and_consonants_before_them(sung):
    for word in sung.words:
        for syllable in word.syllables:
            note = syllable.notes[0].start
            vowel = next(sound for sound in syllable.phonemes if set(sound.text) & set("aeiouəoʊ"))
            assert vowel.start == pytest.approx(note, abs=2 * FRAME_SECONDS)
            assert note - 0.2 <= syllable.start <= note


@needs_espeak
def test_each_note_sounds_at_its_pitch(sung):
    for note in melody():
        middle = slice(round((note.start + 0.15) * SAMPLE_RATE), round((note.start + 0.3) * SAMPLE_RATE))
        heard = 69 + 12 * np.log2(frequency(sung.audio[middle]) / 440)
        assert heard == pytest.approx(note.pitch, abs=0.5)


@needs_espeak
def test_nothing_is_sung_in_a_rest(sung):
    rest = sung.audio[round(2.6 * SAMPLE_RATE) : round(2.9 * SAMPLE_RATE)]
    assert np.abs(rest).max() < 1e-2 * np.abs(sung.audio).max()


@needs_espeak
def test_the_same_chance_sings_the_same_and_another_does_not(sung):
    again = sing(melody(), "de", SINGERS[0], np.random.default_rng(0))
    other = sing(melody(), "de", SINGERS[0], np.random.default_rng(1))
    assert np.array_equal(again.audio, sung.audio) and again.words == sung.words
    assert not np.array_equal(other.audio, sung.audio)


@needs_espeak
@pytest.mark.parametrize("text", ["s", "Brr", "tion", "’", "日本", "zzz-", "1815"])
def test_syllables_that_are_no_words_are_sung_too(text):
    notes = [SungNote(0.3, 0.8, 60.0, Syllable(text, True, True)), SungNote(0.8, 1.1, 62.0, None)]
    heard = sing(notes, "en", SINGERS[4], np.random.default_rng(0))
    assert np.isfinite(heard.audio).all() and np.abs(heard.audio).max() > 0
    assert heard.words[0].syllables[0].phonemes


@needs_espeak
def test_every_language_has_its_voice():
    assert all(speak(["a"], language)["a"].sounds for language in espeak.VOICES)


@needs_espeak
def test_a_word_of_another_language_has_sounds_only():
    names = [name for name, _ in speak(["Juillet,"], "fr")["Juillet,"].sounds]
    assert names and not any("(" in name for name in names)


def test_without_espeak_the_line_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(espeak, "_LIBRARIES", ("libabsent.so",))
    with pytest.raises(UserError, match="apt-get install espeak-ng"):
        speak(["a"], "de")


@needs_espeak
def test_a_failing_espeak_is_told_of(monkeypatch):
    monkeypatch.setitem(espeak.VOICES, "xx", "no such voice")
    with pytest.raises(UserError, match="failed"):
        speak(["a"], "xx")
