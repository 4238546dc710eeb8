"""jukebox-infer from PyPI, run in its own environment.

Its priors insist on CUDA tensors, so that as installed they refuse a processor; the name is lent to ordinary ones here.
"""

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import descendants
import measured
import torch
from torch import Tensor

torch.cuda.LongTensor = torch.LongTensor

from jukebox_infer import make_models  # noqa: E402
from jukebox_infer.hparams import setup_hparams  # noqa: E402
from jukebox_infer.prior import autoregressive  # noqa: E402

autoregressive.get_range = measured.Ticks


def make_vqvae(folder: Path, settings: dict[str, Any]) -> Any:
    wanted = {"restore_vqvae": str(folder / "vqvae.pth.tar"), "sample_length": settings["hps"]["n_ctx"] * 128}
    with contextlib.redirect_stdout(sys.stderr):
        return make_models.make_vqvae(setup_hparams("vqvae", wanted), "cpu")


def open_codec(folder: Path, settings: dict[str, Any]) -> descendants.Codec:
    return descendants.Codec(make_vqvae(folder, settings))


class Prior(descendants.Prior):
    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        names = ("level", "n_ctx", "prior_width", "prior_depth", "heads", "blocks", "y_bins", "t_bins")
        wanted = {name: settings["hps"][name] for name in names}
        wanted["restore_prior"] = str(folder / "prior_level_2.pth.tar")
        codec = make_vqvae(folder, settings)
        with contextlib.redirect_stdout(sys.stderr):
            model = make_models.make_prior(setup_hparams("small_labelled_prior", wanted), codec, "cpu")
        super().__init__(model, settings["label"], ("z", "y"))

    def sample(self, prompt: Tensor, num_codes: int) -> tuple[float, list[float]]:
        with contextlib.redirect_stdout(io.StringIO()):
            return super().sample(prompt, num_codes)


measured.main(open_codec, Prior)
