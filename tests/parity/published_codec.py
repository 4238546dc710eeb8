"""The VQ-VAE, its inputs and what came of them, from a folder of fixtures."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from orchestrion.checkpoints.published import codec_config, codec_target
from orchestrion.codec import Codec
from orchestrion.config import CodecConfig, CodecLossConfig
from orchestrion.presets import published


@dataclass(frozen=True)
class Case:
    config: CodecConfig
    weights: dict[str, Tensor]
    keys: dict[str, str]
    """Ours to the published ones."""
    io: dict[str, Tensor]
    """Audio is (item, channel, sample), as ours; the fixtures have the channels last."""
    expected: dict[str, Any]

    def codec(self, loss: CodecLossConfig | None = None) -> Codec:
        """One with the weights and entries of the fixtures, in training mode, its codebooks not filled."""
        codec = Codec(self.config.model_copy(update={} if loss is None else {"loss": loss}))
        codec.load_state_dict(codec.state_dict() | self.weights)
        return codec


@cache
def load(folder: Path) -> Case:
    given = json.loads((folder / "config.json").read_text())["hps"]
    config = codec_config(given, published.codec())
    weights, keys = {}, {}
    for key, tensor in load_file(folder / "weights.safetensors").items():
        target = codec_target(key, config)
        assert target is not None, key
        weights[target.key] = target.convert(tensor)
        keys[target.key] = key
    io = {
        name: tensor.transpose(1, 2) if _is_audio(name) else tensor
        for name, tensor in load_file(folder / "io.safetensors").items()
    }
    return Case(config, weights, keys, io, json.loads((folder / "expected.json").read_text()))


def _is_audio(name: str) -> bool:
    return name.startswith(("audio", "decoded", "loss_")) or name.endswith("x_out")
