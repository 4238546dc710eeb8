"""Optimizer, average and checks by themselves."""

from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import tiny_training as small
import torch
from torch import nn

from orchestrion.config import CodebookConfig
from orchestrion.config.training import OptimizerConfig
from orchestrion.errors import UserError
from orchestrion.train import checks
from orchestrion.train.ema import AveragedWeights
from orchestrion.train.log import RunLog, read_metrics
from orchestrion.train.loop import seed_of
from orchestrion.train.optim import Optimizer, rate_factor
from orchestrion.train.run import begin_run, begun_with


def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))


def one_step(of: nn.Module, optimizer: Optimizer, step: int) -> None:
    of(torch.ones(3, 4) * (step + 1)).square().mean().backward()
    optimizer.step(step)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_an_optimizer_goes_on_from_its_saved_state(kind):
    config = OptimizerConfig(kind=kind, warmup_steps=3)
    one = model()
    first = Optimizer(one, config, 20, [one[0].weight])
    for step in range(4):
        one_step(one, first, step)
    other = model()
    other.load_state_dict(one.state_dict())
    second = Optimizer(other, config, 20, [other[0].weight])
    second.load({name: value.clone() for name, value in first.tensors().items()})
    for step in range(4, 8):
        one_step(one, first, step)
        one_step(other, second, step)
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)


def test_muon_may_train_all_there_is():
    one = nn.Linear(4, 2, bias=False)
    before = one.weight.clone()
    optimizer = Optimizer(one, OptimizerConfig(kind="muon", warmup_steps=0), 10, [one.weight])
    one_step(one, optimizer, 0)
    assert not torch.equal(one.weight, before)
    again = Optimizer(one, OptimizerConfig(kind="muon"), 10, [one.weight])
    again.load(optimizer.tensors())
    assert again.tensors().keys() == optimizer.tensors().keys() != set()


def test_the_rate_rises_then_falls_to_nothing():
    config = OptimizerConfig(warmup_steps=10, decay_share=0.5)
    factors = [rate_factor(step, 100, config) for step in range(101)]
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:50] == [1.0] * 40
    assert factors[50:] == sorted(factors[50:], reverse=True)
    assert factors[100] == 0


def test_gradients_are_clipped_to_the_norm(monkeypatch):
    applied = []

    def see(part: torch.optim.Optimizer) -> None:
        gradients = [each.grad.flatten() for group in part.param_groups for each in group["params"]]
        applied.append(float(torch.cat(gradients).norm()))

    monkeypatch.setattr(torch.optim.AdamW, "step", see)
    one = model()
    optimizer = Optimizer(one, OptimizerConfig(clip_norm=1e-3, warmup_steps=0), 10)
    for scale in (100.0, 1e-6):
        one(torch.full((3, 4), scale)).square().mean().backward()
        norm = optimizer.step(0)
        assert applied.pop() == pytest.approx(min(norm, 1e-3), rel=1e-2)
        assert (norm > 1) == (scale > 1)


def test_the_average_of_constant_weights_is_those_weights_and_all_is_given_back():
    one = model()
    average = AveragedWeights(one, 0.9)
    own = {name: value.clone() for name, value in one.state_dict().items()}
    with torch.no_grad():
        one[0].weight.add_(1)
    for step in range(500):
        average.update(one, step)
    torch.testing.assert_close(average.weights["0.weight"], own["0.weight"] + 1)
    with torch.no_grad():
        one[0].weight.add_(1)
    one.train()
    with average.applied_to(one):
        torch.testing.assert_close(one[0].weight.data, own["0.weight"] + 1)
        assert not one.training
    torch.testing.assert_close(one[0].weight.data, own["0.weight"] + 2)
    assert one.training


def test_seeds_of_neighbouring_steps_and_streams_differ():
    seeds = {seed_of(seed, step, stream) for seed in range(3) for step in range(50) for stream in range(3)}
    assert len(seeds) == 3 * 50 * 3


def codec_numbers(**changed: float) -> dict[str, float]:
    healthy = {"level_0/codebook_used": 0.9, "level_0/codebook_entropy": 9.5, "level_0/snr": 5.0}
    return healthy | changed


def test_a_healthy_codec_has_no_findings():
    assert not list(checks.codebook_findings(codec_numbers(), 0, 2048, 100_000))
    assert not list(checks.codec_findings(codec_numbers(), 0, 1000, 100))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"level_0/codebook_used": 0.05}, "collapsed"),
        ({"level_0/codebook_entropy": 3.0}, "few entries"),
    ],
)
def test_a_sick_codebook_is_told(changed, words):
    assert words in " ".join(checks.codebook_findings(codec_numbers(**changed), 0, 2048, 100_000))


@pytest.mark.parametrize(("used", "told"), [(150, False), (15, True)])
def test_a_codebook_cannot_use_more_entries_than_it_heard_codes(used, told):
    numbers = codec_numbers(**{"level_0/codebook_used": used / 2048, "level_0/codebook_entropy": 3.5})
    assert ("collapsed" in " ".join(checks.codebook_findings(numbers, 0, 2048, 216))) == told


def test_a_silent_decoder_is_told():
    assert "no better than silence" in " ".join(
        checks.codec_findings(codec_numbers(**{"level_0/snr": 0.0}), 0, 1000, 100)
    )


@pytest.mark.parametrize(("convergence", "told"), [(0.0, True), (0.4, True), (-1.4, False)])
def test_a_decoder_of_magnitudes_is_judged_by_them(convergence, told):
    numbers = codec_numbers(**{"level_0/snr": -1.0, "level_0/convergence_db": convergence})
    found = list(checks.codec_findings(numbers, 0, 1000, 100, magnitudes=True))
    assert [f"spectral convergence {convergence:.2f} dB" in sentence for sentence in found] == [True] * told


def prior_numbers(**changed: float) -> dict[str, float]:
    return {"train/recent_bits": 7.0, "validation/bits": 7.2, "unigram_bits": 10.0} | {
        name.replace("_", "/", 1) if name != "unigram_bits" else name: value for name, value in changed.items()
    }


def test_a_healthy_prior_has_no_findings():
    assert not list(checks.prior_findings(prior_numbers(), 2048, 1000, 30))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"validation_bits": 10.5, "train_recent_bits": 10.4}, "not below the entropy"),
        ({"validation_bits": 8.5}, "learns by heart"),
        ({"unigram_bits": 10.95}, "close to uniform"),
    ],
)
def test_a_sick_prior_is_told(changed, words):
    assert words in " ".join(checks.prior_findings(prior_numbers(**changed), 2048, 1000, 30))


def test_numbers_that_are_none_are_told():
    assert "loss" in " ".join(checks.nonfinite({"loss": float("nan"), "fine": 1.0}))
    assert not list(checks.nonfinite({"loss": 1.0}))


def test_a_run_that_goes_on_cuts_what_was_written_after_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrion.train.log._tensorboard", lambda *_: None)
    first = RunLog(tmp_path, 0)
    for step in (1, 3, 5):
        first.numbers(step, {"loss": 1.0})
        first.finding(step, "the loss is high")
    RunLog(tmp_path, 4)
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 3]
    kept = (tmp_path / "findings.txt").read_text()
    assert kept == "step 1: the loss is high\nstep 3: the loss is high\n"


@pytest.mark.parametrize("name", ["findings.txt", "metrics.jsonl", "recognizer.json", "model", "checkpoint"])
def test_a_folder_that_is_no_run_and_holds_what_a_run_writes_is_refused(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"holds {name} already"):
        begin_run(tmp_path, "codec", small.codec_config(1), {})
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("content", ["[]", "{}", '{"config": null}', '{"config": {"training": 3}}', "no JSON"])
def test_a_description_of_no_run_is_explained(tmp_path, content):
    (tmp_path / "run.json").write_text(content)

    def begun(folder: Path, *, new_end: bool) -> None:
        begin_run(folder, "codec", small.codec_config(1), {}, new_end=new_end)

    for act in (begun_with, partial(begun, new_end=False), partial(begun, new_end=True)):
        with pytest.raises(UserError, match="run"):
            act(tmp_path)


def test_there_is_something_to_try_against_the_collapse_of_each_kind_of_codebook():
    kinds = get_args(CodebookConfig.model_fields["kind"].annotation)
    found = {
        kind: list(
            checks.codebook_findings(
                {"level_0/codebook_used": 0.01, "level_0/codebook_entropy": 1.0}, 0, 100, 1000, kind
            )
        )
        for kind in kinds
    }
    assert all(len(sentences) == 1 for sentences in found.values())
    assert "revive_below_share" in found["nearest"][0]
    assert "revive" not in found["mapped"][0] + found["scalars"][0]
