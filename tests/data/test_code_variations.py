"""Code shards of variations: learned from, and nothing else."""

import pytest
import torch
from small_data import GRID, invented, write_codes

from orchestrion.codes import Codes
from orchestrion.data.encoded import CodeStore, ShardWriter
from orchestrion.errors import UserError
from orchestrion.evaluate.memory import learned

FRAMES = 64


@pytest.fixture
def store(tmp_path):
    tracks = [invented(1, artist="Ada"), invented(2, artist="Bix"), invented(3, artist="Ada", validation=True)]
    write_codes(tmp_path, tracks, FRAMES)
    writer = ShardWriter(tmp_path, GRID, 4096, "weights")
    for track in tracks:
        assert writer.has(track)
    for number, track in enumerate(tracks[:2]):
        top = torch.full((1, FRAMES), 4000 + number)
        writer.add(track, Codes.empty(GRID).replace(1, top), FRAMES * 32, 1)
    writer.finish()
    return CodeStore(tmp_path)


def test_variations_are_drawn_with_the_labels_of_their_tracks(store):
    seen = {0: set(), 1: set()}
    for step in range(40):
        batch = store.batch(step, 4, 1, 16, seed=0)
        for codes, artist in zip(batch.codes, batch.artist.tolist(), strict=True):
            varied = bool((codes >= 4000).all())
            seen[varied].add(artist)
            if varied:
                assert codes.unique().tolist() == [4000 + artist - 1]
    assert seen == {0: {1, 2}, 1: {1, 2}}


def test_a_level_that_variations_lack_is_drawn_from_the_tracks_themselves(store):
    for step in range(20):
        batch = store.batch(step, 4, 0, 16, seed=0)
        assert (batch.codes < 2000).all() and batch.coarser is not None and (batch.coarser < 4000).all()


def test_figures_and_validation_disregard_variations(store):
    assert store.counts(1, "train").sum() == 2 * FRAMES
    (batch,) = store.validation_batches(8, 1, FRAMES)
    assert len(batch.codes) == 1 and (batch.codes < 4000).all()
    assert len(store.indices("train")) == 2 and len(store.indices("train", varied=True)) == 4


def test_a_copy_of_a_variation_is_remembered(store):
    index, shards = learned(store, 1)
    assert [store.shards[shard].variation for shard in shards] == [0, 1, 0, 1]
    found = index.longest_run(torch.tensor([4095, 4001, 4001, 4094]))
    assert found.length == 1 and store.shards[shards[found.track]].variation == 1
    assert len(learned(store, 0)[1]) == 2  # variations lack it


def test_variations_are_kept_when_the_work_goes_on_and_are_part_of_the_hash(store, tmp_path):
    writer = ShardWriter(store.folder, GRID, 4096, "weights")
    track = store.shards[0].track
    assert writer.has(track, 1) and not writer.has(track, 2)
    writer.has(track)
    writer.finish()
    again = CodeStore(store.folder)
    assert [(shard.track, shard.variation) for shard in again.shards] == [(track, 0), (track, 1)]
    assert again.data_hash != store.data_hash


def test_levels_that_a_variation_has_are_part_of_the_hash(store):
    before = store.data_hash
    writer = ShardWriter(store.folder, GRID, 4096, "weights")
    for shard in store.shards:
        assert writer.has(shard.track, shard.variation)
    top = torch.full((1, FRAMES), 4000)
    codes = Codes(GRID, (torch.zeros(1, 4 * FRAMES, dtype=torch.long), top))
    writer.add(store.shards[0].track, codes, FRAMES * 32, 1)
    writer.finish()
    whole = CodeStore(store.folder)
    assert len(whole.shards) == len(store.shards) and whole.data_hash != before


def test_a_damaged_variation_is_explained(store):
    assert store.shards[1].variation
    (store.folder / store.shards[1].file).write_bytes(b"")
    with pytest.raises(UserError, match="missing or damaged"):
        store.codes(1, 1)
