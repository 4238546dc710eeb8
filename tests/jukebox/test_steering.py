"""Drafts, mixed artists, going on from any point, several takes of it."""

from dataclasses import replace

import pytest
import torch

import tiny
from orchestrion import Jukebox, Request
from orchestrion.codes import HIDDEN, Codes
from orchestrion.errors import UserError
from orchestrion.generate.request import Mix
from orchestrion.library.folder import SongFolder
from orchestrion.prior.labels import Conditions

SOME = Request(seconds=0.9, artist="bix", genres=("jazz",), seed=7)


@pytest.fixture
def jukebox(tmp_path, monkeypatch) -> Jukebox:
    monkeypatch.setattr("orchestrion.jukebox.song.draw", lambda path, *_, **__: path.write_bytes(b"picture"))
    monkeypatch.chdir(tmp_path)
    return Jukebox(tiny.write_tiny_model(tmp_path / "tiny"), device="cpu")


def equal(a: Codes, b: Codes) -> bool:
    return all(torch.equal(a[level], b[level]) for level in range(2))


def test_a_draft_is_heard_and_then_finished_to_the_same_song(jukebox):
    whole = jukebox.compose(SOME).finish()
    draft = jukebox.compose(SOME, "a.song", until_level=1).finish()
    assert draft.level == 1 and not draft.codes.has(0) and torch.equal(draft.codes[1], whole.codes[1])
    folder = SongFolder.open(draft.folder)
    assert folder.audio_path(1).exists() and not folder.audio_path(0).exists()
    assert folder.info.request["finest_level"] == 0
    finished = jukebox.resume("a.song").finish()
    assert equal(finished.codes, whole.codes) and folder.audio_path(0).exists()


def test_takes_are_drafted_together(jukebox):
    takes = jukebox.compose_all(SOME.takes(3), ["a.song", "b.song", "c.song"], until_level=1).finish()
    assert len({tuple(take.codes[1][0].tolist()) for take in takes}) == 3
    second = jukebox.resume("b.song").finish()
    assert equal(second.codes, jukebox.compose(SOME.changed(seed=8)).finish().codes)


def test_a_song_goes_on_from_a_point_inside_it(jukebox):
    song = jukebox.compose(SOME, "a.song").finish()
    other = jukebox.continue_(song, 0.5, "b.song", start_seconds=0.4, seed=1).finish()
    assert other.request.seconds == pytest.approx(0.9) and other.request.origin.stop_seconds == 0.4
    assert torch.equal(other.codes[1][:, :20], song.codes[1][:, :20])
    assert torch.equal(other.codes[0][:, :80], song.codes[0][:, :80])
    assert not torch.equal(other.codes[1][:, 20:], song.codes[1][:, 20:])
    assert equal(jukebox.again(other.request, song.codes).finish().codes, other.codes)
    for outside in (0.0, -1.0, 0.95, float("nan")):
        with pytest.raises(UserError, match="cannot be continued from"):
            jukebox.continue_(song, 0.5, start_seconds=outside)


def test_takes_of_what_comes_next_are_as_each_is_alone(jukebox):
    song = jukebox.compose(SOME, "a.song").finish()
    request, codes = jukebox.continued(song, 0.4, artist="Ada Byron", seed=20)
    takes = jukebox.compose_all(request.takes(2), codes=codes.repeated(2)).finish()
    alone = jukebox.continue_(song, 0.4, artist="Ada Byron", seed=21).finish()
    assert equal(takes[1].codes, alone.codes) and not equal(takes[0].codes, takes[1].codes)


def test_a_draft_is_continued_and_refined_as_one(jukebox):
    draft = jukebox.compose(SOME, "a.song", until_level=1).finish()
    longer = jukebox.continue_(draft, 0.3, "b.song").finish()
    assert longer.codes[1].shape[1] == 60 and longer.codes[0].shape[1] == 240
    assert torch.equal(longer.codes[1][:, :45], draft.codes[1])


def test_a_song_that_is_not_made_as_far_as_it_must_be_is_no_source(jukebox):
    song = jukebox.compose(SOME).finish()
    top, fine = song.codes[1], song.codes[0]
    for levels in ((fine[:, :80], top[:, :0]), (None, top[:, :30]), (fine, top.masked_fill(top == top, HIDDEN))):
        begun = replace(song, codes=Codes(song.codes.grid, levels))
        for act, *given in ((jukebox.continue_, 0.3), (jukebox.upsample,), (jukebox.repaint, 0.1, 0.2)):
            with pytest.raises(UserError, match="finish the song first"):
                act(begun, *given)
    hole = fine.clone()
    hole[:, 40:80] = HIDDEN
    for levels in ((fine[:, :80], top), (hole, top)):
        begun = replace(song, codes=Codes(song.codes.grid, levels))
        assert jukebox.continue_(begun, 0.3).finish().codes[1].shape[1] == 60


def test_a_level_without_codes_is_not_decoded(jukebox):
    top = jukebox.compose(SOME, until_level=1).finish().codes[1]
    with pytest.raises(UserError, match="level 0 is not made yet"):
        jukebox.decode(Codes(jukebox.info.grid, (top[:, :0], top)))


def test_between_two_artists_lies_the_mean_of_their_vectors(jukebox):
    labels = tiny.prior(1).labels
    told = Conditions(
        artist=torch.tensor([1, 1, 1]),
        genres=torch.tensor([[1, -1]] * 3),
        total_samples=torch.ones(3),
        start_samples=torch.zeros(3),
        other_artist=torch.tensor([2, 2, 2]),
        other_share=torch.tensor([0.0, 0.25, 1.0]),
    )
    with torch.no_grad():
        mixed, first, second = labels(told), labels.artist.weight[1], labels.artist.weight[2]
        genre = labels.genre.weight[1]
        untold, nobody = labels(told.unlabelled()), labels.artist.weight[0] + labels.genre.weight[0]
    torch.testing.assert_close(mixed, torch.stack([first, 0.75 * first + 0.25 * second, second]) + genre)
    torch.testing.assert_close(untold, nobody.expand(3, -1))


def test_a_mix_goes_from_one_artist_to_the_other(jukebox):
    def made(artist: str, mix: Mix | None = None) -> Codes:
        return jukebox.compose(SOME.changed(artist=artist, mix=mix)).finish().codes

    assert equal(made("bix", Mix(artist="ada byron", share=0.0)), made("bix"))
    assert equal(made("bix", Mix(artist="ada byron", share=1.0)), made("Ada Byron"))
    half = jukebox.compose(SOME.changed(mix=Mix(artist="ada byron", share=0.5))).finish()
    assert half.request.mix == Mix(artist="Ada Byron", share=0.5)
    assert not equal(half.codes, made("bix")) and not equal(half.codes, made("Ada Byron"))
    with pytest.raises(UserError, match="Bix"):
        made("bix", Mix(artist="Biks", share=0.5))
    with pytest.raises(UserError, match="share of"):
        Mix(artist="Bix", share=1.5)


def test_songs_with_and_without_a_mix_are_made_together_as_alone(jukebox):
    requests = [SOME, SOME.changed(seed=8, mix=Mix(artist="Ada Byron", share=0.6))]
    together = jukebox.compose_all(requests).finish()
    for request, song in zip(requests, together, strict=True):
        assert equal(song.codes, jukebox.compose(request).finish().codes)
