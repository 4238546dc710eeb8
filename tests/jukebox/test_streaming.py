"""Songs heard while they are made, and songs of which a part is made again."""

import shutil
from pathlib import Path

import pytest
import torch

import tiny
from orchestrion import Jukebox, Request, UserError
from orchestrion.codes import HIDDEN
from orchestrion.library.folder import SongFolder

ASKED = Request(seconds=1.5, artist="bix", seed=7)


@pytest.fixture(scope="module", params=["code by code", "in passes"])
def model(request, tmp_path_factory) -> Path:
    masked = (0,) if request.param == "in passes" else ()
    return tiny.write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", masked=masked)


@pytest.fixture
def jukebox(model) -> Jukebox:
    return Jukebox(model, device="cpu")


@pytest.fixture(autouse=True)
def _quick_pictures(monkeypatch):
    monkeypatch.setattr("orchestrion.jukebox.song.draw", lambda path, *_, **__: path.write_bytes(b"picture"))


@pytest.fixture(params=[1, 2], ids=["one thread", "side by side"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)


def same(one, other):
    return all(torch.equal(one.codes[level], other.codes[level]) for level in range(2))


def test_a_streamed_song_is_the_song_in_pieces_without_seams(jukebox, threads, monkeypatch):
    monkeypatch.setattr("orchestrion.jukebox.making.FOLLOWED_FRAMES", 5)
    composed = jukebox.compose(ASKED).finish()
    pieces = list(streamed := jukebox.stream(ASKED))
    song = streamed.finish()
    assert len(pieces) > 5 and all(piece.shape[-1] for piece in pieces)
    assert same(song, composed) and torch.equal(song.audio, composed.audio)
    torch.testing.assert_close(torch.cat(pieces, -1), song.audio, atol=1e-5, rtol=0)


def test_levels_made_side_by_side_are_those_made_one_after_another(model):
    before = torch.get_num_threads()
    songs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        events = list(composing := Jukebox(model, device="cpu").compose(ASKED))
        songs.append(composing.finish())
        for level, total in ((1, 75), (0, 300)):
            done = [event.done for event in events if (event.stage, event.level) == ("compose", level)]
            assert done == sorted(done) and done[-1] == total
    torch.set_num_threads(before)
    assert same(*songs)


def test_the_first_sound_is_there_before_the_song_is_made(model):
    made = []

    class Watched(Jukebox):
        def _tell(self, requests, level):
            made.append(level)
            return super()._tell(requests, level)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    jukebox = Watched(model, device="cpu")
    folder = model.parent / "heard.song"
    streamed = jukebox.stream(ASKED, folder)
    next(iter(streamed))
    codes = SongFolder.open(folder).codes()
    torch.set_num_threads(before)
    assert made == [1, 0]
    assert codes[0].shape[1] < 300 and codes[1].shape[1] < 75
    assert not SongFolder.open(folder).audio_path(0).exists()
    shutil.rmtree(folder)


def test_a_song_whose_listener_left_goes_on_to_the_same_end(jukebox, tmp_path, threads, monkeypatch):
    monkeypatch.setattr("orchestrion.jukebox.making.FOLLOWED_FRAMES", 5)
    whole = jukebox.compose(ASKED).finish()
    streamed = jukebox.stream(ASKED, tmp_path / "s.song")
    heard = 0
    while heard < 800:
        heard += next(streamed).shape[-1]
    del streamed
    assert same(jukebox.compose(ASKED, tmp_path / "s.song").finish(), whole)
    again = jukebox.stream(ASKED, tmp_path / "s.song")
    torch.testing.assert_close(torch.cat(list(again), -1), whole.audio, atol=1e-5, rtol=0)
    assert same(again.finish(), whole)


def test_a_composition_that_is_left_gives_back_its_processors_and_goes_on(jukebox, tmp_path, threads):
    whole = jukebox.compose(ASKED).finish()
    with jukebox.compose(ASKED, tmp_path / "s.song") as composing:
        for _ in range(20):
            next(composing)
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads and not list(composing)
    with pytest.raises(UserError, match="broken off"):
        composing.finish()
    assert same(jukebox.resume(tmp_path / "s.song").finish(), whole)


def test_nothing_is_kept_of_a_streamed_song_without_what_it_was_drawn_from(jukebox, tmp_path, threads):
    kept = []
    for _ in jukebox.stream(ASKED, tmp_path / "s.song"):
        codes = SongFolder.open(tmp_path / "s.song").codes()
        kept.append((codes.num_frames(0), codes.num_frames(1)))
    assert all(fine <= 4 * coarse for fine, coarse in kept), kept
    assert kept[-1] == (300, 75)


def test_what_goes_wrong_in_another_thread_is_raised_where_it_is_waited_for(jukebox, monkeypatch, threads):
    def broken(*_):
        raise RuntimeError("no luck")

    monkeypatch.setattr("orchestrion.generate.draw.pick", broken)
    with pytest.raises(RuntimeError, match="no luck"):
        list(jukebox.stream(ASKED))


def test_a_part_is_made_again_and_the_rest_stays(jukebox, tmp_path):
    song = jukebox.compose(ASKED, tmp_path / "s.song").finish()
    again = jukebox.repaint(song, 0.5, 0.8, tmp_path / "r.song").finish()
    first, stop = 25, 40
    for level, ratio in ((1, 1), (0, 4)):
        kept = torch.ones(song.codes[level].shape[1], dtype=torch.bool)
        kept[first * ratio : stop * ratio] = False
        assert torch.equal(again.codes[level][:, kept], song.codes[level][:, kept])
        assert not torch.equal(again.codes[level][:, ~kept], song.codes[level][:, ~kept])
        assert (again.codes[level] != HIDDEN).all()
    torch.testing.assert_close(again.audio[:, :500], song.audio[:, :500], atol=1e-5, rtol=0)
    torch.testing.assert_close(again.audio[:, 1600:], song.audio[:, 1600:], atol=1e-5, rtol=0)
    origin = again.request.origin
    assert (origin.act, origin.start_seconds, origin.stop_seconds) == ("repaint", 0.5, 0.8)
    assert again.request.seed == 8
    other = jukebox.repaint(song, 0.5, 0.8, seed=99).finish()
    assert not same(again, other)
    assert same(again, jukebox.repaint(song, 0.5, 0.8).finish())


@pytest.mark.parametrize(("start", "stop"), [(0.0, 0.01), (0.0, 1.5), (1.4, 1.5), (0.3, 1.2)])
def test_any_part_can_be_made_again(jukebox, start, stop):
    song = jukebox.compose(ASKED).finish()
    again = jukebox.repaint(song, start, stop).finish()
    assert again.codes[0].shape == song.codes[0].shape and again.audio.shape == song.audio.shape
    assert (again.codes[0] >= 0).all() and not same(again, song)


def test_a_part_of_a_draft_is_made_again_as_a_draft(jukebox):
    song = jukebox.compose(ASKED.changed(finest_level=1)).finish()
    again = jukebox.repaint(song, 0.5, 0.8).finish()
    assert not again.codes.has(0) and not torch.equal(again.codes[1], song.codes[1])


def test_a_repainting_that_was_stopped_goes_on_to_the_same_end(jukebox, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrion.jukebox.model.SIDE_BY_SIDE_BYTES", 0)
    song = jukebox.compose(ASKED).finish()
    whole = jukebox.repaint(song, 0.3, 1.2).finish()
    steps = iter(jukebox.repaint(song, 0.3, 1.2, tmp_path / "r.song"))
    next(steps)
    del steps
    kept = SongFolder.open(tmp_path / "r.song").codes()
    assert (kept[0] == HIDDEN).any()
    with pytest.raises(UserError, match="not made yet"):
        jukebox.load(tmp_path / "r.song")
    assert same(jukebox.resume(tmp_path / "r.song").finish(), whole)


@pytest.mark.parametrize(
    ("start", "stop", "problem"),
    [
        (-1.0, 1.0, "no part from"),
        (1.0, 1.0, "no part from"),
        (1.6, 3.0, "the song ends at 1.5"),
        (1.4, 99.0, "the song ends at 1.5"),
    ],
)
def test_parts_that_are_not_there_are_refused(jukebox, start, stop, problem):
    song = jukebox.compose(ASKED).finish()
    with pytest.raises(UserError, match=problem):
        jukebox.repaint(song, start, stop)
