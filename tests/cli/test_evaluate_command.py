"""`orchestrion evaluate` on a tiny model, and what it refuses."""

import importlib.metadata
import json
import shutil
from pathlib import Path

import pytest
import torch

import tiny
from orchestrion import Jukebox, Request
from orchestrion.audio import io
from orchestrion.checkpoints.folder import read_model, write_description
from orchestrion.cli.evaluate import _asked
from orchestrion.cli.main import main
from orchestrion.data.manifest import Track, content_hash, read_manifest, split, write_manifest
from orchestrion.data.tracks import TrackStore, prepare
from orchestrion.errors import UserError

SECONDS = 12.0


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with music on both sides of the split, a tiny model and its codes."""
    folder = tmp_path_factory.mktemp("music")
    tracks: list[Track] = []
    rng = torch.Generator().manual_seed(0)
    while len({split(track) for track in tracks}) < 2 or len(tracks) < 4:
        path = folder / f"{len(tracks)}.wav"
        io.write(path, 0.3 * torch.randn(1, round(SECONDS * tiny.SAMPLE_RATE), generator=rng), tiny.SAMPLE_RATE)
        tracks.append(
            Track(
                path=path,
                seconds=SECONDS,
                sample_rate=tiny.SAMPLE_RATE,
                channels=1,
                artist="Bix",
                content_hash=content_hash(path),
            )
        )
    write_manifest(folder / "manifest.jsonl", tracks)
    tiny.write_tiny_model(folder / "model", masked=(0,))
    words = ["encode", folder / "manifest.jsonl", "--codec", folder / "model", "-o", folder / "codes"]
    assert main([str(word) for word in words]) == 0
    return folder


def run(*words: str | Path) -> int:
    return main([str(word) for word in words])


def test_codec_and_priors_become_a_page_and_figures(music: Path, tmp_path: Path, capsys) -> None:
    words = ["evaluate", music / "model", "--manifest", music / "manifest.jsonl", "--codes", music / "codes"]
    words += ["--parts", "codec", "--parts", "priors", "--no-opus", "--clips", "1", "-o", tmp_path / "report"]
    assert run(*words) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report" / "index.html")
    figures = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [section["title"] for section in figures["sections"]] == ["The codec", "The priors"]
    first = (tmp_path / "report" / "report.json").read_bytes()

    assert run(*words) == 2
    assert "--force" in capsys.readouterr().err
    assert run(*words, "--force") == 0
    assert (tmp_path / "report" / "report.json").read_bytes() == first


def test_held_out_tracks_that_the_model_learned_from_are_named(music: Path, tmp_path: Path, capsys) -> None:
    held_out = [track for track in read_manifest(music / "manifest.jsonl") if split(track) == "validation"]
    model = tmp_path / "model"
    shutil.copytree(music / "model", model)
    info = read_model(model)
    written = info.model_copy(update={"about": {"learned_from": [held_out[0].content_hash]}})
    write_description(model, written, "# A model")
    words = ["evaluate", model, "--manifest", music / "manifest.jsonl", "--parts", "codec", "--no-opus"]
    assert run(*words, "--clips", "1", "-o", tmp_path / "report") == 0
    expected = f"1 of the {len(held_out)} tracks that are held out here are among what it learned from "
    expected += f"({held_out[0].path.stem}): figures on held-out music are better than they should be."
    assert f"warning: {expected}" in capsys.readouterr().err
    assert json.loads((tmp_path / "report" / "report.json").read_text())["about"].endswith(expected)


def test_priors_need_codes(music: Path, tmp_path: Path, capsys) -> None:
    assert run("evaluate", music / "model", "--manifest", music / "manifest.jsonl", "-o", tmp_path / "report") == 2
    assert "--codes" in capsys.readouterr().err


def test_codes_of_another_codec_are_refused(music: Path, tmp_path: Path, capsys) -> None:
    tiny.write_tiny_model(tmp_path / "other", dtype=torch.float16)
    words = ["evaluate", tmp_path / "other", "--manifest", music / "manifest.jsonl", "--codes", music / "codes"]
    assert run(*words, "--parts", "priors", "-o", tmp_path / "report") == 2
    assert "were not made by the codec" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_songs_need_enough_held_out_tracks(music: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("orchestrion.evaluate.musicnn.installed", lambda: tmp_path)
    monkeypatch.setattr("orchestrion.evaluate.musicnn.open_musicnn", lambda: None)
    words = ["evaluate", music / "model", "--manifest", music / "manifest.jsonl", "--codes", music / "codes"]
    assert run(*words, "--parts", "songs", "-o", tmp_path / "report") == 2
    assert "too few to judge songs by" in capsys.readouterr().err
    assert not (tmp_path / "report" / "songs").exists()


def test_other_songs_in_the_report_are_found_before_any_work_and_given_up_with_force(
    music: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("orchestrion.evaluate.distance.LEAST_TRACKS", 1)
    jukebox = Jukebox(music / "model", device="cpu")
    for _ in prepare(read_manifest(music / "manifest.jsonl"), music / "decoded", tiny.SAMPLE_RATE, 1):
        pass
    heard = TrackStore(music / "decoded")
    asked = _asked(jukebox, heard, 2, 5.0, tmp_path, replace=False)
    assert [(request.seed, request.artist) for request, _ in asked.requests] == [(1, "Bix"), (2, "Bix")]
    jukebox.compose(Request(seconds=0.5, seed=9), tmp_path / "songs" / "song-2.song").finish()
    with pytest.raises(UserError, match="holds another song"):
        _asked(jukebox, heard, 2, 5.0, tmp_path, replace=False)
    assert _asked(jukebox, heard, 2, 5.0, tmp_path, replace=True).requests == asked.requests


def test_songs_need_the_weights_of_musicnn(music: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    words = ["evaluate", music / "model", "--manifest", music / "manifest.jsonl", "--codes", music / "codes"]
    assert run(*words, "--parts", "songs", "-o", tmp_path / "report") == 2
    assert "pip install --no-deps musicnn" in capsys.readouterr().err
