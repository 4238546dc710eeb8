"""Code shards: windows laid rightly, batches that are functions of the step."""

import dataclasses
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_data import GRID, invented, write_codes

from orchestrion.codes import HIDDEN, Codes
from orchestrion.data.encoded import CodeStore, ShardWriter, vocabulary_of
from orchestrion.data.manifest import split
from orchestrion.errors import UserError
from orchestrion.text.vocab import Vocabulary

TRACKS = [
    invented(1, artist="Ada", genres=("folk", "jazz")),
    invented(2, artist="Bix", genres=("jazz",)),
    invented(3, validation=True, artist="ada"),
    invented(4),
]


@pytest.fixture
def store(tmp_path):
    write_codes(tmp_path / "codes", TRACKS)
    return CodeStore(tmp_path / "codes")


def same(one, other):
    pairs = zip(dataclasses.astuple(one), dataclasses.astuple(other), strict=True)
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(step=st.integers(0, 10**6), seed=st.integers(0, 10**6), frames=st.sampled_from([4, 20, 64]))
def test_windows_of_both_levels_lie_over_one_another(store, step, seed, frames):
    """The stored codes count frames, so a window laid wrongly shows as a wrong number."""
    batch = store.batch(step, 3, 0, frames, seed=seed)
    for item in range(3):
        track, first = divmod(int(batch.codes[item, 0]), 400)
        start = int(batch.start_samples[item]) // 8
        assert start % 4 == 0
        assert batch.codes[item].tolist() == [400 * track + t for t in range(start, start + frames)]
        above = range(start // 4, (start + frames) // 4)
        assert batch.coarser[item].tolist() == [400 * track + 2000 + t for t in above]
        assert first == start
        assert split(TRACKS[track]) == "train"
        assert int(batch.total_samples[item]) == 64 * 32 - 3
        assert int(batch.artist[item]) == store.vocabulary.artist_id(TRACKS[track].artist)
        assert tuple(batch.genres[item].tolist()) == store.vocabulary.genre_ids(TRACKS[track].genres)


def test_the_top_level_has_nothing_above_it(store):
    batch = store.batch(0, 2, 1, 16, seed=0)
    assert batch.coarser is None
    assert (batch.start_samples % 32 == 0).all()


def test_a_batch_is_a_function_of_seed_and_step(store, tmp_path):
    again = CodeStore(tmp_path / "codes")
    again.batch(1, 5, 0, 8, seed=0)
    first = store.batch(9, 4, 0, 8, seed=2, label_dropout=0.5)
    assert same(first, again.batch(9, 4, 0, 8, seed=2, label_dropout=0.5))
    assert not same(first, store.batch(10, 4, 0, 8, seed=2, label_dropout=0.5))
    assert not same(first, store.batch(9, 4, 0, 8, seed=3, label_dropout=0.5))


def test_the_order_of_encoding_changes_no_batch(store, tmp_path):
    write_codes(tmp_path / "codes", TRACKS[::-1])  # what is there is kept
    again = CodeStore(tmp_path / "codes")
    assert again.data_hash == store.data_hash and again.vocabulary == store.vocabulary
    for step in range(5):
        assert same(store.batch(step, 4, 0, 8, seed=2), again.batch(step, 4, 0, 8, seed=2))


def test_labels_are_dropped_as_often_as_asked_and_apart_from_each_other(tmp_path):
    write_codes(tmp_path, [invented(1, artist="Ada", genres=("folk", "jazz"))])
    store = CodeStore(tmp_path)
    batches = [store.batch(step, 8, 0, 8, seed=0, label_dropout=0.3) for step in range(100)]
    no_artist = torch.cat([batch.artist for batch in batches]) == 0
    genres = torch.cat([batch.genres for batch in batches])
    no_genres = genres[:, 0] == 0
    assert set(map(tuple, genres.tolist())) == {(0, -1, -1, -1, -1), (1, 2, -1, -1, -1)}
    assert 0.25 < no_artist.float().mean() < 0.35
    assert 0.25 < no_genres.float().mean() < 0.35
    assert 0.06 < (no_artist & no_genres).float().mean() < 0.12


def test_dropping_labels_changes_no_code(store):
    kept = store.batch(3, 8, 0, 8, seed=0)
    dropped = store.batch(3, 8, 0, 8, seed=0, label_dropout=1.0)
    assert torch.equal(kept.codes, dropped.codes)
    assert not dropped.artist.any()
    assert (dropped.genres == torch.tensor([0, -1, -1, -1, -1])).all()


def test_validation_covers_its_tracks_once(store):
    batches = list(store.validation_batches(3, 0, 20))
    codes = torch.cat([batch.codes for batch in batches])
    assert codes.flatten().tolist() == list(range(800, 800 + 256 // 20 * 20))
    assert torch.cat([batch.coarser for batch in batches]).flatten().tolist() == list(range(2800, 2800 + 60))
    assert sum(len(batch.codes) for batch in store.validation_batches(3, 0, 20, max_windows=5)) == 5


def test_a_short_track_fills_the_beginning_of_a_window_of_the_top_level(store):
    whole = list(range(2800, 2864)) + [HIDDEN] * 36
    (batch,) = store.validation_batches(3, 1, 100, short_tracks=True)
    assert batch.codes.tolist() == [whole]
    assert store.validation_tracks(1, 100, short_tracks=True) == store.indices("validation")
    assert not list(store.validation_batches(3, 1, 100)) and not store.validation_tracks(1, 100)
    assert not list(store.validation_batches(3, 0, 1000, short_tracks=True))
    drawn = store.batch(0, 16, 1, 100, seed=0, short_tracks=True)
    assert not drawn.start_samples.any()
    assert {(int(row[0]) - 2000) // 400 for row in drawn.codes} == {0, 1, 3}
    for row in drawn.codes:
        assert row.tolist() == list(range(int(row[0]), int(row[0]) + 64)) + [HIDDEN] * 36
    for level, frames in ((1, 100), (0, 1000)):
        with pytest.raises(UserError, match="no training track is as long"):
            store.batch(0, 2, level, frames, seed=0)


def test_windows_of_long_tracks_are_the_same_where_short_ones_are_taken(store):
    plain = store.batch(5, 4, 1, 16, seed=0)
    assert same(plain, store.batch(5, 4, 1, 16, seed=0, short_tracks=True))


def test_each_second_of_short_and_long_tracks_is_heard_as_often(tmp_path):
    frames = {1: 20, 2: 200}  # a window has 40
    writer = ShardWriter(tmp_path, GRID, 4096, "weights")
    for number, count in frames.items():
        fine = torch.full((1, 4 * count), number)
        writer.add(invented(number, artist="Ada"), Codes(GRID, (fine, fine[:, :count])), count * 32)
    writer.finish()
    store = CodeStore(tmp_path, artist_balance=0.0)
    heard = torch.cat([store.batch(step, 16, 1, 40, seed=0, short_tracks=True).codes for step in range(150)])
    often = {number: float((heard == number).sum()) / count for number, count in frames.items()}
    assert 0.85 < often[1] / often[2] < 1.15


def test_unigram_entropy_is_that_of_the_counts(tmp_path, store):
    assert store.unigram_entropy(1, "validation") == pytest.approx(math.log2(64))
    assert store.counts(1, "train").sum() == 3 * 64
    write_codes(tmp_path / "one", [invented(1)], frames=1)
    assert CodeStore(tmp_path / "one").unigram_entropy(1, "train") == 0


def test_of_many_tracks_some_are_counted_and_no_others_read(store, monkeypatch):
    monkeypatch.setattr("orchestrion.data.encoded._MOST_COUNTED", 2)
    whole, read = store.codes, []
    monkeypatch.setattr(store, "codes", lambda index, level: read.append(index) or whole(index, level))
    assert store.unigram_entropy(1, "train") == pytest.approx(math.log2(128))
    first, _, last = store.indices("train")
    assert read == [first, last]


def test_every_code_that_fits_the_codebook_survives(tmp_path):
    for size in (32_768, 70_000):
        writer = ShardWriter(tmp_path / str(size), GRID, size, "weights")
        codes = torch.tensor([[0, 1, size - 2, size - 1]])
        writer.add(invented(1), Codes(GRID, (codes.repeat_interleave(4, 1), codes)), 100)
        writer.finish()
        assert CodeStore(tmp_path / str(size)).codes(0, 1).tolist() == codes[0].tolist()


def test_stopped_encoding_goes_on_and_takes_new_labels(tmp_path):
    writer = ShardWriter(tmp_path, GRID, 4096, "weights")
    assert not writer.has(TRACKS[0])
    codes = Codes(GRID, (torch.zeros(1, 8, dtype=torch.long), torch.zeros(1, 2, dtype=torch.long)))
    writer.add(TRACKS[0], codes, 60)
    with pytest.raises(UserError, match="set of codes"):
        CodeStore(tmp_path)
    again = ShardWriter(tmp_path, GRID, 4096, "weights")
    assert again.has(TRACKS[0].model_copy(update={"artist": "Zoe"}))
    again.finish()
    assert CodeStore(tmp_path).vocabulary.artists == ("Zoe",)


def test_codes_of_another_codec_are_not_mixed_in(tmp_path):
    ShardWriter(tmp_path, GRID, 4096, "weights")
    with pytest.raises(UserError, match="another codec"):
        ShardWriter(tmp_path, GRID, 4096, "other weights")


def test_labels_outside_a_given_vocabulary_are_refused(store, tmp_path):
    with pytest.raises(UserError, match="Ada"):
        CodeStore(tmp_path / "codes", Vocabulary(artists=("Cab",), genres=("folk", "jazz")))


def test_the_vocabulary_holds_the_commonest_spelling_once():
    tracks = [invented(n, artist=name) for n, name in enumerate(["ADA", "Ada", "Ada", "Bix", None])]
    assert vocabulary_of(tracks) == Vocabulary(artists=("Ada", "Bix"))
    assert vocabulary_of(tracks[:2]) == vocabulary_of(tracks[1::-1]), "of two as common neither is that listed first"


def test_names_that_unicode_composes_otherwise_are_one_and_unknown_is_nobody():
    composed, taken_apart = "Bj\u00f6rk", "Bjo\u0308rk"
    tracks = [invented(n, artist=name) for n, name in enumerate([composed, taken_apart, taken_apart, "Unknown"])]
    names = vocabulary_of(tracks)
    assert names == Vocabulary(artists=(taken_apart,))
    assert [names.artist_id(track.artist) for track in tracks] == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("level", "frames", "said"),
    [(0, 6, "multiple of 4"), (0, 0, "multiple"), (2, 4, "no level 2"), (0, 1000, "long")],
)
def test_windows_that_cannot_be_are_refused(store, level, frames, said):
    with pytest.raises(UserError, match=said):
        store.batch(0, 1, level, frames, seed=0)


def test_damaged_codes_are_explained(store, tmp_path):
    for path in (tmp_path / "codes").glob("*.safetensors"):
        path.write_bytes(b"garbage")
    with pytest.raises(UserError, match="encode the music again"):
        CodeStore(tmp_path / "codes").batch(0, 1, 0, 8, seed=0)
    (tmp_path / "codes" / "index.json").write_text("{}")
    with pytest.raises(UserError, match="encode the music again"):
        CodeStore(tmp_path / "codes")
