"""Codes are the same whoever encodes: this process, several, or a Ray cluster."""

import multiprocessing
import os
import signal
from pathlib import Path

import fsspec
import pytest
import tiny_training as small

from orchestrion.cli.main import main
from orchestrion.data.encoded import CodeStore
from orchestrion.data.manifest import split, write_manifest
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.train.encode import Item
from orchestrion.train.spread import Job, Processes, Ray


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("spread")
    store = small.music(folder / "music", tracks=5)
    small.run_codec(store, folder / "codec", small.codec_config(2))
    small.encoded(store, folder / "codec" / "model", folder / "codes", variations=1)
    return folder


def encoded(world: Path, place: Path | str, kind: str) -> CodeStore:
    store, model = TrackStore(world / "music" / "audio"), world / "codec" / "model"
    job = Job(model, store.folder, place, None, threads=1)
    spread = {"ray": Ray(job, 2, "cpu"), "processes": Processes(job, ("cpu", "cpu")), "alone": None}[kind]
    return small.encoded(store, model, place, variations=1, spread=spread)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_processes_write_what_one_does(world, tmp_path):
    encoded(world, tmp_path / "codes", "processes")
    assert contents(tmp_path / "codes") == contents(world / "codes")


def test_what_is_there_is_kept_and_the_index_is_the_same(world, tmp_path):
    encoded(world, tmp_path / "codes", "processes")
    shards = sorted((tmp_path / "codes").glob("*.safetensors"))
    kept, lost = shards[0], shards[1]
    written = kept.stat().st_mtime_ns
    lost.unlink()
    lost.with_suffix(".json").unlink()
    encoded(world, tmp_path / "codes", "processes")
    assert contents(tmp_path / "codes") == contents(world / "codes") and kept.stat().st_mtime_ns == written


def test_what_is_damaged_is_encoded_again(world, tmp_path):
    encoded(world, tmp_path / "codes", "alone")
    shards = sorted((tmp_path / "codes").glob("*.safetensors"))
    shards[0].write_bytes(b"")
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    shards[2].unlink()
    shards[3].with_suffix(".json").write_text("{")
    encoded(world, tmp_path / "codes", "alone")
    assert contents(tmp_path / "codes") == contents(world / "codes")


def test_a_killed_process_is_told(world, tmp_path):
    store = TrackStore(world / "music" / "audio")
    job = Job(world / "codec" / "model", store.folder, tmp_path / "codes", None, threads=1)
    done = Processes(job, ("cpu",))([Item(index, number) for number in range(1, 9) for index in range(5)])
    with pytest.raises(UserError, match="ended from outside"):
        next(done)
        for child in multiprocessing.active_children():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
        list(done)


@pytest.mark.slow
def test_a_ray_cluster_writes_what_one_does(world, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    try:
        encoded(world, tmp_path / "codes", "ray")
        assert contents(tmp_path / "codes") == contents(world / "codes")
        address = f"file://{tmp_path / 'store'}"
        there = encoded(world, address, "ray")
        assert contents(tmp_path / "store") == contents(world / "codes")
        assert there.data_hash == CodeStore(world / "codes").data_hash
    finally:
        ray.shutdown()
    assert fsspec.filesystem("file").exists(str(tmp_path / "store" / "index.json"))


def test_the_command_encodes_in_processes_what_it_encodes_alone(world, tmp_path, capsys):
    tracks = [decoded.track for decoded in TrackStore(world / "music" / "audio").tracks]
    write_manifest(tmp_path / "manifest.jsonl", tracks)
    words = ["encode", str(tmp_path / "manifest.jsonl"), "--codec", str(world / "codec" / "model"), "--device", "cpu"]
    words += ["--threads", "2"]
    for place, more in (("alone", ()), ("spread", ("--workers", "2"))):
        assert main([*words, "--variations", "1", "-o", str(tmp_path / place), *more]) == 0, capsys.readouterr().err
    assert contents(tmp_path / "alone") == contents(tmp_path / "spread")
    shards = CodeStore(tmp_path / "spread").shards
    training = sum(split(track) == "train" for track in tracks)
    assert [sum(shard.variation == number for shard in shards) for number in (0, 1)] == [len(tracks), training]
