"""Whether a song is nearer to the music that its model learned from than music is that it never heard."""

from functools import cached_property

import torch

from orchestrion.checkpoints.memory import Memory
from orchestrion.codes import Codes
from orchestrion.data.runs import CodeIndex
from orchestrion.data.vary import recorded_sample
from orchestrion.library.provenance import Nearest


class Recollection:
    """The memory of a model, in which the nearest passage to a song is looked for.

    By the longest run of codes of the top level, as `orchestrion evaluate` judges songs.
    """

    def __init__(self, memory: Memory) -> None:
        self.info = memory.info
        self._memory = memory

    @cached_property
    def _index(self) -> CodeIndex:
        return CodeIndex(self._memory.tracks, self.info.codebook_size)

    def limit(self, seconds: float) -> float:
        """For a song of this length: that of the shortest pieces that are as long, or of the longest that there are."""
        long_enough = (one.codes for one in self.info.limits if one.seconds >= seconds)
        return next(long_enough, self.info.limits[-1].codes)

    @torch.no_grad()
    def nearest(self, codes: Codes) -> Nearest | None:
        """The passage that the only song in `codes` shares most with; None where it shares not one code.

        Where it is in a variation of a track, what is told is where that is in the track.
        """
        top = codes.grid.top
        run = self._index.longest_run(codes[top][0].cpu())
        if not run.length:
            return None
        rate, hop_length = codes.grid.frame_rate(top), codes.grid.hop_lengths[top]
        start = float(run.start * hop_length)
        if self.info.variations:
            recording, variation = self.info.content_hashes[run.track], self.info.variations[run.track]
            start = recorded_sample(start, recording, variation, hop_length)
        return Nearest(
            track=self.info.tracks[run.track],
            track_seconds=round(start / codes.grid.sample_rate, 2),
            song_seconds=round(run.song_start / rate, 2),
            codes=run.length,
            limit=self.limit(codes.seconds(top)),
        )
