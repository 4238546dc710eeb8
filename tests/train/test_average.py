"""Priors whose weights are averaged: what becomes of them, what is said, and how the mean is used."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_training as small
import torch
from safetensors.torch import load_file

from orchestrion.checkpoints.folder import load_codec, read_model
from orchestrion.cli.main import main
from orchestrion.data.encoded import CodeStore
from orchestrion.errors import UserError
from orchestrion.files import read_json, write_json
from orchestrion.prior.model import Prior
from orchestrion.text.vocab import Vocabulary
from orchestrion.train.assemble import build_model, open_prior, trained_prior
from orchestrion.train.average import average, recipe_like
from orchestrion.train.prior import PriorRecipe
from orchestrion.train.run import weights_digest


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


def recipe_of(made: Path, first: str, level: int = 1) -> PriorRecipe:
    store, model = CodeStore(made / "codes"), made / "codec" / "model"
    codec = load_codec(model, read_model(model))
    return recipe_like(parts(made, first, level=level)[0][1], store, level, codec, small.CPU)


def parts(made: Path, *names: str, level: int = 1):
    codec_hash = CodeStore(made / "codes").codec_hash
    return [(name, open_prior(made / name, level, codec_hash)) for name in names]


def test_every_weight_is_the_mean_and_one_given_twice_counts_twice(made):
    recipe = recipe_of(made, "one")
    judged = list(average(recipe, parts(made, "one", "other", "one")))
    one, other = (trained_prior(made / name) for name in ("one", "other"))
    left, right = one.state_dict(), other.state_dict()
    for name, value in recipe.prior.state_dict().items():
        torch.testing.assert_close(value, (2 * left[name] + right[name]) / 3, rtol=1e-6, atol=1e-8)
    assert [(each.name, each.weights) for each in judged] == [
        (name, weights_digest(prior)) for name, prior in (("one", one), ("other", other), ("one", one))
    ]
    assert judged[0] == judged[2] and judged[1].bits != judged[0].bits != recipe.bits()


def test_the_mean_of_a_prior_and_itself_is_that_prior(made):
    recipe = recipe_of(made, "fine", 0)
    judged = list(average(recipe, parts(made, "fine", "fine", level=0)))
    assert judged[0].bits == judged[1].bits == recipe.bits()
    known = trained_prior(made / "fine").state_dict()
    assert all(torch.equal(value, known[name]) for name, value in recipe.prior.state_dict().items())


def test_it_sees_as_much_as_the_first_whatever_the_others_see(made):
    longer = recipe_of(made, "one")
    config = longer.prior.config.model_copy(update={"context_frames": 24})
    wide = Prior(config, torch.Generator().manual_seed(0))
    wide.load_state_dict(longer.prior.state_dict())
    ((_, known),) = parts(made, "one")
    recipe = recipe_like(replace(known, prior=wide), longer.store, 1, longer.codec, small.CPU)
    assert recipe.held_out[0].codes.shape[1] == 24
    list(average(recipe, [("wide", replace(known, prior=wide)), *parts(made, "other")]))
    assert recipe.prior.config.context_frames == 24


def test_priors_of_another_kind_or_with_other_names_are_refused(made):
    ((_, known),) = parts(made, "one")
    config = known.prior.config
    stack = config.transformer.model_copy(update={"num_heads": 1})
    other = Prior(config.model_copy(update={"transformer": stack}), torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="the prior of x is of another kind"):
        list(average(recipe_of(made, "one"), [("one", known), ("x", replace(known, prior=other))]))
    with pytest.raises(UserError, match="the prior of x knows other names"):
        list(average(recipe_of(made, "one"), [("x", replace(known, vocabulary=Vocabulary()))]))


def command(made: Path, output: Path, *names: str) -> list[str]:
    build = made / "codec" / "model"
    words = ["train", "average", made / "codes", "--codec", build, "--level", 1, "-o", output, "--device", "cpu"]
    return [str(word) for word in (*words, *(word for name in names for word in ("--of", made / name)))]


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
    described = read_json(tmp_path / "mean" / "prior.json", "description")
    figures = described["figures"]
    assert [each["name"] for each in described["mean_of"]] == [str(made / "one"), str(made / "other")]
    assert lines[0].startswith(f"{described['mean_of'][0]['bits']:.4f} ")
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
    assert main(command(made, tmp_path / "mean", "one")) == 2
    assert "of two priors or more" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()


def test_a_prior_that_learned_from_what_is_held_out_is_told_of(made, tmp_path, capsys):
    assert main(command(made, tmp_path / "mean", "one", "other")) == 0
    assert "held-out tracks" not in capsys.readouterr().err
    knows = tmp_path / "knows"
    shutil.copytree(made / "other", knows)
    described = read_json(knows / "prior.json", "description")
    first = min(CodeStore(made / "codes").held_out)
    write_json(knows / "prior.json", described | {"learned_from": [*described["learned_from"], first]})
    assert main([*command(made, tmp_path / "again", "one"), "--of", str(knows)]) == 0
    assert f"1 of the {len(CodeStore(made / 'codes').held_out)} held-out tracks" in capsys.readouterr().err
