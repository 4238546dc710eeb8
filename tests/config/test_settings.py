"""Settings survive being written, and answer nonsense in plain words."""

import pytest

import tiny
from orchestrion import presets
from orchestrion.config import CodecConfig, PriorConfig, plain, read_settings, read_toml
from orchestrion.config.training import CodecTrainingConfig, ModelTrainingConfig, SpeechConfig, TrainingConfig
from orchestrion.errors import UserError
from orchestrion.generate.request import Origin


@pytest.mark.parametrize("settings", [tiny.codec_config(), tiny.prior_config(0), tiny.prior_config(1), presets.mini()])
def test_settings_survive_json(settings):
    assert read_settings(type(settings), plain(settings)) == settings


def test_a_misspelt_name_is_refused_with_the_right_one():
    with pytest.raises(UserError, match="'batchsize'.*did you mean 'batch_size'"):
        read_settings(TrainingConfig, {"steps": 3, "batch_size": 1, "batchsize": 4})


def test_a_misspelt_name_deep_down_is_found():
    given = plain(tiny.codec_config())
    given["levels"][1]["stages"][0]["strid"] = 2
    with pytest.raises(UserError, match=r"levels\.1\.stages\.0\.strid.*did you mean 'stride'"):
        read_settings(CodecConfig, given)


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(UserError) as caught:
        read_settings(TrainingConfig, {"steps": "many", "seeds": 1})
    for part in ("steps", "seeds", "batch_size"):
        assert part in caught.value.problem


def test_a_wrong_type_is_not_guessed_at():
    with pytest.raises(UserError, match="steps"):
        read_settings(TrainingConfig, {"steps": "3", "batch_size": 1})


def test_a_mean_that_never_forgets_is_refused():
    with pytest.raises(UserError, match="betas"):
        read_settings(TrainingConfig, {"steps": 3, "batch_size": 1, "optimizer": {"betas": [0.9, 1.0]}})


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_a_number_that_is_not_finite_is_refused(number):
    with pytest.raises(UserError, match=r"optimizer\.learning_rate: input should be a finite number"):
        read_settings(TrainingConfig, {"steps": 3, "batch_size": 1, "optimizer": {"learning_rate": number}})


def test_levels_that_do_not_nest_are_refused():
    given = plain(tiny.codec_config())
    given["levels"].reverse()
    with pytest.raises(UserError, match="multiple of the one before"):
        read_settings(CodecConfig, given)


def test_short_tracks_are_left_out_where_timing_refuses_lengths():
    config = tiny.prior_config(1)
    assert config.timing is not None and config.takes_short_tracks
    strict = config.timing.model_copy(update={"clamp": False})
    assert not config.model_copy(update={"timing": strict}).takes_short_tracks


def test_several_codes_a_vector_are_for_the_finest_level():
    given = plain(tiny.codec_config())
    given["levels"][1]["depth"] = 2
    with pytest.raises(UserError, match="is for level 0"):
        read_settings(CodecConfig, given)


def test_several_codes_a_vector_need_a_level_above():
    given = plain(tiny.prior_config(0)) | {"depth": 2, "conditioner": None, "timing": None, "context_frames": 64}
    given["transformer"] |= {"patterns": ["all"], "num_rows": 1}
    with pytest.raises(UserError, match="a level below another"):
        read_settings(PriorConfig, given)
    read_settings(PriorConfig, given | {"depth": 1})


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"levels": [2], "adversarial": {}}, "levels are 0 to 1"),
        ({"principal_batches": 2}, "with bands and a spectrum"),
    ],
)
def test_levels_that_are_not_there_or_cannot_begin_so_are_refused(changes, problem):
    codec, training = plain(tiny.codec_config()), {"steps": 3, "batch_size": 2}
    with pytest.raises(UserError, match=problem):
        read_settings(CodecTrainingConfig, {"codec": codec, "training": training} | changes)


def test_toml_is_read_and_broken_toml_explained(tmp_path):
    path = tmp_path / "training.toml"
    path.write_text("steps = 3\nbatch_size = 2\n[optimizer]\nkind = 'muon'\n")
    assert read_toml(TrainingConfig, path).optimizer.kind == "muon"
    path.write_text("steps = = 3")
    with pytest.raises(UserError, match="not valid TOML"):
        read_toml(TrainingConfig, path)
    with pytest.raises(UserError, match="cannot read"):
        read_toml(TrainingConfig, tmp_path / "absent.toml")


@pytest.mark.parametrize("preset", [presets.mini, presets.mini_song])
def test_the_presets_to_train_fit_together(preset):
    config = preset()
    assert isinstance(config, ModelTrainingConfig)
    grid = config.codec.codec.grid
    assert len(config.priors) == grid.num_levels
    for level, prior in enumerate(config.priors):
        depth = config.codec.codec.levels[level].depth
        strides = depth * prior.conditioner.ratio if prior.conditioner else 1
        assert strides == (1 if level == grid.top else grid.ratio(level))


def test_the_singing_preset_sees_twenty_seconds():
    config = presets.mini_song()
    grid = config.codec.codec.grid
    assert config.priors[-1].context_frames / grid.frame_rate(grid.top) >= 20
    assert config.priors[-1].lyrics


def test_layers_of_published_attention_orders_go_on_beyond_the_models_that_were_published():
    ten, eleven, twelve = (presets.published.attention_patterns(order, 96) for order in (10, 11, 12))
    assert ten[78:83] == ("lyrics", "row", "column", "previous_row", "row")
    assert [place for place, name in enumerate(ten) if name == "lyrics"] == [18, 28, 38, 48, 58, 68, 78]
    assert [eleven[place] for place in range(15, 96, 16)] == ["lyrics", "lyrics", "full"] * 2
    assert [twelve[place] for place in range(15, 96, 16)] == ["prefix", "prefix", "full"] * 2


def test_a_file_changes_what_it_names_of_a_preset(tmp_path):
    preset, path = presets.mini().codec, tmp_path / "sharper.toml"
    path.write_text("[codec.loss]\nmel = 0.3\n[adversarial]\nstart_share = 0.25\n")
    with pytest.raises(UserError, match="codec.sample_rate.*missing"):
        read_toml(CodecTrainingConfig, path)
    found = read_toml(CodecTrainingConfig, path, preset)
    assert (found.codec.loss.mel, found.adversarial and found.adversarial.start_share) == (0.3, 0.25)
    loss = found.codec.loss.model_copy(update={"mel": preset.codec.loss.mel})
    codec = found.codec.model_copy(update={"loss": loss})
    assert found.model_copy(update={"adversarial": None, "codec": codec}) == preset
    path.write_text(
        "[[codec.levels]]\nstages = [{stride = 8, kernel = 32, width = 16, residual_width = 16, dilations = [1]}]\n"
    )
    assert len(read_toml(CodecTrainingConfig, path, preset).codec.levels) == 1, "a list is one thing"
    spoken = preset.model_copy(update={"speech": SpeechConfig()})
    path.write_text("speech = false\n")
    assert read_toml(CodecTrainingConfig, path, spoken) == read_toml(CodecTrainingConfig, path, preset) == preset
    path.write_text("codec = false\n")
    with pytest.raises(UserError, match="codec: "):
        read_toml(CodecTrainingConfig, path, preset)
    path.write_text("[codec.loss]\nmell = 0.3\n")
    with pytest.raises(UserError, match="did you mean 'mel'"):
        read_toml(CodecTrainingConfig, path, preset)


def test_a_name_that_is_no_text_is_refused():
    with pytest.raises(UserError, match="not text in UTF-8: rename it"):
        plain(Origin(song="caf\udce9", act="continue", codes_sha256="0" * 64))
