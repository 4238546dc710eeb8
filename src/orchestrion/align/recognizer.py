"""What is heard in singing, as speech sounds or letters: a small recogniser, its errors, and where known ones are."""

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from anyascii import anyascii
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from orchestrion.audio.spectral import LOG_FLOOR, mel_magnitudes
from orchestrion.config import Settings, plain, read_described
from orchestrion.config.recognizer import RecognizerConfig
from orchestrion.errors import UserError
from orchestrion.files import replacing, write_json
from orchestrion.nn.chance import kept_channels, normal_rows, uniform_rows
from orchestrion.nn.conv import ResidualStack, downsample

BLANK = 0
"""The id of no sound; symbol n of the settings has the id n + 1."""

_DESCRIPTION, _WEIGHTS = "recognizer.json", "recognizer.safetensors"
_TIES = str.maketrans("", "", "\u0361\u035cːˑˈˌ‿.")
_PIECE_SECONDS = 30.0
_MARGIN_SECONDS = 2.0
_NOISE_DB = (5.0, 45.0)  # below the loudness of all
_TILT = 0.5  # of the noise: the power of ten by which its highest band is above or below the middle
_BLUR = 0.6  # of logarithms, at most
_HOLE_BANDS, _HOLE_FRAMES = 0.15, 50  # the largest holes: a share of the bands, and frames of bands
_LEAST_DEVIATION = 0.5  # of logarithms: what is as good as silent is not blown up


class RecognizerInfo(Settings):
    """What the description of a recogniser holds; `figures` were measured on held-out singing."""

    format: str = "orchestrion.recognizer"
    version: int = 1
    config: RecognizerConfig
    figures: dict[str, float]


class Segment(NamedTuple):
    """A symbol as its id, from frame `start` up to `stop`."""

    symbol: int
    start: int
    stop: int


def letters(phoneme: str) -> tuple[str, ...]:
    """The sounds of a phoneme of the IPA, a letter each: without length, stress and other marks, diphthongs cut.

    >>> letters("aɪ"), letters("ɑː"), letters("t͡s")
    (('a', 'ɪ'), ('ɑ',), ('t', 's'))
    """
    bare = unicodedata.normalize("NFD", phoneme).replace("c\u0327", "ç").translate(_TIES)
    return tuple(letter for letter in bare if not unicodedata.combining(letter) and not letter.isspace())


def latin_letters(word: str) -> tuple[str, ...]:
    """A word in letters from a to z, whatever its script; those in a row that are alike count once.

    >>> latin_letters("Nächte!"), latin_letters("Bonne")
    (('n', 'a', 'c', 'h', 't', 'e'), ('b', 'o', 'n', 'e'))
    """
    return tuple(letter for letter, _ in groupby(anyascii(word).lower()) if "a" <= letter <= "z")


def roughened(
    magnitudes: Float[Tensor, "batch band frame"], roughness: float, rng: Generator
) -> Float[Tensor, "batch band frame"]:
    """Logarithms of bands as worse recordings have them, so that a recogniser learns to make do.

    Noise of any colour, from 5 to 45 dB below the rest; blur, as what was coded with few bits has; and two holes each
    in time and in frequency (SpecAugment, Park et al. 2019, arXiv 1904.08779).
    """
    batch, bands, frames = magnitudes.shape
    chances = uniform_rows(batch, (11, 1, 1), rng).to(magnitudes.device).unbind(1)
    noise, blur = (normal_rows(batch, (bands, frames), rng).to(magnitudes.device) for _ in range(2))
    band = torch.arange(bands, device=magnitudes.device)[:, None]
    frame = torch.arange(frames, device=magnitudes.device)
    below, tilt, blurred = _NOISE_DB[0] + (_NOISE_DB[1] - _NOISE_DB[0]) * chances[0], 2 * chances[1] - 1, chances[2]
    colour = 10 ** (_TILT * tilt * (2 * band / bands - 1))
    loudness = magnitudes.square().mean((1, 2), keepdim=True).sqrt()
    floor = roughness * loudness * 10 ** (-below / 20) * colour * noise.abs()
    logs = ((magnitudes.square() + floor.square()).sqrt() + LOG_FLOOR).log() + roughness * _BLUR * blurred * blur
    hole = torch.zeros_like(logs, dtype=torch.bool)
    for place, size, number, most in (
        (chances[3], chances[4], band, _HOLE_BANDS * bands),
        (chances[5], chances[6], band, _HOLE_BANDS * bands),
        (chances[7], chances[8], frame, _HOLE_FRAMES),
        (chances[9], chances[10], frame, _HOLE_FRAMES),
    ):
        start = place * len(number.flatten())
        hole |= (number >= start) & (number < start + roughness * size * most)
    return torch.where(hole, logs.mean((1, 2), keepdim=True), logs)


class Heard(NamedTuple):
    """Log-probabilities of each symbol, and of none: as a sequence with blanks (CTC), and of each frame for itself."""

    sequence: Float[Tensor, "*batch frame symbol"]
    frame: Float[Tensor, "*batch frame symbol"]


class Recognizer(nn.Module):
    """Scores of each symbol, and of none, at each frame; as a sequence (CTC, Graves et al. 2006) and by frame."""

    def __init__(self, config: RecognizerConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Conv1d(config.num_bands, config.width, 5, padding=2)
        self.halve = downsample(config.width, config.width, 4, 2)
        self.middle = ResidualStack(config.width, config.width, config.dilations)
        self.norm = nn.LayerNorm(config.width)
        self.recurrent = nn.GRU(config.width, config.recurrent_width, bidirectional=True, batch_first=True)
        self.sequence = nn.Linear(2 * config.recurrent_width, len(config.symbols) + 1)
        self.frame = nn.Linear(2 * config.recurrent_width, len(config.symbols) + 1)

    @property
    def frame_rate(self) -> float:
        return self.config.sample_rate / self.config.hop_length

    def forward(self, audio: Float[Tensor, "batch sample"], rng: Generator | None = None) -> Heard:
        """Frame n is around sample n · hop.

        Bands are roughened and channels dropped only in training mode and where an `rng` is given.
        """
        own = self.config
        magnitudes = mel_magnitudes(audio, own.window, own.num_bands, own.sample_rate)
        if rng is not None and self.training and own.roughness:
            bands = roughened(magnitudes, own.roughness, rng)
        else:
            bands = (magnitudes + LOG_FLOOR).log()
        bands = bands - bands.mean(2, keepdim=True)  # neither how loud it is nor the colour of the room
        bands = bands / bands.std((1, 2), keepdim=True).clamp_min(_LEAST_DEVIATION)
        x = self.middle(self.halve(F.relu(self.first(bands))))
        hidden, _ = self.recurrent(self.norm(F.relu(x).transpose(1, 2)))
        if rng is not None and self.training and own.dropout:
            hidden = hidden * kept_channels(hidden, 1 - own.dropout, rng)
        return Heard(F.log_softmax(self.sequence(hidden).float(), -1), F.log_softmax(self.frame(hidden).float(), -1))

    @torch.no_grad()
    def listen(self, audio: Float[Tensor, " sample"]) -> Heard:
        """A recording of any length, heard piece by piece; on the CPU."""
        hop = self.config.hop_length
        piece, margin = (round(seconds * self.frame_rate) for seconds in (_PIECE_SECONDS, _MARGIN_SECONDS))
        total = max(1, audio.shape[-1] // hop)
        piece = -(-total // -(-total // piece))  # all alike: what a few frames are beside the rest says little
        found = []
        for start in range(0, total, piece):
            first, stop = max(0, start - margin), min(total, start + piece + margin)
            part = audio[first * hop : stop * hop]
            if part.shape[-1] < self.config.window:
                part = F.pad(part, (0, self.config.window - part.shape[-1]))
            own = slice(start - first, min(total, start + piece) - first)
            found.append([each[0, own].cpu() for each in self(part[None].to(self.sequence.weight.device))])
        sequence, frame = zip(*found, strict=True)
        return Heard(torch.cat(sequence), torch.cat(frame))

    def heard(self, audio: Float[Tensor, " sample"]) -> list[int]:
        """The sounds of a recording: the likeliest of each frame, those that are held once."""
        return collapsed(self.listen(audio).sequence.argmax(-1).tolist())

    def ids(self, texts: Iterable[str]) -> list[int]:
        """The symbols of phonemes, or of words where it hears letters; those that it does not know are left out."""
        spell = letters if self.config.hears == "phonemes" else latin_letters
        known = {symbol: number for number, symbol in enumerate(self.config.symbols, 1)}
        return [known[symbol] for text in texts for symbol in spell(text) if symbol in known]

    def save(self, folder: Path, figures: dict[str, float]) -> None:
        """Write the model into a folder, in half precision, with what was measured of it."""
        write_json(folder / _DESCRIPTION, plain(RecognizerInfo(config=self.config, figures=figures)))
        with replacing(folder / _WEIGHTS) as part:
            save_file({name: tensor.half().contiguous().cpu() for name, tensor in self.state_dict().items()}, part)


def load_recognizer(folder: Path) -> Recognizer:
    """A recogniser that `save` wrote, ready to listen; UserError where there is none."""
    model = Recognizer(read_described(RecognizerInfo, folder / _DESCRIPTION, "recogniser").config)
    try:
        model.load_state_dict(load_file(folder / _WEIGHTS))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(f"{folder / _WEIGHTS} is missing or damaged", "train the recogniser again") from error
    return model.eval()


def collapsed(frames: Sequence[int]) -> list[int]:
    """The sounds of a row of frames: one for each run, none for the blank."""
    return [symbol for symbol, _ in groupby(frames) if symbol != BLANK]


def edits(found: Sequence[int], true: Sequence[int]) -> int:
    """The fewest insertions, deletions and replacements that make `true` of `found` (Levenshtein 1966)."""
    row = list(range(len(true) + 1))
    for number, symbol in enumerate(found, 1):
        before, row[0] = row[0], number
        for place, wanted in enumerate(true, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (symbol != wanted))
    return row[-1]


def aligned(scores: Float[Tensor, "frame symbol"], symbols: Sequence[int]) -> list[Segment] | None:
    """Where each of `symbols` is, in their order, on the likeliest path through the scores; None if they do not fit.

    A segment holds the frames that the path gives to a symbol (Viterbi 1967, with CTC's blanks between).
    """
    if not symbols:
        return []
    spread = [BLANK, *(each for symbol in symbols for each in (symbol, BLANK))]
    states = torch.tensor(spread)
    # A state may be come to from itself, the one before, and, where that is a blank between two others, the one before.
    skips = torch.zeros(len(spread), dtype=torch.bool)
    skips[2:] = (states[2:] != BLANK) & (states[2:] != states[:-2])
    best = torch.full((len(spread),), -torch.inf)
    best[:2] = scores[0, states[:2]]
    came: list[Int[Tensor, " state"]] = []
    for frame in scores[1:]:
        one = F.pad(best, (1, 0), value=-torch.inf)[:-1]
        two = F.pad(best, (2, 0), value=-torch.inf)[:-2].masked_fill(~skips, -torch.inf)
        ways, step = torch.stack((best, one, two)).max(0)
        best = ways + frame[states]
        came.append(step.to(torch.int8))
    state = len(spread) - 1 if best[-1] >= best[-2] else len(spread) - 2
    if not torch.isfinite(best[state]):
        return None
    path = [state]
    for step in reversed(came):
        state -= int(step[state])
        path.append(state)
    path.reverse()
    found, frame = [], 0
    for at, run in groupby(path):
        stop = frame + len(list(run))
        if at % 2:
            found.append(Segment(spread[at], frame, stop))
        frame = stop
    return found
