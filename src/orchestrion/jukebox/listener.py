"""A model that listens: what its top prior makes of recordings, one after another."""

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion.audio import waveform
from orchestrion.checkpoints.folder import ModelInfo
from orchestrion.codec.model import Codec
from orchestrion.config import CodecConfig
from orchestrion.errors import UserError
from orchestrion.generate.request import Request
from orchestrion.jukebox import asked
from orchestrion.prior.model import Prior


class Listener:
    """A model's codec and the first `layer` layers of its top prior, in memory (`Jukebox.listener` opens one)."""

    def __init__(self, info: ModelInfo, codec: Codec, prior: Prior, layer: int) -> None:
        self.info, self.layer = info, layer
        self._codec, self._prior = codec, prior
        self._device = next(prior.parameters()).device

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return self._prior.config.transformer.width

    @torch.no_grad()
    def features(
        self,
        audio: Float[Tensor, "channel sample"],
        sample_rate: int,
        *,
        mean: bool = True,
        request: Request | None = None,
    ) -> Float[Tensor, "*frame width"]:
        """What the top prior makes of music: the activations after its first layers, for other models to use.

        The mean over all frames, or with `mean` off one vector per frame of the top level. Music longer than the
        prior's context is read in windows side by side. The prior is told no labels and that the piece is as long as
        the audio, as near as it knows such lengths, unless `request` says otherwise. UserError for what is no audio.
        """
        top, config = self.info.grid.top, self._prior.config
        sound = heard(audio, sample_rate, self.info.codec).to(self._device)
        codes = self._codec.encode(sound, (top,))[top]
        about = asked.resolved(request or unlabelled(sound.shape[-1], self.info), self.info)
        told = asked.tell([about], self.info, top).to(self._device)
        found = []
        for start in range(0, codes.shape[1], config.context_frames):
            conditions = told.window(start * config.hop_length)
            window = codes[:, start : start + config.context_frames]
            found.append(self._prior.features(window, conditions, self.layer)[0].float().cpu())
        features = torch.cat(found)
        return features.mean(0) if mean else features


def layer_to_hear(info: ModelInfo, layer: int | None) -> int:
    """The layer whose activations are features: `layer`, or half of those that the top prior has.

    (Castellon et al. 2021, arXiv 2107.05677, found layer 36 of 72 best.) UserError for one that is not there, and for
    a top prior that fills windows in passes.
    """
    config = info.prior(info.grid.top)
    if config.masked:
        raise UserError(
            f"the top prior of {info.name!r} fills windows in passes and has no features",
            "take a model whose top prior goes from code to code",
        )
    layer = config.transformer.num_layers // 2 if layer is None else layer
    if not 1 <= layer <= config.transformer.num_layers:
        raise UserError(f"there is no layer {layer}", f"layers go from 1 to {config.transformer.num_layers}")
    return layer


def heard(
    audio: Float[Tensor, "channel sample"], sample_rate: int, codec: CodecConfig
) -> Float[Tensor, "batch heard_channel heard_sample"]:
    """Audio as a codec takes it; UserError for what is no audio."""
    asked.check_sound(audio, sample_rate)
    return waveform.resample(waveform.mix(audio.float(), codec.channels), sample_rate, codec.sample_rate)[None]


def unlabelled(num_samples: int, info: ModelInfo) -> Request:
    """A request for unlabelled music of this length, or the nearest length that the top prior knows."""
    seconds = info.grid.seconds(num_samples)
    timing = info.prior(info.grid.top).timing
    if timing is None:
        return Request(seconds=seconds)
    latest = timing.max_total_seconds - 1
    return Request(seconds=min(seconds, latest), total_seconds=min(max(seconds, timing.min_total_seconds), latest))
