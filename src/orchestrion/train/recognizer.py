"""The recipe for a recogniser of what is sung, from sung music whose speech sounds have times."""

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from orchestrion.align.recognizer import BLANK, Recognizer, collapsed, edits
from orchestrion.codec import Codec
from orchestrion.config.recognizer import RecognizerConfig, RecognizerTrainingConfig
from orchestrion.data.chunks import Chunk, Draw, chance, evenly, spread, track_weights
from orchestrion.data.manifest import split
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.files import write_text
from orchestrion.nn.chance import rows_of_batch
from orchestrion.train.loop import StepResult, seed_of
from orchestrion.train.parallel import Part
from orchestrion.train.sung import SungTracks, sung_letters, sung_sounds

SAMPLE_RATE = 22_050
"""Of the audio that is prepared for it, unless another is."""

_BAD_SHARE = 0.9
_CODED = 3  # a stream of chance


class Clip(NamedTuple):
    """Chunks with what is sung in them: each frame's id, the ids in their order, and how many these are."""

    audio: Float[Tensor, "batch sample"]
    frames: Int[Tensor, "batch frame"]
    symbols: Int[Tensor, "batch most"]
    lengths: Int[Tensor, " batch"]


def check_codec(codec: Codec, sample_rate: int) -> None:
    """UserError for a codec that does not give back one channel at `sample_rate`."""
    if (codec.grid.sample_rate, codec.config.channels) != (sample_rate, 1):
        raise UserError(f"this codec is not for one channel at {sample_rate} Hz", "give another")


class RecognizerRecipe:
    """Trains a recogniser on chunks of the training tracks whose speech sounds have times.

    UserError where no track has such sounds, or none is held out.
    """

    entries = ("forward",)

    def __init__(
        self, config: RecognizerTrainingConfig, tracks: TrackStore, device: torch.device, codec: Codec | None = None
    ) -> None:
        """With a `codec`, `config.coded_share` of the chunks are heard as its finest level gives them back."""
        self.config, self.tracks, self.device = config, tracks, device
        if codec is not None:
            check_codec(codec, tracks.sample_rate)
        self.codec = None if codec is None else codec.to(device)
        if tracks.channels != 1:
            raise UserError("a recogniser hears one channel", "prepare the music for one in another cache folder")
        self.sung = SungTracks(tracks, sung_sounds if config.hears == "phonemes" else sung_letters)
        own = RecognizerConfig(
            hears=config.hears,
            symbols=self.sung.symbols,
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
        self.chunk_samples = max(1, round(config.chunk_seconds * tracks.sample_rate) // own.hop_length) * own.hop_length
        lengths = [
            each.num_samples if sounds and split(each.track) == "train" else 0
            for each, sounds in zip(tracks.tracks, self.sung.sounds, strict=True)
        ]
        artists = [each.track.artist for each in tracks.tracks]
        self._draw = Draw(lengths, track_weights(lengths, artists, config.artist_balance))
        self._held_out = self._spread()
        if not self._held_out:
            raise UserError("nobody sings in the held-out tracks for as long as a chunk", "lower chunk_seconds")

    def begin_with(self, trained: Recognizer) -> None:
        """Take over the weights of a recogniser of the same symbols and sizes; UserError for another.

        Dropout and roughness, which are of learning alone, may differ.
        """
        own = self.recognizer.config
        if trained.config.model_copy(update={"dropout": own.dropout, "roughness": own.roughness}) != own:
            raise UserError("the recogniser to begin with has other symbols or sizes", "give one for the same music")
        self.recognizer.load_state_dict(trained.state_dict())

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
        if self.codec is not None:
            coded = [
                chance(seed, step, part.first + item, _CODED) < self.config.coded_share for item in range(part.size)
            ]
            rows = torch.tensor(coded, device=self.device)
            clip.audio[rows] = self._coded(clip.audio[rows])
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

    def _coded(self, audio: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch sample"]:
        """What the finest level of the codec makes of it."""
        assert self.codec is not None
        if not len(audio):
            return audio
        with torch.autocast(audio.device.type, enabled=False):  # rounded, other codes would be nearest
            made = self.codec.decode(self.codec.encode(audio[:, None], levels=(0,)), 0)[:, 0]
        return F.pad(made, (0, audio.shape[1] - made.shape[1]))

    def validate(self) -> dict[str, float]:
        clips = [self._cut([chunk]) for chunk in self._held_out]
        found = self._errors("validation", clips)
        if self.codec is not None:
            found |= self._errors("coded", [clip._replace(audio=self._coded(clip.audio)) for clip in clips])
        return found

    def _errors(self, name: str, clips: list[Clip]) -> dict[str, float]:
        wrong, asked, by_frame = 0, 0, []
        self.recognizer.eval()
        for clip in clips:
            sequence, frame = self.recognizer(clip.audio)
            true = clip.symbols[0, : int(clip.lengths[0])].tolist()
            wrong += edits(collapsed(sequence[0].argmax(-1).tolist()), true)
            asked += len(true)
            by_frame.append(float((frame.argmax(-1) == clip.frames[:, : frame.shape[1]]).float().mean()))
        self.recognizer.train()
        return {f"{name}/error": wrong / max(1, asked), f"{name}/frames_right": sum(by_frame) / len(by_frame)}

    def show(self, folder: Path) -> None:
        """Nothing to hear: what it says of a held-out chunk, beside what is sung."""
        clip = self._cut(self._held_out[:1])
        self.recognizer.eval()
        found = collapsed(self.recognizer(clip.audio)[0][0].argmax(-1).tolist())
        self.recognizer.train()
        names = ["", *self.recognizer.config.symbols]
        lines = [" ".join(names[one] for one in ids) for ids in (clip.symbols[0].tolist(), found)]
        write_text(folder / "heard.txt", f"sung:  {lines[0]}\nheard: {lines[1]}\n")

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
        indices = [index for index in self.tracks.indices("validation") if self.sung.sounds[index]]
        lengths = [self.tracks.tracks[index].num_samples for index in indices]
        found = spread(lengths, self.chunk_samples, sum(lengths))
        chunks = [Chunk(indices[chunk.track], chunk.start) for chunk in found]
        sung = [chunk for chunk in chunks if self.sung.begun(chunk, self.chunk_samples)]
        return [sung[place] for place in evenly(len(sung), self.config.validation_chunks)]

    def _cut(self, chunks: list[Chunk]) -> Clip:
        hop, length = self.recognizer.config.hop_length, self.chunk_samples
        audio = torch.zeros(len(chunks), length)
        for row, chunk in enumerate(chunks):
            sound = self.tracks.audio(chunk.track, chunk.start, length)[0]
            audio[row, : len(sound)] = sound
        frames = torch.stack([self.sung.frames(chunk, length, hop, centre=0.0) for chunk in chunks])
        symbols = [torch.tensor(self.sung.begun(chunk, length), dtype=torch.long) for chunk in chunks]
        lengths = torch.tensor([len(ids) for ids in symbols])
        padded = nn.utils.rnn.pad_sequence(symbols, batch_first=True, padding_value=BLANK)
        return Clip(*(tensor.to(self.device) for tensor in (audio, frames, padded, lengths)))
