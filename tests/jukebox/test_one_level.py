"""A model whose codec has a single level, with one prior, does what others do."""

import pytest
import torch

import tiny
from orchestrion.checkpoints.folder import ModelInfo, write_model
from orchestrion.codec import Codec
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.generate import draw
from orchestrion.generate.request import Request
from orchestrion.jukebox import Jukebox

REQUEST = Request(artist="Bix", seconds=2.0, seed=3)


@pytest.fixture(scope="module")
def jukebox(tmp_path_factory) -> Jukebox:
    config = tiny.codec_config()
    config = config.model_copy(update={"levels": config.levels[1:]})
    info = ModelInfo(name="one", codec=config, vocabulary=tiny.NAMES, sampling=(LevelSampling(),), about={})
    with torch.random.fork_rng(devices=[]):
        codec = tiny.scrambled(Codec(config), 1)
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, info, codec, {0: tiny.prior(1)}, card="# one\n")
    return Jukebox.from_pretrained(folder)


def test_it_composes_and_goes_on(jukebox):
    song = jukebox.compose(REQUEST).finish()
    assert song.audio.shape == (1, 3200) and song.codes[0].shape == (1, 100)
    longer = jukebox.continue_(song, 1.0).finish()
    assert torch.equal(longer.codes[0][:, :100], song.codes[0]) and longer.audio.shape == (1, 4800)


def test_what_streams_is_the_song(jukebox):
    streamed = torch.cat(list(jukebox.stream(REQUEST)), -1)
    torch.testing.assert_close(streamed, jukebox.compose(REQUEST).finish().audio)


def test_the_first_sound_of_what_is_drawn_code_by_code_waits_for_no_window(jukebox, monkeypatch):
    drawn, real = [], draw.pick
    monkeypatch.setattr(draw, "pick", lambda *given: drawn.append(0) or real(*given))
    monkeypatch.setattr("orchestrion.jukebox.making.FOLLOWED_FRAMES", 4)
    with jukebox.stream(REQUEST) as streamed:
        next(streamed)
    assert len(drawn) < 24, "codes of a window"


def test_a_part_is_painted_anew_and_the_rest_stays(jukebox):
    song = jukebox.compose(REQUEST).finish()
    other = jukebox.repaint(song, 0.5, 1.0, seed=9).finish()
    before, after = song.codes[0], other.codes[0]
    assert torch.equal(before[:, :25], after[:, :25]) and not torch.equal(before[:, 25:50], after[:, 25:50])


def test_there_is_nothing_below_its_only_level(jukebox):
    with pytest.raises(UserError, match="a single level"):
        jukebox.upsample(jukebox.compose(REQUEST).finish())
