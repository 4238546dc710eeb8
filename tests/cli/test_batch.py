"""A batch makes each song once, goes on where it was stopped, and shares the work with other processes."""

import fcntl
import json
from pathlib import Path

import pytest

import tiny
from orchestrion.checkpoints import zoo
from orchestrion.cli.main import main
from orchestrion.library.folder import SongFolder


@pytest.fixture(autouse=True)
def _tiny_world(tmp_path, monkeypatch):
    tiny.write_tiny_model(tmp_path / "models" / "ditty")
    monkeypatch.setenv(zoo.MODELS_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setattr("orchestrion.jukebox.song.draw", lambda path, *_, **__: path.write_bytes(b"picture"))


ASKED = [{"seed": 1, "artist": "bix"}, {"seed": 2, "seconds": 0.4, "name": "two.wav"}, {"genres": ["jazz"]}]


def requests(*lines: object) -> None:
    Path("list.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")


def batch(*more: str) -> int:
    command = ["compose", "--model", "ditty", "--device", "cpu", "--seconds", "0.3", "--batch", "list.jsonl", "-q"]
    return main([*command, *more])


def written(folder: str = "list") -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(Path(folder).iterdir()) if path.is_file()}


def test_each_line_becomes_a_song_and_is_made_once(capsys):
    requests(*ASKED)
    assert batch() == 0
    assert capsys.readouterr().out.split() == ["list/song-0001.flac", "list/two.wav", "list/song-0003.flac"]
    asked = SongFolder.open(Path("list/song-0001.song")).info.request
    assert (asked["artist"], asked["seed"], asked["seconds"]) == ("Bix", 1, 0.3)
    assert SongFolder.open(Path("list/two.song")).info.request["seconds"] == 0.4
    before = written()
    assert not any(name.endswith(".lock") for name in before)
    assert batch() == 0
    assert capsys.readouterr().out == "" and written() == before
    requests(*ASKED, {"name": "more"})
    assert batch() == 0
    assert capsys.readouterr().out.split() == ["list/more.flac"]


def test_the_songs_are_those_that_would_be_made_alone(capsys):
    requests(*ASKED)
    assert batch("-o", "songs") == 0
    alone = ["compose", "--model", "ditty", "--device", "cpu", "-q", "--seed", "2", "--seconds", "0.4", "-o", "two.wav"]
    assert main(alone) == 0
    assert Path("two.wav").read_bytes() == Path("songs/two.wav").read_bytes()


def test_a_stopped_batch_goes_on(capsys, monkeypatch):
    requests(*ASKED)
    assert batch("-o", "whole") == 0
    from orchestrion.jukebox import making

    real, seen = making.fill_song, []

    def interrupted(*args, **kwargs):
        for event in real(*args, **kwargs):
            seen.append(event)
            if len(seen) == 100:
                raise KeyboardInterrupt
            yield event

    with monkeypatch.context() as patched:
        patched.setattr(making, "fill_song", interrupted)
        assert batch() == 130
    done = written()
    assert "song-0001.flac" in done and "song-0003.flac" not in done
    assert batch() == 0
    assert done["song-0001.flac"] == written()["song-0001.flac"]
    for name in ("song-0001.flac", "two.wav", "song-0003.flac"):
        assert (Path("list") / name).read_bytes() == (Path("whole") / name).read_bytes()


def test_a_song_that_another_process_makes_is_left_to_it(capsys):
    requests(*ASKED)
    Path("list").mkdir()
    with Path("list/.two.wav.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert batch() == 0
    said = capsys.readouterr()
    assert "two.wav is being made by another process" in said.err
    assert said.out.split() == ["list/song-0001.flac", "list/song-0003.flac"]
    assert batch() == 0
    assert capsys.readouterr().out.split() == ["list/two.wav"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"artist": "Bixx"}, "song-0002.flac: no artist called 'Bixx'"),
        ({"sead": 1}, "line 2 of list.jsonl: this request cannot be used: there is no setting 'sead'"),
        ({"name": "a/b.flac"}, "line 2 of list.jsonl: 'a/b.flac' is not a plain name"),
        ({"name": "song-0001"}, "line 2 of list.jsonl: the name 'song-0001' is given twice"),
        (7, "line 2 of list.jsonl is not a request"),
    ],
)
def test_a_wrong_line_is_named_before_anything_is_made(capsys, line, said):
    requests({}, line)
    assert batch() == 2
    assert said in capsys.readouterr().err
    assert not Path("list").exists() or not written()


def test_another_song_is_not_overwritten(capsys):
    requests({"seed": 1})
    assert batch() == 0
    before = Path("list/song-0001.flac").read_bytes()
    requests({"seed": 2})
    assert batch() == 2
    assert "another song than the one asked for" in capsys.readouterr().err
    assert Path("list/song-0001.flac").read_bytes() == before
    assert batch("--force") == 0
    assert Path("list/song-0001.flac").read_bytes() != before
