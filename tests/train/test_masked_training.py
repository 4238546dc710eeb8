"""A prior that fills windows in passes is trained like any other, and may have a teacher."""

from pathlib import Path

import pytest
import tiny_training as small
import torch
from safetensors.torch import load_file

from orchestrion.checkpoints.folder import load_codec, read_model
from orchestrion.cli.main import main
from orchestrion.config.prior import LabelConfig
from orchestrion.data.encoded import CodeStore
from orchestrion.errors import UserError
from orchestrion.generate.request import Request
from orchestrion.jukebox import Jukebox
from orchestrion.prior.masked import MaskedPrior
from orchestrion.prior.model import Prior
from orchestrion.text.vocab import Vocabulary
from orchestrion.train.assemble import Trained, build_model, trained_prior
from orchestrion.train.log import read_metrics
from orchestrion.train.masked import MaskedRecipe, open_teacher
from orchestrion.train.parallel import Part
from orchestrion.train.prior import prior_config


@pytest.fixture(scope="module")
def codec_run(tmp_path_factory) -> Path:
    store = small.music(tmp_path_factory.mktemp("music"))
    folder = tmp_path_factory.mktemp("codec-run")
    small.run_codec(store, folder, small.codec_config(6))
    small.encoded(store, folder / "model", folder / "codes")
    return folder


@pytest.fixture(scope="module")
def codes(codec_run) -> CodeStore:
    return CodeStore(codec_run / "codes")


@pytest.fixture(scope="module")
def teacher(codes, codec_run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    small.run_prior(codes, codec_run / "model", 0, folder, small.prior_config(0, 30))
    return folder


@pytest.fixture(scope="module")
def taught(codes, codec_run, teacher, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    assert small.run_masked(codes, codec_run / "model", folder, small.masked_config(8, validate_every=4), teacher)
    return folder


def test_it_learns_what_is_hidden(codes, codec_run, tmp_path):
    small.run_masked(codes, codec_run / "model", tmp_path, small.masked_config(60, validate_every=60), None)
    records = read_metrics(tmp_path)
    assert records[-1]["train/recent_bits"] < records[0]["train/bits"] - 0.2
    assert list((tmp_path / "samples").glob("*/drawn.png"))


def test_with_a_teacher_it_begins_with_what_the_teacher_knows(codes, codec_run, taught, tmp_path):
    small.run_masked(codes, codec_run / "model", tmp_path, small.masked_config(2), None)
    assert read_metrics(taught)[0]["train/bits"] < read_metrics(tmp_path)[0]["train/bits"] - 0.1


def test_a_run_broken_off_and_resumed_ends_like_one_left_alone(codes, codec_run, teacher, taught, tmp_path):
    class Enough(Exception):
        pass

    def on_progress(progress):
        if progress.step == 5:
            raise Enough

    config = small.masked_config(8, validate_every=4)
    with pytest.raises(Enough):
        small.run_masked(codes, codec_run / "model", tmp_path, config, teacher, on_progress=on_progress)
    assert small.run_masked(codes, codec_run / "model", tmp_path, config, teacher)
    one, other = (load_file(folder / "prior.safetensors") for folder in (taught, tmp_path))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_its_model_composes_in_passes_with_the_weights_that_suit_it(codes, codec_run, taught, tmp_path):
    assert isinstance(trained_prior(taught), MaskedPrior)
    top = tmp_path / "top"
    small.run_prior(codes, codec_run / "model", 1, top, small.prior_config(1, 2))
    build_model(
        "tones", codec_run / "model", (taught, top), codes, tmp_path / "m", licence="CC0-1.0", weights="float16"
    )
    jukebox = Jukebox(tmp_path / "m", device="cpu")
    assert jukebox.weights == "float16" and Jukebox(tmp_path / "m", device="cpu", weights=None).weights is None
    song = jukebox.compose(Request(seconds=1.0, artist="Ada", seed=3)).finish()
    assert song.audio.shape == (1, 1600) and song.audio.isfinite().all()


def test_a_teacher_with_names_of_its_own_is_told_of_nobody(codes, codec_run):
    config = small.masked_config(2)
    model = codec_run / "model"
    theirs = prior_config(small.prior_config(0, 2), codes, 0, 1)
    labels = LabelConfig(num_artists=1, num_genres=1)
    prior = Prior(theirs.model_copy(update={"labels": labels}), torch.Generator().manual_seed(0))
    teacher = Trained(prior, Vocabulary(), None, ())
    recipe = MaskedRecipe(config, codes, 0, load_codec(model, read_model(model)), small.CPU, teacher)
    assert recipe.loss(0, Part(0, 2, 2)).loss.isfinite()
    assert recipe.prior.labels.artist.num_embeddings > 1


class _Hearing(Prior):
    """A teacher that remembers whom it was told of."""

    def forward(self, codes, conditions):
        self.told = conditions.artist
        return super().forward(codes, conditions)


def test_a_teacher_is_told_of_names_where_they_are_the_same_and_not_only_as_many(codes, codec_run):
    model = codec_run / "model"
    coder = load_codec(model, read_model(model))
    config = small.masked_config(2).model_copy(update={"label_dropout": 0.0})
    own = codes.vocabulary
    assert len(own.artists) == 2
    theirs = prior_config(small.prior_config(0, 2).model_copy(update={"labels_every_frame": True}), codes, 0, 1)
    for names, known in ((own, True), (own.model_copy(update={"artists": own.artists[::-1]}), False)):
        prior = _Hearing(theirs, torch.Generator().manual_seed(0))
        recipe = MaskedRecipe(config, codes, 0, coder, small.CPU, Trained(prior, names, None, ("f" * 16,)))
        recipe.loss(0, Part(0, 2, 2))
        assert bool(prior.told.any()) == known
        rows, taken = prior.labels.artist.weight, recipe.prior.labels.artist.weight
        assert torch.equal(taken[1:], rows[1:] if known else rows[1:].flip(0))
        assert "f" * 16 in recipe._learned_from


def test_teachers_that_cannot_teach_are_refused(codes, codec_run, taught, teacher, tmp_path, capsys):
    with pytest.raises(UserError, match="masked one itself"):
        open_teacher(taught, 0, codes.codec_hash)
    with pytest.raises(UserError, match="another codec"):
        open_teacher(teacher, 0, "other")
    top = tmp_path / "top"
    small.run_prior(codes, codec_run / "model", 1, top, small.prior_config(1, 2))
    with pytest.raises(UserError, match="is for level 1"):
        small.run_masked(codes, codec_run / "model", tmp_path / "r", small.masked_config(2), top)
    coder = load_codec(codec_run / "model", read_model(codec_run / "model"))
    with pytest.raises(UserError, match="another hop_length"):
        MaskedRecipe(small.masked_config(2), codes, 0, coder, small.CPU, Trained(trained_prior(top), None, None, ()))
    longer = small.masked_config(2).model_copy(update={"context_frames": 64})
    with pytest.raises(UserError, match="sees 32 frames"):
        small.run_masked(codes, codec_run / "model", tmp_path / "s", longer, teacher)
    arguments = [
        "train",
        "prior",
        codes.folder,
        "--codec",
        codec_run / "model",
        "--level",
        "1",
        "--run",
        tmp_path / "t",
    ]
    assert main([str(word) for word in (*arguments, "--teacher", teacher)]) == 2
    assert "only a masked prior has a teacher" in capsys.readouterr().err


def test_codes_of_the_level_above_are_noisy_in_training_alone(codes, codec_run, monkeypatch):
    heard: list[torch.Tensor] = []
    loss = MaskedPrior.loss

    def listening(self, codes, hidden, conditions, **options):
        heard.append(conditions.coarser)
        return loss(self, codes, hidden, conditions, **options)

    monkeypatch.setattr(MaskedPrior, "loss", listening)
    config, codec = small.masked_config(8), load_codec(codec_run / "model", read_model(codec_run / "model"))
    part = Part(0, 4, 4)
    for noise in (0.0, 0.0, 0.6, 0.6):
        noisy = config.model_copy(update={"noise_above": noise})
        MaskedRecipe(noisy, codes, 0, codec, torch.device("cpu")).loss(5, part)
    true, again, some, alike = heard
    assert torch.equal(true, again) and torch.equal(some, alike)
    changed = (some != true).double().mean(1)
    assert 0 < changed.mean() < 0.6 and len(set(changed.tolist())) > 1
    assert some.min() >= 0 and some.max() < codes.codebook_size
    recipe = MaskedRecipe(noisy, codes, 0, codec, torch.device("cpu"))
    recipe.bits()
    assert all(torch.equal(one, batch.coarser) for one, batch in zip(heard[4:], recipe.held_out, strict=False))
