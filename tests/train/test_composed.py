"""Decoders that learn from codes composed to music: which codes those are, and what learns from them."""

from pathlib import Path

import pytest
import tiny_training as small
import torch
from pydantic import ValidationError

import tiny
from orchestrion.audio import io
from orchestrion.checkpoints.folder import load_codec, read_model
from orchestrion.codec.model import Codec
from orchestrion.codes import HIDDEN, Codes
from orchestrion.config import CodebookConfig
from orchestrion.config.training import CodecTrainingConfig, ComposedConfig
from orchestrion.data.chunks import Chunk
from orchestrion.data.manifest import Track, content_hash
from orchestrion.data.tracks import TrackStore, prepare
from orchestrion.errors import UserError
from orchestrion.generate.request import Request
from orchestrion.jukebox import Jukebox
from orchestrion.train.assemble import open_codec
from orchestrion.train.codec import CodecRecipe
from orchestrion.train.composed import Composer
from orchestrion.train.log import read_metrics
from orchestrion.train.loop import train
from orchestrion.train.parallel import Part

WINDOW = 48 * 8
"""Samples that the prior of the finer level sees at once."""
LENGTH = 4 * tiny.SAMPLE_RATE
"""Of each track."""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> TrackStore:
    return small.music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.write_tiny_model(tmp_path_factory.mktemp("model") / "tiny", masked=(0,))


@pytest.fixture(scope="module")
def composer(model) -> Composer:
    return Composer(model, [0], tiny.codec(), small.CPU)


@pytest.fixture
def codec(model) -> Codec:
    return load_codec(model, read_model(model))


def artist_of(composer: Composer, store: TrackStore, track: int = 0) -> str | None:
    return composer.info.artist_called(store.tracks[track].track.artist)


def test_codes_are_those_that_the_model_composes_to_the_same_music(model, store, composer, codec):
    jukebox, frame = Jukebox(model, device="cpu", weights=None), 20
    above = codec.encode(store.audio(0)[None], (1,))[1][:, frame : frame + WINDOW // 32]
    request = Request(seconds=WINDOW / tiny.SAMPLE_RATE, artist=artist_of(composer, store), genres=("folk",), seed=7)
    song = jukebox.compose(request, codes=Codes.empty(codec.grid).replace(1, above)).finish()
    found = composer.codes(0, Chunk(0, 32 * frame), WINDOW, store, 7)
    assert torch.equal(found, song.codes[0][0])
    assert not torch.equal(found, composer.codes(0, Chunk(0, 32 * frame), WINDOW, store, 8))


@pytest.mark.parametrize(
    ("start", "lead"), [(0, 0), (5, 0), (16 * 33 + 3, 4), (LENGTH - 128 - 32, 7), (LENGTH - 128, 8)]
)
def test_a_part_is_composed_within_a_whole_window_around_it(store, composer, start, lead):
    found = composer.codes(0, Chunk(0, start), 128, store, 5)
    around = composer.codes(0, Chunk(0, start - 32 * lead), WINDOW, store, 5)
    assert torch.equal(found, around[4 * lead : 4 * lead + 16])
    assert 0 <= int(found.min()) <= int(found.max()) < tiny.CODEBOOK_SIZE


def test_longer_parts_than_the_prior_sees_are_composed_window_by_window(store, composer):
    found = composer.codes(0, Chunk(0, 0), 3 * WINDOW, store, 5)
    assert found.shape == (3 * 48,) and int(found.min()) >= 0
    assert torch.equal(found[:48], composer.codes(0, Chunk(0, 0), WINDOW, store, 5))


@pytest.mark.parametrize("seconds", [0.15, 0.05])
def test_short_tracks_have_shorter_windows_and_end_in_silence(tmp_path, composer, seconds):
    noise = 0.3 * torch.randn(1, int(seconds * tiny.SAMPLE_RATE), generator=torch.Generator().manual_seed(0))
    tracks = []
    for number, held_out in enumerate((False, True)):
        path = tmp_path / f"{number}.flac"
        io.write(path, noise * (1 + number), tiny.SAMPLE_RATE)
        given = {"seconds": seconds, "sample_rate": tiny.SAMPLE_RATE, "channels": 1, "content_hash": content_hash(path)}
        tracks.append(Track(path=path, held_out=held_out, **given))
    for _ in prepare(tracks, tmp_path / "audio", tiny.SAMPLE_RATE, 1):
        pass
    found = composer.codes(0, Chunk(0, 0), 128, TrackStore(tmp_path / "audio"), 5)
    assert found.shape == (16,) and int(found.min()) >= 0


def test_given_codes_are_what_a_decoder_hears_of_those_items_alone(codec, store):
    codec.learn([0], decoders_only=True)
    audio = store.batch(0, batch_size=3, num_samples=256, seed=0)
    (own,) = codec.outputs(audio, [0])
    given = own.codes.clone()
    given[0], given[2] = HIDDEN, HIDDEN
    given[1] = (given[1] + 1) % tiny.CODEBOOK_SIZE
    (mixed,) = codec.outputs(audio, [0], {0: given})
    torch.testing.assert_close(mixed.made[[0, 2]], own.made[[0, 2]])
    assert torch.equal(mixed.codes[[0, 2]], own.codes[[0, 2]]) and torch.equal(mixed.codes[1], given[1])
    torch.testing.assert_close(
        mixed.made[1:2].detach(), codec.decode(Codes.empty(codec.grid).replace(0, given[1:2]), 0), atol=1e-5, rtol=1e-4
    )
    (alone,) = codec.outputs(audio[1:2], [0], {0: given[1:2]})
    torch.testing.assert_close(alone.made, mixed.made[1:2])
    assert torch.equal(mixed.true, audio)


@pytest.mark.parametrize("kind", ["nearest", "mapped", "scalars"])
def test_given_codes_mix_with_others_in_half_precision_too(kind):
    settings = {"size": 16, "width": 2, "kind": kind, "scalar_values": (4, 4) if kind == "scalars" else ()}
    made = tiny.codec_config().model_copy(update={"codebook": CodebookConfig(**settings)})
    codec = tiny.scrambled(Codec(made), 1)
    audio = 0.3 * torch.randn(2, 1, 256, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        (own,) = codec.outputs(audio, [0])
        given = own.codes.clone()
        given[0] = HIDDEN
        (mixed,) = codec.outputs(audio, [0], {0: given})
    assert torch.equal(mixed.codes, own.codes)
    torch.testing.assert_close(mixed.quantized, own.quantized)
    torch.testing.assert_close(mixed.made, own.made)


def test_evenly_many_clips_are_composed_in_small_batches_too():
    for share in (0.1, 0.25, 0.3, 0.5, 0.8, 1.0):
        heard = [ComposedConfig(share=share).hears(clip) for clip in range(40)]
        assert sum(heard) == round(40 * share)
        of_ten = [sum(heard[at : at + 10]) for at in range(30)]
        assert max(of_ten) - min(of_ten) <= 1


def test_decoders_learn_and_make_more_of_what_is_composed(model, store, tmp_path):
    recipe = small.composed_recipe(store, model, small.composed_config(60, share=1.0, batch_size=4))
    before = {name: value.clone() for name, value in recipe.codec.state_dict().items()}
    first = recipe.validate()["level_0/composed_mel_distance"]
    assert train(recipe, recipe.config.training, tmp_path)
    last = [record for record in read_metrics(tmp_path) if "level_0/composed_mel_distance" in record][-1]
    assert last["level_0/composed_mel_distance"] < 0.9 * first
    after = load_codec(tmp_path / "model", info := read_model(tmp_path / "model")).state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {name for name in after if name.startswith("levels.0.decoder.")}
    assert "0" in info.about["begun_with"]["unchanged"]


def test_a_step_is_the_same_in_parts(model, store):
    recipe = small.composed_recipe(store, model, small.composed_config(4, share=0.3, batch_size=4))
    whole, parts = Part(0, 4, 4), (Part(0, 2, 4), Part(2, 2, 4))

    def composed(part: Part) -> torch.Tensor:
        return recipe._composed(3, part, recipe._chunks(3, part))[0]

    assert torch.equal(composed(whole), torch.cat([composed(part) for part in parts]))
    assert [(row == HIDDEN).all().item() for row in composed(whole)] == [True, False, True, True]
    recipe.prepare(3, whole)
    losses = [float(recipe.loss(3, part).loss.detach()) for part in (whole, *parts)]
    assert losses[0] == pytest.approx((losses[1] + losses[2]) / 2, rel=1e-5)


def test_a_run_broken_off_and_resumed_ends_like_one_left_alone(model, store, tmp_path):
    class Enough(Exception):
        pass

    def stop(progress):
        if progress.step == 3:
            raise Enough

    def begun() -> CodecRecipe:
        return small.composed_recipe(store, model, against)

    adversary = small.adversarial_config(4, start_share=0.0).adversarial
    against = small.composed_config(4).model_copy(update={"adversarial": adversary})
    whole = begun()
    assert train(whole, whole.config.training, tmp_path / "whole")
    with pytest.raises(Enough):
        train(begun(), whole.config.training, tmp_path / "cut", on_progress=stop)
    assert train(begun(), whole.config.training, tmp_path / "cut")
    one, other = (open_codec(tmp_path / name / "model")[1].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_cannot_compose_is_refused(model, store, tmp_path):
    with pytest.raises(UserError, match="draws code by code"):
        Composer(tiny.write_tiny_model(tmp_path / "sequential"), [0], tiny.codec(), small.CPU)
    with pytest.raises(UserError, match="no prior for level 0"):
        Composer(tiny.write_tiny_model(tmp_path / "top", levels=(1,)), [0], tiny.codec(), small.CPU)


@pytest.mark.parametrize(
    ("level", "part", "fits"), [(0, "decoder", True), (0, "encoder", False), (1, "encoder", False)]
)
def test_priors_have_to_know_the_codes_of_the_codec(model, level, part, fits):
    codec = tiny.codec()
    with torch.no_grad():
        next(getattr(codec.levels[level], part).parameters()).add_(0.1)
    if fits:
        Composer(model, [0], codec, small.CPU)
    else:
        with pytest.raises(UserError, match="not those of the codec"):
            Composer(model, [0], codec, small.CPU)


@pytest.mark.parametrize("change", [{"decoders_only": False}, {"levels": (1,)}, {"levels": ()}])
def test_settings_that_composed_codes_do_not_go_with_are_refused(change):
    with pytest.raises(ValidationError, match="composed is for decoders below the top level"):
        CodecTrainingConfig.model_validate(small.composed_config(4).model_dump() | change)
