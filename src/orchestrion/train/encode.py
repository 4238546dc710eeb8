"""Encoding a data set: every track through the codec, into code shards that priors learn from."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F

from orchestrion.codec import Codec
from orchestrion.data.encoded import ShardWriter
from orchestrion.data.manifest import Track
from orchestrion.data.tracks import TrackStore
from orchestrion.data.vary import vary
from orchestrion.errors import UserError


@dataclass(frozen=True)
class Encoded:
    """`done` of `total` tracks and variations lie in the folder as codes; `problem` says why words were left out."""

    track: Track
    done: int
    total: int
    problem: str | None = None


def encode_tracks(
    codec: Codec,
    codec_hash: str,
    tracks: TrackStore,
    folder: Path,
    *,
    variations: int = 0,
    varied_levels: Collection[int] | None = None,
) -> Iterator[Encoded]:
    """Encode every track of `tracks` at every level into `folder`; tracks that are there already are kept.

    Training tracks are encoded `variations` times more, each time at another speed (`vary`), at `varied_levels` or
    at all. `codec_hash` names the codec's weights. The end of a track is filled up with silence to a whole frame. The
    words of a track are kept beside its codes; words that cannot be read are reported and left out.
    """
    config = codec.config
    if (tracks.sample_rate, tracks.channels) != (config.sample_rate, config.channels):
        raise UserError(
            f"the prepared audio has {tracks.channels} channel(s) at {tracks.sample_rate} Hz, the codec hears "
            f"{config.channels} at {config.sample_rate} Hz",
            "prepare it for this codec in another cache folder",
        )
    writer = ShardWriter(folder, codec.grid, config.codebook.size, codec_hash)
    device = next(codec.parameters()).device
    learned = tracks.indices("train")
    work = [(index, 0) for index in range(len(tracks.tracks))]
    work += [(index, variation) for variation in range(1, variations + 1) for index in learned]
    for done, (index, variation) in enumerate(work, 1):
        track = tracks.tracks[index].track
        problem = None if variation else _keep_lyrics(writer, track)
        if not writer.has(track, variation):
            audio = vary(tracks.audio(index), track.content_hash, variation, codec.grid.hop_lengths[-1])
            whole = F.pad(audio, (0, codec.grid.whole(audio.shape[-1]) - audio.shape[-1]))
            codes = codec.encode(whole[None].to(device), varied_levels if variation else None)
            writer.add(track, codes, audio.shape[-1], variation)
        yield Encoded(track, done, len(work), problem)
    writer.finish()


def _keep_lyrics(writer: ShardWriter, track: Track) -> str | None:
    """Keep the words of a track; says why they cannot be read, if so."""
    try:
        writer.keep_lyrics(track)
    except UserError as error:
        return f"the words of {track.path}: {error.problem}"
    return None
