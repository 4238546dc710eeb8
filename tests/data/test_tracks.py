"""Decoded tracks and the batches cut out of them."""

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext

import numpy as np
import pytest
import soundfile
import torch
from small_data import RATE, sound, track

from orchestrion.data.manifest import split
from orchestrion.data.tracks import TrackStore, audio_findings, prepare
from orchestrion.errors import UserError


@pytest.fixture
def listed(tmp_path):
    """Tracks on both sides of the split."""
    found = []
    number = 0
    while len(found) < 6 or len({split(each) for each in found}) < 2:
        made = track(
            sound(tmp_path / f"{number}.wav", 0.5 + number / 50, frequency=100 + number),
            artist=f"a{number % 3}",
        )
        number += 1
        if len(found) < 6 or split(made) == "validation":
            found.append(made)
    return found


@pytest.fixture
def store(tmp_path, listed):
    list(prepare(listed, tmp_path / "pcm", RATE, 1))
    return TrackStore(tmp_path / "pcm")


def test_prepared_audio_is_the_audio_of_the_file(store, listed):
    for index, each in enumerate(store.tracks):
        assert each.track in listed
        expected, _ = soundfile.read(each.track.path, dtype="float32")
        torch.testing.assert_close(store.audio(index)[0], torch.from_numpy(expected), atol=1e-4, rtol=0)


def test_a_batch_is_a_function_of_seed_and_step(store, tmp_path):
    again = TrackStore(tmp_path / "pcm")
    again.batch(3, 2, 500, 0)  # what was drawn before does not matter
    torch.testing.assert_close(store.batch(7, 4, 1000, 5), again.batch(7, 4, 1000, 5), atol=0, rtol=0)
    assert not torch.equal(store.batch(7, 4, 1000, 5), store.batch(8, 4, 1000, 5))
    assert not torch.equal(store.batch(7, 4, 1000, 5), store.batch(7, 4, 1000, 6))


def test_the_order_of_the_manifest_changes_no_batch(store, listed, tmp_path):
    list(prepare(listed[::-1], tmp_path / "pcm", RATE, 1))
    again = TrackStore(tmp_path / "pcm")
    assert again.data_hash == store.data_hash
    for step in range(5):
        assert torch.equal(store.batch(step, 4, 1000, 5), again.batch(step, 4, 1000, 5))
    assert store.validation_chunks(800, 3) == again.validation_chunks(800, 3)


def test_batches_are_parts_of_training_tracks(store):
    for step in range(20):
        batch = store.batch(step, 2, 1000, 0)
        for item in range(2):
            chunk = store.chunk(0, step, item, 1000)
            assert split(store.tracks[chunk.track].track) == "train"
            torch.testing.assert_close(batch[item], store.audio(chunk.track, chunk.start, 1000), atol=0, rtol=0)


def test_validation_batches_are_fixed_and_of_validation_tracks(store):
    first = list(store.validation_batches(2, 800, max_chunks=3))
    second = list(store.validation_batches(2, 800, max_chunks=3))
    assert [len(batch) for batch in first] == [2, 1]
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    (index, *_) = store.indices("validation")
    audio = store.audio(index)[0]
    head = first[0][0, 0, :50]
    assert any(torch.equal(audio[start : start + 50], head) for start in range(0, audio.shape[0] - 50, 800))


def test_short_tracks_end_in_silence(store):
    batch = store.batch(0, 1, 10 * RATE, 0)
    chunk = store.chunk(0, 0, 0, 10 * RATE)
    length = store.tracks[chunk.track].num_samples
    assert chunk.start == 0
    assert batch[0, 0, :length].abs().max() > 0.1
    assert not batch[0, 0, length:].any()


def test_preparing_again_decodes_nothing_and_takes_new_labels(store, listed, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrion.audio.io.blocks", None)
    renamed = [each.model_copy(update={"artist": "Zoe"}) for each in listed]
    assert [step.done for step in prepare(renamed, tmp_path / "pcm", RATE, 1)] == list(range(1, len(listed) + 1))
    again = TrackStore(tmp_path / "pcm")
    assert {each.track.artist for each in again.tracks} == {"Zoe"}
    assert again.data_hash != store.data_hash


def test_a_stopped_preparation_goes_on(listed, tmp_path):
    steps = prepare(listed, tmp_path / "pcm", RATE, 1)
    next(steps)
    steps.close()
    with pytest.raises(UserError, match="prepared data set"):
        TrackStore(tmp_path / "pcm")
    list(prepare(listed, tmp_path / "pcm", RATE, 1))
    assert len(TrackStore(tmp_path / "pcm").tracks) == len(listed)
    assert not [path for path in (tmp_path / "pcm").iterdir() if path.name.startswith(".")]


def test_unreadable_tracks_are_reported_and_left_out(listed, tmp_path):
    listed[0].path.unlink()
    listed[1].path.write_bytes(listed[1].path.read_bytes()[:-100])
    problems = [step.problem for step in prepare(listed, tmp_path / "pcm", RATE, 1) if step.problem]
    assert len(problems) == 2
    assert "there is no file" in problems[0] or "cannot read" in problems[0]
    assert "has changed" in problems[1]
    assert len(TrackStore(tmp_path / "pcm").tracks) == len(listed) - 2


def test_no_readable_track_is_an_error(listed, tmp_path):
    for each in listed:
        each.path.unlink()
    with pytest.raises(UserError, match="no track could be prepared"):
        list(prepare(listed, tmp_path / "pcm", RATE, 1))


def test_loud_tracks_are_scaled_and_the_scale_is_kept(tmp_path):
    loud = 2 * np.sin(np.arange(4000) * 0.1)[:, None].astype(np.float32)
    soundfile.write(tmp_path / "loud.wav", loud, RATE, "FLOAT")
    path = tmp_path / "loud.wav"
    while split(track(path)) == "validation":
        loud = loud[:-1]
        soundfile.write(path, loud, RATE, "FLOAT")
    list(prepare([track(path)], tmp_path / "pcm", RATE, 1))
    store = TrackStore(tmp_path / "pcm")
    assert store.tracks[0].scale == pytest.approx(1 / store.tracks[0].peak)
    torch.testing.assert_close(
        store.audio(0) / store.tracks[0].scale, torch.from_numpy(loud.T.copy()), atol=1e-4, rtol=0
    )
    findings = audio_findings(store)
    assert any("clipped" in finding for finding in findings)
    assert any("beyond full scale" in finding for finding in findings)


def test_silence_is_reported_and_not_drawn(listed, tmp_path):
    sound(tmp_path / "silent.wav", 30.0, amplitude=0.0)
    quiet_start = tmp_path / "late.wav"
    soundfile.write(quiet_start, np.concatenate([np.zeros(RATE * 2), np.full(RATE, 0.5)]), RATE)
    tracks = [*listed, track(tmp_path / "silent.wav"), track(quiet_start)]
    list(prepare(tracks, tmp_path / "pcm", RATE, 1))
    store = TrackStore(tmp_path / "pcm")
    assert any("silent" in finding and "silent.wav" in finding for finding in audio_findings(store))
    for step in range(50):
        assert (store.batch(step, 4, 200, 0).abs().amax((1, 2)) > 1e-3).all()


def test_silent_parts_of_what_is_held_out_are_left_out(listed, tmp_path):
    samples = np.concatenate([np.full(RATE, 0.5), np.zeros(RATE * 2), np.full(RATE, 0.5)])
    soundfile.write(tmp_path / "gap.wav", samples, RATE)
    gap = track(tmp_path / "gap.wav").model_copy(update={"held_out": True})
    others = [each.model_copy(update={"held_out": False}) for each in listed]
    list(prepare([*others, gap], tmp_path / "gaps", RATE, 1))
    chunks = TrackStore(tmp_path / "gaps").validation_chunks(RATE // 2, 64)
    assert [chunk.start for chunk in chunks] == [0, RATE // 2, 3 * RATE, 3 * RATE + RATE // 2]


def test_only_silence_is_an_error(tmp_path):
    sound(tmp_path / "silent.wav", 1.0, amplitude=0.0)
    list(prepare([track(tmp_path / "silent.wav")], tmp_path / "pcm", RATE, 1))
    with pytest.raises(UserError, match="nothing to learn from"):
        TrackStore(tmp_path / "pcm")


def test_a_damaged_cache_is_explained(store, tmp_path):
    for path in (tmp_path / "pcm").glob("*.npy"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="prepare it again"):
        TrackStore(tmp_path / "pcm").batch(0, 1, 100, 0)


def test_what_is_damaged_is_prepared_again(store, listed, tmp_path):
    before = {path: path.read_bytes() for path in (tmp_path / "pcm").iterdir()}
    sounds, measured = (sorted((tmp_path / "pcm").glob(f"*-*.{kind}")) for kind in ("npy", "json"))
    sounds[0].write_bytes(b"")
    sounds[1].write_bytes(before[sounds[1]][:-2])
    sounds[2].write_bytes(before[sounds[3]])
    measured[4].write_text("{")
    untouched = sounds[5].stat().st_mtime_ns
    assert not [step.problem for step in prepare(listed, tmp_path / "pcm", RATE, 1) if step.problem]
    assert {path: path.read_bytes() for path in (tmp_path / "pcm").iterdir()} == before
    assert sounds[5].stat().st_mtime_ns == untouched


def test_stereo_is_kept_where_it_is_wanted(tmp_path, listed):
    list(prepare(listed, tmp_path / "pcm", 16_000, 2))
    assert TrackStore(tmp_path / "pcm").batch(0, 3, 100, 0).shape == (3, 2, 100)


def test_only_so_many_files_are_open_at_once(store, monkeypatch):
    before = [store.audio(index) for index in range(len(store.tracks))]
    monkeypatch.setattr("orchestrion.data.tracks._MOST_OPEN", 2)
    again = TrackStore(store.folder)
    for index, audio in enumerate(before):
        assert torch.equal(again.audio(index), audio)
        assert len(again._sounds) <= 2


def test_what_is_held_out_is_a_part_of_what_is_learned_from(store, listed, tmp_path):
    changed = [track.model_copy(update={"held_out": False}) for track in listed]
    for _ in prepare(changed, store.folder, store.sample_rate, store.channels):
        pass
    assert TrackStore(store.folder).data_hash != store.data_hash


def test_no_process_is_started_where_nothing_is_left_to_decode(store, listed, monkeypatch):
    monkeypatch.delattr("orchestrion.data.prepare.worker_processes")
    told = list(prepare(listed, store.folder, store.sample_rate, store.channels, workers=4))
    assert [progress.done for progress in told] == list(range(1, len(told) + 1)) and told[-1].total == len(told)


def test_two_workers_make_the_same_cache_as_one(listed, tmp_path, store):
    list(prepare(listed[:3], tmp_path / "pcm2", RATE, 1, workers=2))
    for path in (tmp_path / "pcm2").glob("*.npy"):
        assert path.read_bytes() == (tmp_path / "pcm" / path.name).read_bytes()


def test_a_killed_process_is_told_with_a_way_out_that_there_is(listed, tmp_path, monkeypatch):
    class Killed:
        def submit(self, *_):
            job = Future()
            job.set_exception(BrokenProcessPool())
            return job

    monkeypatch.setattr("orchestrion.data.prepare.worker_processes", lambda _: nullcontext(Killed()))
    with pytest.raises(UserError, match="was killed.*give the same command again"):
        list(prepare(listed, tmp_path / "pcm", RATE, 1, workers=2))


def test_a_data_set_with_nothing_to_learn_from_says_why(listed, tmp_path):
    held_out = [each.model_copy(update={"held_out": True}) for each in listed[:2]]
    list(prepare(held_out, tmp_path / "held-out", RATE, 1))
    with pytest.raises(UserError, match="every track is held out"):
        TrackStore(tmp_path / "held-out")
    silent = track(sound(tmp_path / "silent.wav", 0.5, amplitude=0.0), held_out=False)
    list(prepare([silent], tmp_path / "silent", RATE, 1))
    with pytest.raises(UserError, match="every training track is silent"):
        TrackStore(tmp_path / "silent")
