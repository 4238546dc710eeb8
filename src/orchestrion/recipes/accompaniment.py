"""What accompanies a singer: parts of a score played by FluidSynth, and a room for everybody to be in."""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np
import soundfile
from numpy.typing import NDArray

from orchestrion.errors import UserError
from orchestrion.recipes.score import Part

_TICKS = 480  # a quarter note at 120 a minute, which is half a second
_TICKS_PER_SECOND = 2 * _TICKS
_DRUM_CHANNEL = 9
_SUSTAIN = 64
_GAIN = 0.5
_DRY = ("-R", "0", "-C", "0")
_ONLY_THIS_SOUNDFONT = ("-o", "synth.default-soundfont=", "-o", "synth.dynamic-sample-loading=1")  # and what is played
_SECONDS_ALLOWED = 600
_BLOCK = 1 << 17  # samples that go through a room at once


@dataclass(frozen=True)
class Room:
    """Sound dies away by 60 dB in `seconds`; `share` of what is heard, in amplitude, comes from the walls."""

    seconds: float
    share: float


def play(
    parts: Sequence[Part], moments: dict[float, float], transpose: int, soundfont: Path, sample_rate: int
) -> NDArray[np.float64]:
    """The sound of `parts`, `sample channel` with two channels; `moments` says when each quarter is, in seconds.

    Raises UserError where FluidSynth fails.
    """
    with tempfile.TemporaryDirectory(prefix="orchestrion-") as place:
        midi, sound = Path(place) / "parts.mid", Path(place) / "parts.wav"
        _midi(parts, moments, transpose).save(midi)
        command = ["fluidsynth", "-ni", "-q", *_DRY, *_ONLY_THIS_SOUNDFONT, "-g", str(_GAIN), "-r", str(sample_rate)]
        options = ["-F", str(sound), "-T", "wav", str(soundfont), str(midi)]
        try:
            done = subprocess.run([*command, *options], capture_output=True, check=False, timeout=_SECONDS_ALLOWED)
        except BlockingIOError:  # no more processes: whoever makes several songs tells it, and stops
            raise
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError("fluidsynth did not finish", "check that it works: fluidsynth --version") from error
        works = not done.returncode and sound.exists()
        audio: NDArray[np.float64] = soundfile.read(sound, dtype="float64", always_2d=True)[0] if works else np.zeros(0)
    if not audio.any():  # it plays silence with a soundfont that it cannot read
        raise UserError(f"fluidsynth cannot play with the soundfont {soundfont}", "give another with --soundfont")
    return audio


def in_room(audio: NDArray[np.float64], room: Room, sample_rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`audio`, `sample channel`, as it sounds in a room: an exponential decay of noise, in stereo, after 12 ms.

    It stays as long as it is.
    """
    length = round(room.seconds * sample_rate)
    seconds = np.arange(length) / sample_rate
    answer = rng.standard_normal((length, 2)) * 10 ** (-3 * seconds / room.seconds)[:, None]
    answer[: round(0.012 * sample_rate)] = 0
    answer /= np.sqrt((answer**2).sum(0))
    reverberant = _convolved(audio.mean(1), answer)
    loud = _level(audio) / max(_level(reverberant), 1e-9)
    return audio * (1 - room.share) + reverberant * (loud * room.share)


def _level(audio: NDArray[np.float64]) -> float:
    return float(np.sqrt((audio**2).mean()))


def _convolved(audio: NDArray[np.float64], answer: NDArray[np.float64]) -> NDArray[np.float64]:
    """`audio` after `answer`, `sample channel`, block by block (overlap-add) and no longer than it was."""
    size = 1 << (_BLOCK + len(answer)).bit_length()
    spectrum = np.fft.rfft(answer, size, axis=0)
    found = np.zeros((len(audio) + size, answer.shape[1]))
    for start in range(0, len(audio), _BLOCK):
        block = np.fft.rfft(audio[start : start + _BLOCK], size)
        found[start : start + size] += np.fft.irfft(block[:, None] * spectrum, size, axis=0)
    return found[: len(audio)]


def _midi(parts: Sequence[Part], moments: dict[float, float], transpose: int) -> mido.MidiFile:
    file = mido.MidiFile(ticks_per_beat=_TICKS)
    channels = [channel for channel in range(16) if channel != _DRUM_CHANNEL]
    for at, part in enumerate(parts):
        track = mido.MidiTrack()
        channel = channels[at % len(channels)]
        track.append(mido.Message("program_change", program=part.program, channel=channel))
        now = 0
        for tick, _, message in sorted(_messages(part, moments, transpose, channel), key=lambda each: each[:2]):
            track.append(message.copy(time=tick - now))
            now = tick
        file.tracks.append(track)
    return file


def _messages(
    part: Part, moments: dict[float, float], transpose: int, channel: int
) -> Iterator[tuple[int, int, mido.Message]]:
    """Messages with their ticks; of those at the same tick, the pedal and ends of notes come first."""

    def tick(quarters: float) -> int:
        return round(moments[quarters] * _TICKS_PER_SECOND)

    for quarters, down in part.pedals:
        value = 127 if down else 0
        yield tick(quarters), down, mido.Message("control_change", control=_SUSTAIN, value=value, channel=channel)
    for note in part.notes:
        pitch = min(127, max(0, note.pitch + transpose))
        start = tick(note.start)
        yield start, 3, mido.Message("note_on", note=pitch, velocity=note.velocity, channel=channel)
        yield max(start + 1, tick(note.end)), 2, mido.Message("note_off", note=pitch, channel=channel)
