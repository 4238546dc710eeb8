"""Songs made together, features, and a model that sings."""

from pathlib import Path

import pytest
import torch

import tiny
from orchestrion import Jukebox, Prime, Request, Song
from orchestrion.audio import io
from orchestrion.checkpoints.folder import ModelInfo, write_model
from orchestrion.codes import Codes
from orchestrion.config import plain
from orchestrion.config.prior import LyricsConfig, PriorConfig, TimingConfig, TransformerConfig
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.generate.request import Origin
from orchestrion.generate.told import Told
from orchestrion.jukebox.asked import recorded, reprises
from orchestrion.library.folder import SongFolder
from orchestrion.prior.model import Prior
from orchestrion.text.published import PublishedNames

SOME = Request(seconds=0.9, artist="bix", genres=("jazz",), seed=7)
SUNG = Request(seconds=0.9, artist="Ada", genres=("Jazz",), lyrics="la li lu, the moon is new")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def jukebox(model) -> Jukebox:
    return Jukebox(model, device="cpu")


@pytest.fixture(autouse=True)
def _quick_pictures(monkeypatch):
    monkeypatch.setattr("orchestrion.jukebox.song.draw", lambda path, *_, **__: path.write_bytes(b"picture"))


def noise(seconds: float) -> torch.Tensor:
    rng = torch.Generator().manual_seed(3)
    return 0.3 * torch.randn(1, round(seconds * tiny.SAMPLE_RATE), generator=rng)


@pytest.mark.parametrize("most_songs", [None, 1, 2])
def test_songs_made_together_are_those_made_alone(model, most_songs):
    jukebox = Jukebox(model, device="cpu", most_songs=most_songs)
    requests = (*SOME.takes(2), SOME.changed(artist="Ada Byron"))
    for song, request in zip(jukebox.compose_all(requests).finish(), requests, strict=True):
        alone = jukebox.compose(request).finish()
        assert torch.equal(song.codes[0], alone.codes[0]) and torch.equal(song.codes[1], alone.codes[1])
        torch.testing.assert_close(song.audio, alone.audio)
        assert song.request == alone.request


def test_songs_of_the_shipped_model_made_together_are_those_made_alone():
    # In whole numbers, as it draws, a difference in a last bit grows: no tiny model in float32 shows it.
    jukebox = Jukebox.from_pretrained("mini", device="cpu")
    requests = Request(seconds=3.0, seed=1).takes(2)
    for song, request in zip(jukebox.compose_all(requests).finish(), requests, strict=True):
        alone = jukebox.compose(request).finish()
        for level in (1, 0):
            assert torch.equal(song.codes[level], alone.codes[level]), level


@pytest.mark.parametrize("most_songs", [None, 1, 2])
def test_progress_of_several_songs_rises_to_its_end(model, most_songs):
    jukebox = Jukebox(model, device="cpu", most_songs=most_songs)
    events = list(jukebox.compose_all(SOME.takes(3)))
    for stage, level, total in (("compose", 1, 45), ("compose", 0, 180), ("decode", 0, 540)):
        done = [event.done for event in events if (event.stage, event.level) == (stage, level)]
        assert done == sorted(done) and done[-1] == total


def test_stopped_songs_go_on_from_where_each_is_and_new_ones_begin(jukebox, monkeypatch):
    requests, folders = SOME.takes(4), [f"take-{take}.song" for take in range(4)]
    composition = jukebox.compose_all(requests[:3], folders[:3])
    for event in composition:
        if (event.level, event.done) == (0, 100):
            break
    jukebox.compose(requests[1], folders[1]).finish()
    save, there = SongFolder.save_codes, [SongFolder.open(Path(folder)).codes() for folder in folders[:3]]

    def growing(folder: SongFolder, codes: Codes) -> None:
        row = folders.index(folder.path.name)
        assert row == 3 or all(
            part is None or torch.equal(codes[level][:, : part.shape[1]], part)
            for level, part in enumerate(there[row].levels)
        )
        save(folder, codes)

    monkeypatch.setattr(SongFolder, "save_codes", growing)
    songs = jukebox.compose_all(requests, folders).finish()
    for song, request, folder in zip(songs, requests, folders, strict=True):
        assert torch.equal(song.codes[0], jukebox.compose(request).finish().codes[0])
        assert torch.equal(SongFolder.open(Path(folder)).codes()[0], song.codes[0])


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"seconds": 1.0}, "the same seconds"),
        ({"finest_level": 1}, "the same finest_level"),
        ({"sampling": (LevelSampling(top_k=3),)}, "the same sampling"),
    ],
)
def test_songs_that_cannot_be_made_together_are_refused(jukebox, changes, problem):
    with pytest.raises(UserError, match=problem):
        jukebox.compose_all((SOME, SOME.changed(**changes)))


def test_every_song_needs_a_folder_of_its_own(jukebox):
    with pytest.raises(UserError, match="folder of its own"):
        jukebox.compose_all(SOME.takes(2), ["a.song", "a.song"])
    with pytest.raises(UserError, match="at least one"):
        jukebox.compose_all(())


def test_prompts_of_songs_made_together_are_equally_long(jukebox):
    io.write(Path("mine.wav"), noise(1.0), tiny.SAMPLE_RATE)
    primed = [SOME.changed(prime=Prime(path="mine.wav", start_seconds=start, seconds=0.5)) for start in (0.0, 0.25)]
    for song, request in zip(jukebox.compose_all(primed).finish(), primed, strict=True):
        assert torch.equal(song.codes[0], jukebox.compose(request).finish().codes[0])
    for other in (SOME, SOME.changed(prime=Prime(path="mine.wav", seconds=0.25))):
        with pytest.raises(UserError, match="prompts of the same length"):
            jukebox.compose_all((primed[0], other)).finish()


def test_features_are_what_the_first_layers_make_of_the_codes(jukebox):
    audio = noise(1.3)
    each = jukebox.features(audio, tiny.SAMPLE_RATE, layer=1, mean=False)
    assert each.shape == (65, 8)
    torch.testing.assert_close(jukebox.features(audio, tiny.SAMPLE_RATE), each.mean(0))
    # The second window, read by the whole prior.
    prior, codes = tiny.prior(1), jukebox.encode(audio, tiny.SAMPLE_RATE)[1][:, 24:48]
    conditions = tiny.conditions(total_samples=audio.shape[1])
    conditions = type(conditions)(**{**vars(conditions), "start_samples": torch.tensor([24 * 32])})
    torch.testing.assert_close(prior.features(codes, conditions, 1)[0], each[24:48])
    assert not torch.equal(jukebox.features(audio, tiny.SAMPLE_RATE, request=SOME), each.mean(0))
    listener = jukebox.listener(1)
    assert (listener.layer, listener.width) == (1, 8)
    for other in (noise(0.7), audio):  # one after another, by the same weights in memory
        alone = jukebox.features(other, tiny.SAMPLE_RATE, layer=1, mean=False)
        assert torch.equal(listener.features(other, tiny.SAMPLE_RATE, mean=False), alone)
    for layer in (0, 3):
        with pytest.raises(UserError, match="layers go from 1 to 2"):
            jukebox.features(audio, tiny.SAMPLE_RATE, layer=layer)


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_what_does_not_draw_takes_weights_as_they_are(model, jukebox, singer, weights):
    other = Jukebox(model, device="cpu", weights=weights)
    assert torch.equal(other.features(noise(1.3), tiny.SAMPLE_RATE), jukebox.features(noise(1.3), tiny.SAMPLE_RATE))
    song, other = singer.compose(SUNG).finish(), Jukebox(singer.folder, device="cpu", weights=weights)
    assert torch.equal(other.alignment(song).weights, singer.alignment(song).weights)
    assert other.align(song).lyrics == singer.align(song).lyrics


def test_music_that_lasts_longer_than_a_prior_knows_has_features_and_goes_on(tmp_path):
    """As with the published priors, which know no place after ten minutes."""
    config = tiny.prior_config(1)
    timing = TimingConfig(num_bins=16, min_total_seconds=0.1, max_total_seconds=2.0, clamp=False)
    info = ModelInfo(name="short", codec=tiny.codec_config(), vocabulary=tiny.NAMES)
    prior = tiny.scrambled(Prior(config.model_copy(update={"timing": timing})), 3)
    write_model(tmp_path / "short", info, tiny.codec(), {1: prior}, card="# short")
    jukebox = Jukebox(tmp_path / "short", device="cpu")
    assert jukebox.features(noise(3.0), tiny.SAMPLE_RATE, mean=False).shape == (150, 8)
    late = Request(seconds=0.2, offset_seconds=1.7, total_seconds=1.95, finest_level=1)
    assert jukebox.compose(late).finish().seconds == pytest.approx(0.2, abs=0.02)
    told = Told(tiny.conditions(total_samples=3200), latest_start=prior.config.latest_start)
    assert prior.config.latest_start == 3200 - 24 * 32
    assert [int(told.window(start).start_samples) for start in (0, 2432, 2433)] == [0, 2432, 2432]


def test_a_top_prior_that_fills_windows_has_no_features(tmp_path):
    jukebox = Jukebox(tiny.write_tiny_model(tmp_path / "filled", masked=(1,)), device="cpu")
    with pytest.raises(UserError, match="has no features"):
        jukebox.features(noise(1.3), tiny.SAMPLE_RATE)


def singing_top() -> PriorConfig:
    """A top prior with lyrics and codes in one sequence: 8 characters of the published alphabet."""
    settings = dict(tiny.prior_config(1)) | {
        "transformer": TransformerConfig(
            width=8, num_heads=2, patterns=("row", "prefix", "full"), num_rows=4, prefix_tokens=8
        ),
        "lyrics": LyricsConfig(alphabet_size=79, num_characters=8, alignment_layer=1, alignment_head=1),
    }
    return PriorConfig(**settings)


def write_singer(folder: Path, **lyrics: object) -> Jukebox:
    """Its top knows Ada and jazz as numbers 1 and 3, its upsampler nobody."""
    info = ModelInfo(
        name="singer",
        codec=tiny.codec_config(),
        published_names=(
            PublishedNames(dialect="v2", artists={}, genres={}),
            PublishedNames(dialect="v3", artists={"ada": 1}, genres={"jazz": 3}),
        ),
    )
    config = singing_top()
    config = config.model_copy(update={"lyrics": config.lyrics.model_copy(update=lyrics)})
    top = tiny.scrambled(Prior(config, torch.Generator().manual_seed(0)), 5)
    write_model(folder, info, tiny.codec(), {0: tiny.prior(0), 1: top}, card="# singer\n")
    return Jukebox(folder, device="cpu")


@pytest.fixture
def singer(tmp_path) -> Jukebox:
    return write_singer(tmp_path / "singer")


def test_lyrics_and_labels_change_a_song(singer):
    song = singer.compose(SUNG).finish()
    for changes in ({"lyrics": "other words entirely, no moon"}, {"artist": None}, {"genres": ()}):
        assert not torch.equal(singer.compose(SUNG.changed(**changes)).finish().codes[1], song.codes[1])
    assert torch.equal(singer.compose(SUNG.changed(artist="ADA")).finish().codes[1], song.codes[1])


def test_names_that_only_the_top_knows_are_unknown_below_and_others_are_refused(singer):
    with pytest.raises(UserError, match="no artist called 'Bix'"):
        singer.compose(SUNG.changed(artist="Bix"))


def test_attention_to_lyrics_covers_the_whole_text(singer):
    song = singer.compose(SUNG).finish()
    aligned = singer.alignment(song)
    assert aligned.text == SUNG.lyrics and aligned.frame_rate == 50.0
    assert aligned.weights.shape == (45, len(SUNG.lyrics))
    assert (aligned.weights >= 0).all() and (aligned.weights <= 1).all()
    assert (aligned.weights[:12].sum(1) <= 1 + 1e-5).all(), "frames of one window alone"
    other = singer.alignment(song, layer=1, head=0)
    assert not torch.equal(other.weights, aligned.weights)
    with pytest.raises(UserError, match="layers that do: 1; heads go from 0 to 1"):
        singer.alignment(song, layer=0)


def test_a_song_shorter_than_a_window_is_read_without_filling(singer, monkeypatch):
    real, read = Prior.alignment, []

    def noted(self, codes, conditions, layer):
        filled = torch.nn.functional.pad(codes, (0, 24 - codes.shape[1]))
        weights = real(self, codes, conditions, layer)
        torch.testing.assert_close(weights, real(self, filled, conditions, layer)[:, :, : codes.shape[1]])
        read.append(codes.shape[1])
        return weights

    song = singer.compose(SUNG.changed(seconds=0.3)).finish()
    monkeypatch.setattr(Prior, "alignment", noted)
    assert singer.alignment(song).weights.shape[0] == 15 and read == [15]


def test_a_model_that_does_not_say_which_attention_follows_words_is_told_of_another_way(tmp_path):
    singer = write_singer(tmp_path / "mute", alignment_head=None)
    with pytest.raises(UserError, match="leave --model out: the recogniser listens"):
        singer.align(singer.compose(SUNG).finish())


def test_words_of_a_song_that_was_sung_by_no_single_plan_are_looked_for_without_one(tmp_path, monkeypatch):
    """In rounds, where lyrics are longer than what is seen: attention goes evenly from the first word to the last."""
    told_of = []

    def evenly(self, prior, request, codes, told, following):
        (seen,) = told.lyrics
        told_of.append((told.window(0).sung is None, seen.times is None))
        frames, characters = codes[1].shape[1], len(request.lyrics)
        return torch.eye(characters)[torch.arange(frames) * characters // frames]

    singer = write_singer(tmp_path / "paced", paced=True)
    monkeypatch.setattr(Jukebox, "_attention", evenly)
    song = singer.compose(SUNG).finish()
    assert song.lyrics is not None and not told_of
    changed = singer.repaint(song, 0.3, 0.6).finish()
    assert changed.lyrics is not None and len(told_of) > 1
    assert told_of[0] == (True, True) and set(told_of[1:]) == {(True, False)}
    singer.align(changed)
    assert told_of[: len(told_of) // 2] == told_of[len(told_of) // 2 :]
    singer.alignment(changed)
    assert told_of[-1] == (True, True)
    singer.align(song)
    assert told_of[-1] == (False, False)


def test_a_song_that_goes_on_keeps_its_plan_and_sings_new_words_in_what_is_added(tmp_path):
    singer = write_singer(tmp_path / "paced", paced=True)

    def times(song: Song) -> list[tuple[str, float | None]]:
        return [(word.text, word.start) for word in song.lyrics.words]

    words = f"{SUNG.lyrics}\n"
    song = singer.compose(SUNG.changed(lyrics=words)).finish()
    assert len(sung := times(song)) == 7 and all(start is not None for _, start in sung)
    on = singer.continue_(song, 0.6).finish()
    assert times(on) == sung and on.request.lyrics == words and on.request.sung_until == ((7, 0.9),)
    more = singer.continue_(on, 0.6, lyrics="ba bu").finish()
    assert more.request.lyrics == f"{SUNG.lyrics}\n\nba bu" and more.request.sung_until == ((7, 0.9), (7, 1.5))
    assert times(more)[:7] == sung
    (ba, first), (bu, second) = times(more)[7:]
    assert (ba, bu) == ("ba", "bu") and 1.5 < first < second < 2.1
    same = singer.continue_(on, 0.6, lyrics=f"{SUNG.lyrics} ba bu").finish()
    assert times(same) == times(more), "words that begin with those before are not sung again"
    assert torch.equal(singer.again(more.request, on.codes).finish().codes[1], more.codes[1])


def test_a_stanza_whose_words_come_back_comes_back_where_they_are_sung_by_a_plan(tmp_path):
    singer = write_singer(tmp_path / "paced", paced=True)
    sampling = (LevelSampling(leaning=1000.0),)
    asked = SUNG.changed(lyrics="la li\n\nbu\n\nla li", seconds=1.2, sampling=sampling)
    song = singer.compose(asked).finish()
    (la, li, _, la_again, _), codes = song.lyrics.words, song.codes[1][0]
    first, again, count = (round(50 * seconds) for seconds in (la.start, la_again.start, li.end - la.start))
    assert count > 5 and torch.equal(codes[again : again + count], codes[first : first + count])
    free = singer.compose(asked.changed(form="A")).finish().codes[1][0]
    assert torch.equal(free[:again], codes[:again]) and not torch.equal(free, codes)
    late = singer.compose(asked.changed(seconds=1.0, total_seconds=1.2, offset_seconds=0.2)).finish()
    first, again = (round(50 * (word.start - 0.2)) for word in (la, la_again))
    codes = late.codes[1][0]
    assert first > 0 and torch.equal(codes[again + 1 : again + count - 1], codes[first + 1 : first + count - 1])


def test_stanzas_come_back_only_where_it_is_known_that_they_were_sung(tmp_path):
    info = write_singer(tmp_path / "paced", paced=True).info
    asked = SUNG.changed(lyrics="la li\n\nbu\n\nla li", seconds=2.0)
    assert len(reprises(asked, info)) == 1
    assert reprises(asked.changed(lyrics=asked.lyrics, form="A"), info) == ()
    (again,) = reprises(asked, info)
    for seconds, count in ((again.of_seconds / 2, 1), (again.of_seconds + 0.01, 0), (None, 0)):
        assert len(reprises(asked.changed(prime=Prime(path="mine.wav", seconds=seconds)), info)) == count
    changed = Origin(song="other", act="continue", codes_sha256="", stop_seconds=1.0)
    assert reprises(asked.changed(origin=changed), info) == (), "what is before was sung by another plan"
    upsampled = Origin(song="other", act="upsample", codes_sha256="")
    assert reprises(asked.changed(origin=upsampled), info) == (again,)
    # A record of before there were forms.
    old = {name: value for name, value in plain(asked).items() if name != "form"}
    assert recorded(old)["form"] == "A" and recorded({**old, "lyrics": ""}) == {**old, "lyrics": ""}
    assert recorded({**old, "form": None})["form"] is None


def test_what_does_not_sing_takes_no_lyrics_and_cannot_be_aligned(jukebox, singer):
    with pytest.raises(UserError, match="does not sing"):
        jukebox.compose(SUNG.changed(artist=None, genres=()))
    with pytest.raises(UserError, match="no lyrics to align"):
        singer.alignment(singer.compose(SUNG.changed(lyrics="")).finish())


def test_where_a_song_begins_in_its_piece_is_told(jukebox):
    begins = jukebox.compose(SOME.changed(total_seconds=10.0)).finish()
    later = jukebox.compose(SOME.changed(total_seconds=10.0, offset_seconds=8.0)).finish()
    assert not torch.equal(begins.codes[1], later.codes[1])
    with pytest.raises(UserError, match="do not fit a whole piece"):
        SOME.changed(total_seconds=1.0, offset_seconds=0.5)


def test_songs_that_were_stopped_together_go_on_together_each_from_its_own_place(jukebox, tmp_path):
    requests, source = SOME.takes(3), jukebox.compose(SOME, until_level=1).finish()
    whole = jukebox.continue_(source, 0.4, seed=8).finish()
    folders = [tmp_path / f"{number}.song" for number in range(3)]
    request, codes = jukebox.continued(source, 0.4, seed=7)
    requests = request.takes(3)
    for composition, steps in (
        (jukebox.compose_all(requests[:1], folders[:1], codes=codes), 12),
        (jukebox.compose_all(requests[1:], folders[1:], codes=codes.repeated(2)), 20),
    ):
        for _ in range(steps):
            next(composition)
    songs = jukebox.resume_all(folders).finish()
    assert [song.request.seed for song in songs] == [7, 8, 9]
    assert all(torch.equal(songs[1].codes[level], whole.codes[level]) for level in range(2))
    assert all(SongFolder.open(folder).audio_path(0).exists() for folder in folders)
