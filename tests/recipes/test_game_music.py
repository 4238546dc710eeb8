"""The free game music: its table, and getting it from packages made here."""

import io as bytes_io
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch

from orchestrion.audio import io
from orchestrion.cli.main import main
from orchestrion.data.manifest import read_manifest
from orchestrion.errors import UserError
from orchestrion.recipes import game_music
from orchestrion.recipes.game_music import Entry, chosen, fetch, table

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")


def test_the_table_is_what_the_documentation_says():
    entries = table()
    assert len(entries) == 312
    assert len({(entry.package, entry.path) for entry in entries}) == 312
    assert sum(entry.seconds for entry in entries) / 3600 == pytest.approx(19.99, abs=0.02)


def test_every_track_has_a_licence_genres_and_a_safe_path():
    for entry in table():
        assert entry.licence
        assert 1 <= len(entry.genres) <= 5
        assert all(genre == genre.lower().strip() for genre in entry.genres)
        assert ".." not in Path(entry.path).parts and not Path(entry.path).is_absolute()
        assert "@" not in (entry.credit or "")
        assert entry.artist or entry.credit or entry.licence


def test_sets_are_by_package_and_by_licence_and_can_be_joined():
    assert {entry.package for entry in chosen(["wesnoth"])} == {"wesnoth-1.16-music"}
    assert {entry.licence for entry in chosen(["cc"])} == set(game_music.LICENCES_CC)
    assert len(chosen(["cc", "wesnoth"])) == len(chosen(["cc"])) + len(chosen(["wesnoth"]))
    assert len(chosen(["all", "cc"])) == 312


def sound(amplitude: float, seconds: float = 0.5) -> bytes:
    path = Path("stem.ogg")
    io.write(path, torch.full((1, int(8000 * seconds)), amplitude), 8000)
    return path.read_bytes()


def package(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """A Debian package with these files, where downloaded ones lie."""
    root = Path("root")
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: N <n@example.org>\nDescription: x\n"
    )
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    (folder / "debs").mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["dpkg-deb", "-b", "root", str(folder / "debs" / f"{name}_1_all.deb")],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(root)


def entry(package: str, path: str, **more: object) -> Entry:
    return Entry(package=package, version="1", path=path, title=path, licence="MIT", seconds=0.5, **more)


@pytest.fixture
def two_packages(tmp_path, monkeypatch):
    """One package with a plain track and one in a .pk3, another with stems; one track is missing."""
    monkeypatch.setattr(
        game_music,
        "table",
        lambda: [
            entry("plain", "usr/a b.ogg", artist="Ada", genres=("rock",)),
            entry("plain", "usr/music.pk3.d/inside/c.ogg"),
            entry("plain", "usr/gone.ogg"),
            entry("stems", "mixes/song.wav", stems=("usr/song.ogg", "usr/guitar.ogg")),
        ],
    )
    packed = bytes_io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inside/c.ogg", sound(0.2))
    package(tmp_path, "plain", {"usr/a b.ogg": sound(0.3), "usr/music.pk3": packed.getvalue(), "usr/x": b"other"})
    package(tmp_path, "stems", {"usr/song.ogg": sound(0.4), "usr/guitar.ogg": sound(0.2, 0.25)})
    return tmp_path


@needs_dpkg
def test_packages_become_a_labelled_manifest(two_packages):
    steps = list(fetch(two_packages, ["all"]))
    tracks = read_manifest(two_packages / "manifest.jsonl")
    assert [track.path.name for track in tracks] == ["a b.ogg", "c.ogg", "song.wav"]
    assert (tracks[0].artist, tracks[0].genres, tracks[0].licence) == ("Ada", ("rock",), "MIT")
    assert [name for step in steps for name in step.missing] == ["plain: usr/gone.ogg"]
    assert steps[-1].done == 3
    assert not list(two_packages.glob(".*"))


@needs_dpkg
def test_a_song_in_stems_is_their_sum(two_packages):
    list(fetch(two_packages, ["all"]))
    mixed = io.read(read_manifest(two_packages / "manifest.jsonl")[2].path, 8000, 1)[0]
    assert mixed[500:1500].mean() == pytest.approx(0.6, abs=0.02)
    assert mixed[2500:3500].mean() == pytest.approx(0.4, abs=0.02)


@needs_dpkg
def test_running_again_changes_nothing_and_needs_no_package(two_packages):
    list(fetch(two_packages, ["all"]))
    before = (two_packages / "manifest.jsonl").read_bytes()
    (two_packages / "debs" / "stems_1_all.deb").write_bytes(b"damaged")
    list(fetch(two_packages, ["all"]))
    assert (two_packages / "manifest.jsonl").read_bytes() == before


@needs_dpkg
def test_a_damaged_package_is_explained(two_packages):
    deb = two_packages / "debs" / "stems_1_all.deb"
    deb.write_bytes(deb.read_bytes()[:300])
    with pytest.raises(UserError, match="damaged"):
        list(fetch(two_packages, ["all"]))
    assert not (two_packages / "manifest.jsonl").exists()


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(stat.S_IRWXU)


def test_without_debian_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get and dpkg-deb") as caught:
        list(fetch(tmp_path / "music", ["all"]))
    assert "data scan" in caught.value.hint


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'E: Unable to locate package x' >&2; exit 100", "Unable to locate package"),
        ("exit 3", "exit 3"),
        ("exit 0", "exit 0"),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(tmp_path, monkeypatch, script, said):
    program(tmp_path / "bin", "apt-get", script)
    program(tmp_path / "bin", "dpkg-deb", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    with pytest.raises(UserError, match=said) as caught:
        list(fetch(tmp_path / "music", ["wesnoth"]))
    assert "apt-get update" in caught.value.hint
    assert not list((tmp_path / "music" / "debs").iterdir())


def test_a_download_lands_whole_beside_the_others(tmp_path, monkeypatch):
    program(tmp_path / "bin", "apt-get", 'echo "$2" > "$2_1_all.deb"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    assert game_music._package(tmp_path, "songs").read_text() == "songs\n"
    assert [path.name for path in (tmp_path / "debs").iterdir()] == ["songs_1_all.deb"]


def test_the_command_refuses_to_replace_a_manifest_before_any_work(tmp_path):
    from click.testing import CliRunner

    from orchestrion.cli.data import data

    (tmp_path / "manifest.jsonl").write_text("mine")
    done = CliRunner().invoke(data, ["game-music", str(tmp_path), "--set", "cc", "--set", "wesnoth"])
    assert isinstance(done.exception, UserError)
    assert "--force" in done.exception.hint


@needs_dpkg
def test_the_command_downloads_a_set_and_says_what_is_missing(two_packages, capsys):
    command = ["data", "game-music", str(two_packages), "--set", "cc"]
    assert main(command) == 0
    told = capsys.readouterr()
    assert told.out.strip().endswith(str(two_packages / "manifest.jsonl"))
    assert "not in its package, left out: plain: usr/gone.ogg" in told.err
    assert len(read_manifest(two_packages / "manifest.jsonl")) == 3
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
