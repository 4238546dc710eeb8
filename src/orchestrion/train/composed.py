"""Codes that priors compose to real music: what decoders hear in songs, beside what they should make of it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from orchestrion.checkpoints.folder import load_codec, load_prior, model_sha256, read_model
from orchestrion.checkpoints.zoo import locate
from orchestrion.codec import Codec
from orchestrion.codec.model import level_of
from orchestrion.data.chunks import Chunk
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.generate.guided import guided
from orchestrion.generate.level import LevelShape, LevelTask, fill_level, finished
from orchestrion.generate.told import Told
from orchestrion.prior.labels import Conditions
from orchestrion.prior.masked import MaskedPrior

_MARGIN_SECONDS = 2.0  # of music before and after a window: an encoder hears farther than its frame


class Composer:
    """The priors of a model that fill `levels` in passes, each to the codes that music itself has at the level above.

    `model` is a name or a folder. UserError for one that cannot compose these levels so, or knows other codes than
    `codec` makes.
    """

    def __init__(self, model: str | Path, levels: Sequence[int], codec: Codec, device: torch.device) -> None:
        folder = locate(model)
        self.info, self.sha256 = read_model(folder), model_sha256(folder)
        self.device = device
        self._priors: dict[int, MaskedPrior] = {}
        for level in levels:
            prior = load_prior(folder, self.info, level)
            if not isinstance(prior, MaskedPrior) or prior.config.lyrics:
                raise UserError(
                    f"the prior of level {level} of {self.info.name} draws code by code, or reads lyrics",
                    "compose by a model whose prior of that level fills windows in passes, without lyrics",
                )
            self._priors[level] = prior.to(device).eval()
        self._codec = load_codec(folder, self.info).to(device)
        ours, theirs = codec.state_dict(), self._codec.state_dict()
        heard = {level for own in levels for level in (own, own + 1)}
        names = {name for name in ours if level_of(name) in heard and ".decoder." not in name}
        # A model may keep its codec in half precision.
        alike = all(
            name in theirs and torch.equal(ours[name].cpu().half(), theirs[name].cpu().half()) for name in names
        )
        if codec.grid != self.info.grid or not alike:
            raise UserError(
                f"the codes that {self.info.name} composes are not those of the codec that this begins with",
                "begin with the codec of that model, or compose by another",
            )

    @torch.no_grad()
    def codes(self, level: int, chunk: Chunk, num_samples: int, tracks: TrackStore, seed: int) -> Int[Tensor, " frame"]:
        """Codes of a level for `num_samples` of a track: those of a window around them, as long as the prior sees.

        A function of `seed`, in single precision; drawn as the model draws songs with words, or without, as the track
        has them.
        """
        grid, prior, heard = self._codec.grid, self._priors[level], tracks.tracks[chunk.track]
        hop, above, ratio = grid.hop_lengths[level], grid.hop_lengths[level + 1], grid.ratio(level)
        own = num_samples // above
        before, after = chunk.start // above, max(0, (heard.num_samples - chunk.start) // above - own)
        more = max(0, prior.config.context_frames // ratio - own)
        lead = min(before, max(more // 2, more - after))
        frames, start = lead + own + min(after, more - lead), chunk.start - lead * above
        track, names = heard.track, self.info.vocabulary
        genres = [genre for genre in map(self.info.genre_called, track.genres) if genre]
        told = Conditions(
            artist=torch.tensor([names.artist_id(self.info.artist_called(track.artist))]),
            genres=torch.tensor([names.genre_ids(genres)]),
            total_samples=torch.tensor([heard.num_samples]),
            start_samples=torch.tensor([start]),
        )
        sampling = self.info.drawing("words" if track.lyrics else "")[level]
        with torch.autocast(self.device.type, enabled=False):
            task = LevelTask(
                prior=guided(prior, sampling.guidance),
                total=frames * ratio,
                shape=LevelShape(level, prior.config.context_frames, hop, ratio),
                told=Told(told, latest_start=prior.config.latest_start).to(self.device),
                seeds=[seed],
                sampling=sampling,
                above=finished(self._above(level, Chunk(chunk.track, start), frames, tracks)),
            )
            made = torch.empty(1, 0, dtype=torch.long, device=self.device)
            for event in fill_level(task, made):
                made = made if event.codes is None else event.codes
        return made[0, lead * ratio : (lead + own) * ratio]

    def _above(self, level: int, chunk: Chunk, frames: int, tracks: TrackStore) -> Int[Tensor, "batch frame_above"]:
        """The music's own codes of the level above."""
        above = self._codec.grid.hop_lengths[level + 1]
        margin = round(_MARGIN_SECONDS * self._codec.grid.sample_rate) // above
        lead = min(margin, chunk.start // above)
        around = Chunk(chunk.track, chunk.start - lead * above)
        audio = tracks.cut([around], (lead + frames + margin) * above).to(self.device)
        return self._codec.encode(audio, (level + 1,))[level + 1][:, lead : lead + frames]
