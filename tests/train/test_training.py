"""Training is the same however it is cut, explains itself, and ends in a model that can be played."""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_training as small
import torch
from safetensors.torch import load_file

import orchestrion
import tiny
from orchestrion.audio import io
from orchestrion.checkpoints.folder import CODEC, load_codec, load_prior, read_card, read_model
from orchestrion.cli.main import STOPPED, USER_ERROR, main
from orchestrion.config import plain
from orchestrion.config.training import CodecTrainingConfig
from orchestrion.data.encoded import CodeStore
from orchestrion.data.manifest import Track, content_hash, split
from orchestrion.data.tracks import TrackStore, prepare
from orchestrion.errors import UserError
from orchestrion.generate.request import Request
from orchestrion.jukebox import Jukebox
from orchestrion.text.vocab import Vocabulary
from orchestrion.train.assemble import Trained, build_model, open_codec, open_prior, trained_prior
from orchestrion.train.checkpoint import steps_done
from orchestrion.train.codec import CodecRecipe, with_scales
from orchestrion.train.encode import encode_tracks
from orchestrion.train.log import read_metrics
from orchestrion.train.loop import Progress, Stop, train
from orchestrion.train.parallel import Part
from orchestrion.train.precision import settled
from orchestrion.train.prior import PriorRecipe
from orchestrion.train.run import begin_run, held


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> TrackStore:
    return small.music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def codec_run(store, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("codec-run")
    assert small.run_codec(store, folder, small.codec_config(6, validate_every=3))
    return folder


@pytest.fixture(scope="module")
def codes(store, codec_run, tmp_path_factory) -> CodeStore:
    return small.encoded(store, codec_run / "model", tmp_path_factory.mktemp("codes"))


@pytest.fixture(scope="module")
def prior_runs(codes, codec_run, tmp_path_factory) -> tuple[Path, ...]:
    folders = tuple(tmp_path_factory.mktemp(f"prior-{level}") for level in range(2))
    for level, folder in enumerate(folders):
        config = small.prior_config(level, 6, validate_every=3)
        assert small.run_prior(codes, codec_run / "model", level, folder, config)
    return folders


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": value
        for name in ("model", "average", "optimizer", "recipe")
        if name != "recipe" or (folder / "checkpoint" / "recipe.safetensors").exists()
        for key, value in load_file(folder / "checkpoint" / f"{name}.safetensors").items()
    }


def assert_same_weights(one: Path, other: Path) -> None:
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


class _Enough(Exception):
    pass


def broken_off(after: int):
    def on_progress(progress: Progress) -> None:
        if progress.step == after:
            raise _Enough

    return on_progress


def test_a_codec_run_broken_off_and_resumed_ends_like_one_left_alone(store, codec_run, tmp_path):
    for after in (1, 3, 5):  # checkpoints are at 2 and 4
        with pytest.raises(_Enough):
            small.run_codec(store, tmp_path, small.codec_config(6, validate_every=3), on_progress=broken_off(after))
    small.run_codec(store, tmp_path, small.codec_config(6, validate_every=3))
    assert_same_weights(codec_run, tmp_path)
    same = [line(codec_run), line(tmp_path)]
    assert same[0] == same[1]


def line(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in record.items() if "seconds" not in k} for record in read_metrics(folder)]


@pytest.mark.parametrize("level", [0, 1])
def test_a_prior_run_broken_off_and_resumed_ends_like_one_left_alone(codes, codec_run, prior_runs, level, tmp_path):
    config = small.prior_config(level, 6, validate_every=3)
    with pytest.raises(_Enough):
        small.run_prior(codes, codec_run / "model", level, tmp_path, config, on_progress=broken_off(3))
    small.run_prior(codes, codec_run / "model", level, tmp_path, config)
    assert_same_weights(prior_runs[level], tmp_path)
    known = [
        [one["train/recent_bits"] for one in line(run) if "train/recent_bits" in one]
        for run in (prior_runs[level], tmp_path)
    ]
    assert len(known[0]) == 2 and known[0] == known[1]


@pytest.mark.parametrize("kind", ["codec", "adversarial", "prior"])
def test_a_run_killed_and_resumed_ends_like_one_left_alone(store, codes, codec_run, kind, tmp_path):
    """SIGKILL of a real process, wherever it happens to be after its first checkpoint."""
    source = codes.folder if kind == "prior" else store.folder
    arguments = [kind, source, codec_run / "model"]
    command = [sys.executable, small.__file__, *map(str, arguments)]
    paths = (Path(small.__file__).parents[1], Path(orchestrion.__file__).parents[1])
    environment = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PATH": ""}

    def start(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, str(folder), "40"], env=environment)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait(timeout=300) == 0
    process = start(killed)
    while not (killed / "checkpoint").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert not (killed / "model").exists()
    assert start(killed).wait(timeout=300) == 0
    assert_same_weights(whole, killed)


def test_a_signal_saves_and_stops(store, tmp_path):
    def stop_at_three(progress: Progress) -> None:
        if progress.step == 3:
            signal.raise_signal(signal.SIGTERM)

    config = small.codec_config(6, save_every=100)
    assert not small.run_codec(store, tmp_path, config, on_progress=stop_at_three)
    assert json.loads((tmp_path / "checkpoint" / "checkpoint.json").read_text())["step"] == 4
    assert small.run_codec(store, tmp_path, config)


def test_a_run_is_one_process_s_at_a_time(store, tmp_path):
    config, refused = small.codec_config(2), []

    def another(progress: Progress) -> None:
        before = (tmp_path / "metrics.jsonl").read_bytes()
        with pytest.raises(UserError, match="another process trains in"):
            small.run_codec(store, tmp_path, config)
        refused.append((tmp_path / "metrics.jsonl").read_bytes() == before)

    assert small.run_codec(store, tmp_path, config, on_progress=another)
    assert refused == [True, True]
    assert small.run_codec(store, tmp_path, config)


def test_a_training_that_ignores_a_signal_from_the_start_goes_on_through_it(store, tmp_path):
    def from_the_terminal(progress: Progress) -> None:
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert small.run_codec(store, tmp_path, small.codec_config(3), on_progress=from_the_terminal)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_in_the_folder_one_is_in_has_its_name(store, tmp_path, monkeypatch):
    (tmp_path / "bells").mkdir()
    monkeypatch.chdir(tmp_path / "bells")
    CodecRecipe(small.codec_config(2), store, small.CPU).export(Path())
    assert read_model(tmp_path / "bells" / "model").name == "bells"


def test_a_tiny_file_is_encoded_and_left_out_of_variations(codec_run, tmp_path):
    """Of a file shorter than a frame nothing would be left where its beginning is cut off."""
    tracks = []
    for number, seconds in enumerate((0.01, 2.0, 2.5)):
        path = tmp_path / f"{number}.wav"
        io.write(path, torch.full((1, int(seconds * tiny.SAMPLE_RATE)), 0.3), tiny.SAMPLE_RATE)
        tracks.append(
            Track(
                path=path,
                seconds=seconds,
                sample_rate=tiny.SAMPLE_RATE,
                channels=1,
                content_hash=content_hash(path),
                held_out=False,
            )
        )
    list(prepare(tracks, tmp_path / "audio", tiny.SAMPLE_RATE, 1))
    info = read_model(codec_run / "model")
    told = list(
        encode_tracks(
            load_codec(codec_run / "model", info),
            info.sha256[CODEC],
            TrackStore(tmp_path / "audio"),
            tmp_path / "codes",
            variations=3,
        )
    )
    assert [each.done for each in told] == list(range(1, 10)) and told[-1].total == 9
    shards = CodeStore(tmp_path / "codes").shards
    assert sorted(shard.variation for shard in shards) == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert all(shard.num_samples >= 32 for shard in shards if shard.variation)


def test_a_run_folder_explains_itself(codec_run, prior_runs):
    for folder in (codec_run, *prior_runs):
        run = json.loads((folder / "run.json").read_text())
        assert {"config", "data", "versions", "kind"} <= run.keys()
        steps = [record["step"] for record in line(folder)]
        assert set(steps) == set(range(6))
        shown = folder / "samples" / "step-000006"
        assert list(shown.glob("*.flac"))
        assert list(shown.glob("*.png"))
        assert list((folder / "tensorboard").iterdir())


def test_another_configuration_or_other_music_in_the_same_folder_is_refused(store, codec_run):
    with pytest.raises(UserError, match=r"another config \(training.batch_size: 2 there, 3 here\)"):
        small.run_codec(store, codec_run, small.codec_config(6, validate_every=3, batch_size=3))


def stopped_at(step: int, store: TrackStore, folder: Path, config: CodecTrainingConfig) -> None:
    """A run that takes so many steps, saves and ends."""
    stop = Stop()

    def enough(progress: Progress) -> None:
        stop.wanted = progress.step == step - 1  # heeded after the next step

    assert not small.run_codec(store, folder, config, on_progress=enough, stop=stop)


def test_the_end_of_a_run_can_be_moved_where_that_is_asked_for(store, tmp_path):
    def looked_at(steps: int, every: int) -> CodecTrainingConfig:
        return small.codec_config(steps, save_every=every, validate_every=every, log_every=every)

    data = {"tracks": store.data_hash}
    stopped_at(3, store, tmp_path, small.codec_config(6))
    begun = json.loads((tmp_path / "run.json").read_text())
    with pytest.raises(UserError, match=r"another config \(training.steps: 6 there, 5 here\)"):
        begin_run(tmp_path, "codec", looked_at(5, 2), data)
    with pytest.raises(UserError, match="has taken 3 steps already: give more --steps"):
        begin_run(tmp_path, "codec", looked_at(3, 2), data, new_end=True)
    with pytest.raises(UserError, match=r"training.batch_size"):
        begin_run(tmp_path, "codec", small.codec_config(5, batch_size=3), data, new_end=True)
    assert json.loads((tmp_path / "run.json").read_text()) == begun
    begin_run(tmp_path, "codec", looked_at(5, 2), data, new_end=True)
    with pytest.raises(UserError, match="the end of the run in .* was moved to 5 steps"):
        train(CodecRecipe(small.codec_config(6), store, small.CPU), small.training(6), tmp_path)
    assert small.run_codec(store, tmp_path, looked_at(5, 2)), "looked at more seldom, it is the same run"
    about = json.loads((tmp_path / "run.json").read_text())
    assert about.pop("ends_moved") == [{"at": 3, "from": 6, "to": 5}]
    begun["config"]["training"]["steps"] = 5
    assert about == begun
    assert json.loads((tmp_path / "checkpoint" / "checkpoint.json").read_text())["step"] == 5
    assert read_model(tmp_path / "model").about["steps"] == 5
    with pytest.raises(UserError, match=r"is finished, after 5 steps: leave --steps as it was, or .* \(--begin "):
        begin_run(tmp_path, "codec", looked_at(7, 2), data, new_end=True)


def test_the_end_is_moved_from_the_checkpoint_that_a_run_goes_on_from(store, tmp_path):
    stopped_at(3, store, tmp_path, small.codec_config(6, save_every=1))
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"damaged")
    assert steps_done(tmp_path) == 2 and steps_done(tmp_path / "nothing") == 0
    begin_run(tmp_path, "codec", small.codec_config(3), {"tracks": store.data_hash}, new_end=True)
    assert json.loads((tmp_path / "run.json").read_text())["ends_moved"] == [{"at": 2, "from": 6, "to": 3}]


def test_the_end_of_a_run_is_not_moved_under_a_process_that_trains_in_it(tmp_path):
    begin_run(tmp_path, "codec", small.codec_config(3), {})
    before = (tmp_path / "run.json").read_bytes()
    with held(tmp_path), pytest.raises(UserError, match="another process trains in"):
        begin_run(tmp_path, "codec", small.codec_config(4), {}, new_end=True)
    assert (tmp_path / "run.json").read_bytes() == before


def test_a_damaged_checkpoint_is_explained(store, tmp_path):
    config = small.codec_config(2)
    small.run_codec(store, tmp_path, config)
    path = tmp_path / "checkpoint" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="damaged"):
        small.run_codec(store, tmp_path, config)


def test_a_run_whose_numbers_fail_stops_with_a_sentence(store, tmp_path):
    optimizer = small.OptimizerConfig(learning_rate=1e20, warmup_steps=0, clip_norm=1e20)
    with pytest.raises(UserError, match="stopped being a number.*lower the learning rate"):
        small.run_codec(store, tmp_path, small.codec_config(20, optimizer=optimizer))
    assert "stopped being a number" in (tmp_path / "findings.txt").read_text()


def test_a_batch_that_is_left_out_hides_nothing_of_how_well_the_others_are_known(codes, codec_run):
    recipe = recipe_of(codes, codec_run, small.prior_config(1, 6))
    for step in range(3):
        recipe.prepare(step, Part(0, 2, 2))
        for part in Part(0, 2, 2).cut(2):
            recipe.loss(step, part)
        if step == 1:  # the loop does not go on with it
            recipe._heard[0] = torch.tensor(float("nan"))
        else:
            recipe.follow(step)
    assert len(recipe._recent) == 2
    assert math.isfinite(recipe.validate()["train/recent_bits"])
    fresh = recipe_of(codes, codec_run, small.prior_config(1, 6))
    fresh.findings(0, fresh.validate())  # nothing was heard yet: nothing is said of it
    fresh.load(recipe.tensors())
    assert fresh.validate()["train/recent_bits"] == recipe.validate()["train/recent_bits"]
    fresh.load({})  # of a checkpoint that does not have it
    assert "train/recent_bits" not in fresh.validate()


def test_a_prior_learns_what_its_codes_allow(codes, codec_run, tmp_path):
    config = small.prior_config(1, 60, validate_every=60, save_every=60)
    small.run_prior(codes, codec_run / "model", 1, tmp_path, config)
    records = line(tmp_path)
    first, last = records[0]["train/bits"], records[-1]
    assert last["validation/bits"] < first - 0.3


def test_trained_parts_make_a_model_that_composes(codes, codec_run, prior_runs, tmp_path):
    model = tmp_path / "model"
    build_model("tones", codec_run / "model", prior_runs, codes, model, licence="CC0-1.0")
    card = read_card(model)
    for shard in codes.shards:
        assert shard.track.path.stem in card
    song = Jukebox.from_pretrained(model).compose(Request(artist="Ada", seconds=1.0, seed=3)).finish()
    assert song.audio.shape == (1, 1600)
    assert song.audio.isfinite().all()
    made = read_model(model)
    assert made.about["figures"]["level_1"]["windows"] > 0
    assert set(made.learned_from) == {s.track.content_hash for s in codes.shards if split(s.track) == "train"}


def test_a_model_gives_its_priors_to_the_levels_that_no_run_teaches(codes, codec_run, prior_runs, tmp_path):
    model, again = tmp_path / "model", tmp_path / "again"
    first = build_model("tones", codec_run / "model", prior_runs, codes, model, licence="CC0-1.0")
    run = tmp_path / "run"
    small.run_prior(codes, codec_run / "model", 0, run, small.prior_config(0, 2, seed=5))
    second = build_model("tones", model, (str(model), run), codes, again, licence="CC0-1.0")
    assert second.sha256["prior_1.safetensors"] == first.sha256["prior_1.safetensors"]
    assert second.sha256["prior_0.safetensors"] != first.sha256["prior_0.safetensors"]
    assert second.about["figures"]["level_1"] == first.about["figures"]["level_1"]
    assert second.learned_from == first.learned_from
    assert second.about["begun_with"] == first.about["begun_with"]  # the codec is the same file
    kept = load_prior(again, second, 0).state_dict()
    for name, value in trained_prior(run).state_dict().items():
        assert torch.equal(value.half().float(), kept[name].float()), name
    description = model / "model.json"
    description.write_text(description.read_text().replace("Ada", "Nobody"))
    with pytest.raises(UserError, match="knows other names"):
        build_model("tones", again, (model, run), codes, tmp_path / "third", licence="CC0-1.0")


def test_a_model_that_has_nothing_to_give_is_refused(codes, codec_run, prior_runs, tmp_path):
    """Its priors would be missing from what is built, and nobody would know."""
    model, others = codec_run / "model", tiny.write_tiny_model(tmp_path / "others")
    with pytest.raises(UserError, match="trained for another codec: leave it out"):
        build_model("x", model, [*prior_runs, others], codes, tmp_path / "x", licence="CC0-1.0")
    with pytest.raises(UserError, match="has no prior"):
        build_model("x", model, [*prior_runs, model], codes, tmp_path / "x", licence="CC0-1.0")


def later(codec_run: Path, store: TrackStore, folder: Path, **settings: object) -> Path:
    """The model of a run that goes on from a codec."""
    config = small.codec_config(2, seed=1).model_copy(update=settings)
    before, begun = open_codec(codec_run)
    recipe = CodecRecipe(config, store, small.CPU)
    recipe.begin_with(begun, before)
    assert train(recipe, config.training, folder)
    return folder / "model"


def test_a_prior_fits_a_later_codec_whose_levels_it_knows_stayed_as_they_were(codec_run, prior_runs, store, tmp_path):
    model = later(codec_run, store, tmp_path / "later", levels=(0,))
    codes = small.encoded(store, model, tmp_path / "codes")
    with pytest.raises(UserError, match="another codec"):
        build_model("x", model, prior_runs, codes, tmp_path / "model", licence="CC0-1.0")
    build_model("tones", model, prior_runs[1:], codes, tmp_path / "model", licence="CC0-1.0")
    kept = load_prior(tmp_path / "model", read_model(tmp_path / "model"), 1).state_dict()
    for name, value in trained_prior(prior_runs[1]).state_dict().items():
        assert torch.equal(value.half().float(), kept[name].float()), name


def test_decoders_alone_learn_and_codes_and_priors_stay(codec_run, codes, prior_runs, store, tmp_path):
    model = later(codec_run, store, tmp_path / "later", decoders_only=True)
    before, after = (load_file(folder / "codec.safetensors") for folder in (codec_run / "model", model))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[1] for name in changed} == {"0", "1"} and all(".decoder." in name for name in changed)
    again = small.encoded(store, model, tmp_path / "codes")
    for ours, theirs in zip(again.shards, codes.shards, strict=True):
        ours, theirs = load_file(again.folder / ours.file), load_file(codes.folder / theirs.file)
        assert all(torch.equal(ours[level], theirs[level]) for level in theirs)
    build_model("tones", model, prior_runs, again, tmp_path / "model", licence="CC0-1.0")
    before, begun = open_codec(codec_run)
    wider = small.codec_config(2).codec.codebook.model_copy(update={"width": 8})
    config = small.codec_config(2).model_copy(update={"decoders_only": True})
    config = config.model_copy(update={"codec": config.codec.model_copy(update={"codebook": wider})})
    with pytest.raises(UserError, match="another shape at level 0, which does not learn"):
        CodecRecipe(config, store, small.CPU).begin_with(begun, before)


def recipe_of(codes, codec_run, config, level: int = 1) -> PriorRecipe:
    model = codec_run / "model"
    return PriorRecipe(config, codes, level, load_codec(model, read_model(model)), small.CPU)


def test_a_prior_begins_with_what_another_knows_and_with_chance_for_new_names(codes, codec_run, prior_runs):
    recipe = recipe_of(codes, codec_run, small.prior_config(1, 6))
    fresh = {name: tensor.clone() for name, tensor in recipe.prior.state_dict().items()}
    known = open_prior(prior_runs[1], 1, codes.codec_hash)
    assert known.vocabulary is not None and len(known.vocabulary.artists) > 1
    first, *others = known.vocabulary.artists
    swapped = Vocabulary(artists=("Somebody else", f" {first.upper()}", *others[1:]), genres=())
    recipe.begin_with(Trained(known.prior, swapped, None, ()))
    own, theirs = recipe.prior.state_dict(), known.prior.state_dict()
    for name, tensor in own.items():
        if not name.startswith("labels."):
            assert torch.equal(tensor, theirs[name]), name
    artists = own["labels.artist.weight"]
    assert torch.equal(artists[0], theirs["labels.artist.weight"][0])
    assert torch.equal(artists[1], theirs["labels.artist.weight"][2])
    assert torch.equal(artists[2], fresh["labels.artist.weight"][2])
    assert torch.equal(own["labels.genre.weight"][1:], fresh["labels.genre.weight"][1:])


def test_a_part_tells_what_it_learned_from_and_what_it_began_with_did(codes, codec_run, prior_runs, store, tmp_path):
    before, begun = open_codec(codec_run)
    assert set(before.learned_from) == store.learned_from == codes.learned_from
    told = before.model_copy(update={"about": {"learned_from": ["0" * 16]}})
    coder = CodecRecipe(small.codec_config(1), store, small.CPU)
    coder.begin_with(begun, told)
    coder.export(tmp_path)
    assert set(read_model(tmp_path / "model").learned_from) == {"0" * 16, *store.learned_from}
    config = small.prior_config(1, 1)
    recipe = recipe_of(codes, codec_run, config)
    known = open_prior(prior_runs[1], 1, codes.codec_hash)
    assert set(known.learned_from) == codes.learned_from
    recipe.begin_with(dataclasses.replace(known, learned_from=("f" * 16,)))
    recipe.export(tmp_path)
    made = build_model("x", codec_run / "model", [tmp_path], codes, tmp_path / "built", licence="CC0-1.0")
    assert set(made.learned_from) == {"f" * 16, *codes.learned_from}
    description = json.loads((tmp_path / "prior.json").read_text())
    del description["learned_from"]  # of a run of before
    (tmp_path / "prior.json").write_text(json.dumps(description))
    made = build_model("x", codec_run / "model", [tmp_path], codes, tmp_path / "again", licence="CC0-1.0")
    assert set(made.learned_from) == codes.learned_from


def test_the_weights_of_a_run_are_those_that_it_describes(prior_runs, tmp_path):
    shutil.copytree(prior_runs[1], tmp_path / "run")
    weights = bytearray((tmp_path / "run" / "prior.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "run" / "prior.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match="damaged"):
        trained_prior(tmp_path / "run")


def test_a_prior_learns_from_music_that_ends_within_its_context(codes, codec_run, tmp_path):
    config = small.prior_config(1, 4, validate_every=2)
    longer = config.model_copy(update={"context_frames": 1000})
    assert max(shard.num_frames[1] for shard in codes.shards) < 1000
    assert small.run_prior(codes, codec_run / "model", 1, tmp_path, longer)
    figures = json.loads((tmp_path / "prior.json").read_text())["figures"]
    assert figures["windows"] == len(codes.indices("validation"))
    assert 0 < figures["validation/bits"] < 10


def test_a_prior_does_not_begin_with_one_of_another_kind(codes, codec_run, prior_runs, tmp_path):
    with pytest.raises(UserError, match="is for level 0"):
        open_prior(prior_runs[0], 1, codes.codec_hash)
    with pytest.raises(UserError, match="another codec"):
        open_prior(prior_runs[1], 1, "other")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="is not finished"):
        open_prior(tmp_path, 1, codes.codec_hash)
    config = small.prior_config(1, 6)
    wider = config.transformer.model_copy(update={"patterns": ("full",) * 3})
    recipe = recipe_of(codes, codec_run, config.model_copy(update={"transformer": wider}))
    with pytest.raises(UserError, match="another shape"):
        recipe.begin_with(open_prior(prior_runs[1], 1, codes.codec_hash))


def test_a_run_that_began_with_another_prior_is_another_run(
    codec_run, codes, prior_runs, tmp_path, capsys, monkeypatch
):
    settings = tmp_path / "top.toml"
    settings.write_text(
        """context_frames = 16
        [transformer]
        width = 8
        num_heads = 2
        patterns = ["full", "full"]
        [timing]
        num_bins = 8
        min_total_seconds = 0.5
        max_total_seconds = 60.0
        [training]
        steps = 2
        batch_size = 2
        """,
        encoding="utf-8",
    )
    command = ["train", "prior", codes.folder, "--codec", codec_run / "model", "--level", "1", "--config", settings]
    command = [str(part) for part in (*command, "--device", "cpu", "--run", tmp_path / "run")]
    assert main([*command, "--begin", str(prior_runs[1])]) == 0
    assert (tmp_path / "run" / "prior.safetensors").exists()
    capsys.readouterr()
    assert main(command) == USER_ERROR
    assert "another data" in capsys.readouterr().err

    def steps(number: int) -> int:
        return main([*command[:-1], str(tmp_path / "longer"), "--steps", str(number)])

    with monkeypatch.context() as patched:
        patched.setattr(PriorRecipe, "show", lambda recipe, folder: signal.raise_signal(signal.SIGTERM))
        settings.write_text(settings.read_text() + "validate_every = 1\n")
        assert steps(5) == STOPPED
    assert steps(2) == USER_ERROR and "has taken 2 steps already" in capsys.readouterr().err
    assert steps(3) == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "longer" / "run.json").read_text())["ends_moved"] == [{"at": 2, "from": 5, "to": 3}]


def test_parts_that_do_not_belong_together_are_refused(codes, codec_run, prior_runs, store, tmp_path):
    other = tmp_path / "other"
    small.run_codec(store, other, small.codec_config(2, seed=1))
    with pytest.raises(UserError, match="was not made by the codec"):
        build_model("x", other / "model", prior_runs, codes, tmp_path / "m", licence="CC0-1.0")
    with pytest.raises(UserError, match="level 0 is given twice"):
        build_model("x", codec_run / "model", (prior_runs[0],) * 2, codes, tmp_path / "m", licence="CC0-1.0")
    with pytest.raises(UserError, match="not finished"):
        build_model("x", codec_run / "model", (tmp_path,), codes, tmp_path / "m", licence="CC0-1.0")
    with pytest.raises(UserError, match="no model called 'mini-sogn'.*did you mean mini-song"):
        build_model("x", codec_run / "model", ("mini-sogn",), codes, tmp_path / "m", licence="CC0-1.0")


def test_encoding_resumes_and_refuses_another_codec(codes, codec_run, store, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in codes.folder.glob("*.safetensors")}
    small.encoded(store, codec_run / "model", codes.folder)
    assert before == {path: path.stat().st_mtime_ns for path in codes.folder.glob("*.safetensors")}
    other = tmp_path / "other"
    small.run_codec(store, other, small.codec_config(2, seed=1))
    with pytest.raises(UserError, match="another codec"):
        small.encoded(store, other / "model", codes.folder)


def test_shards_hold_what_the_codec_makes_of_a_track(codes, codec_run, store):
    codec = load_codec(codec_run / "model", read_model(codec_run / "model"))
    audio = store.audio(0)[None]
    assert (codes.codes(0, 0)[None] == codec.encode(audio)[0]).all()


def test_the_precision_is_settled_before_a_run_is_described():
    config = settled(small.training(2, precision="auto"), small.CPU)
    assert config.precision in ("bfloat16", "float32")
    assert settled(config, small.CPU) == config


def test_a_loss_that_is_not_relative_is_divided_by_what_the_training_music_has(store):
    config = small.codec_config(2)
    assert with_scales(config, store) is config
    absolute = config.codec.loss.model_copy(update={"relative": False})
    codec = config.codec.model_copy(update={"loss": absolute})
    with pytest.raises(UserError, match="raise chunk_seconds"):
        with_scales(config.model_copy(update={"codec": codec}), store)
    published = config.model_copy(update={"codec": codec, "chunk_seconds": 1.0})
    scaled = with_scales(published, store)
    power = float(torch.cat([store.audio(index)[0] for index in store.indices("train")]).square().mean())
    assert scaled.codec.loss.waveform_scale == pytest.approx(power, rel=0.3)
    assert with_scales(scaled, store) == scaled
    begun = plain(scaled)
    begun["codec"]["loss"]["waveform_scale"] *= 1 + 1e-15
    assert plain(with_scales(published, store, begun)) == begun


def test_chunks_with_fewer_samples_than_the_largest_errors_wanted_are_refused(store):
    config = small.codec_config(2)
    loss = config.codec.loss.model_copy(update={"largest": 0.1, "num_largest": 10**6})
    with pytest.raises(UserError, match="largest errors"):
        CodecRecipe(
            config.model_copy(update={"codec": config.codec.model_copy(update={"loss": loss})}),
            store,
            torch.device("cpu"),
        )


def test_variations_of_training_tracks_are_encoded_and_named_in_the_card(codec_run, prior_runs, store, tmp_path):
    varied = small.encoded(store, codec_run / "model", tmp_path / "codes", variations=2, varied_levels=(1,))
    learned = {store.tracks[index].track.content_hash for index in store.indices("train")}
    found = [(shard.track.content_hash, shard.num_frames) for shard in varied.shards if shard.variation]
    assert sorted(content for content, _ in found) == sorted([*learned, *learned])
    assert all(frames[0] == 0 and frames[1] > 0 for _, frames in found)
    build_model("tones", codec_run / "model", prior_runs, varied, tmp_path / "model", licence="CC0-1.0")
    assert "also heard in 2 other keys and tempos" in read_card(tmp_path / "model")
    first = varied.batch(0, 4, 1, 16, seed=0)
    again = small.encoded(store, codec_run / "model", tmp_path / "again", variations=2, varied_levels=(1,))
    assert torch.equal(again.batch(0, 4, 1, 16, seed=0).codes, first.codes)
    whole = small.encoded(store, codec_run / "model", tmp_path / "again", variations=2)
    assert all(all(shard.num_frames) for shard in whole.shards)
    assert torch.equal(whole.batch(0, 4, 1, 16, seed=0).codes, first.codes)


def test_a_run_begun_before_a_setting_existed_goes_on(store, tmp_path):
    config = small.codec_config(4)
    with pytest.raises(_Enough):
        small.run_codec(store, tmp_path, config, on_progress=broken_off(2))
    path = tmp_path / "run.json"
    run = json.loads(path.read_text())
    del run["config"]["codec"]["loss"]["mel"], run["config"]["codec"]["loss"]["mel_sizes"]
    path.write_text(json.dumps(run))
    assert small.run_codec(store, tmp_path, config)
