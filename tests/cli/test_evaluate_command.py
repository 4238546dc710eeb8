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
from orchestrion.evaluate import songs
from orchestrion.evaluate.report import Section

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


@pytest.mark.parametrize("name", ["report.json", "clips/clip-0.ogg"])
def test_no_file_that_is_there_is_replaced_unasked(music: Path, tmp_path: Path, name: str, capsys) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / name).write_text("mine")
    words = ["evaluate", music / "model", "--manifest", music / "manifest.jsonl", "--parts", "codec", "--no-opus"]
    assert run(*words, "-o", tmp_path) == 2
    assert f"{name} exists already" in capsys.readouterr().err and (tmp_path / name).read_text() == "mine"


def test_a_report_that_was_broken_off_is_made_without_force(music: Path, tmp_path: Path, monkeypatch) -> None:
    words = ["evaluate", music / "model", "--manifest", music / "manifest.jsonl", "--codes", music / "codes"]
    words += ["--parts", "codec", "--parts", "priors", "--no-opus", "--clips", "1", "-o", tmp_path / "report"]

    def broken(*_: object) -> Section:
        raise UserError("that is enough")

    with monkeypatch.context() as patched:
        patched.setattr("orchestrion.evaluate.priors.priors_section", broken)
        assert run(*words) == 2
    assert run(*words) == 0
    assert len(list((tmp_path / "report" / "clips").iterdir())) == 3


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


@pytest.mark.parametrize("seconds", ["inf", "nan"])
def test_songs_have_a_length(capsys, seconds) -> None:
    assert run("evaluate", "model", "--manifest", "music.jsonl", "-o", "report", "--seconds", seconds) == 2
    assert "not a finite number" in capsys.readouterr().err


def test_codes_of_another_codec_are_refused(music: Path, tmp_path: Path, capsys) -> None:
    tiny.write_tiny_model(tmp_path / "other", dtype=torch.float16)
    words = ["evaluate", tmp_path / "other", "--manifest", music / "manifest.jsonl", "--codes", music / "codes"]
    assert run(*words, "--parts", "priors", "-o", tmp_path / "report") == 2
    assert "were not made by the codec" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_codes_of_other_music_or_of_another_split_are_refused(music: Path, tmp_path: Path, capsys) -> None:
    tracks = read_manifest(music / "manifest.jsonl")
    first = next(track for track in tracks if split(track) == "train")
    others = [track for track in tracks if track != first]
    moved = first.model_copy(update={"held_out": True})
    gone = first.model_copy(update={"path": tmp_path / "gone.wav", "content_hash": f"{5:016x}"})
    words = ["evaluate", music / "model", "--manifest", tmp_path / "manifest.jsonl", "--codes", music / "codes"]
    words += ["--parts", "priors", "--windows", "2", "-o", tmp_path / "report"]
    for listed, problem in (([moved, *others], "is on the other side of the split"), (others, "is not in it")):
        write_manifest(tmp_path / "manifest.jsonl", listed)
        assert run(*words) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"{first.path.name} {problem}" in said and "encode the manifest again" in said
    io.write(gone.path, torch.full((1, 5), 0.5), tiny.SAMPLE_RATE)
    there = gone.model_copy(update={"content_hash": content_hash(gone.path)})
    write_manifest(tmp_path / "manifest.jsonl", [*tracks, there])
    assert run(*words) == 2
    assert "gone.wav is not among them" in " ".join(capsys.readouterr().err.split())
    gone.path.unlink()
    write_manifest(tmp_path / "manifest.jsonl", [*tracks, gone])
    assert run(*words) == 0


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
    (tmp_path / "theirs" / "songs").mkdir(parents=True)
    (tmp_path / "theirs" / "songs" / "song-1.ogg").write_text("of another hand")
    with pytest.raises(UserError, match=r"song-1\.ogg exists already"):
        _asked(jukebox, heard, 2, 5.0, tmp_path / "theirs", replace=False)
    assert {request.finest_level for request, _ in asked.requests} == {0}
    draft = Jukebox(tiny.write_tiny_model(tmp_path / "draft", levels=(1,)))
    requests = _asked(draft, heard, 2, 5.0, tmp_path / "drafts", replace=False).requests
    assert {request.finest_level for request, _ in requests} == {1}


def test_songs_need_the_weights_of_musicnn(music: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    words = ["evaluate", music / "model", "--manifest", music / "manifest.jsonl", "--codes", music / "codes"]
    assert run(*words, "--parts", "songs", "-o", tmp_path / "report") == 2
    assert "pip install --no-deps musicnn" in capsys.readouterr().err


LOUD, SOFT = 0.3, 0.05


@pytest.fixture
def loud_and_soft(tmp_path: Path) -> Path:
    """A folder with loud training tracks and soft held-out ones, six of each, a tiny model and its codes."""
    sides: dict[str, list[Track]] = {"train": [], "validation": []}
    rng = torch.Generator().manual_seed(0)
    number = 0
    while min(len(tracks) for tracks in sides.values()) < 6:
        path, number = tmp_path / f"{number}.wav", number + 1
        sound = torch.randn(1, 14 * tiny.SAMPLE_RATE, generator=rng).clamp(-3, 3)
        for side, level in (("train", LOUD), ("validation", SOFT)):
            io.write(path, level * sound, tiny.SAMPLE_RATE)
            track = Track(
                path=path,
                seconds=14.0,
                sample_rate=tiny.SAMPLE_RATE,
                channels=1,
                artist="Bix" if number % 2 else "Ada Byron",
                genres=("jazz",) if number % 2 else ("folk",),
                content_hash=content_hash(path),
            )
            if split(track) == side and len(sides[side]) < 6:
                sides[side].append(track)
                break
    write_manifest(tmp_path / "manifest.jsonl", [track for tracks in sides.values() for track in tracks])
    tiny.write_tiny_model(tmp_path / "model", masked=(0,))
    words = ["encode", tmp_path / "manifest.jsonl", "--codec", tmp_path / "model", "-o", tmp_path / "codes"]
    assert run(*words) == 0
    return tmp_path


def test_songs_are_judged_beside_the_music_of_both_sides(loud_and_soft: Path, capsys, monkeypatch) -> None:
    def embed(network: None, audio: torch.Tensor, sample_rate: int) -> torch.Tensor:
        assert sample_rate == tiny.SAMPLE_RATE
        patches = audio.mean(0)[: 4 * (audio.shape[1] // 4)].reshape(4, -1)
        return torch.stack((patches.square().mean(1).sqrt(), patches.abs().mean(1), patches.abs().amax(1)), 1)

    compared: dict[str, float] = {}

    def distances(
        learned: songs.Vectors,
        noisy_learned: songs.Vectors,
        by_genre: songs.Vectors,
        real: songs.Vectors,
        versions: dict[str, songs.Vectors],
        made: songs.Vectors,
        asked_like: list[int],
    ) -> Section:
        sides = {"training": learned, "noisy training": noisy_learned, "held out": real, **versions, "made": made}
        for name, side in sides.items():
            assert side.described.tracks.tolist() == real.described.tracks.tolist() or name not in versions
            compared[name] = float(side.described.features[:, 0].mean())
        assert len(asked_like) == 5 and set(asked_like) == set(real.described.tracks.tolist())
        return distance_section(learned, noisy_learned, by_genre, real, versions, made, asked_like)

    distance_section = songs.distance_section
    monkeypatch.setattr(songs, "distance_section", distances)
    monkeypatch.setattr("orchestrion.evaluate.musicnn.installed", lambda: loud_and_soft)
    monkeypatch.setattr("orchestrion.evaluate.musicnn.open_musicnn", lambda: None)
    monkeypatch.setattr("orchestrion.evaluate.musicnn.embed", embed)
    report = loud_and_soft / "report"
    words = ["evaluate", loud_and_soft / "model", "--manifest", loud_and_soft / "manifest.jsonl", "--json", "--quiet"]
    words += ["--codes", loud_and_soft / "codes", "--parts", "songs", "--songs", "5", "--seconds", "13", "-o", report]
    capsys.readouterr()

    def broken(*_: object) -> Section:
        raise UserError("that is enough")

    with monkeypatch.context() as patched:
        patched.setattr(songs, "distance_section", broken)
        assert run(*words) == 2
    pieces = {path: path.stat().st_mtime_ns for path in (report / "pieces").rglob("codes.safetensors")}
    assert sorted(path.parent.name for path in pieces) == [f"piece-{number}.song" for number in range(1, 6)]
    capsys.readouterr()
    assert run(*words) == 0
    assert {path: path.stat().st_mtime_ns for path in pieces} == pieces, "no piece is composed twice"
    figures = json.loads(capsys.readouterr().out)
    assert [section["title"] for section in figures["sections"]][-1] == "The first songs"
    assert len(figures["sections"]) == 6
    assert figures["sections"][-1]["sounds"][0]["path"] == "songs/song-1.ogg"

    seconds = {path.name: io.probe(path).seconds for path in (report / "songs").glob("*.ogg")}
    assert seconds == {f"song-{number}.ogg": pytest.approx(13, abs=0.1) for number in range(1, 6)}
    made = json.loads((report / "songs" / "song-3.ogg.json").read_text())["made"]
    assert made["request"]["seed"] == 3
    assert made["request"]["artist"] in {"Bix", "Ada Byron"}
    assert compared["training"] == pytest.approx(LOUD, rel=0.1)
    assert compared["held out"] == pytest.approx(SOFT, rel=0.1)
    assert compared["held out"] < compared["with noise at 20 dB"] < 1.05 * compared["held out"]
    assert compared["training"] < compared["noisy training"] < 1.05 * compared["training"]
    assert len(compared) == len(set(compared.values())) == 7
    played = io.read(report / "songs" / "song-1.ogg", tiny.SAMPLE_RATE, 1)
    assert compared["made"] == pytest.approx(float(played.square().mean().sqrt()), rel=0.5)
