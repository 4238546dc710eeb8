"""Features of many recordings by the command: what is there stays, what cannot be heard is left out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from orchestrion.audio import io
from orchestrion.cli.main import STOPPED, main
from orchestrion.data.manifest import write_manifest
from orchestrion.data.scan import describe
from orchestrion.jukebox import Jukebox
from orchestrion.jukebox.listener import Listener


@pytest.fixture
def music(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny.write_tiny_model(Path("ditty"))
    for seed, name in enumerate(("one", "two")):
        sound = torch.randn(1, 2 * tiny.SAMPLE_RATE, generator=torch.Generator().manual_seed(seed)) * 0.1
        Path("music").mkdir(exist_ok=True)
        io.write(Path("music") / f"{name}.wav", sound, tiny.SAMPLE_RATE)
    shutil.copy("music/one.wav", "twin.wav")
    return tmp_path / "music"


@pytest.fixture
def run(capsys):
    def run(*given: str, status: int = 0) -> str:
        """What is printed; of a refusal what is said."""
        found = main(["features", "--model", "ditty", "--device", "cpu", "-q", *given])
        told = capsys.readouterr()
        assert found == status, told.err
        return told.err if status else told.out

    return run


def listed(folder: str) -> dict[str, str]:
    told = json.loads((Path(folder) / "features.json").read_text())
    return {Path(one["path"]).name: one["features"] for one in told["recordings"]}


def test_each_recording_has_its_vector(music, run):
    assert run(str(music), "twin.wav", "-o", "vectors").strip() == "vectors/features.json"
    files = listed("vectors")
    assert set(files) == {"one.wav", "two.wav", "twin.wav"} and files["twin.wav"] == files["one.wav"]
    jukebox = Jukebox("ditty", device="cpu")
    for name in ("one.wav", "two.wav"):
        audio = io.read(music / name, tiny.SAMPLE_RATE, 1)
        vector = np.load(Path("vectors") / files[name])
        np.testing.assert_array_equal(vector, jukebox.features(audio, tiny.SAMPLE_RATE).numpy())
    about = json.loads(Path("vectors/features.json").read_text())
    assert (about["layer"], about["width"], about["mean"], about["frames_per_second"]) == (1, 8, True, 50.0)


def test_frames_have_a_vector_each(music, run):
    run(str(music), "--frames", "--layer", "2", "-o", "frames")
    for file in listed("frames").values():
        assert np.load(Path("frames") / file).shape == (100, 8)


def test_what_is_there_is_not_heard_again_and_others_are_added(music, run, monkeypatch):
    heard = []
    features = Listener.features

    def counted(self, audio, *given, **named):
        heard.append(audio)
        if len(heard) == 2:
            raise KeyboardInterrupt
        return features(self, audio, *given, **named)

    monkeypatch.setattr(Listener, "features", counted)
    run(str(music), "-o", "vectors", status=STOPPED)
    assert len(list(Path("vectors").glob("*.npy"))) == 1
    run(str(music), "-o", "vectors")
    assert len(heard) == 3 and set(listed("vectors")) == {"one.wav", "two.wav"}
    write_manifest(Path("more.jsonl"), [describe(Path("twin.wav").absolute())])
    run("more.jsonl", "-o", "vectors")
    assert len(heard) == 3 and set(listed("vectors")) == {"one.wav", "two.wav", "twin.wav"}


def test_what_cannot_be_heard_is_left_out_and_told(music, run):
    (music / "text.wav").write_text("no sound")
    told = json.loads(run(str(music), "gone.wav", "-o", "vectors", "--json"))
    assert told["recordings"] == 2 and len(told["left_out"]) == 2
    assert any("gone.wav" in problem for problem in told["left_out"])
    assert "none of these recordings can be heard" in run("gone.wav", "-o", "others", status=2)
    assert not Path("others").exists()


@pytest.mark.parametrize("changed", [("--frames",), ("--layer", "2"), ("--dtype", "bfloat16")])
def test_features_of_two_kinds_are_not_mixed(music, run, changed):
    run(str(music), "-o", "vectors")
    assert "made otherwise" in run(str(music), *changed, "-o", "vectors", status=2)
    assert set(listed("vectors")) == {"one.wav", "two.wav"}


def test_a_folder_of_something_else_stays_as_it_is(music, run):
    assert "there is something else at" in run(str(music), "-o", "music", status=2)
    assert "there is something else at" in run(str(music), "-o", "twin.wav", status=2)
    assert sorted(path.name for path in music.iterdir()) == ["one.wav", "two.wav"]


def test_a_model_whose_layers_are_fewer_says_so(music, run):
    assert "layers go from 1 to 2" in run(str(music), "--layer", "3", "-o", "vectors", status=2)
    assert not Path("vectors").exists()
