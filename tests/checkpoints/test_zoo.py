from pathlib import Path

import pytest

import tiny
from orchestrion.checkpoints import zoo
from orchestrion.checkpoints.folder import singers
from orchestrion.errors import UserError


@pytest.fixture
def installed(monkeypatch) -> Path:
    monkeypatch.setenv(zoo.MODELS_VARIABLE, str(Path("installed").resolve()))
    return tiny.write_tiny_model(Path("installed/ensemble").resolve())


def test_a_name_and_a_path_lead_to_the_same_folder(installed):
    assert zoo.locate("ensemble") == zoo.locate("installed/ensemble").resolve() == zoo.locate(installed)


def test_a_name_goes_before_a_folder_of_that_name(installed):
    tiny.write_tiny_model(Path("ensemble"))
    assert zoo.locate("ensemble") == installed


def test_a_wrong_name_is_answered_with_close_ones(installed):
    with pytest.raises(UserError, match="did you mean ensemble"):
        zoo.locate("ensembel")
    with pytest.raises(UserError, match=r"known: .*ensemble"):
        zoo.locate("zzz")


def test_a_folder_without_a_model_is_told_so():
    Path("empty").mkdir()
    with pytest.raises(UserError, match="there is no model in empty"):
        zoo.locate("empty")


def test_folders_that_are_not_models_have_no_name(installed):
    (installed.parent / "notes").mkdir()
    assert "notes" not in zoo.names()


def test_without_a_chosen_place_models_are_in_the_users_data(monkeypatch):
    monkeypatch.delenv(zoo.MODELS_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert zoo.installed_folder() == Path("/data/orchestrion/models")


def test_models_that_sing_are_named_and_those_that_cannot_be_read_passed_over(installed):
    broken = installed.parent / "broken"
    broken.mkdir()
    (broken / "model.json").write_text("{}")
    assert "broken" in zoo.names()
    assert singers() == ["mini-song"]
