"""Songs are listed and looked for, wherever in a folder they are."""

import json
import shutil
from pathlib import Path

import pytest

import tiny
from orchestrion.cli.main import main
from orchestrion.library.tree import LibrarySong, write_song


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.write_tiny_model(Path("ditty"))

    def run(*given: str, status: int = 0) -> str:
        found = main([str(one) for one in given])
        told = capsys.readouterr()
        assert found == status, told.err
        return told.err if status else told.out

    def compose(output: str, *more: str) -> None:
        Path(output).parent.mkdir(exist_ok=True)
        asked = ("--model", "ditty", "--device", "cpu", "--seconds", "0.3", "-q")
        run("compose", *asked, *more, "-o", output)

    compose("waltz.flac", "--artist", "Bix", "--genre", "waltz", "--seed", "3")
    compose("more/second.wav", "--seed", "4")
    return run


def test_songs_are_listed_with_what_was_asked_for(run):
    second, first = run("songs", "list").splitlines()
    assert second.split() == ["waltz.flac", "0.3", "s", "seed", "3", "ditty", "Bix,", "waltz"]
    assert first.split() == ["more/second.wav", "0.3", "s", "seed", "4", "ditty"]
    (told,) = json.loads(run("songs", "list", "more", "--json"))["songs"]
    assert told["audio"] == ["more/second.wav"] and told["complete"] and told["folder"] == "more/second.song"
    assert run("songs", "list", "waltz.song").startswith("waltz.flac")


def test_songs_are_found_by_their_words(run):
    assert run("songs", "list", "--search", "BIX wal").startswith("waltz.flac")
    assert run("songs", "list", "--search", "second").startswith("more/second.wav")
    assert run("songs", "list", "--search", "bix second").strip() == "no such song"
    assert json.loads(run("songs", "list", "--search", "tango", "--json")) == {"songs": []}


def test_takes_of_a_library_have_its_titles_and_drafts_say_so(run):
    shutil.move("waltz.song", "more/waltz.song")
    write_song(Path("more"), LibrarySong(id="more", title="Evening", created="2026-01-01T00:00:00+00:00"))
    Path("more/waltz.song/codes.safetensors").unlink()
    lines = run("songs", "list", "more").splitlines()
    assert "Evening" in lines[0] and lines[1].startswith("more/waltz.song") and lines[1].endswith("not finished")
    assert run("songs", "list", "--search", "evening bix").startswith("more/waltz.song")


def test_what_cannot_be_read_is_told_and_hides_nothing(run, capsys):
    Path("more/second.song/request.json").write_text("{}")
    assert main(["songs", "list"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("waltz.flac") and "left out: more/second.song/request.json" in told.err
    assert "there is no folder nowhere" in run("songs", "list", "nowhere", status=2)
    assert "waltz.flac is not a folder" in run("songs", "list", "waltz.flac", status=2)
    Path("empty").mkdir()
    assert run("songs", "list", "empty").strip() == "no songs"
