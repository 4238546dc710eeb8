"""`orchestrion models remember`: from codes to a model that knows what it learned from."""

from pathlib import Path

import pytest
import torch

import tiny
from orchestrion.checkpoints.folder import CODEC, read_model
from orchestrion.checkpoints.memory import MEMORY, read_memory
from orchestrion.cli.main import main
from orchestrion.codes import Codes
from orchestrion.data.encoded import ShardWriter
from orchestrion.data.manifest import Track, split


def codes(folder: Path, codec_hash: str, held_out_seconds: int) -> Path:
    """Codes of one training track and one that is held out."""
    grid, rng = tiny.codec_config().grid, torch.Generator().manual_seed(0)
    writer, wanted = ShardWriter(folder, grid, tiny.CODEBOOK_SIZE, codec_hash), {"validation": held_out_seconds}
    wanted["train"] = 20
    for number in range(1, 100):
        track = Track(
            path=folder / f"{number}.wav", seconds=1.0, sample_rate=1600, channels=1, content_hash=f"{number:016x}"
        )
        samples = 1600 * wanted.pop(split(track), 0)
        if samples:
            levels = tuple(
                torch.randint(tiny.CODEBOOK_SIZE, (1, samples // hop), generator=rng) for hop in grid.hop_lengths
            )
            writer.add(track, Codes(grid, levels), samples)
    writer.finish()
    return folder


@pytest.fixture
def model(tmp_path) -> Path:
    return tiny.write_tiny_model(tmp_path / "ditty")


def run(capsys, *words: str | Path) -> tuple[int, str, str]:
    status = main([str(word) for word in words])
    return status, *capsys.readouterr()


def test_a_model_gets_a_memory_which_is_not_replaced_unasked(model, capsys):
    made = codes(Path("codes"), read_model(model).sha256[CODEC], held_out_seconds=1000)
    words = ("models", "remember", model, "--codes", made, "-q")
    assert run(capsys, *words) == (0, f"{model / MEMORY}\n", "")
    found = read_memory(model, read_model(model).sha256[CODEC])
    assert found is not None and len(found.codes) == 20 * 50 and found.info.limits[0].pieces == 100
    status, _, err = run(capsys, *words)
    assert status == 2 and "--force" in err
    assert run(capsys, *words, "--force")[0] == 0


def test_codes_of_another_codec_and_too_few_of_them_are_refused(model, capsys):
    foreign = codes(Path("foreign"), "0" * 64, held_out_seconds=1000)
    status, _, err = run(capsys, "models", "remember", model, "--codes", foreign)
    assert status == 2 and "were not made by the codec" in err
    few = codes(Path("few"), read_model(model).sha256[CODEC], held_out_seconds=100)
    status, _, err = run(capsys, "models", "remember", model, "--codes", few, "-q")
    assert status == 2 and "encode more tracks" in err
    assert not (model / MEMORY).exists()
