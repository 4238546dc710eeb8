"""Sung data sets: which songs, how, with which labels, and what happens when it is run again."""

import errno
import hashlib
import io as bytes_io
import json
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from small_scores import measure, note, rose, score, tempo

from orchestrion.audio import io
from orchestrion.cli.data import data
from orchestrion.data.manifest import read_manifest, split
from orchestrion.errors import UserError
from orchestrion.recipes import tools
from orchestrion.recipes.tools import find_soundfont
from orchestrion.text.lyric_files import read_timed_lyrics

try:
    SOUNDFONT = find_soundfont()
except UserError as error:
    pytest.skip(str(error), allow_module_level=True)

from orchestrion.recipes import lieder
from orchestrion.recipes.accompaniment import Room, in_room
from orchestrion.recipes.lieder import Rendered, lines, plan_song, render
from orchestrion.text.timed import TimedWord

KEY = "5eed" * 32


def night() -> bytes:
    bars = measure(tempo(100), *(note(each) for each in [("E4", 2, "Gu-"), ("G4", 1, "-te"), ("C5", 2, "Nacht")]))
    return score([bars], title="Nacht / Tag", composer="Müller, Äda")


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Two songs, one of them twice, one that is broken and one without words."""
    folder = tmp_path / "scores"
    (folder / "deep").mkdir(parents=True)
    (folder / "rose.musicxml").write_bytes(rose())
    (folder / "again.xml").write_bytes(rose())
    (folder / "deep" / "night.musicxml").write_bytes(night())
    (folder / "broken.mxl").write_bytes(b"PK\x03\x04")
    (folder / "silent.musicxml").write_bytes(score([measure(note(("A4", 1, None)))]))
    (folder / "notes.txt").write_text("not a score")
    return folder


def test_scores_become_a_data_set_with_timed_lyrics(scores, tmp_path):
    steps = list(render(tmp_path / "sung", scores, SOUNDFONT, language="de"))
    problems = [step.problem for step in steps if step.problem]
    assert len(problems) == 2 and "broken.mxl" in " ".join(problems) and "no words" in " ".join(problems)
    assert steps[-1].done == pytest.approx(steps[-1].total)
    tracks = sorted(read_manifest(tmp_path / "sung" / "manifest.jsonl"), key=lambda track: track.title or "")
    assert [(track.title, track.artist, track.licence) for track in tracks] == [
        ("Lied", "Ada", "CC0-1.0"),
        ("Nacht / Tag", "Äda Müller", "CC0-1.0"),
    ]
    assert tracks[1].path.parent.name == "ada-muller"
    for track in tracks:
        lyrics = read_timed_lyrics(track.lyrics)
        assert lyrics.language == "de"
        assert read_timed_lyrics(track.path.with_suffix(".lrc")).text == lyrics.text
        assert all(s.end <= track.seconds and s.phonemes for word in lyrics.words for s in word.syllables)
        audio = io.read(track.path, track.sample_rate, 2)
        assert 0.5 < audio.abs().max() <= 1 and np.isfinite(audio.numpy()).all()
    assert read_timed_lyrics(tracks[1].lyrics).text == "Gute Nacht"


def test_running_again_sings_nothing_again_and_changes_nothing(scores, tmp_path, monkeypatch):
    folder = tmp_path / "sung"
    list(render(folder, scores, SOUNDFONT))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.flac")}
    manifest = (folder / "manifest.jsonl").read_bytes()

    def refuse(*given: object) -> None:
        raise AssertionError("sung again")

    monkeypatch.setattr(lieder, "sing_song", refuse)
    list(render(folder, scores, SOUNDFONT))
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.flac")} == before
    assert (folder / "manifest.jsonl").read_bytes() == manifest


@pytest.mark.parametrize("program", [sys.executable, "fluidsynth"])
def test_a_system_that_begins_no_process_ends_the_run_and_leaves_no_song_out(scores, tmp_path, monkeypatch, program):
    real = subprocess.run

    def run(command: list[str], **options: object) -> object:
        if command[0] == program:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return real(command, **options)

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", run)
        with pytest.raises(UserError, match="began no more processes: give the same command again"):
            list(render(tmp_path / "sung", scores, SOUNDFONT))
    assert not (tmp_path / "sung" / "manifest.jsonl").exists()


def test_a_stopped_run_goes_on_and_ends_in_the_same_bytes(scores, tmp_path):
    list(render(tmp_path / "whole", scores, SOUNDFONT))
    running = render(tmp_path / "stopped", scores, SOUNDFONT)
    while next(running).act != "singing" or not list((tmp_path / "stopped").rglob("*.flac")):
        pass
    running.close()
    assert not (tmp_path / "stopped" / "manifest.jsonl").exists()
    list(render(tmp_path / "stopped", scores, SOUNDFONT))

    def written(folder: Path) -> dict[Path, bytes]:
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert written(tmp_path / "stopped") == written(tmp_path / "whole")


def test_archives_hold_the_same_songs_as_folders(scores, tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "scores.zip", "w") as zipped,
        tarfile.open(tmp_path / "scores.tar.gz", "w:gz") as tar,
    ):
        for path in scores.rglob("*.*"):
            zipped.write(path, path.relative_to(scores))
            tar.add(path, path.relative_to(scores))
    found = [dict(lieder._scores(place)) for place in (scores, tmp_path / "scores.zip", tmp_path / "scores.tar.gz")]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 5


def test_hours_bound_what_is_sung(scores, tmp_path):
    list(render(tmp_path / "sung", scores, SOUNDFONT, hours=1 / 3600))
    assert len(read_manifest(tmp_path / "sung" / "manifest.jsonl")) == 1


def test_the_key_decides_how_a_song_is_sung():
    one, same, other = (plan_song(rose(), "rose", key) for key in (KEY, KEY, KEY[::-1]))
    assert one == same
    assert (one.transpose, one.tempo, one.singer, one.room) != (other.transpose, other.tempo, other.singer, other.room)
    assert one.target != other.target


def test_the_side_of_the_split_is_a_matter_of_the_score_alone(tmp_path):
    assert len({plan_song(rose(), name, key).held_out for name in ("rose", "lied") for key in (KEY, KEY[::-1])}) == 1
    bars = measure(tempo(100), note(("E4", 2, "La")))
    sides = [plan_song(score([bars], title=f"Lied {number}"), "lied", KEY).held_out for number in range(120)]
    assert 2 <= sum(sides) <= 25  # one in twelve
    (tmp_path / "held.musicxml").write_bytes(score([bars], title=f"Lied {sides.index(True)}"))
    list(render(tmp_path / "sung", tmp_path / "held.musicxml", SOUNDFONT, language="de"))
    assert [split(track) for track in read_manifest(tmp_path / "sung" / "manifest.jsonl")] == ["validation"]


def test_songs_that_shipped_models_learned_from_stay_on_their_side(monkeypatch):
    listed = lieder._sides()
    assert (len(listed), sum(listed.values())) == (288, 25)
    digest = hashlib.blake2b(rose(), digest_size=8).hexdigest()
    for side in (True, False):
        monkeypatch.setattr(lieder, "_sides", lambda side=side: {digest: side})
        assert plan_song(rose(), "rose", KEY).held_out is side


def test_languages_are_told_apart():
    texts = {
        "de": ["Du", "bist", "die", "Ruh,", "der", "Frie-", "-de", "mild"],
        "en": ["The", "win-", "-ter", "of", "my", "heart", "is", "gone"],
        "fr": ["Que", "je", "vous", "aime", "et", "que", "je", "meurs"],
    }
    for language, words in texts.items():
        sung = score([measure(*(note(("A4", 1, word)) for word in words))])
        assert plan_song(sung, "song", KEY).language == language


def test_lines_end_at_pauses():
    times = [(0.0, 0.5), (0.5, 1.0), (1.1, 1.5), (1.5, 2.0), (2.4, 3.0), (5.0, 6.0)]
    words = [TimedWord(text=f"w{at}", start=start, end=end) for at, (start, end) in enumerate(times)]
    assert [line.text for line in lines(words)] == ["w0 w1 w2 w3", "w4", "w5"]


def test_a_room_keeps_what_is_dry_and_dies_away():
    rate = 22_050
    click = np.zeros((3 * rate, 2))
    click[0] = 1.0
    heard = in_room(click, Room(seconds=1.0, share=0.3), rate, np.random.default_rng(0))
    assert heard[0] == pytest.approx([0.7, 0.7], abs=1e-6)
    early, late = (np.sqrt((heard[at : at + 2000] ** 2).mean()) for at in (2_000, 2_000 + rate // 2))
    assert 20 * np.log10(late / early) == pytest.approx(-30, abs=2)  # half of the time, half of the 60 dB
    assert np.abs(heard[round(1.1 * rate) :]).max() < 1e-9


def run(*options: object) -> object:
    return CliRunner().invoke(data, ["lieder", *map(str, options)])


def test_the_command_sings_in_several_processes_and_keeps_what_is_there(scores, tmp_path):
    folder = tmp_path / "sung"
    done = run(folder, "--scores", scores, "--workers", 2)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(folder / "manifest.jsonl")
    header = json.loads((folder / "manifest.jsonl").read_text().splitlines()[0])
    assert header["tracks"] == 2
    again = run(folder, "--scores", scores)
    assert isinstance(again.exception, UserError) and "--force" in again.exception.hint


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("absent", "no file or folder"),
        ("empty", "no score"),
        ("broken.zip", "neither a score"),
        ("only.xml", "can be sung"),
    ],
)
def test_what_holds_no_songs_is_refused(tmp_path, place, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    (tmp_path / "only.xml").write_bytes(b"<note/>")
    with pytest.raises(UserError, match=said):
        list(render(tmp_path / "sung", tmp_path / place, SOUNDFONT))


@pytest.mark.parametrize("kind", ["zip", "gz", "xz"])
def test_an_archive_with_wrong_bytes_inside_is_told_of(tmp_path, kind):
    content = bytes(range(256)) * 400 + random.Random(0).randbytes(5000)
    place = tmp_path / ("scores.zip" if kind == "zip" else f"scores.tar.{kind}")
    if kind == "zip":
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.mxl", content)
    else:
        with tarfile.open(place, f"w:{kind}") as archive:
            info = tarfile.TarInfo("a.mxl")
            info.size = len(content)
            archive.addfile(info, bytes_io.BytesIO(content))
    packed = bytearray(place.read_bytes())
    for at in range(60, 160):
        packed[at] ^= 0xFF
    place.write_bytes(bytes(packed))
    with pytest.raises(UserError, match="damaged"):
        list(lieder._zipped(place) if kind == "zip" else lieder._tarred(place))


def test_a_damaged_archive_is_told_of(scores, tmp_path):
    packed = bytes_io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(scores, "scores")
    (tmp_path / "cut.tar.gz").write_bytes(packed.getvalue()[:-200])
    with pytest.raises(UserError, match="damaged"):
        list(render(tmp_path / "sung", tmp_path / "cut.tar.gz", SOUNDFONT))


def test_a_soundfont_that_is_none_leaves_the_song_out(scores, tmp_path):
    (tmp_path / "bad.sf2").write_bytes(b"RIFF")
    steps: list[Rendered] = []
    steps += render(tmp_path / "sung", scores / "deep", tmp_path / "bad.sf2")  # has no piano part
    with pytest.raises(UserError, match="no song could be sung"):
        steps += render(tmp_path / "other", scores / "rose.musicxml", tmp_path / "bad.sf2")


@pytest.mark.parametrize(
    ("options", "said"), [(["--language", "xx"], "nobody can sing"), (["--soundfont", "absent.sf2"], "no soundfont")]
)
def test_options_that_cannot_be_are_refused_before_any_work(scores, tmp_path, options, said):
    done = run(tmp_path / "sung", "--scores", scores, *options)
    assert isinstance(done.exception, UserError) and said in str(done.exception)
    assert not (tmp_path / "sung").exists()


@pytest.mark.parametrize("hours", ["nan", "inf"])
def test_hours_are_a_finite_number(tmp_path, hours):
    done = run(tmp_path / "sung", "--scores", tmp_path, "--hours", hours)
    assert done.exit_code == 2 and "not a finite number" in done.stderr


def test_missing_programs_and_soundfonts_are_named_with_the_line_that_installs_them(monkeypatch, tmp_path):
    monkeypatch.setattr(tools, "SOUNDFONTS", (tmp_path / "none.sf2",))
    with pytest.raises(UserError, match="fluidr3mono-gm-soundfont"):
        find_soundfont()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install espeak-ng fluidsynth"):
        find_soundfont()
    monkeypatch.setattr(tools, "_PACKAGES", ("no_such_package",))
    with pytest.raises(UserError, match=r"orchestrion\[sing\]"):
        find_soundfont()
