"""The published VQ-VAE: same codes, same sound."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from orchestrion.checkpoints.published import codec_config, codec_target
from orchestrion.codec.model import Codec
from orchestrion.codes import Codes
from orchestrion.presets import published


def test_codes_and_audio(parity: Path) -> None:
    folder = parity / "vqvae"
    given, io = json.loads((folder / "config.json").read_text())["hps"], load_file(folder / "io.safetensors")
    config = codec_config(given, published.codec())
    codec = Codec(config)
    state = codec.state_dict()
    for key, tensor in load_file(folder / "weights.safetensors").items():
        target = codec_target(key, config)
        assert target is not None, key
        state[target.key] = target.convert(tensor)
    codec.load_state_dict(state)
    num_levels = len(config.levels)
    for name in ("", "odd_"):
        audio = io["audio" if not name else "audio_odd"].transpose(1, 2)
        codes = codec.encode(audio)
        for level in range(num_levels):
            assert torch.equal(codes[level], io[f"codes_{name}l{level}"])
            alone = Codes.empty(codec.grid).replace(level, codes[level])
            decoded = codec.decode(alone, level).transpose(1, 2)
            assert_close(decoded, io[f"decoded_{name}from_l{level}"], rtol=0, atol=1e-4)
    assert torch.equal(io["decoded_levels_0_to_2"], io["decoded_from_l0"])
