"""From magnitudes that a decoder writes to a sound: phases that fit one another, found by iteration."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

from orchestrion.audio.spectral import LOG_FLOOR, LOG_MIDDLE, LOG_SPREAD
from orchestrion.nn.pieces import InPieces

BLOCK = 512
"""Frames whose phases are found at once; those around them that have a say in it come on top. So sound that is made
while its frames come waits until so many, and `Phases.reach` more, are there from where it begins."""

LEAST_LOG = (math.log(LOG_FLOOR) - LOG_MIDDLE) / LOG_SPREAD
"""The least number that a decoder should write."""


def magnitudes_of(logs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The magnitudes that the numbers of a decoder stand for."""
    return (LOG_MIDDLE + LOG_SPREAD * logs.float()).clamp_max(8.0).exp()


def logs_of(magnitudes: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """What a decoder should write for magnitudes; a very small one counts as `LOG_FLOOR`."""
    return (magnitudes.float().clamp_min(LOG_FLOOR).log() - LOG_MIDDLE) / LOG_SPREAD


class Phases(InPieces):
    """Sound with these magnitudes, as nearly as there is one (Griffin and Lim 1984).

    `window` is the length of a Hann window in samples, a multiple of `hop`; windows lie around the middle of their hop,
    with silence beyond the ends. The phases begin as those of steady tones in the middle of each bin and take
    `iterations` steps, each going on by `momentum` in the direction of the last (Perraudin, Balazs and Søndergaard
    2013). So a sample depends on the frames less than `reach` away, and a sound not on the pieces it is made in.
    """

    def __init__(self, *, channels: int, window: int, hop: int, iterations: int, momentum: float) -> None:
        super().__init__()
        assert window % hop == 0
        self.channels, self.window, self.hop = channels, window, hop
        self.iterations, self.momentum = iterations, momentum
        self.overlap = window // hop
        self.reach = iterations * (self.overlap - 1) + self.overlap
        self.num_bins = window // 2 + 1

    @torch.no_grad()
    def forward(self, logs: Float[Tensor, "batch channel_bin frame"]) -> Float[Tensor, "batch channel sample"]:
        sounds = [torch.cat(list(self.through(iter([item.T])))) for item in logs]
        return torch.stack(sounds).transpose(1, 2)

    def through(self, pieces: Iterator[Float[Tensor, "_ channel_bin"]]) -> Iterator[Float[Tensor, "_ channel"]]:
        held: Tensor | None = None  # from frame `start` on
        start = done = 0
        for piece in pieces:
            held = piece if held is None else torch.cat((held, piece))
            while start + len(held) >= done + BLOCK + self.reach:
                yield self._block(held, start, done, done + BLOCK)
                done += BLOCK
                skipped = max(0, done - self.reach - start)
                held, start = held[skipped:], start + skipped
        end = start + (0 if held is None else len(held))
        while held is not None and done < end:
            stop = min(done + BLOCK, end)
            yield self._block(held, start, done, stop)
            done = stop

    def _block(
        self, held: Float[Tensor, "frame channel_bin"], start: int, first: int, stop: int
    ) -> Float[Tensor, "sample channel"]:
        """The samples of frames `first` up to `stop`, out of frames from `start` on."""
        begin, end = max(start, first - self.reach), min(start + len(held), stop + self.reach)
        logs = held[begin - start : end - start].reshape(-1, self.channels, self.num_bins).transpose(0, 1)
        sound = self._sound(magnitudes_of(logs), begin)
        return sound[:, (first - begin) * self.hop : (stop - begin) * self.hop].T

    def _sound(self, magnitudes: Float[Tensor, "channel frame bin"], first: int) -> Float[Tensor, "channel sample"]:
        """All of a sound, whose first frame has the number `first` in a longer one."""
        shape = torch.hann_window(self.window, device=magnitudes.device)
        weight = self._added(shape.square().expand(1, magnitudes.shape[1], -1)).clamp_min(1e-6)
        frames = torch.arange(first, first + magnitudes.shape[1], device=magnitudes.device)[:, None]
        bins = torch.arange(self.num_bins, device=magnitudes.device)
        turns = (frames * bins % self.overlap).float() / self.overlap
        phases = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).expand(magnitudes.shape)
        before: Tensor | None = None
        for _ in range(self.iterations):
            found = self._spectrum(self._made(magnitudes * phases, shape, weight), shape)
            further = found if before is None else found + self.momentum * (found - before)
            before = found
            phases = further / further.abs().clamp_min(1e-8)
        return self._made(magnitudes * phases, shape, weight)

    def _made(
        self, spectrum: Complex[Tensor, "channel frame bin"], shape: Float[Tensor, " window"], weight: Tensor
    ) -> Float[Tensor, "channel sample"]:
        """The sound whose spectrum is nearest."""
        return self._added(torch.fft.irfft(spectrum, self.window) * shape) / weight

    def _added(self, frames: Float[Tensor, "channel frame window"]) -> Float[Tensor, "channel sample"]:
        """Overlapping frames added up, without what lies beyond the first and the last hop."""
        channels, count, _ = frames.shape
        groups = frames.new_zeros(channels, count + self.overlap - 1, self.hop)
        for place, part in enumerate(frames.reshape(channels, count, self.overlap, self.hop).unbind(2)):
            groups[:, place : place + count] += part
        around = (self.window - self.hop) // 2
        return groups.flatten(1)[:, around : around + count * self.hop]

    def _spectrum(
        self, sound: Float[Tensor, "*batch sample"], shape: Float[Tensor, " window"]
    ) -> Complex[Tensor, "*batch frame bin"]:
        around = (self.window - self.hop) // 2
        windows = F.pad(sound, (around, around)).unfold(-1, self.window, self.hop)
        found: Tensor = torch.fft.rfft(windows * shape)
        return found

    def target(self, audio: Float[Tensor, "batch channel sample"]) -> Float[Tensor, "batch channel frame bin"]:
        """The magnitudes that a decoder should write for a sound of whole hops."""
        shape = torch.hann_window(self.window, device=audio.device)
        return self._spectrum(audio.float(), shape).abs()
