"""jukebox-infer from PyPI, run in its own environment.

Its priors insist on CUDA tensors, so that as installed they refuse a processor; the name is lent to ordinary ones here.
"""

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import measured
import torch
from torch import Tensor

torch.cuda.LongTensor = torch.LongTensor

from jukebox_infer import make_models  # noqa: E402
from jukebox_infer.hparams import setup_hparams  # noqa: E402
from jukebox_infer.prior import autoregressive  # noqa: E402

autoregressive.get_range = measured.Ticks
CHUNK_FRAMES = 32
"""Of a prompt; its own default for models of this size."""


class Codec:
    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        wanted = {"restore_vqvae": str(folder / "vqvae.pth.tar"), "sample_length": settings["hps"]["n_ctx"] * 128}
        with contextlib.redirect_stdout(sys.stderr):
            self.model = make_models.make_vqvae(setup_hparams("vqvae", wanted), "cpu")

    def encode(self, audio: Tensor) -> list[Tensor]:
        return self.model.encode(audio[:, :, None])

    def decode(self, codes: list[Tensor], level: int) -> Tensor:
        return self.model.decode(codes[level:], start_level=level)[:, :, 0]


class Prior:
    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        names = ("level", "n_ctx", "prior_width", "prior_depth", "heads", "blocks", "y_bins", "t_bins")
        wanted = {name: settings["hps"][name] for name in names}
        wanted["restore_prior"] = str(folder / "prior_level_2.pth.tar")
        with contextlib.redirect_stdout(sys.stderr):
            codec = Codec(folder, settings).model
            self.model = make_models.make_prior(setup_hparams("small_labelled_prior", wanted), codec, "cpu")
        self.label = settings["label"]

    def logits(self, codes: Tensor) -> Tensor:
        x_cond, y_cond, _ = self.model.get_cond(None, torch.tensor([self.label] * len(codes)))
        return self.model.prior(codes, x_cond, y_cond, get_preds=True)[1]

    def sample(self, prompt: Tensor, num_codes: int) -> tuple[float, list[float]]:
        batch, known = prompt.shape
        with contextlib.redirect_stdout(io.StringIO()):
            self.model.sample(
                batch,
                z=prompt if known else None,
                y=torch.tensor([self.label] * batch),
                chunk_size=CHUNK_FRAMES,
                sample_tokens=known + num_codes,
            )
        return measured.Ticks.taken()


measured.main(Codec, Prior)
