"""A codec whose top level is to tell which speech sound is sung."""

import pytest
import tiny_training as small
import torch
from safetensors.torch import load_file
from sung_tones import RATE, sung_tones
from torch import nn

import tiny
from orchestrion.align.recognizer import BLANK
from orchestrion.checkpoints.folder import CODEC, read_model
from orchestrion.checkpoints.lineage import begun_with
from orchestrion.config.training import CodecTrainingConfig, OptimizerConfig, SpeechConfig
from orchestrion.data.chunks import Chunk
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.train.assemble import open_codec
from orchestrion.train.codec import CodecRecipe
from orchestrion.train.log import read_metrics
from orchestrion.train.loop import Progress, train
from orchestrion.train.speech import UNKNOWN, Speech
from orchestrion.train.sung import SungTracks, sung_sounds


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> TrackStore:
    return sung_tones(tmp_path_factory.mktemp("sung"))


def config(steps: int, **settings: object) -> CodecTrainingConfig:
    """As small as others, at the rate of the tones, for sounds."""
    own = small.codec_config(steps, **settings)
    speech = SpeechConfig(weight=1.0, optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2))
    codec = tiny.codec_config().model_copy(update={"sample_rate": RATE})
    return own.model_copy(update={"codec": codec, "speech": speech})


def head(width: int = 4, symbols: int = 2) -> Speech:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Speech(SpeechConfig(weight=0.5), width=width, num_symbols=symbols, steps=10, device=small.CPU)


def test_each_frame_has_the_sound_that_is_sung_at_its_middle(store):
    sung = SungTracks(store, sung_sounds)
    assert sung.symbols == ("a", "i", "s")
    first, second, third = sung.sounds[0][:3]
    chunk = Chunk(0, round(first.start * RATE))
    length = 32 * 250  # a second
    frames = sung.frames(chunk, length, 32, centre=0.5)
    assert frames.shape == (250,)
    at = chunk.start / RATE + (torch.arange(250) + 0.5) * 32 / RATE
    for sound in (first, second, third):
        within = (at > sound.start + 1e-3) & (at < sound.end - 1e-3)
        assert (frames[within] == sung.symbols.index(sound.symbol) + 1).all() and within.any()
    assert (frames[(at > second.end + 1e-3) & (at < third.start - 1e-3)] == BLANK).all()
    assert sung.begun(chunk, length)[:2] == [sung.symbols.index(sound.symbol) + 1 for sound in (first, second)]


def test_the_gradient_is_that_of_the_weighted_cross_entropy_and_the_convolution_has_its_own(store):
    speech = head()
    vectors = torch.randn(3, 4, 5, requires_grad=True)
    true = torch.tensor([[0, 1, 2, 2, UNKNOWN], [UNKNOWN] * 5, [1, 1, 0, 0, 2]])
    loss, numbers = speech.loss(vectors, true)
    (found,) = torch.autograd.grad(loss, vectors)
    own = [weight.grad.clone() for weight in speech.head.parameters()]
    scores = speech.head(vectors)
    expected = nn.functional.cross_entropy(scores, true, ignore_index=UNKNOWN)
    torch.testing.assert_close(loss, 0.5 * expected)
    torch.testing.assert_close(numbers["speech/train_loss"], expected.detach())
    wanted, *of_head = torch.autograd.grad(expected, [vectors, *speech.head.parameters()])
    torch.testing.assert_close(found, 0.5 * wanted)
    for one, other in zip(own, of_head, strict=True):
        torch.testing.assert_close(one, other)


def test_the_mean_loss_of_all_processes_is_that_on_the_whole_batch(monkeypatch):
    vectors = torch.randn(4, 4, 5)
    true = torch.tensor([[0, 1, 2, 2, UNKNOWN], [UNKNOWN] * 5, [1, 1, 0, 0, 2], [2, 2, 0, UNKNOWN, 1]])
    whole, _ = head().loss(vectors.clone().requires_grad_(), true)
    counts = (true != UNKNOWN).sum().float()
    monkeypatch.setattr("orchestrion.train.speech.num_ranks", lambda: 2)
    monkeypatch.setattr("orchestrion.train.speech.summed", lambda own: counts)
    parts = [head().loss(vectors[part].clone().requires_grad_(), true[part])[0] for part in (slice(3), slice(3, 4))]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, whole)


def test_how_well_sounds_are_heard_is_found_by_one_process_alone(monkeypatch):
    def together(own: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the others do not validate")

    monkeypatch.setattr("orchestrion.train.speech.summed", together)
    assert float(head().heard(torch.randn(2, 4, 5), torch.ones(2, 5, dtype=torch.long)).loss.detach()) > 0


def test_music_without_times_asks_nothing():
    speech = head()
    loss, _ = speech.loss(torch.randn(2, 4, 5, requires_grad=True), torch.full((2, 5), UNKNOWN))
    assert float(loss.detach()) == 0
    assert all((weight.grad == 0).all() for weight in speech.head.parameters())


def test_codes_tell_the_sounds_after_training(store, tmp_path):
    optimizer = OptimizerConfig(learning_rate=2e-2, warmup_steps=5)
    own = config(200, batch_size=8, optimizer=optimizer, average_decay=0.9, validate_every=100, save_every=100)
    own = own.model_copy(update={"speech": own.speech.model_copy(update={"weight": 10.0})})
    assert small.run_codec(store, tmp_path, own)
    right = [record["speech/right"] for record in read_metrics(tmp_path) if "speech/right" in record]
    assert right[-1] > 0.7  # one in three by chance
    names = load_file(tmp_path / "model" / "codec.safetensors")
    assert not [name for name in names if "speech" in name or "head" in name]


class _Enough(Exception):
    pass


@pytest.mark.parametrize("adversarial", [False, True])
def test_a_run_that_was_stopped_ends_like_one_left_alone(store, tmp_path, adversarial):
    own = config(6)
    if adversarial:
        own = own.model_copy(update={"adversarial": small.adversarial_config(6, start_share=0.3).adversarial})

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise _Enough

    small.run_codec(store, tmp_path / "whole", own)
    with pytest.raises(_Enough):
        small.run_codec(store, tmp_path / "cut", own, on_progress=stop)
    small.run_codec(store, tmp_path / "cut", own)
    for name in ("model", "recipe"):
        one, other = (load_file(tmp_path / run / "checkpoint" / f"{name}.safetensors") for run in ("whole", "cut"))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_music_in_which_nobody_sings_is_refused(tmp_path):
    silent = small.music(tmp_path)
    own = small.codec_config(1).model_copy(update={"speech": SpeechConfig()})
    with pytest.raises(UserError, match="no train track has speech sounds with times"):
        CodecRecipe(own, silent, small.CPU)


def test_it_sees_whole_batches():
    given = small.codec_config(1, accumulate=2).model_dump() | {"speech": {}}
    with pytest.raises(ValueError, match="accumulate"):
        CodecTrainingConfig.model_validate(given)
    with pytest.raises(ValueError, match="kernel must be odd"):
        CodecTrainingConfig.model_validate(small.codec_config(1).model_dump() | {"speech": {"kernel": 2}})


def test_a_top_level_of_several_codes_a_vector_is_refused():
    given = small.codec_config(1).model_dump()
    (level, *_) = given["codec"]["levels"]
    given["codec"]["levels"] = (level | {"depth": 2},)
    CodecTrainingConfig.model_validate(given)
    with pytest.raises(ValueError, match="one code a vector"):
        CodecTrainingConfig.model_validate(given | {"speech": {}})


def resized(own: CodecTrainingConfig, **changes: object) -> CodecTrainingConfig:
    return own.model_copy(update={"codec": own.codec.model_copy(update=changes)})


def test_a_codec_begins_with_what_another_knows(store, tmp_path):
    assert small.run_codec(store, tmp_path / "first", config(3))
    first, begun = open_codec(tmp_path / "first")
    sha256 = first.sha256[CODEC]
    own = config(2)
    recipe = CodecRecipe(own, store, small.CPU)
    assert recipe.begin_with(begun, first) == []
    ours, theirs = recipe.codec.state_dict(), load_file(tmp_path / "first" / "model" / "codec.safetensors")
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    train(recipe, own.training, tmp_path / "second")
    info = read_model(tmp_path / "second" / "model")
    assert begun_with(info, 0) == [(sha256, 0)] and begun_with(info, 1) == [(sha256, 1)]
    assert begun_with(read_model(tmp_path / "first" / "model"), 0) == []


def test_what_has_another_shape_begins_by_chance_and_other_levels_can_stay_as_they_are(store, tmp_path):
    assert small.run_codec(store, tmp_path / "first", config(3))
    first, begun = open_codec(tmp_path / "first")
    sha256 = first.sha256[CODEC]
    fine, top = config(4).codec.levels
    own = resized(config(4), levels=(fine, top.model_copy(update={"bands": ((64, 8), (16, 3))})))
    own = own.model_copy(update={"levels": (1,)})

    ours = begun.state_dict()

    def recipe() -> CodecRecipe:
        made = CodecRecipe(own, store, small.CPU)
        left = made.begin_with(begun, first)
        assert {".".join(name.split(".")[:4]) for name in left if "encoder" in name} == {"levels.1.encoder.layers"}
        assert {name for name in left if "codebook" in name} == {name for name in ours if "levels.1.codebook" in name}
        assert not [name for name in left if "decoder" in name]
        assert not made.codec.levels[1].codebook.filled and made.codec.levels[0].codebook.filled
        return made

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise _Enough

    train(recipe(), own.training, tmp_path / "whole")
    with pytest.raises(_Enough):
        train(recipe(), own.training, tmp_path / "cut", on_progress=stop)
    train(recipe(), own.training, tmp_path / "cut")
    whole, cut, before = (
        load_file(tmp_path / run / "model" / "codec.safetensors") for run in ("whole", "cut", "first")
    )
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert all(torch.equal(whole[name], before[name]) for name in whole if name.startswith("levels.0."))
    assert not torch.equal(whole["levels.1.codebook.entries"], before["levels.1.codebook.entries"])
    info = read_model(tmp_path / "whole" / "model")
    assert begun_with(info, 0) == [(sha256, 0)] and begun_with(info, 1) == []
    other = resized(own, codebook=own.codec.codebook.model_copy(update={"size": 8}))
    with pytest.raises(UserError, match="another shape at level 0, which does not learn"):
        CodecRecipe(other, store, small.CPU).begin_with(begun, first)


def test_a_codec_whose_training_is_not_finished_begins_nothing(store, tmp_path):
    def stop(progress: Progress) -> None:
        raise _Enough

    with pytest.raises(_Enough):
        small.run_codec(store, tmp_path, config(3), on_progress=stop)
    with pytest.raises(UserError, match="not finished"):
        open_codec(tmp_path)
