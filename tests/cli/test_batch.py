import json
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest
import torch

import tiny
from orchestrion.audio import io
from orchestrion.checkpoints import zoo
from orchestrion.cli.main import main

COMPOSE = ("compose", "--model", "ditty", "--device", "cpu", "--seconds", "0.3", "-q")
LINES = [
    {"artist": "bix", "file": "bix.wav"},
    {"genres": ["folk"], "seed": 40},
    {"seconds": 0.5},
    {"artist": "bix", "seed": 0, "file": "again.flac"},
]


@pytest.fixture(autouse=True)
def _tiny_world(tmp_path, monkeypatch):
    tiny.write_tiny_model(tmp_path / "models" / "ditty")
    monkeypatch.setenv(zoo.MODELS_VARIABLE, str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orchestrion.jukebox.song.draw", lambda path, *_, **__: path.write_bytes(b"picture"))


def ask(*lines: object) -> None:
    Path("songs.jsonl").write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = main((*COMPOSE, "--batch", "songs.jsonl", *arguments))
    return status, *capsys.readouterr()


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.suffix in (".flac", ".wav")}


def test_each_line_is_the_song_that_it_is_alone(capsys):
    ask(*LINES)
    assert run(capsys, "--seed", "5") == (0, "songs\n", "")
    assert sorted(contents("songs")) == ["again.flac", "bix.wav", "song-0002.flac", "song-0003.flac"]
    alone = (*COMPOSE, "--seed", "7", "--seconds", "0.5", "-o", "alone.flac")
    assert main(alone) == 0
    assert Path("alone.flac").read_bytes() == Path("songs/song-0003.flac").read_bytes()


def test_songs_that_are_there_are_not_made_again(capsys, monkeypatch):
    ask(*LINES)
    assert run(capsys, "--together", "1")[0] == 0
    before, whole = Path("songs/bix.wav").stat().st_mtime_ns, contents("songs")
    for name in ("song-0002.flac", "song-0002.flac.json", "song-0003.flac"):
        Path("songs", name).unlink()
    status, out, _ = run(capsys, "--json")
    result = json.loads(out)
    assert (status, result["songs"], result["made_before"]) == (0, 4, 2)
    assert sorted(Path(made["audio"]).name for made in result["made"]) == ["song-0002.flac", "song-0003.flac"]
    assert contents("songs") == whole and Path("songs/bix.wav").stat().st_mtime_ns == before


@contextmanager
def stopped_after(events: int) -> Iterator[None]:
    """Songs are stopped, as by Ctrl-C, when this many codes were drawn."""
    from orchestrion.jukebox import making

    real, done = making.fill_song, []

    def interrupted(*args, **kwargs):
        for event in real(*args, **kwargs):
            done.append(event)
            if len(done) == events:
                raise KeyboardInterrupt
            yield event

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(making, "fill_song", interrupted)
        patched.setattr(making, "stream_song", interrupted)
        yield


def test_a_batch_that_was_stopped_goes_on(capsys):
    ask(*LINES)
    assert run(capsys, "-o", "whole")[0] == 0
    with stopped_after(120):
        status, _, err = run(capsys, "--together", "1")
    assert status == 130 and "same command" in err
    assert contents("songs") != contents("whole")
    assert run(capsys, "--together", "1")[0] == 0
    assert contents("songs") == contents("whole")


@pytest.mark.parametrize("events", [1, 40])
def test_a_batch_that_was_stopped_while_it_replaced_a_song_makes_the_new_one(capsys, events):
    ask({"seed": 2})
    assert run(capsys, "-o", "whole")[0] == 0
    ask({"seed": 1})
    assert run(capsys)[0] == 0
    old = contents("songs")
    ask({"seed": 2})
    with stopped_after(events):
        assert run(capsys, "--force")[0] == 130
    status, _, err = run(capsys)
    assert status == 2 and "exists already" in err and contents("songs") == old != contents("whole")
    assert json.loads(run(capsys, "--force", "--json")[1])["made_before"] == 0
    assert contents("songs") == contents("whole")
    assert json.loads(run(capsys, "--json")[1])["made_before"] == 1


def test_audio_of_an_unfinished_song_is_not_the_song(capsys):
    ask({})
    with stopped_after(40):
        assert run(capsys)[0] == 130
    assert main(("decode", "songs/song-0001.song", "--device", "cpu", "-o", "songs/song-0001.flac")) == 0
    Path("songs/song-0001.png").write_bytes(b"picture")
    assert json.loads(run(capsys, "--json")[1].split("\n", 1)[1])["made_before"] == 0


@pytest.mark.slow
def test_two_devices_make_the_same_songs(capsys):
    ask(*LINES)
    assert run(capsys, "-o", "one", "--threads", "1", "--together", "1")[0] == 0
    assert run(capsys, "-o", "two", "--threads", "1", "--together", "1", "--device", "cpu,cpu")[0] == 0
    assert contents("one") == contents("two")


@pytest.mark.slow
def test_a_ray_cluster_makes_the_same_songs_each_once(capsys):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    ask(*LINES)
    assert run(capsys, "-o", "one", "--threads", "1", "--together", "1")[0] == 0
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    try:
        options = ("-o", "many", "--threads", "1", "--together", "1", "--ray")
        assert run(capsys, *options)[0] == 0
        assert contents("one") == contents("many")
        written = Path("many/bix.wav").stat().st_mtime_ns
        assert run(capsys, *options)[0] == 0
        assert Path("many/bix.wav").stat().st_mtime_ns == written
    finally:
        ray.shutdown()


def test_workers_elsewhere_find_prompts_where_the_command_was_given(capsys, monkeypatch, tmp_path):
    def elsewhere(work, asked, **_):
        for one in asked:
            with chdir(tmp_path / "models"):
                result = work(one)
            yield result

    monkeypatch.setattr("orchestrion.cli.batch.everywhere", elsewhere)
    io.write(Path("mine.wav"), torch.zeros(1, 1600), 1600)
    ask({"prime": {"path": "mine.wav", "seconds": 0.1}})
    assert run(capsys, "--ray")[0] == 0
    asked = json.loads(Path("songs/song-0001.song/request.json").read_text())["request"]
    assert asked["prime"]["path"] == "mine.wav"
    assert json.loads(run(capsys, "--json")[1])["made_before"] == 1


REFUSED = [
    (["{"], "line 1: is not JSON"),
    (["[1]"], "line 1: is not a JSON object"),
    (["[" * 100_000], "line 1: holds what cannot be read"),
    (['{"seed": ' + "1" * 5000 + "}"], "line 1: holds what cannot be read"),
    (
        [{}, {"artst": "bix"}],
        "line 2: what it asks for cannot be used: there is no setting 'artst' (did you mean 'artist'",
    ),
    ([{"file": "../a.flac"}], "without folders"),
    ([{"file": "a.xyz"}], "a.xyz"),
    ([{"file": "a\0.flac"}], "its name is not text"),
    ([{"file": "\udcff.flac"}], "its name is not text"),
    ([{"file": "a.flac"}, {"file": "a.flac"}], "a.flac and a.flac would share a song folder"),
    ([{"file": "a.flac"}, {"file": "A.mp3", "seconds": 1}], "a.flac and A.mp3 would share a song folder"),
    ([{"artist": "Biks"}], "song-0001.flac: "),
    ([{"seconds": 0.0001}], "song-0001.flac: "),
    ([{"seconds": -1.0}], "line 1"),
    ([{}, {"prime": {"path": "misspelt.wav"}}], "song-0002.flac: there is no file misspelt.wav"),
    ([{"origin": {"song": "a", "act": "continue", "codes_sha256": ""}}], "line 1: is of a song made from another"),
    ([], "asks for no song"),
]


@pytest.mark.parametrize(("lines", "said"), REFUSED)
def test_what_is_wrong_is_said_before_anything_is_made(capsys, lines, said):
    ask(*lines)
    status, out, err = run(capsys)
    assert (status, out) == (2, "") and said in err and "Traceback" not in err
    assert not list(Path().glob("songs/*"))


def test_every_device_is_looked_for_before_anything_is_made(capsys):
    ask({})
    status, out, err = run(capsys, "--device", "cpu,gramophone")
    assert (status, out) == (2, "") and "'gramophone' cannot be used" in err
    assert not Path("songs").exists()


def test_another_song_is_not_replaced_without_force(capsys):
    ask({"seed": 1})
    assert run(capsys)[0] == 0
    first = contents("songs")
    ask({"seed": 2})
    status, _, err = run(capsys)
    assert status == 2 and "another seed" in err and contents("songs") == first
    assert run(capsys, "--force")[0] == 0
    assert contents("songs") != first


def test_audio_that_was_put_beside_an_unfinished_song_is_not_replaced(capsys):
    ask({})
    with stopped_after(40):
        assert run(capsys)[0] == 130
    Path("songs/song-0001.flac").write_bytes(b"mine")
    status, _, err = run(capsys)
    assert status == 2 and "song-0001.flac exists already" in err
    assert Path("songs/song-0001.flac").read_bytes() == b"mine"
    assert run(capsys, "--force")[0] == 0 and Path("songs/song-0001.flac").read_bytes() != b"mine"


def test_a_batch_does_not_write_over_what_it_is_made_from(capsys):
    Path("songs").mkdir()
    io.write(Path("songs/a.flac"), torch.zeros(1, 1600), 1600)
    Path("songs/b.lrc").write_text("[00:01.00]la\n")
    before = Path("songs/a.flac").read_bytes()
    ask({"file": "a.flac", "prime": {"path": "songs/a.flac", "seconds": 0.1}})
    status, _, err = run(capsys, "--force")
    assert status == 2 and "songs/a.flac is the file of its prompt" in err
    ask({"file": "b.flac", "lyrics": ""})
    status, _, err = run(capsys, "--force", "--lyrics", "songs/b.lrc")
    assert status == 2 and "songs/b.lrc is the file of --lyrics" in err
    Path("songs/c.song").mkdir()
    Path("songs.jsonl").rename("songs/c.song/songs.jsonl")
    Path("songs.jsonl").symlink_to("songs/c.song/songs.jsonl")
    ask({"file": "c.flac"})
    status, _, err = run(capsys, "--force")
    assert status == 2 and "the file of --batch is in songs/c.song" in err
    assert Path("songs/a.flac").read_bytes() == before and Path("songs/b.lrc").read_text() == "[00:01.00]la\n"


def test_a_batch_has_no_takes(capsys):
    ask({})
    status, _, err = run(capsys, "--takes", "2")
    assert status == 2 and "takes" in err
    assert main((*COMPOSE, "--ray")) == 2
    assert "--batch" in capsys.readouterr().err
    assert main((*COMPOSE, "--together", "2")) == 2
    assert "--batch" in capsys.readouterr().err
