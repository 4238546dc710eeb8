"""Labels and timing: what is asked of the music, as vectors."""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from orchestrion.config.prior import LabelConfig, TimingConfig
from orchestrion.errors import UserError
from orchestrion.nn.embed import RangeEmbedding
from orchestrion.text.window import FILLING, UNKNOWN_PLACE


@dataclass(frozen=True)
class Conditions:
    """What is told about each item of a batch of windows.

    `artist` and `genres` are ids (0 unknown; -1 fills `genres` up), `total_samples` the length of the whole
    piece and `start_samples` where the window starts in it, `coarser` the codes of the level above over the
    window, `lyrics` character ids, `sung` for each frame the column of that which is sung there (`SeenLyrics.columns`).
    `other_artist` stands beside the artist with a weight of `other_share`, from 0 to 1.
    """

    artist: Int[Tensor, " batch"]
    genres: Int[Tensor, "batch genre"]
    total_samples: Num[Tensor, " batch"]
    start_samples: Num[Tensor, " batch"]
    coarser: Int[Tensor, "batch frame_above"] | None = None
    lyrics: Int[Tensor, "batch character"] | None = None
    sung: Int[Tensor, "batch frame"] | None = None
    other_artist: Int[Tensor, " batch"] | None = None
    other_share: Float[Tensor, " batch"] | None = None

    def to(self, device: torch.device | str) -> "Conditions":
        """The same on another device."""
        return Conditions(**{name: part.to(device) for name, part in self._parts()})

    def rows(self, start: int, stop: int) -> "Conditions":
        """Items `start` to `stop` of the batch."""
        return Conditions(**{name: part[start:stop] for name, part in self._parts()})

    def repeated(self, times: int) -> "Conditions":
        """The only item, so many times."""
        return Conditions(**{name: part.expand(times, *part.shape[1:]) for name, part in self._parts()})

    def followed_by(self, others: "Conditions") -> "Conditions":
        """These items and then `others`, of which the same is told."""
        theirs = dict(others._parts())
        return Conditions(**{name: torch.cat((part, theirs[name])) for name, part in self._parts()})

    def unlabelled(self) -> "Conditions":
        """The same of nobody in particular: artist and genres are unknown."""
        nobody = torch.full_like(self.genres, -1)
        nobody[:, 0] = 0
        share = None if self.other_share is None else torch.zeros_like(self.other_share)
        return replace(self, artist=torch.zeros_like(self.artist), genres=nobody, other_share=share)

    def wordless(self) -> "Conditions":
        """The same without lyrics, for a prior that is told some."""
        if self.lyrics is None:
            return self
        unknown = None if self.sung is None else torch.full_like(self.sung, UNKNOWN_PLACE)
        return replace(self, lyrics=torch.full_like(self.lyrics, FILLING), sung=unknown)

    def _parts(self) -> list[tuple[str, Tensor]]:
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return [(name, part) for name, part in named if part is not None]


class LabelEmbedding(nn.Module):
    """The artist's vector, or one between two artists', plus those of the genres."""

    def __init__(self, config: LabelConfig, width: int) -> None:
        super().__init__()
        self.artist = nn.Embedding(config.num_artists, width)
        self.genre = nn.Embedding(config.num_genres, width)

    def forward(self, told: Conditions) -> Float[Tensor, "batch width"]:
        """UserError for ids that this prior does not know."""
        artists = (told.artist,) if told.other_artist is None else (told.artist, told.other_artist)
        for ids, table, name in (
            *((ids, self.artist, "artist") for ids in artists),
            (told.genres, self.genre, "genre"),
        ):
            if ids.numel() and int(ids.max()) >= table.num_embeddings:
                raise UserError(
                    f"there is no {name} number {int(ids.max())} in this prior",
                    "use the vocabulary it was trained with",
                )
        present = (told.genres >= 0).unsqueeze(-1)
        together: Tensor = (self.genre(told.genres.clamp(min=0)) * present).sum(1) + self.artist(told.artist)
        if told.other_artist is not None:
            assert told.other_share is not None
            share = told.other_share.to(together.dtype)[:, None]
            together = together + share * (self.artist(told.other_artist) - self.artist(told.artist))
        return together


class TimingEmbedding(nn.Module):
    """For each frame, how long the piece is and where in it the frame stands, absolutely and as a share."""

    def __init__(self, config: TimingConfig, width: int, sample_rate: int, window_samples: int, frames: int) -> None:
        super().__init__()
        low, high = config.min_total_seconds * sample_rate, config.max_total_seconds * sample_rate
        self.total = RangeEmbedding(
            config.num_bins, width, low, high, clamp=config.clamp, what="a total length in samples"
        )
        self.position = RangeEmbedding(
            config.num_bins, width, 0.0, high, clamp=config.clamp, what="a position in samples"
        )
        self.share = RangeEmbedding(config.num_bins, width, 0.0, 1.0, clamp=True, what="a relative position")
        self.clamp = config.clamp
        self.window_samples = window_samples
        self.context_frames = frames

    def positions(
        self, total: Num[Tensor, " batch"], start: Num[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch frame"], Float[Tensor, "batch frame"]]:
        """Where each frame of the window starts, in samples and as a share of the piece.

        In a window that ends after the piece the share is 1 from there on, or is stretched to end at 1 where what lies
        outside the range is not clamped (the published way).
        """
        stop = start + self.window_samples
        last = stop / total if self.clamp else (stop / total).clamp(0.0, 1.0)
        return self._between(start, stop), self._between(start / total, last).clamp(max=1.0)

    def forward(self, total: Num[Tensor, " batch"], start: Num[Tensor, " batch"]) -> Float[Tensor, "batch frame width"]:
        """A vector for each frame of a whole context."""
        position, share = self.positions(total, start)
        vectors: Tensor = self.total(total.float())[:, None] + self.position(position) + self.share(share)
        return vectors

    def _between(self, start: Tensor, stop: Tensor) -> Tensor:
        start, stop = start.float()[:, None], stop.float()[:, None]
        step = torch.arange(self.context_frames, device=start.device) / self.context_frames
        return start + (stop - start) * step
