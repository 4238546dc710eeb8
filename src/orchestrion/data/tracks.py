"""Audio batches cut out of decoded tracks."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from orchestrion.audio.waveform import SILENCE
from orchestrion.config import read_settings
from orchestrion.data.chunks import Chunk, Draw, spread, track_weights
from orchestrion.data.manifest import Split, split
from orchestrion.data.prepare import FORMAT, FULL_SCALE, VERSION, Prepared, Progress, prepare
from orchestrion.errors import UserError
from orchestrion.files import read_json

__all__ = ["Prepared", "Progress", "TrackStore", "audio_findings", "prepare"]

_SILENT_DRAWS = 16  # chances to find something that can be heard
_SILENT_STEP = 8  # every how many samples a chunk is tested for silence
_MOST_OPEN = 512  # files at once: an open one takes one of the handles that a process may have


class TrackStore:
    """The decoded tracks of a folder that `prepare` has filled, and batches cut out of them.

    Tracks are in the order of their content, whatever that of the manifest was.
    `artist_balance` from 0 to 1 says how far artists with little music are drawn as often as those with much.
    """

    def __init__(self, folder: Path, *, artist_balance: float = 0.5) -> None:
        self.folder = folder
        index = read_json(folder / "index.json", "prepared data set")
        if not isinstance(index, dict) or index.get("format") != FORMAT or index.get("version") != VERSION:
            raise UserError(f"{folder} holds no data set prepared by this program", "prepare it again")
        self.sample_rate: int = index["sample_rate"]
        self.channels: int = index["channels"]
        found = [read_settings(Prepared, each, str(folder / "index.json")) for each in index["tracks"]]
        # By content, so that batches do not follow from the order in which a manifest lists the music.
        self.tracks = tuple(sorted(found, key=lambda each: each.track.content_hash))
        self._sounds: OrderedDict[int, NDArray[np.int16]] = OrderedDict()
        heard = [self._learned_length(each) for each in self.tracks]
        if not self.indices("train"):
            raise UserError(
                f"{folder} holds nothing to learn from: every track is held out for validation",
                'add music, or put "held_out": false into the line of a track in the manifest',
            )
        if not any(heard):
            raise UserError(f"{folder} holds nothing to learn from: every training track is silent", "add music")
        artists = [each.track.artist for each in self.tracks]
        self._draw = Draw([each.num_samples for each in self.tracks], track_weights(heard, artists, artist_balance))

    @property
    def data_hash(self) -> str:
        """A hash of what is learned from: content, labels, rate, channels, and what is told to be held out."""
        seen = [
            (each.track.content_hash, each.track.artist, each.track.genres, *told)
            for each in self.tracks
            for told in [() if each.track.held_out is None else (each.track.held_out,)]
        ]
        text = json.dumps([self.sample_rate, self.channels, seen])
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def indices(self, side: Split) -> list[int]:
        """The places in `tracks` of those on one side of the split."""
        return [index for index, each in enumerate(self.tracks) if split(each.track) == side]

    @property
    def learned_from(self) -> set[str]:
        """Content hashes of the training tracks."""
        return {self.tracks[index].track.content_hash for index in self.indices("train")}

    def seconds(self, side: Split) -> float:
        return sum(self.tracks[index].num_samples for index in self.indices(side)) / self.sample_rate

    def audio(self, index: int, start: int = 0, num_samples: int | None = None) -> Float[Tensor, "channel sample"]:
        """Audio of one track from sample `start` on; shorter than asked for where the track ends."""
        stop = None if num_samples is None else start + num_samples
        sound = self._sound(index)[start:stop]
        return torch.from_numpy(sound.astype(np.float32) / FULL_SCALE).T.contiguous()

    def chunk(self, seed: int, step: int, item: int, num_samples: int) -> Chunk:
        """Which part of which training track item `item` of the batch of `step` is: a function of these
        numbers.

        Silent parts are drawn again, a limited number of times.
        """
        drawn = self._draw.chunk(num_samples, seed, step, item, 0)
        for attempt in range(1, _SILENT_DRAWS):
            if not self._is_silent(drawn, num_samples):
                break
            drawn = self._draw.chunk(num_samples, seed, step, item, attempt)
        return drawn

    def _is_silent(self, chunk: Chunk, num_samples: int) -> bool:
        heard = self._sound(chunk.track)[chunk.start : chunk.start + num_samples : _SILENT_STEP]
        return bool(np.abs(heard.astype(np.int32)).max(initial=0) < SILENCE * FULL_SCALE)

    def batch(
        self, step: int, batch_size: int, num_samples: int, seed: int, first: int = 0
    ) -> Float[Tensor, "batch channel sample"]:
        """Training audio of one step, a function of `seed` and `step`, from item `first` on; short tracks end in
        silence."""
        items = range(first, first + batch_size)
        return self.cut([self.chunk(seed, step, item, num_samples) for item in items], num_samples)

    def validation_batches(
        self, batch_size: int, num_samples: int, *, max_chunks: int = 64
    ) -> Iterator[Float[Tensor, "batch channel sample"]]:
        """The audio of `validation_chunks`, in batches."""
        chunks = self.validation_chunks(num_samples, max_chunks)
        for start in range(0, len(chunks), batch_size):
            yield self.cut(chunks[start : start + batch_size], num_samples)

    def validation_chunks(self, num_samples: int, most: int) -> list[Chunk]:
        """The same chunks every time, evenly spread over the validation tracks, without those that are silent.

        None without such tracks.
        """
        indices = self.indices("validation")
        spaced = spread([self.tracks[index].num_samples for index in indices], num_samples, most)
        chosen = (Chunk(indices[chunk.track], chunk.start) for chunk in spaced)
        return [chunk for chunk in chosen if not self._is_silent(chunk, num_samples)]

    def _learned_length(self, prepared: Prepared) -> int:
        return 0 if prepared.is_silent or split(prepared.track) == "validation" else prepared.num_samples

    def _sound(self, index: int) -> NDArray[np.int16]:
        """Samples `sample channel`, read in place."""
        if index not in self._sounds:
            path = self.folder / self.tracks[index].file
            try:
                self._sounds[index] = np.load(path, mmap_mode="r")
            except (OSError, ValueError, EOFError) as error:
                raise UserError(f"{path} of the prepared data set is missing or damaged", "prepare it again") from error
            if len(self._sounds) > _MOST_OPEN:
                self._sounds.popitem(last=False)
        self._sounds.move_to_end(index)
        return self._sounds[index]

    def cut(self, chunks: Sequence[Chunk], num_samples: int) -> Float[Tensor, "batch channel sample"]:
        """The audio of these chunks; short tracks end in silence."""
        # NumPy does this in one thread: for so little work several would lose more by waiting than they win.
        cut = np.zeros((len(chunks), self.channels, num_samples), dtype=np.float32)
        for row, chunk in zip(cut, chunks, strict=True):
            sound = self._sound(chunk.track)[chunk.start : chunk.start + num_samples]
            row[:, : len(sound)] = sound.T
        cut /= FULL_SCALE
        return torch.from_numpy(cut)


def audio_findings(store: TrackStore) -> list[str]:
    """What is doubtful about the sound of a data set, a plain sentence each with what to try."""
    total = len(store.tracks)
    clipped = sum(each.is_clipped for each in store.tracks)
    scaled = sum(each.scale < 1 for each in store.tracks)
    silent = [each.track for each in store.tracks if each.is_silent]
    findings = []
    if clipped > total / 10:
        findings.append(
            f"{clipped} of {total} tracks are clipped or squashed against full scale; "
            "a model learns their distortion too: prefer other masters of them if there are any."
        )
    if scaled:
        findings.append(f"{scaled} of {total} tracks decode beyond full scale and were made quieter to fit.")
    if silent:
        names = ", ".join(track.path.name for track in silent[:3])
        findings.append(f"{len(silent)} of {total} tracks are silent and never drawn ({names}): remove them.")
    return findings
