"""Singing: spoken words, taken apart by the WORLD vocoder (Morise et al. 2016) and put onto the notes of a melody.

A syllable's vowel begins with its first note and is held to the end of its last; consonants before it come
before the note. What is known of the making is given back: the time of every speech sound.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrion.recipes.espeak import speak
from orchestrion.recipes.musicxml import Syllable
from orchestrion.recipes.speech_sounds import FRAME_SECONDS, QUIET, SAMPLE_RATE, Sound, analyse, split_syllables
from orchestrion.recipes.vocoder import pyworld
from orchestrion.text.timed import TimedNote, TimedPhoneme, TimedSyllable, TimedWord

LEAD_SECONDS = 0.3  # consonants come before their note: nobody may start to sing earlier than this

_FRAMES = 1 / FRAME_SECONDS  # a second
_NEUTRAL = "a"  # spoken, it lends its vowel to syllables that have none of their own
_JOINED_SECONDS = 0.5  # notes closer than this are one phrase
_ONSET_SECONDS = 0.16  # the most that consonants take before a note
_ONSET_SHARE, _CODA_SHARE = 0.45, 0.35  # of the note's length, likewise
_RELEASE_FRAMES, _ATTACK_FRAMES = 10, 4
_NOT_WORDS = re.compile(r"[^\w'’\-]|[\d_]")


@dataclass(frozen=True)
class Singer:
    """How somebody sings: `octave` is added to what is written, `formants` scales the vocal tract's resonances."""

    name: str
    octave: int
    formants: float
    vibrato_cents: float
    vibrato_hertz: float
    glide_seconds: float
    breath: float  # added to the aperiodicity, from 0 to 1


SINGERS = (
    Singer("soprano", 0, 1.18, 32.0, 5.8, 0.05, 0.00),
    Singer("light soprano", 0, 1.24, 22.0, 6.1, 0.045, 0.06),
    Singer("mezzo-soprano", 0, 1.10, 30.0, 5.5, 0.055, 0.02),
    Singer("alto", 0, 1.05, 24.0, 5.2, 0.055, 0.04),
    Singer("tenor", -1, 1.00, 30.0, 5.6, 0.05, 0.00),
    Singer("baritone", -1, 0.93, 26.0, 5.2, 0.055, 0.01),
    Singer("bass-baritone", -1, 0.88, 20.0, 4.9, 0.06, 0.03),
)


@dataclass(frozen=True)
class SungNote:
    """A note in seconds; `pitch` is the MIDI number as it is to sound."""

    start: float
    end: float
    pitch: float
    syllable: Syllable | None = None


@dataclass(frozen=True)
class Sung:
    """The voice alone, the words with all their times, and the pitch of the score.

    `pitch` has a MIDI number every `FRAME_SECONDS`, nan where there is no note.
    """

    audio: NDArray[np.float64]
    words: tuple[TimedWord, ...]
    pitch: NDArray[np.float64]


def sing(notes: Sequence[SungNote], language: str, singer: Singer, rng: np.random.Generator) -> Sung:
    """Sing notes that follow one another, none before `LEAD_SECONDS`; chance moves pitch and vibrato a little.

    The same arguments and chance give the same samples. Raises UserError where eSpeak NG is missing or fails.
    """
    words = _words(notes)
    syllables = _pronounced(notes, words, language, singer)
    frames = round((max(note.end for note in notes) + 1.0) * _FRAMES)
    pitch = np.full(frames, np.nan)
    for note in notes:
        pitch[_frame(note.start) : _frame(note.end)] = note.pitch
    audio = np.zeros(round(frames * FRAME_SECONDS * SAMPLE_RATE))
    placed: list[_Placed] = []
    for phrase in _phrases(list(_spans(notes, syllables))):
        start, sound, where = _Phrase(phrase, notes, singer).sung(rng)
        first = round(start * FRAME_SECONDS * SAMPLE_RATE)
        audio[first : first + len(sound)] += sound[: len(audio) - first]
        placed += where
    return Sung(audio, _timed(notes, words, placed), pitch)


def _frame(seconds: float) -> int:
    return round(seconds * _FRAMES)


def _words(notes: Sequence[SungNote]) -> list[list[int]]:
    """The notes on which the syllables of each word begin."""
    words: list[list[int]] = []
    ended = True
    for at, note in enumerate(notes):
        if note.syllable is None:
            continue
        if ended or note.syllable.begins:
            words.append([])
        words[-1].append(at)
        ended = note.syllable.ends
    return words


def _spoken_text(text: str) -> str:
    return _NOT_WORDS.sub("", text).strip("-'’").lower()


def _pronounced(
    notes: Sequence[SungNote], words: list[list[int]], language: str, singer: Singer
) -> dict[int, list[Sound]]:
    """The sounds of the syllable that begins on each note.

    A word whose spoken form has as many vowels as syllables is cut between them. Of any other the
    syllables are spoken one by one, such as the mute e of French that is sung.
    """
    texts = {at: _spoken_text(note.syllable.text) for at, note in enumerate(notes) if note.syllable}
    wholes = ["".join(texts[at] for at in word) for word in words]
    wanted = dict.fromkeys([*wholes, *texts.values(), _NEUTRAL])
    spoken = speak([text for text in wanted if text], language)
    analysed: dict[str, list[Sound]] = {}

    def sounds(text: str) -> list[Sound]:
        if text not in analysed:
            analysed[text] = analyse(spoken[text], singer.formants, singer.breath) if text else []
        return analysed[text]

    neutral = [sound for sound in sounds(_NEUTRAL) if sound.is_vowel]
    found: dict[int, list[Sound]] = {}
    for word, whole in zip(words, wholes, strict=True):
        parts = split_syllables(sounds(whole), len(word)) or [sounds(texts[at]) for at in word]
        for at, part in zip(word, parts, strict=True):
            found[at] = part if any(sound.is_vowel for sound in part) else part + neutral[:1]
    return found


@dataclass(frozen=True)
class _Span:
    """Sounds to be sung from `start` to `end`, in frames; `note` is where their syllable begins."""

    note: int
    sounds: list[Sound]
    start: float
    end: float

    @property
    def first_vowel(self) -> int:
        return next(at for at, sound in enumerate(self.sounds) if sound.is_vowel)

    @property
    def last_vowel(self) -> int:
        return max(at for at, sound in enumerate(self.sounds) if sound.is_vowel)

    @property
    def onset_scale(self) -> float:
        length = sum(sound.length for sound in self.sounds[: self.first_vowel])
        most = min(_ONSET_SHARE * (self.end - self.start), _ONSET_SECONDS * _FRAMES)
        return min(1.0, most / length) if length else 1.0

    @property
    def onset(self) -> float:
        """Frames that the consonants before the vowel take."""
        return self.onset_scale * sum(sound.length for sound in self.sounds[: self.first_vowel])


def _spans(notes: Sequence[SungNote], syllables: dict[int, list[Sound]]) -> Iterator[_Span]:
    """What is sung on which notes; a syllable that goes on after a rest goes on with its vowel."""
    span: _Span | None = None
    for at, note in enumerate(notes):
        start, end = note.start * _FRAMES, note.end * _FRAMES
        if at in syllables:
            if span is not None:
                yield span
            span = _Span(at, syllables[at], start, end)
        elif span is not None and start - span.end < 0.5:
            span = replace(span, end=end)
        elif span is not None:
            yield span
            span = _Span(span.note, [span.sounds[span.first_vowel]], start, end)
    if span is not None:
        yield span


def _phrases(spans: list[_Span]) -> Iterator[list[_Span]]:
    phrase: list[_Span] = []
    for span in spans:
        if phrase and span.start - phrase[-1].end > _JOINED_SECONDS * _FRAMES:
            yield phrase
            phrase = []
        phrase.append(span)
    if phrase:
        yield phrase


@dataclass(frozen=True)
class _Placed:
    """A sound of the syllable that begins at `note`, in frames of the song."""

    note: int
    name: str
    start: float
    end: float


class _Phrase:
    """Notes without a long rest, sung in one breath."""

    def __init__(self, spans: list[_Span], notes: Sequence[SungNote], singer: Singer) -> None:
        self._spans, self._notes, self._singer = spans, notes, singer
        self._first = int(spans[0].start - LEAD_SECONDS * _FRAMES)
        frames = int(spans[-1].end) - self._first + _RELEASE_FRAMES
        shape = (frames, spans[0].sounds[0].log_power.shape[1])
        self._log_power = np.full(shape, QUIET)
        self._noise = np.full(shape, 0.999)
        self._voiced = np.zeros(frames, bool)
        self._placed: list[_Placed] = []

    def sung(self, rng: np.random.Generator) -> tuple[int, NDArray[np.float64], list[_Placed]]:
        """The frame where it starts, its samples, and where its sounds are."""
        for span, following in zip(self._spans, [*self._spans[1:], None], strict=True):
            self._place(span, following)
        self._fade()
        hertz = np.where(self._voiced, 440 * 2 ** ((self._pitch(rng) - 69) / 12), 0.0)
        self._sound_at(hertz)
        power = np.exp(np.clip(self._log_power, QUIET, 20))
        audio = pyworld.synthesize(hertz, power, self._noise, SAMPLE_RATE, 1000 * FRAME_SECONDS)
        return self._first, audio, self._placed

    def _place(self, span: _Span, following: _Span | None) -> None:
        first, last = span.first_vowel, span.last_vowel
        now = span.start - span.onset
        for sound in span.sounds[:first]:
            now = self._put(span, sound, now, sound.length * span.onset_scale)
        coda = span.sounds[last + 1 :]
        length = sum(sound.length for sound in coda)
        most = min(_CODA_SHARE * (span.end - span.start), _ONSET_SECONDS * _FRAMES)
        scale = min(1.0, most / length) if length else 1.0
        end = max(span.end - length * scale - (following.onset if following else 0.0), span.start + 1)
        self._vowels(span, now, end)
        now = end
        for sound in coda:
            now = self._put(span, sound, now, sound.length * scale)

    def _vowels(self, span: _Span, start: float, end: float) -> None:
        """Hold the first vowel; what follows it up to the last is sung at its end."""
        held, *others = span.sounds[span.first_vowel : span.last_vowel + 1]
        length = sum(sound.length for sound in others)
        room = min(length, 0.4 * (end - start))
        now = self._put(span, held, start, end - start - room)
        for sound in others:
            now = self._put(span, sound, now, sound.length * room / length)

    def _put(self, span: _Span, sound: Sound, start: float, length: float) -> float:
        """Lay a sound from `start` on, stretched to `length`; gives where it ends."""
        first, stop = max(0, round(start - self._first)), round(start + length - self._first)
        stop = min(stop, len(self._voiced))
        if sound.name:
            self._placed.append(_Placed(span.note, sound.name, start, start + length))
        if stop > first:
            source = _held(sound, stop - first) if sound.is_vowel else _stretched(sound, stop - first)
            source = np.clip(source, 0, len(sound.log_power) - 1.001)
            low = source.astype(int)
            weight = (source - low)[:, None]
            for laid, said in ((self._log_power, sound.log_power), (self._noise, sound.aperiodicity)):
                laid[first:stop] = said[low] * (1 - weight) + said[low + 1] * weight
            self._voiced[first:stop] = sound.is_voiced
        return start + length

    def _fade(self) -> None:
        heard = np.flatnonzero(self._log_power.max(1) > QUIET)
        if len(heard):
            first, last = heard[0], heard[-1] + 1
            start, stop = self._log_power[first:last][:_ATTACK_FRAMES], self._log_power[first:last][-_RELEASE_FRAMES:]
            start -= np.linspace(6, 0, len(start))[:, None]
            stop -= np.linspace(0, 8, len(stop))[:, None]

    def _pitch(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """MIDI numbers: glides between the notes, vibrato on long ones, and a little unsteadiness."""
        frames = len(self._voiced)
        steps = np.full(frames, np.nan)
        depth = np.zeros(frames)
        stop = self._first + frames
        for note in self._notes:
            if note.end * _FRAMES <= self._first or note.start * _FRAMES >= stop:
                continue
            start, end = (min(frames, max(0, _frame(when) - self._first)) for when in (note.start, note.end))
            steps[start:end] = note.pitch
            seconds = np.arange(end - start) * FRAME_SECONDS
            left = seconds[::-1]
            if len(seconds) and seconds[-1] > 0.45:
                grown = np.clip((seconds - 0.2) / 0.3, 0, 1) * np.clip(left / 0.1, 0, 1)
                depth[start:end] = self._singer.vibrato_cents * grown
        known = np.flatnonzero(~np.isnan(steps))
        glide = int(self._singer.glide_seconds * _FRAMES) | 1
        steps = _smooth(np.interp(np.arange(frames), known, steps[known]), glide)
        unsteady = 10 * _smooth(rng.standard_normal(frames), 41)
        rate = self._singer.vibrato_hertz + 0.3 * _smooth(rng.standard_normal(frames), 101)
        wave = np.sin(2 * np.pi * np.cumsum(rate) * FRAME_SECONDS)
        moved: NDArray[np.float64] = steps + (depth * wave + unsteady) / 100
        return moved

    def _sound_at(self, hertz: NDArray[np.float64]) -> None:
        """Keep the envelope from falling away around the pitch, which may lie far above that of the speaker."""
        rows = np.flatnonzero(hertz > 0)
        if not len(rows):
            return
        bins = hertz[rows] * 2 * (self._log_power.shape[1] - 1) / SAMPLE_RATE
        below = (bins * 1.25).astype(int) + 1
        columns = np.arange(below.max())
        part = self._log_power[rows, : len(columns)]
        inside = columns < below[:, None]
        peak = np.where(inside, part, -np.inf).max(1) - 0.7
        slope = 1.5 / np.maximum(bins * 0.5, 1)
        floor = peak[:, None] - np.abs(columns - bins[:, None]) * slope[:, None]
        self._log_power[rows, : len(columns)] = np.where(inside, np.maximum(part, floor), part)


def _held(sound: Sound, frames: int) -> NDArray[np.float64]:
    """Where in a vowel each frame comes from: its ends keep their speed, the middle is stretched."""
    head, tail = min(0.35 * sound.length, frames * 0.3), min(0.25 * sound.length, frames * 0.3)
    middle = max(frames - head - tail, 1.0)
    at = np.arange(frames) + 0.5
    inside = sound.start + head + (at - head) / middle * (sound.length - head - tail)
    return np.where(at < head, sound.start + at, np.where(at > frames - tail, sound.end - (frames - at), inside))


def _stretched(sound: Sound, frames: int) -> NDArray[np.float64]:
    return sound.start + (np.arange(frames) + 0.5) / frames * sound.length


def _smooth(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """A moving average with a Hann window of an odd number of frames."""
    window = np.hanning(width + 2)[1:-1]
    return np.convolve(np.pad(values, width // 2, "edge"), window / window.sum(), "valid")


def _timed(notes: Sequence[SungNote], words: list[list[int]], placed: list[_Placed]) -> tuple[TimedWord, ...]:
    """The words with the times of everything in them."""
    by_note: dict[int, list[_Placed]] = {}
    for each in placed:
        by_note.setdefault(each.note, []).append(each)
    starts = [at for word in words for at in word]
    stops = dict(zip(starts, [*starts[1:], len(notes)], strict=True))
    found: list[TimedWord] = []
    for word in words:
        syllables = tuple(_timed_syllable(notes, at, stops[at], by_note[at]) for at in word)
        text = "".join(syllable.text for syllable in syllables)
        found.append(TimedWord(text=text, start=syllables[0].start, end=syllables[-1].end, syllables=syllables))
    return tuple(found)


def _timed_syllable(notes: Sequence[SungNote], at: int, stop: int, placed: list[_Placed]) -> TimedSyllable:
    syllable = notes[at].syllable
    assert syllable is not None
    return TimedSyllable(
        text=syllable.text,
        start=_seconds(placed[0].start),
        end=_seconds(placed[-1].end),
        phonemes=tuple(
            TimedPhoneme(text=each.name, start=_seconds(each.start), end=_seconds(each.end)) for each in placed
        ),
        notes=tuple(
            TimedNote(pitch=note.pitch, start=round(note.start, 3), end=round(note.end, 3)) for note in notes[at:stop]
        ),
    )


def _seconds(frames: float) -> float:
    return round(frames * FRAME_SECONDS, 3)
