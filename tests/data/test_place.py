"""Codes in an object store: fetched when they are asked for, kept within bounds, written by several."""

import dataclasses

import fsspec
import pytest
import torch
from small_data import GRID, invented, write_codes

from orchestrion.codes import Codes
from orchestrion.data.encoded import CodeStore, ShardWriter
from orchestrion.data.place import DataFolder
from orchestrion.errors import UserError

TRACKS = [invented(1, artist="Ada"), invented(2, artist="Bix"), invented(3, validation=True), invented(4)]
ADDRESS = "memory://bucket/codes"


@pytest.fixture
def remote(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = fsspec.filesystem("memory")
    write_codes(ADDRESS, TRACKS)
    yield files
    files.rm("/bucket", recursive=True)


def test_codes_in_an_object_store_give_the_batches_of_a_folder(remote, tmp_path):
    write_codes(tmp_path / "codes", TRACKS)
    here, there = CodeStore(tmp_path / "codes"), CodeStore(ADDRESS)
    assert here.data_hash == there.data_hash
    for step in range(3):
        one, other = (dataclasses.astuple(store.batch(step, 4, 0, 16, seed=1)) for store in (here, there))
        assert all((a is None and b is None) or torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_process_fetches_the_shards_of_its_own_windows_only(remote, tmp_path):
    mirror = CodeStore(ADDRESS).folder
    for path in mirror.glob("*.safetensors"):
        path.unlink()
    store = CodeStore(ADDRESS)
    assert not list(mirror.glob("*.safetensors"))
    store.codes(1, 0, 0, 8)
    assert [path.name for path in mirror.glob("*.safetensors")] == [store.shards[1].file]


def test_a_mirror_makes_room_by_what_was_not_used_for_longest(remote, tmp_path):
    names = [shard.file for shard in CodeStore(ADDRESS).shards]
    size = remote.size(f"/bucket/codes/{names[0]}")
    place = DataFolder(ADDRESS, mirror=tmp_path / "small", most_bytes=int(2.5 * size))
    first, second = (place.fetch(name) for name in names[:2])
    second.touch()
    third = place.fetch(names[2])
    assert not first.exists() and second.exists() and third.exists()
    assert place.fetch(names[0]).exists(), "what went is fetched again"


def test_what_an_object_store_lacks_or_is_not_is_a_sentence(remote, tmp_path):
    with pytest.raises(UserError, match="memory://nowhere/codes has no index.json"):
        CodeStore("memory://nowhere/codes")
    with pytest.raises(UserError, match="cannot be reached"):
        DataFolder("nosuch://bucket/codes")
    name = CodeStore(ADDRESS).shards[0].file
    remote.rm(f"/bucket/codes/{name}")
    (CodeStore(ADDRESS).folder / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        CodeStore(ADDRESS).codes(0, 0)


def test_the_index_is_fetched_anew_and_shards_are_kept(remote):
    before = CodeStore(ADDRESS)
    write_codes(ADDRESS, TRACKS[:2])
    assert len(CodeStore(ADDRESS).shards) == 2 and len(before.shards) == 4


def test_a_shard_that_was_written_with_more_levels_since_is_fetched_anew(remote):
    def write(*levels):
        writer = ShardWriter(ADDRESS, GRID, 4096, "weights")
        for track in TRACKS:
            assert writer.has(track)
        writer.add(TRACKS[0], Codes(GRID, levels), 500, 1)
        writer.finish()

    fine, top = torch.ones(1, 64).long(), torch.ones(1, 16).long()
    write(None, top)
    store = CodeStore(ADDRESS)
    mirrored = store.folder / store.shards[1].file
    before = mirrored.read_bytes()
    write(fine, top)
    mirrored.write_bytes(before)  # as on a machine that did not write it
    assert CodeStore(ADDRESS).codes(1, 0).tolist() == [1] * 64


def test_what_another_codec_left_in_the_mirror_is_dropped(remote, tmp_path):
    name = CodeStore(ADDRESS).shards[0].file
    mirrored = CodeStore(ADDRESS).folder / name
    mirrored.write_bytes(b"codes of before")
    remote.rm("/bucket/codes", recursive=True)
    writer = ShardWriter(ADDRESS, GRID, 4096, "other weights")
    assert not mirrored.exists()
    writer.add(TRACKS[0], Codes(GRID, (torch.zeros(1, 64).long(), torch.zeros(1, 16).long())), 500)
    writer.finish()
    assert CodeStore(ADDRESS).codes(0, 0).tolist() == [0] * 64
