"""Mistakes with training commands get a sentence and status 2, before any heavy work."""

import os
from pathlib import Path

import pytest
import torch

import orchestrion.data.prepare
import tiny
from orchestrion import presets
from orchestrion.audio import io
from orchestrion.checkpoints.folder import ModelInfo, read_model, write_model
from orchestrion.cli.encode import prepared
from orchestrion.cli.main import main
from orchestrion.cli.training import joined_device
from orchestrion.codec import Codec
from orchestrion.config.recognizer import RecognizerTrainingConfig
from orchestrion.data.encoded import ShardWriter
from orchestrion.data.manifest import Track, content_hash, read_manifest, write_manifest
from orchestrion.errors import UserError
from orchestrion.train.run import begin_run


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    io.write(path, torch.sin(torch.arange(22_050) / 10)[None] * 0.5, 22_050)
    track = Track(path=path, seconds=1.0, sample_rate=22_050, channels=1, content_hash=content_hash(path))
    write_manifest(tmp_path / "manifest.jsonl", [track])
    return tmp_path / "manifest.jsonl"


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """What a refused command says."""
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return " ".join(captured.err.split())


def test_no_manifest(capsys, tmp_path):
    assert "there is no" in told(capsys, "train", "codec", tmp_path / "absent.jsonl", "--run", tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_an_unknown_preset_names_the_known(capsys, manifest, tmp_path):
    assert "known: mini" in told(capsys, "train", "codec", manifest, "--run", tmp_path / "run", "--preset", "maxi")


def test_a_misspelt_setting_is_found(capsys, manifest, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("[training]\nsteps = 1\nbatch_size = 1\nseeed = 2\n")
    said = told(capsys, "train", "codec", manifest, "--run", tmp_path / "run", "--config", config)
    assert "did you mean 'seed'" in said
    assert "'codec' is missing" in said


def test_a_file_changes_a_preset_that_is_named(capsys, manifest, tmp_path, monkeypatch):
    begun = []

    def begin_run(folder, kind, config, data, *, new_end):
        begun.append(config)
        raise UserError("that is enough")

    monkeypatch.setattr("orchestrion.train.run.begin_run", begin_run)
    (track,), path = read_manifest(manifest), tmp_path / "other.wav"
    io.write(path, torch.sin(torch.arange(22_050) / 20)[None] * 0.5, 22_050)
    other = track.model_copy(update={"path": path, "content_hash": content_hash(path), "held_out": True})
    write_manifest(manifest, [track.model_copy(update={"held_out": False}), other])
    config = tmp_path / "sharper.toml"
    config.write_text("validation_clips = 1\nvalidation_seconds = 0.5\n[codec.loss]\nmel = 0.3\n")
    words = "train", "codec", manifest, "--run", tmp_path / "run", "--config", config
    assert "'codec.sample_rate' is missing" in told(capsys, *words)
    assert "that is enough" in told(capsys, *words, "--preset", "mini")
    assert begun[0].codec.loss.mel == 0.3 and begun[0].codec.levels == presets.mini().codec.codec.levels


def test_cuda_is_told_to_repeat_what_it_computes(monkeypatch):
    monkeypatch.setattr("orchestrion.nn.device.chosen_device", lambda wanted: torch.device("cuda"))
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        joined_device("cuda", None)
        assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_threads_bound_what_decodes_and_are_shared_by_workers(capsys, manifest, tmp_path, monkeypatch):
    decoding, jobs = [], []

    def prepare(tracks, folder, sample_rate, channels, workers):
        decoding.append(workers)
        return decode(tracks, folder, sample_rate, channels, workers=1)

    def processes(job, devices):
        jobs.append((job.threads, len(devices)))
        raise UserError("that is enough")

    decode = orchestrion.data.prepare.prepare
    monkeypatch.setattr("orchestrion.data.prepare.prepare", prepare)
    monkeypatch.setattr("orchestrion.train.spread.Processes", processes)
    tiny.write_tiny_model(tmp_path / "model")
    command = ("encode", manifest, "--codec", tmp_path / "model", "-o", tmp_path / "codes", "--workers", "4")
    before = torch.get_num_threads()
    assert "that is enough" in told(capsys, *command, "--device", "cpu", "--threads", "8")
    torch.set_num_threads(before)
    assert (decoding, jobs) == ([8], [(2, 4)])


def test_a_device_that_is_not_there(capsys, manifest, tmp_path):
    said = told(capsys, "train", "codec", manifest, "--run", tmp_path / "run", "--device", "cuda:77")
    assert "'cuda:77' cannot be used here leave it out" in said


@pytest.mark.parametrize(("held_out", "words"), [(False, '"held_out": true'), (True, "nothing to learn from")])
def test_music_on_one_side_alone(capsys, manifest, tmp_path, held_out, words):
    write_manifest(manifest, [track.model_copy(update={"held_out": held_out}) for track in read_manifest(manifest)])
    assert words in told(capsys, "train", "codec", manifest, "--run", tmp_path / "run", "--steps", "1")


def test_of_several_processes_one_says_what_was_left_out(capsys, manifest, tmp_path, monkeypatch):
    listed = read_manifest(manifest)
    gone = listed[0].model_copy(update={"path": tmp_path / "gone.wav", "content_hash": f"{5:016x}"})
    write_manifest(manifest, [gone, *listed])
    for number in (0, 1):
        monkeypatch.setattr("orchestrion.nn.ranks.rank", lambda number=number: number)
        prepared(manifest, tmp_path / "audio", 22_050, 1, quiet=True)
        assert ("left out" in capsys.readouterr().err) == (number == 0)


def test_a_codec_that_is_not_there(capsys, manifest, tmp_path):
    said = told(capsys, "encode", manifest, "--codec", tmp_path / "absent", "-o", tmp_path / "codes")
    assert "no model called" in said


def test_codes_of_another_codec(capsys, manifest, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    tiny.write_tiny_model(one)
    tiny.write_tiny_model(other, dtype=torch.float16)
    assert main(["encode", str(manifest), "--codec", str(one), "-o", str(tmp_path / "codes")]) == 0
    capsys.readouterr()
    said = told(
        capsys,
        "train", "prior", tmp_path / "codes", "--codec", other, "--level", "1", "--run", tmp_path / "run",
    )  # fmt: skip
    assert "was not made by the codec" in said
    said = told(
        capsys,
        "train", "prior", tmp_path / "codes", "--codec", one, "--level", "7", "--run", tmp_path / "run",
    )  # fmt: skip
    assert "give 0 to 1" in said


@pytest.fixture
def _nothing_is_decoded(monkeypatch):
    monkeypatch.setattr("orchestrion.data.prepare.prepare", None)


@pytest.mark.usefixtures("_nothing_is_decoded")
@pytest.mark.parametrize("kind", ["codec", "recognizer"])
def test_a_run_that_cannot_be_is_refused_before_the_music_is_decoded(capsys, manifest, tmp_path, kind):
    steps = ("--steps", "3", "--device", "cpu")
    config = tmp_path / "c.toml"
    config.write_text("[training]\nsteps = 5\nbatch_size = 1\n")
    settings = ("--config", config) if kind == "recognizer" else ()
    command = ("train", kind, manifest, *settings, *steps)
    assert "cannot write into" in told(capsys, *command, "--run", manifest / "run")
    begin_run(tmp_path / "run", "prior", RecognizerTrainingConfig(), {})
    assert "a run with another kind" in told(capsys, *command, "--run", tmp_path / "run")
    (tmp_path / "other" / "checkpoint").mkdir(parents=True)
    assert "holds checkpoint already" in told(capsys, *command, "--run", tmp_path / "other")
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "01.flac").touch()
    assert "album is a folder of music, with 01.flac" in told(capsys, *command, "--run", tmp_path / "album")


@pytest.mark.usefixtures("_nothing_is_decoded")
def test_a_finetuning_with_other_settings_is_refused_before_the_music_is_decoded(capsys, manifest, tmp_path):
    tiny.write_tiny_model(tmp_path / "model")
    other = presets.finetune().model_copy(update={"label_dropout": 0.5})
    begin_run(tmp_path / "run" / "level_1", "finetune", other, {})
    command = ("train", "finetune", tmp_path / "model", "--data", manifest, "--run", tmp_path / "run")
    assert "another config (label_dropout: 0.5" in told(capsys, *command, "--steps", "3", "--device", "cpu")


@pytest.mark.usefixtures("_nothing_is_decoded")
@pytest.mark.parametrize("name", ["run.json", "model", "adapter", "codes", "audio"])
def test_a_finetuning_replaces_nothing_that_none_wrote(capsys, manifest, tmp_path, name):
    tiny.write_tiny_model(tmp_path / "base")
    (tmp_path / "runs" / name).mkdir(parents=True)
    begin_run(tmp_path / "runs" / "level_7", "prior", RecognizerTrainingConfig(), {})
    command = ("train", "finetune", tmp_path / "base", "--data", manifest, "--run", tmp_path / "runs")
    assert f"is not the folder of a fine-tuning, and holds {name} already" in told(capsys, *command, "--device", "cpu")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(["level_7", name])


@pytest.mark.usefixtures("_nothing_is_decoded")
def test_a_finetuning_does_not_replace_the_model_that_it_begins_with(capsys, manifest, tmp_path):
    tiny.write_tiny_model(tmp_path / "mine" / "model")
    begin_run(tmp_path / "mine" / "level_1", "finetune", presets.finetune_whole(), {})
    command = ("train", "finetune", tmp_path / "mine" / "model", "--whole", "--level", "0", "--data", manifest)
    said = told(capsys, *command, "--run", tmp_path / "mine", "--device", "cpu")
    assert "model is the model to begin with, and would be replaced" in said


def test_a_finetuning_that_was_stopped_in_its_preparation_goes_on(capsys, manifest, tmp_path, monkeypatch):
    tiny.write_tiny_model(tmp_path / "base")

    def decoded(tracks, folder, *_, **__):
        folder.mkdir(exist_ok=True)
        raise UserError("that is enough")

    monkeypatch.setattr("orchestrion.data.prepare.prepare", decoded)
    command = ("train", "finetune", tmp_path / "base", "--data", manifest, "--run", tmp_path / "run")
    for _ in range(2):
        assert "that is enough" in told(capsys, *command, "--device", "cpu")
    assert (tmp_path / "run" / "audio").is_dir()


@pytest.mark.usefixtures("_nothing_is_decoded")
def test_a_batch_that_cannot_be_shared_is_refused_before_the_music_is_decoded(capsys, manifest, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("[training]\nbatch_size = 5\naccumulate = 2\n")
    command = ("train", "codec", manifest, "--preset", "mini", "--config", config, "--device", "cpu")
    assert "training.batch_size a multiple of 2" in told(capsys, *command, "--run", tmp_path / "run")


@pytest.mark.usefixtures("_nothing_is_decoded")
def test_what_settings_alone_forbid_is_refused_before_the_music_is_decoded(capsys, manifest, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("chunk_seconds = 0.01\n")
    command = ("train", "codec", manifest, "--preset", "mini", "--config", config, "--device", "cpu")
    assert "too short for spectra" in told(capsys, *command, "--run", tmp_path / "run")
    stereo = tiny.codec_config().model_copy(update={"channels": 2})
    write_model(tmp_path / "stereo", ModelInfo(name="stereo", codec=stereo), Codec(stereo), card="# stereo\n")
    command = ("train", "recognizer", manifest, "--codec", tmp_path / "stereo", "--device", "cpu")
    assert "not for one channel" in told(capsys, *command, "--run", tmp_path / "run")


@pytest.mark.usefixtures("_nothing_is_decoded")
def test_a_codec_without_what_it_begins_with_is_refused_before_the_music_is_decoded(capsys, manifest, tmp_path):
    command = ("train", "codec", manifest, "--device", "cpu", "--run", tmp_path / "run")
    assert "no model called" in told(capsys, *command, "--begin", "absent")
    config = tmp_path / "c.toml"
    config.write_text("levels = [1]\n")
    assert "give it with --begin" in told(capsys, *command, "--preset", "mini", "--config", config)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_nothing_is_decoded")
def test_a_composer_and_its_settings_belong_together_and_it_has_to_compose(capsys, manifest, tmp_path):
    command = ("train", "codec", manifest, "--device", "cpu", "--run", tmp_path / "run", "--begin", "mini-song")
    command += ("--preset", "mini-song", "--config", tmp_path / "c.toml")
    below = "levels = [0]\ndecoders_only = true\nspeech = false\nprincipal_batches = 0\n"
    (tmp_path / "c.toml").write_text(below)
    assert "belong together" in told(capsys, *command, "--composer", "mini-song")
    (tmp_path / "c.toml").write_text(f"{below}[composed]\n")
    assert "belong together" in told(capsys, *command)
    tiny.write_tiny_model(tmp_path / "tiny")
    assert "draws code by code" in told(capsys, *command, "--composer", tmp_path / "tiny")
    tiny.write_tiny_model(tmp_path / "filler", masked=(0,))
    assert "begin with the codec of that model" in told(capsys, *command, "--composer", tmp_path / "filler")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_nothing_is_decoded")
def test_codes_that_cannot_be_written_are_refused_before_the_music_is_decoded(capsys, manifest, tmp_path):
    tiny.write_tiny_model(tmp_path / "model")
    command = ("encode", manifest, "--codec", tmp_path / "model", "--device", "cpu")
    assert "cannot write into" in told(capsys, *command, "-o", manifest / "codes")
    ShardWriter(tmp_path / "codes", read_model(tmp_path / "model").grid, 16, "another")
    assert "the codes of another codec" in told(capsys, *command, "-o", tmp_path / "codes")


def test_a_run_that_is_refused_leaves_nothing_behind(capsys, manifest, tmp_path):
    model, run, config = tmp_path / "model", tmp_path / "run", tmp_path / "top.toml"
    tiny.write_tiny_model(model)
    assert main(["encode", str(manifest), "--codec", str(model), "-o", str(tmp_path / "codes")]) == 0
    capsys.readouterr()
    config.write_text(
        'context_frames = 100000\n[transformer]\nwidth = 8\nnum_heads = 2\npatterns = ["full"]\n'
        "[training]\nsteps = 2\nbatch_size = 2\n"
    )
    command = ("train", "prior", tmp_path / "codes", "--codec", model, "--level", "1", "--run", run)
    assert "shorter context_frames" in told(capsys, *command, "--config", config) and not run.exists()


def test_a_model_is_not_built_over_another(capsys, tmp_path):
    tiny.write_tiny_model(tmp_path / "model")
    words = ("models", "build", "x", "--codec", tmp_path / "c", "--codes", tmp_path / "codes", "--licence", "CC0-1.0")
    assert "--force" in told(capsys, *words, "-o", tmp_path / "model")
    (tmp_path / "project").mkdir()
    for name in ("README.md", "codec.safetensors", "prior_3.safetensors", "memory.safetensors"):
        (tmp_path / "project" / name).write_text("mine")
        for other in (words, ("models", "import", tmp_path / "absent.pth.tar", "--name", "x")):
            said = told(capsys, *other, "-o", tmp_path / "project")
            assert f"{name} exists already" in said and "--force" in said
        (tmp_path / "project" / name).unlink()
