"""What the prior of a level is told: about whole songs, and of that what belongs to one window."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from orchestrion.data.encoded import CodeBatch
from orchestrion.prior.labels import Conditions
from orchestrion.text.window import SeenLyrics


def told_of(batch: CodeBatch) -> Conditions:
    """What a prior is told about windows of encoded music."""
    return Conditions(
        batch.artist,
        batch.genres,
        batch.total_samples,
        batch.start_samples,
        batch.coarser,
        batch.lyrics,
        batch.places,
    )


@dataclass(frozen=True)
class Told:
    """What one level's prior is told about songs, one per row.

    In `conditions`, `start_samples` is where frame 0 of each song stands in its piece; coarser codes and lyrics are
    left out. A prior with lyrics is told those around each window, from `lyrics`. Of a window that begins later in its
    piece than `latest_start` it is told that it begins there, the last place that it knows.
    """

    conditions: Conditions
    lyrics: tuple[SeenLyrics, ...] | None = None
    latest_start: int | None = None

    def to(self, device: torch.device | str) -> "Told":
        """The same on another device."""
        return replace(self, conditions=self.conditions.to(device))

    def rows(self, start: int, stop: int) -> "Told":
        """Songs `start` to `stop`."""
        lyrics = self.lyrics and self.lyrics[start:stop]
        return replace(self, conditions=self.conditions.rows(start, stop), lyrics=lyrics)

    def repeated(self, times: int) -> "Told":
        """The only song, so many times."""
        lyrics = self.lyrics and self.lyrics * times
        return replace(self, conditions=self.conditions.repeated(times), lyrics=lyrics)

    def window(
        self,
        start_samples: int,
        coarser: Int[Tensor, "batch frame_above"] | None = None,
        middle_samples: float | None = None,
    ) -> Conditions:
        """What is told about the window `start_samples` after frame 0, over these codes of the level above.

        `middle_samples` after frame 0 is the middle of what is to be made, whose words are to be seen; of the window if
        it is left out.
        """
        told = self.conditions
        starts = told.start_samples + start_samples
        if self.latest_start is not None:
            starts = starts.clamp(max=self.latest_start)
        told = replace(told, start_samples=starts, coarser=coarser)
        if self.lyrics is None:
            return told
        songs, device = self.sung(start_samples, middle_samples), told.artist.device
        ids = torch.tensor([song.characters for song in songs], device=device)
        if not songs[0].hop_length:
            return replace(told, lyrics=ids)
        return replace(told, lyrics=ids, sung=torch.tensor([song.columns for song in songs], device=device))

    def moved(self, times: tuple[float, ...]) -> tuple[SeenLyrics, ...]:
        """What is seen of the only song's lyrics where each id begins to be sung at these samples of its piece.

        Lyrics that are seen whole, or sung by a plan, stay as they are.
        """
        assert self.lyrics is not None and len(self.lyrics) == 1
        (song,) = self.lyrics
        stays = len(song.lyrics) <= song.num_characters or song.hop_length
        return (song if stays else replace(song, times=times),)

    def sung(self, start_samples: int, middle_samples: float | None = None) -> tuple[SeenLyrics, ...]:
        """What is seen of the lyrics of each song at the window `start_samples` after frame 0, as for `window`."""
        starts = self.conditions.start_samples.tolist()
        return tuple(
            song.at(start + start_samples, None if middle_samples is None else start + middle_samples)
            for song, start in zip(self.lyrics or (), starts, strict=True)
        )
