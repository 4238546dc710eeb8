"""Speech sounds of a spoken word: what the WORLD vocoder (Morise et al. 2016) finds, and which syllable has them."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from orchestrion.recipes.espeak import Spoken
from orchestrion.recipes.vocoder import pyworld

SAMPLE_RATE = 22_050  # eSpeak's
FRAME_SECONDS = 0.005
QUIET = -30.0  # log power of nothing

_FRAMES = 1 / FRAME_SECONDS  # a second
_VOWELS = set("aeiouyøœɶɐɑɒæəɘɛɜɝɞɤɨɪɔɵʉʊʌʏɯɚ")
_SYLLABIC = "\u0329"
_VOICELESS = ("p", "t", "k", "f", "s", "ʃ", "ç", "x", "h", "θ", "ʔ", "c", "ɕ", "χ", "q")


@dataclass(frozen=True)
class Sound:
    """A speech sound: frames `start` to `end` of the analysis of a word."""

    name: str
    log_power: NDArray[np.float64]  # frame bin
    aperiodicity: NDArray[np.float64]  # frame bin
    start: float
    end: float

    @property
    def is_vowel(self) -> bool:
        return _SYLLABIC in self.name or any(letter in _VOWELS for letter in self.name)

    @property
    def is_voiced(self) -> bool:
        return bool(self.name) and not self.name.startswith(_VOICELESS)

    @property
    def length(self) -> float:
        return self.end - self.start


def split_syllables(sounds: list[Sound], number: int) -> list[list[Sound]] | None:
    """`sounds` cut into so many syllables with a vowel each; None if there are more or fewer vowels.

    Of one or two consonants between vowels the last begins the next syllable, of more the last two do.
    """
    vowels = [at for at, sound in enumerate(sounds) if sound.is_vowel]
    if len(vowels) != number:
        return None
    between = [(after, after - before - 1) for before, after in pairwise(vowels)]
    cuts = [0, *(after - min(consonants, 1 if consonants <= 2 else 2) for after, consonants in between), len(sounds)]
    return [sounds[start:stop] for start, stop in pairwise(cuts)]


def analyse(spoken: Spoken, formants: float, breath: float) -> list[Sound]:
    """The sounds of a word, with envelopes as WORLD finds them (dio, cheaptrick, d4c).

    `formants` scales the vocal tract's resonances, `breath` is added to the aperiodicity.
    """
    rate = spoken.sample_rate
    assert rate == SAMPLE_RATE, rate
    audio = np.pad(spoken.samples, (0, max(0, rate // 20 - len(spoken.samples))))
    audio = audio + 1e-5 * np.random.default_rng(0).standard_normal(len(audio))  # WORLD fails at true silence
    period = 1000 * FRAME_SECONDS
    coarse, times = pyworld.dio(audio, rate, f0_floor=71.0, f0_ceil=200.0, frame_period=period)
    pitch = pyworld.stonemask(audio, coarse, times, rate)
    stops = [start for _, start in spoken.sounds[1:]] + [len(audio)]
    spans = [
        (name, start * _FRAMES / rate, stop * _FRAMES / rate)
        for (name, start), stop in zip(spoken.sounds, stops, strict=True)
        if name and stop > start
    ]
    voiced = _filled(pitch, [span for span in spans if not span[0].startswith(_VOICELESS)])
    power = np.log(_moved_formants(pyworld.cheaptrick(audio, voiced, times, rate), formants))
    noise = np.clip(pyworld.d4c(audio, voiced, times, rate) + breath, 0.001, 0.999)
    found = [Sound(name, power, noise, start, stop) for name, start, stop in spans]
    return [part for sound in found for part in (_without_closure(sound) if sound.is_vowel else [sound])]


def _filled(pitch: NDArray[np.float64], voiced: list[tuple[str, float, float]]) -> NDArray[np.float64]:
    """The pitch, known throughout the sounds that have a voice and nowhere else."""
    known = np.flatnonzero(pitch > 0)
    if not len(known):
        return np.zeros_like(pitch)
    middle = float(np.median(pitch[known]))
    everywhere = np.clip(np.interp(np.arange(len(pitch)), known, pitch[known]), 0.8 * middle, 1.25 * middle)
    filled = np.zeros_like(pitch)
    for _, start, stop in voiced:
        filled[int(start) : int(stop) + 1] = everywhere[int(start) : int(stop) + 1]
    return filled


def _moved_formants(power: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Envelopes stretched along the frequency axis: above 1 a shorter vocal tract."""
    bins = power.shape[1]
    source = np.arange(bins) / factor
    low = np.minimum(source.astype(int), bins - 2)
    weight = np.minimum(source - low, 1.0)
    log = np.log(power)
    moved: NDArray[np.float64] = np.exp(log[:, low] * (1 - weight) + log[:, low + 1] * weight)
    return moved


def _without_closure(vowel: Sound) -> list[Sound]:
    """A vowel, and the silence before a plosive that eSpeak counts as its end as a sound without a name."""
    loudness = vowel.log_power.max(1)
    first = int(vowel.start)
    peak = loudness[first : max(first + 1, int(vowel.end))].max(initial=QUIET)
    end = vowel.end
    while end - 1 > vowel.start + 2 and loudness[min(int(end) - 1, len(loudness) - 1)] < peak - 4:
        end -= 1
    held = replace(vowel, end=end)
    return [held, replace(vowel, name="", start=end)] if vowel.end - end > 2 else [held]
