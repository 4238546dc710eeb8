"""The second phase of a codec's training: begins when it should, is balanced, resumes, says when a side has won."""

from pathlib import Path

import pytest
import tiny_training as small
import torch
from safetensors.torch import load_file

import tiny
from orchestrion.checkpoints.folder import load_codec, read_model
from orchestrion.config.training import CodecTrainingConfig
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.train.checks import adversarial_findings
from orchestrion.train.codec import CodecRecipe
from orchestrion.train.log import read_metrics
from orchestrion.train.loop import Progress, train
from orchestrion.train.run import begin_run


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> TrackStore:
    return small.music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def run(store, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adversarial-run")
    assert small.run_codec(store, folder, small.adversarial_config(6))
    return folder


@pytest.fixture(scope="module")
def magnitudes_run(store, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("magnitudes-run")
    assert small.run_codec(store, folder, small.magnitudes_config(6))
    return folder


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    names = ("model", "average", "optimizer", "recipe")
    files = {name: load_file(folder / "checkpoint" / f"{name}.safetensors") for name in names}
    return {f"{name}/{key}": value for name, tensors in files.items() for key, value in tensors.items()}


class _Enough(Exception):
    pass


def broken_off(store: TrackStore, folder: Path, config: CodecTrainingConfig, after: int) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == after:
            raise _Enough

    with pytest.raises(_Enough):
        small.run_codec(store, folder, config, on_progress=stop)


@pytest.mark.parametrize("after", [1, 3, 5])  # checkpoints are at 2 and 4, the phase begins at 3
@pytest.mark.parametrize("kind", ["run", "magnitudes_run"])
def test_a_run_broken_off_and_resumed_ends_like_one_left_alone(store, tmp_path, after, kind, request):
    config = small.adversarial_config(6) if kind == "run" else small.magnitudes_config(6)
    broken_off(store, tmp_path, config, after)
    small.run_codec(store, tmp_path, config)
    whole, cut = checkpoint(request.getfixturevalue(kind)), checkpoint(tmp_path)
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_the_phase_begins_where_it_was_to_begin_when_the_end_of_a_run_is_moved(store, tmp_path):
    broken_off(store, tmp_path, small.adversarial_config(6), 2)
    longer = small.adversarial_config(12)
    begin_run(tmp_path, "codec", longer, {"tracks": store.data_hash}, new_end=True)
    recipe = CodecRecipe(longer, store, small.CPU)
    assert recipe.adversary.first == 6
    assert train(recipe, longer.training, tmp_path)
    assert (recipe.adversary.first, recipe.adversary.side.optimizer.steps) == (3, 9)
    told = ["level_1/told_apart" in record for record in read_metrics(tmp_path) if "level_0/train_loss" in record]
    assert told == [False] * 3 + [True] * 9


def test_decoders_alone_learn_from_what_sees_magnitudes(store, magnitudes_run, tmp_path):
    begun = load_codec(magnitudes_run / "model", info := read_model(magnitudes_run / "model"))
    config = small.magnitudes_config(3).model_copy(update={"levels": (1,), "decoders_only": True})
    recipe = CodecRecipe(config, store, small.CPU)
    assert recipe.begin_with(begun, info) == []
    train(recipe, config.training, tmp_path)
    ended = load_codec(tmp_path / "model", read_model(tmp_path / "model")).state_dict()
    moved = {name for name, value in begun.state_dict().items() if not torch.equal(value, ended[name])}
    assert moved == {name for name in ended if name.startswith("levels.1.decoder.")}


def test_until_the_phase_begins_the_run_is_one_without(store, run, tmp_path):
    small.run_codec(store, tmp_path, small.codec_config(6))

    def losses(folder: Path) -> list[dict[str, float]]:
        return [record for record in read_metrics(folder) if "level_0/train_loss" in record]

    with_one, without = losses(run), losses(tmp_path)
    names = ("level_0/train_loss", "level_1/train_loss")
    assert [[r[n] for n in names] for r in with_one[:4]] == [[r[n] for n in names] for r in without[:4]]
    assert with_one[4]["level_0/train_loss"] != without[4]["level_0/train_loss"]
    assert ["level_1/told_apart" in record for record in with_one] == [False] * 3 + [True] * 3
    assert not (tmp_path / "checkpoint" / "recipe.safetensors").exists()


@pytest.mark.parametrize("magnitudes", [False, True])
@pytest.mark.parametrize(("ramp_steps", "step", "grown"), [(0, 0, 1.0), (4, 0, 0.25), (4, 2, 0.75), (4, 9, 1.0)])
def test_the_loss_is_as_large_and_its_gradient_has_a_share_for_the_discriminator(
    store, ramp_steps, step, grown, magnitudes
):
    config = small.adversarial_config(4, start_share=0.0)
    if magnitudes:
        config = config.model_copy(update={"codec": tiny.bands_config()})
    ramp = config.adversarial.model_copy(update={"ramp_steps": ramp_steps})
    config = config.model_copy(update={"adversarial": ramp})
    recipe = CodecRecipe(config, store, small.CPU)
    recipe.codec.train()
    audio = store.batch(0, batch_size=2, num_samples=recipe.chunk_samples, seed=0)
    outputs = recipe.codec(audio, torch.Generator().manual_seed(0))
    own = [torch.autograd.grad(o.reconstruction.total, o.made, retain_graph=True)[0] for o in outputs]
    before = {name: value.clone() for name, value in recipe.tensors().items()}
    losses, numbers = recipe.adversary.losses(outputs, step)
    for loss, output, alone in zip(losses, outputs, own, strict=True):
        torch.testing.assert_close(loss, output.loss)
        (both,) = torch.autograd.grad(loss, output.made, retain_graph=True)
        torch.testing.assert_close((both - alone).norm(), grown * config.adversarial.weight * alone.norm())
    torch.stack(losses).sum().backward()
    recipe.adversary.follow(0)
    assert all(weight.grad is not None for weight in recipe.codec.parameters())
    after = recipe.tensors()
    assert all(not torch.equal(after[name], value) for name, value in before.items() if name.endswith("original1"))
    assert 0 <= numbers["level_0/told_apart"] <= 1


def test_chunks_too_short_for_its_windows_are_refused_unless_it_sees_magnitudes(store):
    config = small.adversarial_config(4)
    adversarial = config.adversarial.model_copy(update={"windows": (4096,)})
    config = config.model_copy(update={"adversarial": adversarial})
    with pytest.raises(UserError, match=r"too short for spectra of 4096.*adversarial.windows"):
        CodecRecipe(config, store, small.CPU)
    CodecRecipe(config.model_copy(update={"codec": tiny.bands_config()}), store, small.CPU)


@pytest.mark.parametrize(
    ("right", "step", "said"),
    [(0.995, 101, "every sound"), (0.5, 101, "nothing apart"), (0.75, 101, None), (0.995, 100, None)],
)
def test_a_discriminator_that_has_won_or_lost_is_told(right, step, said):
    found = list(adversarial_findings({"level_1/told_apart": right}, 1, step, 20))
    assert [said in sentence for sentence in found] == ([] if said is None else [True])
    assert list(adversarial_findings({}, 1, step, 20)) == []


@pytest.mark.parametrize("made", [small.adversarial_config, small.magnitudes_config])
def test_bfloat16_trains_too(store, tmp_path, made):
    assert small.run_codec(store, tmp_path, made(3, start_share=0.0, precision="bfloat16"))
