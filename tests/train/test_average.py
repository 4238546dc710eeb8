"""Priors whose weights are averaged: what becomes of them, what is said, and how the mean is used."""

import json
from pathlib import Path

import pytest
import tiny_training as small
import torch
from safetensors.torch import load_file

from orchestrion.checkpoints.folder import load_codec, read_model
from orchestrion.cli.main import main
from orchestrion.config import plain
from orchestrion.data.encoded import CodeStore
from orchestrion.errors import UserError
from orchestrion.files import read_json, write_text
from orchestrion.train.assemble import build_model, open_prior, trained_prior
from orchestrion.train.average import mean_of
from orchestrion.train.masked import MaskedRecipe
from orchestrion.train.prior import PriorRecipe


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A codec, its codes, two priors of the top that went on from a third, an upsampler."""
    folder = tmp_path_factory.mktemp("made")
    store = small.music(folder / "music")
    small.run_codec(store, folder / "codec", small.codec_config(3))
    codes = small.encoded(store, folder / "codec" / "model", folder / "codes")
    for name, seed in (("one", 1), ("other", 2)):
        small.run_prior(codes, folder / "codec" / "model", 1, folder / name, small.prior_config(1, 20, seed=seed))
    small.run_masked(codes, folder / "codec" / "model", folder / "fine", small.masked_config(2), None)
    return folder


def recipe_of(made: Path, level: int = 1) -> PriorRecipe:
    store, model = CodeStore(made / "codes"), made / "codec" / "model"
    codec = load_codec(model, read_model(model))
    if level == 0:
        return MaskedRecipe(small.masked_config(2), store, 0, codec, small.CPU)
    return PriorRecipe(small.prior_config(1, 2), store, 1, codec, small.CPU)


def parts(made: Path, *names: str, level: int = 1):
    codec_hash = CodeStore(made / "codes").codec_hash
    return [(name, open_prior(made / name, level, codec_hash)) for name in names]


def test_every_weight_is_the_mean_and_one_given_twice_counts_twice(made):
    recipe = recipe_of(made)
    judged = list(mean_of(recipe, parts(made, "one", "other", "one")))
    one, other = (trained_prior(made / name).state_dict() for name in ("one", "other"))
    for name, value in recipe.prior.state_dict().items():
        torch.testing.assert_close(value, (2 * one[name] + other[name]) / 3, rtol=1e-6, atol=1e-8)
    assert [each.name for each in judged] == ["one", "other", "one", "their mean"]
    assert judged[0] == judged[2] != judged[1]
    assert judged[3].bits == recipe.bits() != judged[0].bits


def test_the_mean_of_a_prior_and_itself_is_that_prior(made):
    recipe = recipe_of(made, 0)
    judged = list(mean_of(recipe, parts(made, "fine", "fine", level=0)))
    assert judged[0].bits == judged[2].bits
    known = trained_prior(made / "fine").state_dict()
    assert all(torch.equal(value, known[name]) for name, value in recipe.prior.state_dict().items())


def test_one_is_too_few(made):
    with pytest.raises(UserError, match="of two priors or more"):
        list(mean_of(recipe_of(made), parts(made, "one")))


def command(made: Path, output: Path, *names: str) -> list[str]:
    write_text(made / "top.toml", toml(plain(small.prior_config(1, 2))))
    words = ["train", "average", made / "codes", "--codec", made / "codec", "--level", 1, "--config", made / "top.toml"]
    of = [word for name in names for word in ("--of", made / name)]
    return [str(word) for word in (*words, *of, "-o", output, "--device", "cpu")]


def toml(settings: dict[str, object], name: str = "") -> str:
    """Just as much TOML as these settings need."""
    tables = {key: value for key, value in settings.items() if isinstance(value, dict)}
    lines = [f"[{name}]"] if name else []
    for key, value in settings.items():
        if key not in tables and value is not None:
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join([*lines, *(toml(value, f"{name}.{key}".strip(".")) for key, value in tables.items())])


def test_the_command_says_what_each_costs_and_writes_a_run_that_models_are_built_of(made, tmp_path, capsys):
    assert main(command(made, tmp_path / "mean", "one", "other")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ", 1)[1] for line in lines[:3]] == [
        f"bits per code: {made / 'one'}",
        f"bits per code: {made / 'other'}",
        "bits per code: their mean",
    ]
    assert lines[3] == str(tmp_path / "mean")
    mean, one, other = (
        load_file(run / "prior.safetensors") for run in (tmp_path / "mean", made / "one", made / "other")
    )
    assert all(torch.allclose(value, (one[name] + other[name]) / 2) for name, value in mean.items())
    figures = read_json(tmp_path / "mean" / "prior.json", "description")["figures"]
    assert figures["validation/bits"] == pytest.approx(float(lines[2].split()[0]), abs=0.1)  # of more windows
    store = CodeStore(made / "codes")
    runs = [made / "fine", tmp_path / "mean"]
    info = build_model("tones", made / "codec" / "model", runs, store, tmp_path / "model", licence="CC0-1.0")
    assert info.about["figures"]["level_1"] == figures


def test_what_is_there_already_is_not_written_over(made, tmp_path, capsys):
    before = load_file(made / "one" / "prior.safetensors")
    assert main(command(made, made / "one", "one", "other")) == 2
    assert "is there already" in capsys.readouterr().err
    after = load_file(made / "one" / "prior.safetensors")
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert main(command(made, tmp_path / "mean", "one", "fine")) == 2
    assert "is for level 0" in capsys.readouterr().err
