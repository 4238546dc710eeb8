"""Bins of time at the published sizes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orchestrion.config import TimingConfig
from orchestrion.errors import UserError
from orchestrion.prior.labels import TimingEmbedding


@pytest.mark.parametrize("name", ["5b", "5b_lyrics", "1b_lyrics"])
def test_bins(name: str, parity: Path) -> None:
    expected = json.loads((parity / "timing" / "expected.json").read_text())[name]
    bins = load_file(parity / "timing" / "io.safetensors")
    config = TimingConfig(
        num_bins=expected["t_bins"],
        min_total_seconds=expected["min_duration"],
        max_total_seconds=expected["max_duration"],
        clamp=False,
    )
    length, frames = expected["cases"][0]["length"], expected["n_time"]
    timing = TimingEmbedding(config, 2, expected["sr"], length, frames)
    for number, case in enumerate(expected["cases"]):
        total, start = torch.tensor([case["total_length"]]), torch.tensor([case["offset"]])
        if case["error"]:
            with pytest.raises(UserError, match="outside the range"):
                timing(total, start)
            continue
        position, share = timing.positions(total, start)
        assert case["length"] == length
        assert timing.total.bins(total.float()).tolist() == bins[f"{name}.{number}.total_bin"].flatten().tolist()
        for table, values, part in ((timing.position, position, "absolute"), (timing.share, share, "relative")):
            assert torch.equal(table.bins(values).flatten(), bins[f"{name}.{number}.{part}_bin"])
