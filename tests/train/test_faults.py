"""Runs that are broken at random moments go on to the end they would have had; `scripts/faults` breaks many more."""

import random

import breaking
import pytest
import tiny_training as small

from orchestrion.errors import UserError
from orchestrion.train import loop


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> breaking.World:
    return breaking.World(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("fault", breaking.FAULTS)
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_broken_run_ends_like_one_left_alone(world, fault, ranks, tmp_path):
    way = breaking.Way("codec", ranks, "ddp" if ranks == 1 else "fsdp", save_behind=ranks == 2)
    assert breaking.break_a_run(world, way, fault, tmp_path / "run", random.Random(1)) == ""


def test_batches_without_a_number_change_nothing_and_end_a_run_at_last(world, tmp_path, monkeypatch):
    real = loop._Run._losses
    monkeypatch.setattr(loop._Run, "_losses", lambda run, step: {**real(run, step), "train/loss": float("nan")})
    with pytest.raises(UserError, match=r"failed at step 4.*stopped being a number"):
        small.run_codec(world.store, tmp_path, small.codec_config(8))
    said = (tmp_path / "findings.txt").read_text().splitlines()
    assert len(said) == 5 and all("left out" in line for line in said)
