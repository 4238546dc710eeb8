"""What an encoder hears in the place of the waveform: logarithms of mel bands."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from orchestrion.audio.spectral import LOG_FLOOR, LOG_MIDDLE, LOG_SPREAD, mel_filters
from orchestrion.nn.pieces import InPieces, overlapping, through


class LogBands(InPieces):
    """Log magnitudes of mel bands, each `hop` samples, and a convolution over three of them to `width` numbers.

    `sizes` are (window in samples, number of bands); windows lie around the middle of their hop, with silence beyond
    the ends of the audio. The bands have no gradient.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], channels: int, hop: int, sample_rate: int, width: int) -> None:
        super().__init__()
        self.windows = [window for window, _ in sizes]
        self.hop = hop
        self.longest = max(self.windows)
        for window, num_bands in sizes:
            self.register_buffer(f"filters_{window}", mel_filters(num_bands, window // 2 + 1, sample_rate), False)
        self.convolution = nn.Conv1d(channels * sum(num for _, num in sizes), width, 3, padding=1)

    def forward(self, audio: Float[Tensor, "batch channel sample"]) -> Float[Tensor, "batch width frame"]:
        made: Tensor = self.convolution(self.bands(audio))
        return made

    def bands(self, audio: Float[Tensor, "batch channel sample"]) -> Float[Tensor, "batch band frame"]:
        """What the convolution is given: about 0, and about 1 wide for music."""
        around = (self.longest - self.hop) // 2
        whole = audio[..., : audio.shape[-1] // self.hop * self.hop]
        return self._bands(F.pad(whole, (around, around)))

    def through(self, pieces: Iterator[Float[Tensor, "_ channel"]]) -> Iterator[Float[Tensor, "_ width"]]:
        around, reach = (self.longest - self.hop) // 2, self.longest - self.hop
        bands = (self._bands(held.T[None])[0].T for held, _ in overlapping(pieces, around, around, reach, self.hop))
        yield from through([self.convolution], bands)

    @torch.no_grad()
    def _bands(self, audio: Float[Tensor, "batch channel sample"]) -> Float[Tensor, "batch band frame"]:
        """Of audio with half of the longest window, less half a hop, on both sides."""
        found = []
        with torch.autocast(audio.device.type, enabled=False):
            for window in self.windows:
                skipped = (self.longest - window) // 2
                cut = audio[..., skipped : audio.shape[-1] - skipped].float().unfold(-1, window, self.hop)
                magnitudes = torch.fft.rfft(cut * torch.hann_window(window, device=audio.device)).abs()
                bands = magnitudes @ self.get_buffer(f"filters_{window}").float().T
                found.append(((bands + LOG_FLOOR).log() - LOG_MIDDLE) / LOG_SPREAD)
        return torch.cat(found, -1).transpose(2, 3).flatten(1, 2).to(audio.dtype)
