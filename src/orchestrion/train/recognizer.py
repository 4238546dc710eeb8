"""The recipe for a recogniser of what is sung, from sung music whose speech sounds have times."""

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from orchestrion.align.recognizer import BLANK, Recognizer, collapsed, edits, latin_letters, letters
from orchestrion.config.recognizer import RecognizerConfig, RecognizerTrainingConfig
from orchestrion.data.chunks import Chunk, Draw, spread, track_weights
from orchestrion.data.manifest import split
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.nn.chance import rows_of_batch
from orchestrion.text.lyric_files import read_lyrics
from orchestrion.text.timed import TimedPhoneme, TimedWord
from orchestrion.train.loop import StepResult, seed_of
from orchestrion.train.parallel import Part

SAMPLE_RATE = 22_050
"""Of the audio that is prepared for it, unless another is."""

_BAD_SHARE = 0.9


class Sung(NamedTuple):
    """A symbol of a track, and from and to which second it is sung."""

    symbol: str
    start: float
    end: float


class Clip(NamedTuple):
    """Chunks with what is sung in them: each frame's id, the ids in their order, and how many these are."""

    audio: Float[Tensor, "batch sample"]
    frames: Int[Tensor, "batch frame"]
    symbols: Int[Tensor, "batch most"]
    lengths: Int[Tensor, " batch"]


def sung_sounds(path: Path) -> list[Sung]:
    """The sounds with times of a file of timed lyrics, in their order; each half of a diphthong is half as long."""
    words = read_lyrics(path).words
    return sorted((sound for word in words for sound in _sounds(word)), key=lambda sound: sound.start)


def sung_letters(path: Path) -> list[Sung]:
    """The letters of the words of a file of timed lyrics whose sounds have times, in their order.

    A syllable of n letters is taken to be sung such that each letter has an n-th of its sounds.
    """
    found: list[Sung] = []
    for word in read_lyrics(path).words:
        own: list[Sung] = []
        for syllable in word.syllables:
            spelled = latin_letters(syllable.text)
            bounds = _bounds([sound for sound in map(_timed, syllable.phonemes) if sound is not None], len(spelled))
            own += [Sung(letter, *times) for letter, times in zip(spelled, pairwise(bounds), strict=False)]
        for sound in own:
            if found and found[-1].symbol == sound.symbol and sound is not own[0]:
                found[-1] = found[-1]._replace(end=sound.end)
            else:
                found.append(sound)
    return sorted(found, key=lambda sound: sound.start)


def _timed(phoneme: TimedPhoneme) -> tuple[float, float] | None:
    return None if phoneme.start is None or phoneme.end is None else (phoneme.start, phoneme.end)


def _bounds(sounds: Sequence[tuple[float, float]], count: int) -> list[float]:
    """Where `count` parts with as many of the sounds each begin and end; nothing where there are no sounds."""
    if not sounds:
        return []
    edges = [start for start, _ in sounds] + [sounds[-1][1]]
    found = []
    for part in range(count + 1):
        place = part * len(sounds) / count
        whole = min(int(place), len(sounds) - 1)
        found.append(edges[whole] + (place - whole) * (edges[whole + 1] - edges[whole]))
    return found


def _sounds(word: TimedWord) -> Iterator[Sung]:
    for phoneme in (each for syllable in word.syllables for each in syllable.phonemes):
        times, parts = _timed(phoneme), letters(phoneme.text)
        if times is None:
            continue
        share = (times[1] - times[0]) / max(1, len(parts))
        for at, letter in enumerate(parts):
            yield Sung(letter, times[0] + share * at, times[0] + share * (at + 1))


class RecognizerRecipe:
    """Trains a recogniser on chunks of the training tracks whose speech sounds have times.

    UserError where no track has such sounds, or none is held out.
    """

    entries = ("forward",)

    def __init__(self, config: RecognizerTrainingConfig, tracks: TrackStore, device: torch.device) -> None:
        self.config, self.tracks, self.device = config, tracks, device
        if tracks.channels != 1:
            raise UserError("a recogniser hears one channel", "prepare the music for one in another cache folder")
        read = sung_sounds if config.hears == "phonemes" else sung_letters
        self.sounds = [read(each.track.lyrics) if each.track.lyrics is not None else [] for each in tracks.tracks]
        sides = {"train": 0, "validation": 0}
        for each, sounds in zip(tracks.tracks, self.sounds, strict=True):
            sides[split(each.track)] += len(sounds)
        for side, count in sides.items():
            if not count:
                raise UserError(f"no {side} track has speech sounds with times", "sing some: orchestrion data lieder")
        known = Counter(sound.symbol for sounds in self.sounds for sound in sounds)
        own = RecognizerConfig(
            hears=config.hears,
            symbols=tuple(sorted(known)),
            sample_rate=tracks.sample_rate,
            width=config.width,
            dilations=config.dilations,
            recurrent_width=config.recurrent_width,
            dropout=config.dropout,
            roughness=config.roughness,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.training.seed)
            self.recognizer = Recognizer(own).to(device)
        self._ids = {symbol: number for number, symbol in enumerate(own.symbols, 1)}
        self.chunk_samples = max(1, round(config.chunk_seconds * tracks.sample_rate) // own.hop_length) * own.hop_length
        lengths = [
            each.num_samples if sounds and split(each.track) == "train" else 0
            for each, sounds in zip(tracks.tracks, self.sounds, strict=True)
        ]
        artists = [each.track.artist for each in tracks.tracks]
        self._draw = Draw(lengths, track_weights(lengths, artists, config.artist_balance))
        self._held_out = self._spread()
        if not self._held_out:
            raise UserError("nobody sings in the held-out tracks for as long as a chunk", "lower chunk_seconds")

    @property
    def sounds_hash(self) -> str:
        """A hash of what is learned of the tracks besides their sound: what is sung when, and which are held out."""
        hasher = hashlib.blake2b(digest_size=8)
        for each, sounds in zip(self.tracks.tracks, self.sounds, strict=True):
            hasher.update(repr((split(each.track), sounds)).encode())
        return hasher.hexdigest()

    @property
    def model(self) -> nn.Module:
        return self.recognizer

    @model.setter
    def model(self, recognizer: nn.Module) -> None:
        assert isinstance(recognizer, Recognizer)
        self.recognizer = recognizer

    def matrices(self) -> list[nn.Parameter]:
        return []

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        pass

    def prepare(self, step: int, own: Part) -> None:
        pass

    def follow(self, step: int) -> dict[str, float]:
        return {}

    def loss(self, step: int, part: Part) -> StepResult:
        seed = self.config.training.seed
        chunks = [self._draw.chunk(self.chunk_samples, seed, step, part.first + item) for item in range(part.size)]
        clip = self._cut(chunks)
        rng = rows_of_batch(seed_of(seed, step, stream=2), part.first, part.total)
        sequence, frame = self.recognizer(clip.audio, rng)
        ctc = self._sequence_loss(sequence, clip)
        frames = F.nll_loss(frame.flatten(0, 1), clip.frames[:, : frame.shape[1]].flatten())
        right = (frame.argmax(-1) == clip.frames[:, : frame.shape[1]]).float().mean()
        return StepResult(
            ctc + self.config.frame_weight * frames,
            {"train/sequence": ctc.detach(), "train/frames": frames.detach(), "train/frames_right": right},
        )

    def _sequence_loss(self, scores: Float[Tensor, "batch frame symbol"], clip: Clip) -> Float[Tensor, ""]:
        """CTC's loss for each frame.

        For each sound it would be that of a chunk with hardly any, which is all silence, that decides everything.
        """
        frames = torch.full((len(scores),), scores.shape[1], device=scores.device)
        whole: Tensor = F.ctc_loss(
            scores.transpose(0, 1), clip.symbols, frames, clip.lengths, BLANK, reduction="sum", zero_infinity=True
        )
        return whole / frames.sum()

    def validate(self) -> dict[str, float]:
        wrong, asked, by_frame = 0, 0, []
        self.recognizer.eval()
        for chunk in self._held_out:
            clip = self._cut([chunk])
            sequence, frame = self.recognizer(clip.audio)
            true = clip.symbols[0, : int(clip.lengths[0])].tolist()
            wrong += edits(collapsed(sequence[0].argmax(-1).tolist()), true)
            asked += len(true)
            by_frame.append(float((frame.argmax(-1) == clip.frames[:, : frame.shape[1]]).float().mean()))
        self.recognizer.train()
        return {
            "validation/error": wrong / max(1, asked),
            "validation/frames_right": sum(by_frame) / len(by_frame),
        }

    def show(self, folder: Path) -> None:
        """Nothing to hear: what it says of a held-out chunk, beside what is sung."""
        clip = self._cut(self._held_out[:1])
        self.recognizer.eval()
        found = collapsed(self.recognizer(clip.audio)[0][0].argmax(-1).tolist())
        self.recognizer.train()
        names = ["", *self.recognizer.config.symbols]
        folder.mkdir(parents=True, exist_ok=True)
        lines = [" ".join(names[one] for one in ids) for ids in (clip.symbols[0].tolist(), found)]
        (folder / "heard.txt").write_text(f"sung:  {lines[0]}\nheard: {lines[1]}\n", encoding="utf-8")

    def findings(self, step: int, metrics: dict[str, float]) -> list[str]:
        error = metrics.get("validation/error", 0.0)
        if error < _BAD_SHARE or step < self.config.training.steps // 4:
            return []
        return [
            f"{error:.0%} of the held-out sounds are wrong: it has learned nothing yet; train longer, or on more music"
        ]

    def export(self, folder: Path) -> None:
        with torch.no_grad():
            self.recognizer.save(folder, self.validate())

    def _spread(self) -> list[Chunk]:
        """Held-out chunks in which somebody sings."""
        indices = [index for index in self.tracks.indices("validation") if self.sounds[index]]
        lengths = [self.tracks.tracks[index].num_samples for index in indices]
        found = spread(lengths, self.chunk_samples, sum(lengths))
        chunks = [Chunk(indices[chunk.track], chunk.start) for chunk in found]
        sung = [chunk for chunk in chunks if self._heard(chunk)]
        step = max(1, len(sung) // self.config.validation_chunks)
        return sung[::step][: self.config.validation_chunks]

    def _heard(self, chunk: Chunk) -> list[Sung]:
        """The sounds that begin within a chunk."""
        sounds, rate = self.sounds[chunk.track], self.tracks.sample_rate
        first = bisect_left(sounds, chunk.start / rate, key=lambda sound: sound.start)
        last = bisect_left(sounds, (chunk.start + self.chunk_samples) / rate, key=lambda sound: sound.start)
        return sounds[first:last]

    def _sounding(self, chunk: Chunk) -> list[Sung]:
        """The sounds that are heard in a chunk, also those that began before."""
        start = chunk.start / self.tracks.sample_rate
        stop = (chunk.start + self.chunk_samples) / self.tracks.sample_rate
        return [sound for sound in self.sounds[chunk.track] if sound.start < stop and sound.end > start]

    def _cut(self, chunks: list[Chunk]) -> Clip:
        hop, rate = self.recognizer.config.hop_length, self.tracks.sample_rate
        num_frames = self.chunk_samples // hop
        audio = torch.zeros(len(chunks), self.chunk_samples)
        frames = torch.full((len(chunks), num_frames), BLANK)
        symbols: list[Tensor] = []
        for row, chunk in enumerate(chunks):
            sound = self.tracks.audio(chunk.track, chunk.start, self.chunk_samples)[0]
            audio[row, : len(sound)] = sound
            heard = self._heard(chunk)
            for each in self._sounding(chunk):
                first, last = ((time * rate - chunk.start) / hop for time in (each.start, each.end))
                frames[row, max(0, round(first)) : max(0, round(last))] = self._ids[each.symbol]
            symbols.append(torch.tensor([self._ids[each.symbol] for each in heard], dtype=torch.long))
        lengths = torch.tensor([len(ids) for ids in symbols])
        padded = nn.utils.rnn.pad_sequence(symbols, batch_first=True, padding_value=BLANK)
        return Clip(*(tensor.to(self.device) for tensor in (audio, frames, padded, lengths)))
