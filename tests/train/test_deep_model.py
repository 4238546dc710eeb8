"""A finer level with several codes a vector, learned below the level that a codec had: from music to a song."""

import pytest
import tiny_training as small
import torch
from safetensors.torch import load_file

import tiny
from orchestrion.checkpoints.folder import CODEC, load_codec, read_model
from orchestrion.checkpoints.lineage import Before, knows_codes, unchanged_since
from orchestrion.config import CodecConfig, LevelConfig
from orchestrion.config.codec import SpectrumConfig
from orchestrion.config.prior import ConditionerConfig
from orchestrion.config.training import CodecTrainingConfig
from orchestrion.errors import UserError
from orchestrion.generate.request import Request
from orchestrion.jukebox import Jukebox
from orchestrion.train.assemble import build_model, open_codec, open_prior
from orchestrion.train.codec import CodecRecipe
from orchestrion.train.log import read_metrics
from orchestrion.train.loop import train
from orchestrion.train.masked import MaskedRecipe
from orchestrion.train.run import begin_run

REQUEST = Request(artist="Bix", seconds=1.6, seed=3)


def codec_config(*levels: LevelConfig) -> CodecConfig:
    return tiny.codec_config().model_copy(update={"levels": levels})


def fine() -> LevelConfig:
    """Two codes for each vector of 16 samples, from mel bands to magnitudes."""
    (stage,) = tiny.codec_config().levels[0].stages
    second = stage.model_copy(update={"stride": 2, "kernel": 4})
    return LevelConfig(
        stages=(stage, second), bands=((64, 8), (32, 4)), spectrum=SpectrumConfig(window=32, iterations=2), depth=2
    )


def top() -> LevelConfig:
    return tiny.codec_config().levels[1]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small.music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def one_level(store, tmp_path_factory):
    """A codec of the top level alone, and its prior."""
    folder = tmp_path_factory.mktemp("one")
    config = small.codec_config(3).model_copy(update={"codec": codec_config(top())})
    assert small.run_codec(store, folder / "codec", config)
    codes = small.encoded(store, folder / "codec" / "model", folder / "codes")
    assert small.run_prior(codes, folder / "codec" / "model", 0, folder / "prior", small.prior_config(1, 2))
    return folder


@pytest.fixture(scope="module")
def deep(store, one_level, tmp_path_factory):
    """The same level, and a finer one that was learned below it."""
    folder = tmp_path_factory.mktemp("deep")
    loss = tiny.codec_config().loss.model_copy(update={"waveform": 0.0, "mel": 1.0, "mel_sizes": ((64, 8),)})
    given = small.codec_config(6, validate_every=3).model_dump() | {
        "codec": codec_config(fine(), top()).model_copy(update={"loss": loss}),
        "levels": (0,),
        "principal_batches": 4,
    }
    config = CodecTrainingConfig.model_validate(given)
    before, begun = open_codec(one_level / "codec")
    recipe = CodecRecipe(config, store, small.CPU)
    left = recipe.begin_with(begun, before)
    assert left and all(name.startswith("levels.0.") for name in left)
    begin_run(folder / "codec", "codec", config, {"tracks": store.data_hash})
    assert train(recipe, config.training, folder / "codec")
    return folder / "codec"


def upsampler_config(steps: int):
    config = small.masked_config(steps)
    return config.model_copy(update={"conditioner": ConditionerConfig(width=6, strides=(2,), dilations=(1, 3))})


@pytest.fixture(scope="module")
def model(store, one_level, deep, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    codes = small.encoded(store, deep / "model", folder / "codes")
    assert small.run_masked(codes, deep / "model", folder / "fine", upsampler_config(40), None)
    runs = [folder / "fine", one_level / "prior"]
    build_model("deep", deep / "model", runs, codes, folder / "model", licence="CC0-1.0")
    return folder


def test_the_level_that_was_there_stays_and_its_prior_is_known_one_level_up(one_level, deep):
    before, after = (load_file(run / "model" / "codec.safetensors") for run in (one_level / "codec", deep))
    for name, value in before.items():
        assert torch.equal(value, after[name.replace("levels.0.", "levels.1.")]), name
    info = read_model(deep / "model")
    sha256 = open_codec(one_level / "codec")[0].sha256[CODEC]
    assert unchanged_since(info, 1) == [(sha256, 0)] and unchanged_since(info, 0) == []
    with pytest.raises(UserError, match="for level 0"):
        open_prior(one_level / "prior", 1, sha256)


def test_priors_are_known_through_codecs_that_began_with_one_another(one_level, deep, store, tmp_path):
    decoders = small.codec_config(1).model_copy(
        update={"codec": read_model(deep / "model").codec, "decoders_only": True}
    )
    recipe = CodecRecipe(decoders, store, small.CPU)
    before, begun = open_codec(deep)
    assert recipe.begin_with(begun, before) == []
    train(recipe, decoders.training, tmp_path / "third")
    info = read_model(tmp_path / "third" / "model")
    sha256, first = before.sha256[CODEC], open_codec(one_level / "codec")[0].sha256[CODEC]
    assert unchanged_since(info, 1) == [(sha256, 1), (first, 0)] and unchanged_since(info, 0) == [(sha256, 0)]
    known = open_prior(one_level / "prior", 1, info.sha256[CODEC], unchanged_since(info, 1))
    assert known.prior.config.hop_length == 32
    with pytest.raises(UserError, match="for level 0"):
        open_prior(one_level / "prior", 0, info.sha256[CODEC], [Before(first, 1)])


def test_a_model_in_half_precision_knows_the_codes_that_it_learned_from(one_level, deep, model):
    built, codec = read_model(model / "model"), read_model(deep / "model")
    sha256 = codec.sha256[CODEC]
    assert built.sha256[CODEC] != sha256
    assert knows_codes(built, sha256, built.grid) and knows_codes(built, built.sha256[CODEC], built.grid)
    assert not knows_codes(codec, built.sha256[CODEC], codec.grid)
    first = open_codec(one_level / "codec")[0].sha256[CODEC]
    one = read_model(one_level / "codec" / "model").grid
    assert not knows_codes(built, first, one), "a level was added"
    for level in range(2):
        config = open_prior(model / "model", level, sha256).prior.config
        assert config == built.priors[level]
    assert open_prior(model / "model", 0, first).prior.config == built.priors[1], "the top as it was alone"
    with pytest.raises(UserError, match="another codec"):
        open_prior(model / "model", 0, "0" * 64)


def test_the_new_level_learns_from_where_principal_components_are(deep):
    records = read_metrics(deep)
    first = next(record for record in records if "level_0/train_loss" in record)
    last = [record for record in records if "level_0/mel_distance" in record][-1]
    assert first["level_0/train_mel"] < 1 and 0 < last["level_0/codebook_used"] <= 1
    assert not [name for record in records for name in record if name.startswith("level_1/train")]


def test_its_upsampler_learns_and_is_weighed_against_codes_at_their_places(model):
    records = read_metrics(model / "fine")
    assert records[-1]["train/recent_bits"] < records[0]["train/bits"]
    figures = read_model(model / "model").about["figures"]
    assert set(figures) == {"level_0", "level_1"}


def test_songs_of_it_are_the_same_again_in_pieces_and_go_on(model):
    jukebox = Jukebox.from_pretrained(model / "model")
    song = jukebox.compose(REQUEST).finish()
    assert song.codes[0].shape == (1, 320) and song.codes[1].shape == (1, 80)
    again = jukebox.compose(REQUEST).finish()
    assert torch.equal(song.audio, again.audio)
    streamed = torch.cat(list(jukebox.stream(REQUEST)), -1)
    torch.testing.assert_close(streamed, song.audio, atol=1e-5, rtol=0)
    longer = jukebox.continue_(song, 0.8).finish()
    assert torch.equal(longer.codes[0][:, :320], song.codes[0]) and longer.codes[0].shape == (1, 480)
    other = jukebox.repaint(song, 0.4, 0.8, seed=9).finish()
    before, after = song.codes[0], other.codes[0]
    assert torch.equal(before[:, :80], after[:, :80]) and torch.equal(before[:, 160:], after[:, 160:])
    assert not torch.equal(before[:, 80:160], after[:, 80:160])


def test_strides_that_do_not_reach_the_level_above_are_named(store, deep, model):
    codes = small.encoded(store, deep / "model", model / "codes")
    config = upsampler_config(2)
    config = config.model_copy(update={"conditioner": config.conditioner.model_copy(update={"strides": (2, 2)})})
    with pytest.raises(UserError, match="2 vectors under one of the level above"):
        MaskedRecipe(config, codes, 0, load_codec(deep / "model", read_model(deep / "model")), small.CPU)
