"""The published files of small models become model folders with the very same weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orchestrion.checkpoints.folder import load_codec, load_prior, read_model
from orchestrion.checkpoints.importing import import_published, known_prior
from orchestrion.checkpoints.pth import Checkpoint, open_checkpoint
from orchestrion.checkpoints.published import codec_target, is_tied_copy, prior_target
from orchestrion.presets import published

PARTS = ("vqvae", "upsampler_level_0", "upsampler_level_1", "prior_5b", "prior_5b_lyrics", "prior_1b_lyrics")
TOPS = PARTS[3:]


@pytest.mark.parametrize("part", PARTS)
def test_files_open_as_the_original_wrote_them(part: str, parity: Path) -> None:
    opened = open_checkpoint(parity / part / "checkpoint.pth.tar")
    weights = load_file(parity / part / "weights.safetensors")
    assert opened.tensors.keys() == weights.keys()
    for key, tensor in weights.items():
        assert opened.tensors[key].dtype == tensor.dtype and torch.equal(opened.tensors[key], tensor), key
    described = json.loads((parity / part / "config.json").read_text())
    assert json.loads(json.dumps(opened.hyperparameters)) == described["hps"]
    assert opened.step == described["step"]


@pytest.mark.parametrize("top", TOPS)
def test_weights_survive_the_import(top: str, parity: Path) -> None:
    parts = {0: "upsampler_level_0", 1: "upsampler_level_1", 2: top}
    paths = [parity / part / "checkpoint.pth.tar" for part in ("vqvae", *parts.values())]
    folder = Path("model")
    import_published(paths, folder, name=top)
    info = read_model(folder)
    names = info.published_names[2]
    assert names is not None and names.dialect == ("v3" if top == "prior_1b_lyrics" else "v2")
    for level, part in parts.items():
        stored, opened = load_file(folder / f"prior_{level}.safetensors"), load_prior(folder, info, level).state_dict()
        weights = load_file(parity / part / "weights.safetensors")
        compared = set()
        for key, tensor in weights.items():
            if is_tied_copy(key, info.prior(level)):
                continue
            target = prior_target(key)
            assert target is not None
            assert stored[target.key].dtype == tensor.dtype
            assert torch.equal(stored[target.key], target.convert(tensor)), key
            assert torch.equal(opened[target.key], target.convert(tensor).float()), key
            compared.add(target.key)
        assert compared == opened.keys()
    codec = load_codec(folder, info).state_dict()
    for key, tensor in load_file(parity / "vqvae" / "weights.safetensors").items():
        target = codec_target(key, info.codec)
        assert target is not None and torch.equal(codec[target.key], target.convert(tensor)), key


@pytest.mark.parametrize("part", PARTS[1:])
def test_files_of_the_published_sizes_are_known_whatever_settings_are_in_them(part: str, parity: Path) -> None:
    keys = json.loads((parity / "full_size_keys.json").read_text())["parts"][part]["keys"]
    tensors = {key: torch.empty(shape, device="meta") for key, (shape, _) in keys.items()}
    known = {
        "prior_5b": published.top_5b(),
        "prior_5b_lyrics": published.top_5b_lyrics(),
        "prior_1b_lyrics": published.top_1b_lyrics(),
    }
    level = 2 if part in known else int(part[-1])
    found = known_prior(Checkpoint(Path("file"), {}, tensors, None), level)
    assert found == (known[part] if part in known else published.upsampler(level))
    del tensors["y_emb.artist_emb.emb.weight"]
    assert known_prior(Checkpoint(Path("file"), {}, tensors, None), level) is None
