"""Words spoken by eSpeak NG, with the times of their speech sounds.

The library's speech depends on what it said before, so every call speaks in a process of its own: the same words
give the same bytes. This module is also the program of that process.
"""

import ctypes
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrion.errors import UserError

INSTALL = "apt-get install espeak-ng fluidsynth fluidr3mono-gm-soundfont"
VOICES = {
    "cs": "cs",
    "da": "da",
    "de": "de",
    "en": "en",
    "es": "es",
    "fi": "fi",
    "fr": "fr",
    "hu": "hu",
    "it": "it",
    "la": "la",
    "nl": "nl",
    "no": "nb",
    "pl": "pl",
    "pt": "pt",
    "sv": "sv",
}
"""The languages that can be sung, by BCP 47 tag, and what eSpeak calls them."""

_LIBRARIES = ("libespeak-ng.so.1", "libespeak-ng.dylib", "libespeak-ng.dll")
_SYNCHRONOUS = 2
_PHONEME_EVENTS, _IPA, _DO_NOT_EXIT = 1, 2, 0x8000
_RATE, _PITCH, _RANGE = 1, 3, 4  # parameters of espeak_SetParameter
_WORDS_PER_MINUTE, _PITCH_OF_VOICE = 110, 50  # slow, and low enough for a fine envelope
_UTF8 = 1
_PHONEME_EVENT = 7
_UNNAMED = {"??": "ʊɐ"}  # German "durch": its name in IPA does not fit into an event
_LANGUAGE = "("  # begins what says that the sounds that follow are of another language: "(en)"
_SECONDS_ALLOWED = 120


@dataclass(frozen=True)
class Spoken:
    """A word as `samples`, and its speech sounds in IPA with their first sample; a pause has an empty name."""

    samples: NDArray[np.float64]
    sample_rate: int
    sounds: tuple[tuple[str, int], ...]


def check_espeak() -> None:
    """Raise UserError unless eSpeak NG is installed."""
    if _library() is None:
        raise UserError("eSpeak NG, which pronounces the words, is not installed", INSTALL)


def speak(words: Sequence[str], language: str) -> dict[str, Spoken]:
    """Each of the words, spoken alone; the same words in the same order give the same samples.

    Raises UserError where eSpeak NG is missing or fails.
    """
    check_espeak()
    home = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            input=json.dumps({"voice": VOICES[language], "words": list(words)}).encode(),
            capture_output=True,
            check=True,
            timeout=_SECONDS_ALLOWED,
            env={**os.environ, "PYTHONPATH": paths},
        )
    except subprocess.SubprocessError as error:
        raise UserError(f"eSpeak NG failed with the words of a song in {language!r}", INSTALL) from error
    with np.load(io.BytesIO(done.stdout)) as said:
        told = json.loads(str(said["told"]))
        samples = said["samples"].astype(np.float64) / 32768
    found: dict[str, Spoken] = {}
    for word, (start, stop), sounds in zip(words, told["spans"], told["sounds"], strict=True):
        named = tuple((_UNNAMED.get(name, name.rstrip("-")), at) for name, at in sounds if name[:1] != _LANGUAGE)
        found[word] = Spoken(samples[start:stop], told["sample_rate"], named)
    return found


def _library() -> ctypes.CDLL | None:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


class _Speaker:
    """The library, loaded and ready to speak."""

    def __init__(self, voice: str) -> None:
        library = _library()
        assert library is not None, "the caller has looked for it"
        self._library = library
        flags = _PHONEME_EVENTS | _IPA | _DO_NOT_EXIT
        self.sample_rate = int(library.espeak_Initialize(_SYNCHRONOUS, 0, None, flags))
        if self.sample_rate <= 0:
            raise SystemExit("eSpeak NG has no data")
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._heard)  # kept alive: the library holds its address
        library.espeak_SetSynthCallback(self._callback)
        if library.espeak_SetVoiceByName(voice.encode()):
            raise SystemExit(f"eSpeak NG has no voice {voice}")
        for parameter, value in ((_RATE, _WORDS_PER_MINUTE), (_PITCH, _PITCH_OF_VOICE), (_RANGE, 0)):
            library.espeak_SetParameter(parameter, value, 0)
        self._blocks: list[NDArray[np.int16]] = []
        self._sounds: list[tuple[str, int]] = []

    def say(self, word: str) -> tuple[NDArray[np.int16], list[tuple[str, int]]]:
        self._blocks, self._sounds = [np.zeros(0, np.int16)], []
        text = word.encode()
        self._library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, _UTF8, None, None)
        return np.concatenate(self._blocks), self._sounds

    def _heard(self, wave: "ctypes._Pointer[ctypes.c_short]", length: int, events: "ctypes._Pointer[_Event]") -> int:
        if wave and length > 0:
            self._blocks.append(np.ctypeslib.as_array(wave, (length,)).copy())
        at = 0
        while events[at].type:
            if events[at].type == _PHONEME_EVENT:
                name = bytes(events[at].id.string).split(b"\0")[0].decode("utf-8", "replace")
                milliseconds = events[at].audio_position
                self._sounds.append((name, events[at].sample or round(milliseconds * self.sample_rate / 1000)))
            at += 1
        return 0


def _speak_from_stdin() -> None:
    asked = json.load(sys.stdin)
    speaker = _Speaker(asked["voice"])
    spans: list[tuple[int, int]] = []
    sounds: list[list[tuple[str, int]]] = []
    parts: list[NDArray[np.int16]] = [np.zeros(0, np.int16)]
    for word in asked["words"]:
        samples, heard = speaker.say(word)
        start = spans[-1][1] if spans else 0
        spans.append((start, start + len(samples)))
        sounds.append(heard)
        parts.append(samples)
    told = json.dumps({"sample_rate": speaker.sample_rate, "spans": spans, "sounds": sounds})
    packed = io.BytesIO()
    np.savez(packed, told=np.array(told), samples=np.concatenate(parts))
    sys.stdout.buffer.write(packed.getvalue())


if __name__ == "__main__":
    _speak_from_stdin()
