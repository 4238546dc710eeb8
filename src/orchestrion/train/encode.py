"""Encoding a data set: every track through the codec once, into code shards that priors learn from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F

from orchestrion.codec import Codec
from orchestrion.data.encoded import ShardWriter
from orchestrion.data.manifest import Track
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError


@dataclass(frozen=True)
class Encoded:
    """`done` of `total` tracks lie in the folder as codes."""

    track: Track
    done: int
    total: int


def encode_tracks(codec: Codec, codec_hash: str, tracks: TrackStore, folder: Path) -> Iterator[Encoded]:
    """Encode every track of `tracks` at every level into `folder`; tracks that are there already are kept.

    `codec_hash` names the codec's weights. The end of a track is filled up with silence to a whole frame.
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
    total = len(tracks.tracks)
    for index, prepared in enumerate(tracks.tracks):
        if not writer.has(prepared.track):
            audio = tracks.audio(index)
            whole = F.pad(audio, (0, codec.grid.whole(audio.shape[-1]) - audio.shape[-1]))
            codes = codec.encode(whole[None].to(device))
            writer.add(prepared.track, codes, audio.shape[-1])
        yield Encoded(prepared.track, index + 1, total)
    writer.finish()
