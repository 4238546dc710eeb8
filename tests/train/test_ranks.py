"""Two processes train as one does with the same batch, and a run goes on on another number of them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_training as small
import torch
import two_ranks
from safetensors.torch import load_file

import tiny
from orchestrion.data.encoded import CodeStore
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.train import checkpoint
from orchestrion.train.codec import CodecRecipe
from orchestrion.train.log import read_metrics
from orchestrion.train.parallel import Part
from orchestrion.train.prior import PriorRecipe

STEPS, STOP = 6, 3
CASES = [
    ("codec", {"parallel": "ddp"}),
    ("codec", {"parallel": "fsdp"}),
    ("principal", {"parallel": "ddp"}),
    ("magnitudes", {"parallel": "ddp"}),
    ("composed", {"parallel": "ddp"}),
    ("composed", {"parallel": "fsdp", "accumulate": 2}),
    ("top", {"parallel": "ddp", "accumulate": 2}),
    ("top", {"parallel": "fsdp", "recompute": True, "save_behind": True}),
    ("upsampler", {"parallel": "ddp", "save_behind": True}),
    ("upsampler", {"parallel": "fsdp", "accumulate": 2}),
    ("masked", {"parallel": "ddp"}),
    ("singing", {"parallel": "fsdp", "recompute": True}),
]
NAMES = ["-".join([kind, *map(str, settings.values())]) for kind, settings in CASES]


class World:
    """Music, codes, a codec; and the runs: whole on one process, then on two in several ways."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = small.music(folder / "music", tracks=4)
        small.run_codec(self.store, folder / "base", small.codec_config(2))
        self.model = folder / "base" / "model"
        self.codes = small.encoded(self.store, self.model, folder / "codes")
        self.composing = tiny.write_tiny_model(folder / "composing", masked=(0,))

    def alone(self, kind: str, folder: Path, settings: dict[str, object]) -> None:
        small.run_kind(kind, self.store, self.codes, self.model_for(kind), folder, STEPS, **settings)

    def model_for(self, kind: str) -> Path:
        return self.composing if kind == "composed" else self.model

    def job(self, kind: str, folder: Path, settings: dict[str, object], stop: int | None = None) -> dict[str, object]:
        model = self.model_for(kind)
        about = {"store": self.store.folder, "codes": self.codes.folder, "model": model, "folder": folder}
        return {name: str(path) for name, path in about.items()} | {
            "kind": kind, "steps": STEPS, "settings": settings, "stop": stop,
        }  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patched:
        for recipe in (CodecRecipe, PriorRecipe):
            patched.setattr(recipe, "show", lambda self, folder: None)
        yield trained(tmp_path_factory)


def trained(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("ranks"))
    jobs = []
    for kind in dict(CASES):
        made.alone(kind, made.folder / kind, {})
    for name, (kind, settings) in zip(NAMES, CASES, strict=True):
        half = made.folder / name / "one-then-two"
        shutil.copytree(made.folder / kind, half)
        shutil.rmtree(half / "checkpoint")  # the one before is taken
        jobs.append(made.job(kind, made.folder / name / "two", settings, stop=STOP))
        jobs.append(made.job(kind, made.folder / name / "one-then-two", settings))
    (made.folder / "jobs.json").write_text(json.dumps(jobs))
    assert [process.wait(timeout=300) for process in two_ranks.start(made.folder / "jobs.json")] == [0, 0]
    for name in NAMES:
        shutil.copytree(made.folder / name / "two", made.folder / name / "two-then-one", dirs_exist_ok=True)
    return made


def losses(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in one.items() if "seconds" not in k} for one in read_metrics(folder)]


def assert_close(one: Path, other: Path) -> None:
    left, right = losses(one), losses(other)[: len(losses(one))]
    for mine, theirs in zip(left, right, strict=True):
        assert mine == pytest.approx(theirs, rel=5e-3, abs=5e-4)


each = pytest.mark.parametrize(("name", "kind", "settings"), [(n, *case) for n, case in zip(NAMES, CASES, strict=True)])


@each
def test_two_processes_have_the_losses_of_one(world, name, kind, settings):
    folder = world.folder / name
    assert len(losses(folder / "two")) >= STOP
    assert_close(folder / "two", world.folder / kind)


@each
def test_a_run_begun_on_one_process_ends_on_two(world, name, kind, settings):
    folder = world.folder / name
    assert_close(world.folder / kind, folder / "one-then-two")
    written = "model/codec.safetensors" if (folder / "one-then-two" / "model").exists() else "prior.safetensors"
    alone, together = (load_file(one / written) for one in (world.folder / kind, folder / "one-then-two"))
    assert alone.keys() == together.keys()
    for key, tensor in alone.items():
        torch.testing.assert_close(together[key], tensor, rtol=2e-2, atol=2e-3)


@each
def test_a_run_begun_on_two_processes_ends_on_one(world, name, kind, settings):
    folder = world.folder / name
    about = json.loads((folder / "two-then-one" / "checkpoint" / "checkpoint.json").read_text())
    assert about["ranks"] == 2 and about["step"] == STOP - 1
    sharded = any(file.startswith("shards/shard-00002") for file in about["sha256"])
    assert sharded == (settings["parallel"] == "fsdp")
    world.alone(kind, folder / "two-then-one", {})
    assert_close(world.folder / kind, folder / "two-then-one")


def test_a_damaged_shard_is_found_and_the_checkpoint_before_is_taken(world, tmp_path):
    folder = world.folder / "codec-fsdp" / "two"
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoint.old", ignore_errors=True)
    path = sorted((copy / "checkpoint" / "shards").iterdir())[1]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        checkpoint.restore(copy, {"model": {}})
    shutil.copytree(folder / "checkpoint", copy / "checkpoint.old")
    _, _, problems = checkpoint.restore(copy, {"model": {}})
    assert len(problems) == 1 and "is not what was written" in problems[0]


def test_parts_of_a_batch_are_all_of_it():
    own = [Part(0, 6, 12), Part(6, 6, 12)]
    items = [item for one in own for part in one.cut(3) for item in range(part.first, part.first + part.size)]
    assert items == list(range(12))


def test_a_batch_that_cannot_be_shared_is_refused(world, tmp_path):
    with pytest.raises(UserError, match="multiple of 3"):
        world.alone("top", tmp_path, {"accumulate": 3})


def test_stores_cut_batches_anywhere(world):
    codes: CodeStore = world.codes
    store: TrackStore = world.store
    whole = codes.batch(5, 4, 1, 16, seed=1, label_dropout=0.5)
    for first in range(4):
        part = codes.batch(5, 1, 1, 16, seed=1, label_dropout=0.5, first=first)
        assert torch.equal(part.codes, whole.codes[first : first + 1]) and part.artist == whole.artist[first]
    assert torch.equal(store.batch(5, 2, 100, 1, first=2), store.batch(5, 4, 100, 1)[2:])
