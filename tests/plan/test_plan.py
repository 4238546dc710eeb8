"""A plan adds up, says what to change where it does not fit, and can be had from the command line."""

import json
from dataclasses import replace

import pytest
import torch

import tiny
from orchestrion import presets
from orchestrion.cli.main import main
from orchestrion.config import read_settings
from orchestrion.config.prior import LabelConfig, PriorConfig
from orchestrion.config.training import ModelTrainingConfig, OptimizerConfig, TrainingConfig
from orchestrion.errors import UserError
from orchestrion.plan import DEVICES, codec_cost, plan, prior_cost
from orchestrion.prior.model import Prior
from orchestrion.text.alphabet import Alphabet
from orchestrion.train.ema import AveragedWeights
from orchestrion.train.optim import Optimizer


def training(**settings: object) -> TrainingConfig:
    return TrainingConfig(**({"steps": 10, "batch_size": 64, "precision": "bfloat16"} | settings))


TOP = prior_cost(presets.published_5b())


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_state_that_lasts_is_what_the_optimizer_and_the_average_hold(kind):
    prior = Prior(tiny.prior_config(1), torch.Generator().manual_seed(0))
    config = training(optimizer=OptimizerConfig(kind=kind), batch_size=2, precision="float32")
    matrices = [weight for weight in prior.tokens.transformer.parameters() if weight.ndim == 2]
    optimizer = Optimizer(prior, config.optimizer, 10, matrices)
    for parameter in prior.parameters():
        parameter.grad = torch.ones_like(parameter)
    held = plan(prior_cost(tiny.prior_config(1)), config, DEVICES["cpu"], 1).memory
    grown = sum(parameter.grad.nbytes for parameter in prior.parameters())
    optimizer.step(0)
    state = sum(tensor.nbytes for name, tensor in optimizer.tensors().items() if not name.endswith(".step"))
    average = sum(tensor.nbytes for tensor in AveragedWeights(prior, 0.9).weights.values())
    weights = sum(parameter.nbytes for parameter in prior.parameters())
    assert (held.weights, held.average, held.gradients, held.optimizer) == (weights, average, grown, state)


def test_devices_share_weights_under_fsdp_and_items_under_both():
    one, two = (plan(TOP, training(), DEVICES["h100"], devices) for devices in (1, 2))
    assert two.memory.weights == one.memory.weights and two.memory.activations == pytest.approx(
        one.memory.activations / 2
    )
    assert two.hours == pytest.approx(one.hours / 2) and two.flops == one.flops
    sharded = plan(TOP, training(parallel="fsdp"), DEVICES["h100"], 64)
    assert sharded.memory.optimizer == pytest.approx(one.memory.optimizer / 64)


def test_what_does_not_fit_is_told_what_makes_it_fit():
    found = plan(TOP, training(), DEVICES["h100"], 8)
    assert not found.fits and "fsdp" in found.advice[0]
    changed = training(parallel="fsdp", accumulate=8, recompute="training.recompute = true" in " ".join(found.advice))
    assert plan(TOP, changed, DEVICES["h100"], 8).fits
    assert not plan(TOP, changed, DEVICES["h100"], 8).advice
    alone = plan(TOP, training(batch_size=1), DEVICES["t4"], 1)
    assert "smaller model" in alone.advice[-1]


def test_what_a_training_refuses_is_not_advised():
    config = presets.mini_song().codec
    assert config.refused == {"accumulate", "parallel"}
    cost = codec_cost(config.codec, 2**15)
    small = DEVICES["t4"]._replace(memory_bytes=8 * 2**20)
    for refused in (frozenset(), config.refused):
        advice = " ".join(plan(replace(cost, refused=refused), config.training, small, 2).advice)
        assert ("accumulate" not in advice and "fsdp" not in advice) == bool(refused), advice


def test_recomputing_trades_memory_for_arithmetic():
    less, more = (plan(TOP, training(recompute=one), DEVICES["h200"], 1) for one in (True, False))
    assert less.memory.activations < more.memory.activations / 3
    assert more.flops < less.flops < 1.34 * more.flops


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_a_device_without_bfloat16_is_planned_in_float32(precision):
    found = plan(TOP, training(precision=precision), DEVICES["v100"], 8)
    assert found == plan(TOP, training(precision="float32"), DEVICES["v100"], 8) and found.precision == "float32"
    assert plan(TOP, training(precision=precision), DEVICES["a100"], 8).precision == "bfloat16"


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(UserError, match="multiple of 24"):
        plan(TOP, training(accumulate=3), DEVICES["h100"], 8)


def test_the_command_plans_presets_and_files(capsys, tmp_path):
    assert main(["train", "plan", "mini", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["trainings"]
    assert list(found) == ["codec", "prior of level 0", "prior of level 1"]
    assert all(one["fits"] for one in found.values())
    assert main(["train", "plan", "5b", "--devices", "64"]) == 0
    text = capsys.readouterr().out
    assert "top prior: 5,060.5 million weights, on 64 × h100" in text
    assert "it does not fit; change:" in text and "fsdp" in text
    config = tmp_path / "prior.toml"
    config.write_text(
        'context_frames = 64\n[transformer]\nwidth = 64\nnum_heads = 2\npatterns = ["full"]\n'
        '[training]\nsteps = 5\nbatch_size = 4\nprecision = "float32"\n'
    )
    assert main(["train", "plan", str(config), "--device", "cpu"]) == 0
    assert "0.4 million weights" in capsys.readouterr().out
    for words, hint in (
        (["5b_lyric"], "did you mean 5b_lyrics"),
        (["mini", "--device", "tpu"], "known: h200"),
        (["mini", "--utilisation", "nan"], "not a finite number"),
        (["5b", "--artists", "5"], "leave out --artists and --genres"),
    ):
        assert main(["train", "plan", *words]) == 2
        assert hint in capsys.readouterr().err


def test_a_file_of_a_prior_is_planned_at_the_depth_of_its_level(capsys, tmp_path):
    path = tmp_path / "prior.toml"
    path.write_text(
        'context_frames = 64\n[transformer]\nwidth = 64\nnum_heads = 2\npatterns = ["all"]\n'
        "[conditioner]\nwidth = 8\nstrides = [2]\ndilations = [1]\n[training]\nsteps = 5\nbatch_size = 4\n"
    )
    weights = []
    for depth in ("1", "2"):
        assert main(["train", "plan", str(path), "--device", "cpu", "--depth", depth, "--json"]) == 0
        weights.append(json.loads(capsys.readouterr().out)["trainings"]["prior"]["parameters"])
    assert weights[0] < weights[1]


def test_a_file_of_a_model_with_priors_for_some_levels_is_refused(capsys, tmp_path):
    model = json.loads(presets.mini().model_dump_json())
    with pytest.raises(UserError, match="has 2 levels and there are priors for 1"):
        read_settings(ModelTrainingConfig, model | {"priors": model["priors"][:1]}, "model.toml")


def test_a_model_that_sings_is_planned_with_what_reads_its_lyrics(capsys):
    assert main(["train", "plan", "mini-song", "--artists", "3", "--genres", "2", "--device", "cpu", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["trainings"]["prior of level 1"]["parameters"]
    preset = presets.mini_song().priors[1]
    assert preset.lyrics is not None
    prior = Prior(
        PriorConfig(
            sample_rate=22_050,
            hop_length=512,
            codebook_size=2048,
            context_frames=preset.context_frames,
            transformer=preset.transformer,
            labels=LabelConfig(num_artists=4, num_genres=3, every_frame=True),
            timing=preset.timing,
            lyrics=preset.lyrics.spelled(Alphabet().size),
        )
    )
    assert planned == sum(parameter.numel() for parameter in prior.parameters())


def test_a_prior_whose_parts_do_not_fit_is_refused_in_a_sentence(capsys, tmp_path):
    path = tmp_path / "prior.toml"
    path.write_text(
        "context_frames = 100\n[transformer]\nwidth = 64\nnum_heads = 2\npatterns = ['lyrics']\n"
        "[training]\nsteps = 10\nbatch_size = 2\n"
    )
    assert main(["train", "plan", str(path), "--device", "cpu"]) == 2
    assert "the prior cannot be used" in capsys.readouterr().err
    assert main(["train", "plan", str(path), "--device", "cpu", "--codebook-size", "1"]) == 2
    assert "codebook-size" in capsys.readouterr().err
