"""The published VQ-VAE: same codes, same sound."""

from pathlib import Path

import published_codec
import pytest
import torch
from torch.testing import assert_close

from orchestrion.codes import Codes


@pytest.mark.parametrize("name", ["", "odd_"])
def test_codes_and_audio(name: str, parity: Path) -> None:
    case = published_codec.load(parity / "vqvae")
    codec = case.codec().eval()
    codes = codec.encode(case.io[f"audio_{name}".removesuffix("_")])
    for level in range(codec.grid.num_levels):
        assert torch.equal(codes[level], case.io[f"codes_{name}l{level}"])
        alone = Codes.empty(codec.grid).replace(level, codes[level])
        assert_close(codec.decode(alone, level), case.io[f"decoded_{name}from_l{level}"], rtol=0, atol=1e-4)


def test_vectors_before_they_are_quantized(parity: Path) -> None:
    case = published_codec.load(parity / "vqvae")
    with torch.no_grad():
        for level, part in enumerate(case.codec().levels):
            assert_close(part.encoder(case.io["audio"]), case.io[f"latent_l{level}"], rtol=0, atol=1e-4)


def test_of_several_levels_the_finest_is_heard(parity: Path) -> None:
    case = published_codec.load(parity / "vqvae")
    codec = case.codec().eval()
    codes = codec.encode(case.io["audio"])
    assert_close(codec.decode(codes, 0), case.io["decoded_levels_0_to_2"], rtol=0, atol=1e-4)
