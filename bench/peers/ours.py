"""Orchestrion, measured like its peers: the models imported from the same files."""

import time
from pathlib import Path
from typing import Any

import measured
import torch
from torch import Tensor

from orchestrion.checkpoints.folder import load_codec, load_prior, read_model
from orchestrion.codes import Codes
from orchestrion.config.sampling import LevelSampling
from orchestrion.generate.draw import PREFILL_FRAMES
from orchestrion.generate.pick import pick
from orchestrion.prior.labels import Conditions


class Codec:
    def __init__(self, folder: Path, _: dict[str, Any]) -> None:
        self.codec = load_codec(folder / "model", read_model(folder / "model"))

    def encode(self, audio: Tensor) -> list[Tensor]:
        codes = self.codec.encode(audio[:, None])
        return [codes[level] for level in range(codes.grid.num_levels)]

    def decode(self, codes: list[Tensor], level: int) -> Tensor:
        return self.codec.decode(Codes.empty(self.codec.grid).replace(level, codes[level]), level)[:, 0]


class Prior:
    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        info = read_model(folder / "model")
        self.prior = load_prior(folder / "model", info, info.grid.top)
        self.label = settings["label"]

    def _conditions(self, batch: int) -> Conditions:
        total, start, _, artist, genre = (torch.tensor([number] * batch) for number in self.label)
        return Conditions(artist=artist, genres=genre[:, None], total_samples=total, start_samples=start)

    def logits(self, codes: Tensor) -> Tensor:
        return self.prior(codes, self._conditions(len(codes)))

    def sample(self, prompt: Tensor, num_codes: int) -> tuple[float, list[float]]:
        batch, started, rng = len(prompt), time.perf_counter(), torch.Generator().manual_seed(0)
        state = self.prior.begin(self._conditions(batch), self.prior.config.context_frames)
        # The first code is drawn by a pass over the last known one, as the others do it.
        for piece in prompt[:, :-1].split(PREFILL_FRAMES, 1) if prompt.shape[1] > 1 else ():
            self.prior.advance(piece, state)
        times = [time.perf_counter()]
        drawn = prompt[:, -1:]
        for _ in range(num_codes):
            logits = self.prior.advance(drawn, state)
            drawn = pick(logits, torch.rand(batch, generator=rng), LevelSampling())[:, None]
            times.append(time.perf_counter())
        return times[0] - started, times


measured.main(Codec, Prior)
