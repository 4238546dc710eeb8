"""Encoding a data set: every track through the codec, into code shards that priors learn from."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F

from orchestrion.codec import Codec
from orchestrion.data.encoded import ShardWriter
from orchestrion.data.manifest import Track
from orchestrion.data.tracks import Prepared, TrackStore
from orchestrion.data.vary import fills_a_frame, vary
from orchestrion.errors import UserError
from orchestrion.grid import Grid


@dataclass(frozen=True)
class Encoded:
    """`done` of `total` tracks and variations lie in the folder as codes; `problem` says why words were left out."""

    track: Track
    done: int
    total: int
    problem: str | None = None


class Item(NamedTuple):
    """A variation of a track, by the track's place among the prepared ones; 0 is the track as it is."""

    place: int
    variation: int


Spread = Callable[[Sequence[Item]], Iterator[Item]]
"""Encodes items somewhere and gives each when it is done, in any order."""


class TrackEncoder:
    """Writes the shards of a data set, one item at a time: at every level, variations at `varied_levels` or at all.

    `codec_hash` names the codec's weights. UserError where the prepared audio is not what the codec hears.
    """

    def __init__(
        self,
        codec: Codec,
        codec_hash: str,
        tracks: TrackStore,
        place: Path | str,
        varied_levels: Collection[int] | None = None,
    ) -> None:
        config = codec.config
        if (tracks.sample_rate, tracks.channels) != (config.sample_rate, config.channels):
            raise UserError(
                f"the prepared audio has {tracks.channels} channel(s) at {tracks.sample_rate} Hz, the codec hears "
                f"{config.channels} at {config.sample_rate} Hz",
                "prepare it for this codec in another cache folder",
            )
        self.codec, self.tracks, self.varied_levels = codec, tracks, varied_levels
        self.device = next(codec.parameters()).device
        self._writer = ShardWriter(place, codec.grid, config.codebook.size, codec_hash)

    def __call__(self, item: Item) -> Item:
        """Write an item's shard. The end of a track is filled up with silence to a whole frame."""
        track = self.tracks.tracks[item.place].track
        grid = self.codec.grid
        audio = vary(self.tracks.audio(item.place), track.content_hash, item.variation, grid.hop_lengths[-1])
        whole = F.pad(audio, (0, grid.whole(audio.shape[-1]) - audio.shape[-1]))
        codes = self.codec.encode(whole[None].to(self.device), self.varied_levels if item.variation else None)
        self._writer.add(track, codes, audio.shape[-1], item.variation)
        return item


def encode_tracks(
    codec: Codec,
    codec_hash: str,
    tracks: TrackStore,
    place: Path | str,
    *,
    variations: int = 0,
    varied_levels: Collection[int] | None = None,
    spread: Spread | None = None,
) -> Iterator[Encoded]:
    """Encode every track of `tracks` at every level into `place`; tracks that are there already are kept.

    Training tracks are encoded `variations` times more, each time at another speed (`vary`), at `varied_levels` or
    at all; again where they are there without one of those levels; not in variations that leave less than a frame of
    them. The words of a track are kept beside its codes;
    words that cannot be read are reported and left out. `spread` does the work elsewhere (`train.spread`), by default
    it is done here. The index names the shards in the same order, whoever wrote them.
    """
    here = TrackEncoder(codec, codec_hash, tracks, place, varied_levels)
    index = ShardWriter(place, codec.grid, codec.config.codebook.size, codec_hash)
    varied = range(codec.grid.num_levels) if varied_levels is None else varied_levels
    work = [Item(number, 0) for number in range(len(tracks.tracks))]
    work += [
        Item(number, variation)
        for variation in range(1, variations + 1)
        for number in tracks.indices("train")
        if _is_long_enough(tracks.tracks[number], variation, codec.grid)
    ]
    problems: dict[Item, str | None] = {}
    left: list[Item] = []
    for item in work:
        track = tracks.tracks[item.place].track
        problems[item] = None if item.variation else _keep_lyrics(index, track)
        if index.is_written(track, item.variation, varied if item.variation else ()):
            yield Encoded(track, len(problems) - len(left), len(work), problems[item])
        else:
            left.append(item)
    for done, item in enumerate((spread or _one_by_one(here))(left), len(work) - len(left) + 1):
        yield Encoded(tracks.tracks[item.place].track, done, len(work), problems[item])
    index.look_again()
    for item in work:
        track = tracks.tracks[item.place].track
        if not index.has(track, item.variation):
            raise UserError(f"the codes of {track.path} are not in {place} any more", "encode again")
    index.finish()


def _is_long_enough(prepared: Prepared, variation: int, grid: Grid) -> bool:
    return fills_a_frame(prepared.num_samples, prepared.track.content_hash, variation, grid.hop_lengths[-1])


def _one_by_one(encoder: TrackEncoder) -> Spread:
    return lambda items: map(encoder, items)


def _keep_lyrics(writer: ShardWriter, track: Track) -> str | None:
    """Keep the words of a track; says why they cannot be read, if so."""
    try:
        writer.keep_lyrics(track)
    except UserError as error:
        return f"the words of {track.path}: {error.problem}"
    return None
