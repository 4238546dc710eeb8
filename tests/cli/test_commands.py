import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from orchestrion.audio import io
from orchestrion.checkpoints import zoo
from orchestrion.cli.main import COMMANDS, cli, main
from orchestrion.library.folder import SongFolder


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.write_tiny_model(folder / "ditty")
    return folder


@pytest.fixture(autouse=True)
def _tiny_world(models, request, monkeypatch):
    monkeypatch.setenv(zoo.MODELS_VARIABLE, str(models))
    if "picture" not in request.node.name:
        monkeypatch.setattr("orchestrion.jukebox.song.draw", lambda path, *_, **__: path.write_bytes(b"picture"))


COMPOSE = ("compose", "--model", "ditty", "--device", "cpu", "--seconds", "0.3", "--seed", "7")


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    return status, *capsys.readouterr()


def walk(command, words=()):
    import click

    context = click.Context(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*words, name))
    else:
        yield " ".join(words), command


def test_every_command_is_documented_and_explains_itself(repo_root):
    page = (repo_root / "docs/cli.md").read_text()
    for name, command in walk(cli):
        assert f"## {name}\n" in page, f"docs/cli.md has no heading for {name!r}"
        assert command.help, name


def test_help_does_not_import_torch():
    code = (
        "import sys; from orchestrion.cli.main import main; status = main(['--help']);"
        "assert status == 0, status; assert 'torch' not in sys.modules and 'numpy' not in sys.modules;"
        "assert main(['compose', '--help']) == 0; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def alone(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = (sys.executable, "-m", "orchestrion", *arguments)
    return subprocess.run(command, stderr=subprocess.PIPE, check=False, timeout=100, **options)


def test_what_an_encoding_does_not_have_is_written_as_its_number():
    done = alone(
        "compose", "--help", stdout=subprocess.PIPE, env={**os.environ, "PYTHONIOENCODING": "latin1", "PYTHONUTF8": "0"}
    )
    assert (done.returncode, done.stderr) == (0, b"") and b"song-2.flac, \\u2026" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_an_output_that_takes_nothing_is_one_message_and_status_2():
    with Path("/dev/full").open("wb") as full:
        done = alone("--version", stdout=full)
    assert done.returncode == 2
    assert done.stderr == b"orchestrion: the result cannot be written to standard output: No space left on device\n"


def test_a_song_its_picture_and_its_folder_are_made(capsys):
    status, out, err = run(capsys, *COMPOSE, "--artist", "bix", "--genre", "jazz", "-o", "s.flac")
    assert (status, out) == (0, "s.flac\n")
    assert "compose level 1" in err and "decode level 0" in err
    assert io.probe(Path("s.flac")).seconds == pytest.approx(0.3)
    assert Path("s.png").stat().st_size > 1000
    assert SongFolder.open(Path("s.song")).info.request["artist"] == "Bix"


@pytest.mark.parametrize("suffix", ["wav", "ogg", "mp3", "opus"])
def test_songs_are_written_as_their_name_says(capsys, suffix):
    assert run(capsys, *COMPOSE, "-q", "-o", f"s.{suffix}")[0] == 0
    assert io.probe(Path(f"s.{suffix}")).seconds == pytest.approx(0.3, abs=0.1)


def test_the_result_as_json(capsys):
    status, out, err = run(capsys, *COMPOSE, "-q", "--json", "--top-p", "0.9", "--top-k", "5,0")
    result = json.loads(out)
    assert status == 0 and err == ""
    assert result["audio"] == "song.flac" and result["seconds"] == pytest.approx(0.3)
    sampling = result["request"]["sampling"]
    assert [level["top_p"] for level in sampling] == [0.9, 0.9]
    assert [level["top_k"] for level in sampling] == [5, None]
    assert sampling[0]["temperature"] == 0.9, "the model's own where nothing is given"
    assert set(result["took_seconds"]) == {"compose level 1", "compose level 0", "decode level 1", "decode level 0"}


def test_the_same_command_gives_the_same_bytes(capsys):
    for name in ("a", "b"):
        assert run(capsys, *COMPOSE, "-q", "-o", f"{name}.flac")[0] == 0
    assert Path("a.flac").read_bytes() == Path("b.flac").read_bytes()


@pytest.mark.parametrize(
    "events, kept",
    [
        (9, "nothing yet, as codes are kept at the end of each window"),
        (70, "0.3 s of level 1 and 0.2 s of level 0"),
    ],
)
def test_a_stopped_command_says_how_to_go_on_and_then_does(capsys, monkeypatch, events, kept):
    assert run(capsys, *COMPOSE, "-q", "-o", "whole.flac")[0] == 0
    from orchestrion.jukebox import making as jukebox

    real, done = jukebox.fill_song, []

    def interrupted(*args, **kwargs):
        for event in real(*args, **kwargs):
            done.append(event)
            if len(done) == events:
                raise KeyboardInterrupt
            yield event

    with monkeypatch.context() as patched:
        patched.setattr(jukebox, "fill_song", interrupted)
        status, out, err = run(capsys, *COMPOSE, "-q", "-o", "s.flac")
    assert (status, out) == (130, "")
    assert err == f"stopped; kept in s.song: {kept}; the same command goes on from there\n"
    assert not Path("s.flac").exists()
    status, _, err = run(capsys, *COMPOSE, "-q", "--seed", "8", "-o", "s.flac")
    assert status == 2 and "another seed" in err
    assert run(capsys, *COMPOSE, "-q", "-o", "s.flac")[0] == 0
    assert Path("s.flac").read_bytes() == Path("whole.flac").read_bytes()


def test_a_song_that_was_stopped_while_it_was_written_is_written_by_the_same_command(capsys, monkeypatch):
    def draw(path, *_, **__):
        if path == Path("s.png"):
            raise KeyboardInterrupt
        path.write_bytes(b"picture")

    with monkeypatch.context() as patched:
        patched.setattr("orchestrion.jukebox.song.draw", draw)
        status, _, err = run(capsys, *COMPOSE, "-q", "-o", "s.flac")
    assert status == 130 and "0.3 s of level 0" in err
    written = Path("s.flac").read_bytes()
    for name in ("s.png", "s.flac.json"):
        Path(name).unlink(missing_ok=True)
        assert run(capsys, *COMPOSE, "-q", "-o", "s.flac")[0] == 0
        assert Path("s.flac").read_bytes() == written and Path(name).exists()
    assert run(capsys, *COMPOSE, "-q", "--seed", "8", "-o", "s.flac")[0] == 2
    Path("s.flac").write_bytes(b"dear")
    Path("s.flac.json").unlink()
    status, _, err = run(capsys, *COMPOSE, "-q", "-o", "s.flac")
    assert status == 2 and "s.flac exists already" in err and Path("s.flac").read_bytes() == b"dear"


def test_more_takes_and_other_songs_that_are_made_leave_what_is_there_as_it_is(capsys):
    assert run(capsys, *COMPOSE, "-q", "--takes", "2")[0] == 0
    Path("song-1.png").write_bytes(b"mine")
    before = Path("song-1.flac").stat().st_mtime_ns
    assert run(capsys, *COMPOSE, "-q", "--takes", "3")[1] == "song-1.flac\nsong-2.flac\nsong-3.flac\n"
    assert Path("song-1.png").read_bytes() == b"mine" and Path("song-1.flac").stat().st_mtime_ns == before
    for _ in range(2):
        assert run(capsys, "continue", "song-1.flac", "--seconds", "0.1", "-q")[0] == 0
    status, _, err = run(capsys, "continue", "song-1.flac", "--seconds", "0.2", "-q")
    assert status == 2 and "song-1-continued.song holds another song" in err


REFUSED = [
    (("-o", "song.xyz"), "song.xyz"),
    (("-o", "song"), "song"),
    (("-o", "there.flac"), "exists already"),
    (("-o", "."), "cannot write audio as '.'"),
    (("-o", ".", "--takes", "2"), "cannot write audio as '.'"),
    (("--seconds", "0"), "above 0"),
    (("--seconds", "-3"), "above 0"),
    (("--seconds", "nan"), "above 0"),
    (("--seconds", "inf"), "above 0"),
    (("--seconds", "0.001"), "less than one code"),
    (("--seconds", "many"), "not a valid float"),
    (("--artist", "Biks"), "Bix"),
    (("--genre", "valz"), "waltz"),
    (("--model", "dity"), "did you mean ditty"),
    (("--device", "gramophone"), "gramophone"),
    (("--temperature", "-1"), "temperature"),
    (("--temperature", "1,2,3"), "3 levels"),
    (("--temperature", "hot"), "not a number"),
    (("--top-p", "0"), "top_p"),
    (("--prime", "none.wav"), "none.wav"),
    (("--prime-start", "3"), "--prime"),
    (("--prime", "text.wav"), "text.wav"),
    (("--sceonds", "3"), "--seconds"),
    (("-o", "there.flac/song.flac"), "there.flac"),
    (("-o", os.fsdecode(b"\xff.flac")), "its name is not text"),
    (("-o", "folder.flac", "--force"), "folder.flac is a folder"),
    (("-o", "text.flac", "--force", "--lyrics", "text.lrc"), "text.lrc is the file of --lyrics"),
    (("-o", "there.flac", "--force", "--prime", "there.flac"), "there.flac is the file of --prime"),
    (("--threads", "1000000"), "1024"),
    (("-o", 300 * "a" + ".flac"), "the name is too long"),
    (("--prime", 300 * "a" + ".wav"), "the name is too long"),
    (("--model", 300 * "a"), "the name is too long"),
]


@pytest.mark.parametrize("arguments, problem", REFUSED, ids=[" ".join(a)[:60] for a, _ in REFUSED])
def test_what_cannot_be_done_is_one_message_and_status_2(capsys, monkeypatch, arguments, problem):
    Path("there.flac").write_bytes(b"dear")
    Path("text.wav").write_text("words")
    Path("text.lrc").write_text("[00:01.00]words")
    Path("folder.flac").mkdir()
    for weights in ("load_prior", "load_codec"):
        monkeypatch.setattr(f"orchestrion.jukebox.model.{weights}", None)
    status, out, err = run(capsys, *COMPOSE, *arguments)
    assert (status, out) == (2, "")
    assert problem in err and "Traceback" not in err
    assert Path("there.flac").read_bytes() == b"dear"
    there = ["folder.flac", "text.lrc", "text.wav", "there.flac"]
    assert sorted(p.name for p in Path().iterdir()) == there, "nothing is left behind"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_refused(capsys):
    for mode in (0o500, 0o400, 0o000):
        Path(f"{mode:o}").mkdir(mode=mode)
        for options in (("-o", f"{mode:o}/song.flac"), ("--prime", f"{mode:o}/song.flac")):
            status, _, err = run(capsys, *COMPOSE, *options)
            assert status == 2 and ("permission" in err or "no file" in err)


def test_a_path_that_may_not_be_looked_at_is_one_message_and_status_2(capsys, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    status, out, err = run(capsys, *COMPOSE, "-o", "locked/song.flac")
    assert (status, out) == (2, "") and "cannot read locked/song.flac: permission is denied" in err


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(lambda torch: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), id="CUDA"),
        pytest.param(lambda torch: torch.empty(2**60), id="processor"),
        pytest.param(lambda torch: MemoryError(), id="Python"),
    ],
)
def test_too_little_memory_is_one_message_and_status_2(capsys, monkeypatch, error):
    import torch

    def lack(*_, **__):
        raise error(torch)

    monkeypatch.setattr("orchestrion.jukebox.making.fill_song", lack)
    status, out, err = run(capsys, *COMPOSE, "-q")
    assert (status, out) == (2, "")
    assert "not enough memory" in err and "--takes" in err and "--device cpu" in err
    monkeypatch.setattr("orchestrion.cli.train.joined_device", lack)
    status, out, err = run(capsys, "train", "codec", "music.jsonl", "--run", "run")
    assert (status, out) == (2, "") and "training.accumulate" in err


def test_another_error_of_the_program_is_not_taken_for_too_little_memory(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("orchestrion.jukebox.making.fill_song", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        main((*COMPOSE, "-q"))


def test_force_replaces_another_song(capsys):
    assert run(capsys, *COMPOSE, "-q")[0] == 0
    status, _, err = run(capsys, *COMPOSE, "-q", "--seed", "8")
    assert status == 2 and "--force" in err
    before = Path("song.flac").read_bytes()
    assert run(capsys, *COMPOSE, "-q", "--seed", "8", "--force")[0] == 0
    assert Path("song.flac").read_bytes() != before
    assert SongFolder.open(Path("song.song")).info.request["seed"] == 8


def test_a_song_is_not_replaced_by_what_begins_with_a_part_of_it(capsys):
    assert run(capsys, *COMPOSE, "-q")[0] == 0
    Path("song.song/words.txt").write_text("la")
    Path("linked").symlink_to("song.song")
    for option, name in (("--prime", "audio/level_0.flac"), ("--lyrics", "words.txt")):
        for folder in ("song.song", "linked"):
            status, _, err = run(capsys, *COMPOSE, "-q", "--seed", "8", "--force", option, f"{folder}/{name}")
            assert status == 2 and f"the file of {option} is in song.song" in err
    assert SongFolder.open(Path("song.song")).info.request["seed"] == 7


def test_a_song_is_primed_with_a_file(capsys):
    import torch

    io.write(Path("mine.wav"), 0.2 * torch.randn(1, 1600, generator=torch.Generator().manual_seed(0)), 1600)
    status, out, _ = run(capsys, *COMPOSE, "-q", "--json", "--prime", "mine.wav", "--prime-seconds", "0.2")
    assert status == 0
    assert json.loads(out)["request"]["prime"] == {"path": "mine.wav", "start_seconds": 0.0, "seconds": 0.2}


def test_a_song_is_continued_upsampled_and_decoded(capsys):
    assert run(capsys, *COMPOSE, "-q", "--finest-level", "1", "-o", "draft.wav")[0] == 0
    assert run(capsys, "continue", "draft.wav", "--seconds", "0.4", "-q")[1] == "draft-continued.wav\n"
    assert run(capsys, "upsample", "draft-continued.wav", "-q", "-o", "full.flac")[1] == "full.flac\n"
    assert io.probe(Path("full.flac")).seconds == pytest.approx(0.7)
    assert run(capsys, "decode", "full.flac", "--level", "1")[1] == "full-level1.flac\n"
    assert io.probe(Path("full-level1.flac")).seconds == pytest.approx(0.7)
    short, long, full = (SongFolder.open(Path(f"{n}.song")).codes() for n in ("draft", "draft-continued", "full"))
    assert (long[1][:, : short[1].shape[1]] == short[1]).all()
    assert (full[1] == long[1]).all() and full.has(0) and not long.has(0)


def test_the_same_song_in_another_format_keeps_its_picture_and_another_song_does_not_come_there(capsys):
    assert run(capsys, *COMPOSE, "-q")[0] == 0
    drawn = Path("song.png").stat()
    assert run(capsys, *COMPOSE, "-q", "-o", "song.wav")[1] == "song.wav\n"
    assert Path("song.png").stat() == drawn
    status, _, err = run(capsys, *COMPOSE, "-q", "--seed", "8", "-o", "song.ogg")
    assert status == 2 and "with another seed" in err and not Path("song.ogg").exists()


def test_parts_of_a_song_come_back(capsys):
    leaning = ("-q", "--leaning", "1000")
    assert run(capsys, *COMPOSE, *leaning, "--seconds", "0.6", "--form", "aba")[0] == 0
    assert "form     ABA" in run(capsys, "songs", "show", "song.flac")[1]
    again = ("--seconds", "0.4", "--reprise", "0.2", "0.4")
    assert run(capsys, "continue", "song.flac", *leaning, *again)[1] == "song-continued.flac\n"
    assert "0.2 s from 0.2 s on again at 0.6 s" in run(capsys, "songs", "show", "song-continued.flac")[1]
    codes = SongFolder.open(Path("song-continued.song")).codes()[1][0]
    assert (codes[20:30] == codes[:10]).all() and (codes[30:40] == codes[10:20]).all()
    assert (codes[:10] != codes[10:20]).any() and (codes[40:] != codes[20:30]).any()
    status, _, err = run(capsys, "continue", "song.flac", "--seconds", "1", "--reprise", "0.4", "0.8", "--force")
    assert status == 2 and "cannot come back after 0.6 s" in err
    status, _, err = run(capsys, *COMPOSE, "--form", "A4", "-o", "other.flac")
    assert status == 2 and "no form of a song" in err


def test_a_part_of_a_song_is_made_again(capsys):
    assert run(capsys, *COMPOSE, "-q", "--seconds", "1")[0] == 0
    assert run(capsys, "repaint", "song.flac", "--from", "0.4", "--to", "0.6", "-q")[1] == "song-repainted.flac\n"
    before, after = (SongFolder.open(Path(f"{name}.song")).codes() for name in ("song", "song-repainted"))
    assert (before[1][:, :20] == after[1][:, :20]).all() and (before[1][:, 30:] == after[1][:, 30:]).all()
    assert (before[1] != after[1]).any()


@pytest.mark.parametrize(
    "command", [("continue", "--seconds", "0.2"), ("upsample",), ("repaint", "--from", "0", "--to", "0.1")]
)
def test_a_song_is_not_replaced_by_what_is_made_of_it(capsys, command):
    assert run(capsys, *COMPOSE, "-q")[0] == 0
    codes = Path("song.song/codes.safetensors").read_bytes()
    Path("link.song").symlink_to("song.song")
    for name in ("song.flac", "song.wav", "link.flac"):
        status, _, err = run(capsys, command[0], "song.flac", *command[1:], "-q", "-o", name, "--force")
        assert status == 2 and "is the song that this is made from" in err
    assert Path("song.song/codes.safetensors").read_bytes() == codes


def test_a_folder_that_another_song_took_is_not_taken_for_that_of_the_audio(capsys):
    assert run(capsys, *COMPOSE, "-q")[0] == 0
    other = (*COMPOSE, "--seed", "99", "-q")
    codes = Path("song.song/codes.safetensors").read_bytes()
    status, _, err = run(capsys, *other, "-o", "song.wav", "--force")
    assert status == 2 and "is the song of song.flac too" in err and "orchestrion decode song.flac" in err
    assert Path("song.song/codes.safetensors").read_bytes() == codes and not Path("song.wav").exists()
    assert run(capsys, *other, "-o", "another.flac")[0] == 0
    shutil.rmtree("song.song")
    shutil.move("another.song", "song.song")  # as someone may who copies folders
    for command in (
        ("continue", "song.flac", "--seconds", "0.2"),
        ("songs", "show", "song.flac"),
        ("decode", "song.flac"),
    ):
        status, _, err = run(capsys, *command)
        assert status == 2 and "song.flac was made from another song than the one that is in song.song now" in err
    status, text, _ = run(capsys, "songs", "verify", "song.flac")
    assert status == 1 and "it is another song" in text
    assert run(capsys, "songs", "show", "song.song")[0] == 0


def test_what_someone_put_in_the_place_of_a_song_stays(capsys):
    assert run(capsys, *COMPOSE, "-q")[0] == 0
    before = Path("song.flac").read_bytes()
    Path("song.flac").write_bytes(b"mine")
    status, _, err = run(capsys, *COMPOSE, "-q")
    assert status == 2 and "song.flac exists already" in err and Path("song.flac").read_bytes() == b"mine"
    Path("song.flac").unlink()
    assert run(capsys, *COMPOSE, "-q")[0] == 0 and Path("song.flac").read_bytes() == before


def test_a_model_in_a_folder_is_found_from_another_place(capsys, monkeypatch, tmp_path):
    tiny.write_tiny_model(tmp_path / "own" / "mine")
    tiny.write_tiny_adapter(tmp_path / "own" / "learned", tmp_path / "own" / "mine")
    monkeypatch.chdir(tmp_path / "own")
    asked = ("compose", "--model", "mine", "--device", "cpu", "--seconds", "0.3", "-q")
    assert run(capsys, *asked, "-o", "one.flac")[0] == 0
    assert run(capsys, *asked, "--adapter", "learned", "--artist", "Clara", "-o", "two.flac")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("one", "two"):
        song = f"../own/{name}.flac"
        assert run(capsys, "continue", song, "--seconds", "0.2", "-q", "-o", f"{name}-longer.flac")[0] == 0
        assert run(capsys, "songs", "replay", song, "-q")[:2] == (0, f"{song}: the same bytes\n")
        status, text, _ = run(capsys, "songs", "verify", song)
        assert status == 0 and "codes" in text and "made the file" in text and "not at hand" not in text
    (tmp_path / "gone").mkdir()
    shutil.move(tmp_path / "own" / "learned", tmp_path / "gone" / "learned")
    status, _, err = run(capsys, "continue", "../own/two.flac", "--seconds", "0.2", "-q", "-o", "more.flac")
    assert status == 2 and "what made ../own/two.song is not here: there is no adapter" in err and "--adapter" in err
    status, _, err = run(capsys, "songs", "replay", "../own/two.flac", "-q")
    assert status == 2 and "--adapter" in err
    again = ("songs", "replay", "../own/two.flac", "-q", "--adapter", "../gone/learned")
    assert run(capsys, *again)[:2] == (0, "../own/two.flac: the same bytes\n")


def test_a_song_is_played_while_it_is_made(capsys, monkeypatch):
    log = []

    class Player:
        def __init__(self, sample_rate, channels):
            log.append((sample_rate, channels))

        def put(self, piece):
            log.append(piece.shape[-1])

        def finish(self):
            log.append("heard")

        def close(self):
            log.append("silent")

    monkeypatch.setattr("orchestrion.audio.play.Player", Player)
    assert run(capsys, *COMPOSE, "-q", "--seconds", "1")[0] == 0
    assert run(capsys, *COMPOSE, "-q", "--seconds", "1", "--play", "-o", "played.flac")[:2] == (0, "played.flac\n")
    assert Path("played.flac").read_bytes() == Path("song.flac").read_bytes()
    assert log[0] == (1600, 1) and log[-1] == "heard" and sum(log[1:-1]) == 1600
    assert run(capsys, *COMPOSE, "--play", "--takes", "2", "-o", "two.flac")[0] == 2
    assert "silent" not in log


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (("repaint", "song.flac", "--from", "3", "--to", "4"), "the song ends at"),
        (("repaint", "song.flac", "--from", "0", "--to", "inf"), "no part from 0.0 s to inf s"),
        (("continue", "none.flac", "--seconds", "1"), "there is no song"),
        (("continue", "song.flac", "--seconds", "0"), "above 0"),
        (("continue", "song.flac", "--seconds", "1", "-o", "song.flac"), "is the song that this is made from"),
        (("continue", "song.flac", "--seconds", "1", "--artist", "Adda"), "Ada Byron"),
        (("upsample", "song.flac", "-o", "a.xyz"), "a.xyz"),
        (("decode", "song.flac", "--level", "2"), "no level 2"),
        (("songs", "show", "."), "no song in"),
        (("models", "show", "dity"), "did you mean ditty"),
        (("models", "show", "."), "no model in"),
        (("sing",), "sing"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_songs_and_models_that_cannot_be_had_are_status_2(capsys, arguments, problem):
    assert run(capsys, *COMPOSE, "-q")[0] == 0
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and problem in err


def test_a_song_is_described(capsys):
    assert run(capsys, *COMPOSE, "-q", "--genre", "folk")[0] == 0
    _, text, _ = run(capsys, "songs", "show", "song.flac")
    assert "folk" in text and "complete" in text and "ditty" in text
    assert "drawn    level 1: temperature 1, top-p 0.95, guidance 1" in text
    described = json.loads(run(capsys, "songs", "show", "song.song", "--json")[1])
    assert described["complete"] and described["levels"][1]["codes"] == 15


@pytest.mark.parametrize(
    "changes",
    [{"finest_level": "x"}, {"genres": 5}, {"prime": "x"}, {"origin": "x"}, {"seconds": None}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_song_that_was_edited_by_hand_is_explained(capsys, changes):
    assert run(capsys, *COMPOSE, "-q")[0] == 0
    path = Path("song.song/request.json")
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "request": {**about["request"], **changes}}))
    for command in (("songs", "show", "song.song"), ("align", "song.song", "-o", "words.lrc")):
        status, out, err = run(capsys, *command)
        assert (status, out) == (2, "") and f"song.song cannot be used: {next(iter(changes))}" in err


def test_models_are_listed_and_described(capsys):
    listed = json.loads(run(capsys, "models", "list", "--json")[1])["models"]
    assert "ditty" in [model["name"] for model in listed]
    broken = zoo.installed_folder() / "broken"
    broken.mkdir()
    (broken / "model.json").write_text("{}")
    _, text, said = run(capsys, "models", "list")
    shutil.rmtree(broken)
    assert "ditty" in text and "broken cannot be read" in said
    _, text, _ = run(capsys, "models", "show", "ditty")
    assert all(name in text for name in (*tiny.NAMES.artists, *tiny.NAMES.genres, "CC0-1.0", "200.0 codes"))
    assert "drawn at level 0: temperature 0.9, guidance 1, hop 0.5, leaning 10" in text
    described = json.loads(run(capsys, "models", "show", "ditty", "--json")[1])
    assert described["sampling"][1]["top_p"] == 0.95 and described["wordless"] == []
    assert described["artists"] == list(tiny.NAMES.artists) and described["card"] == "# tiny\n"
    assert run(capsys, "models", "show", "ditty", "--card")[1] == "# tiny\n\n"


def test_how_codes_are_drawn_is_asked_for_level_by_level(capsys):
    drawn = (
        "--temperature",
        "0.5,0.9",
        "--guidance",
        "1,2",
        "--hop",
        "0.25,0.5",
        "--top-k",
        "3,4",
        "--top-p",
        "0.8,0.7",
    )
    place = ("--total-seconds", "9", "--offset-seconds", "2", "--mix", "ada byron", "0.25", "--artist", "bix")
    status, _, err = run(capsys, *COMPOSE, *drawn, *place, "-o", "drawn.flac", "--json")
    assert status == 0, err
    asked = json.loads(run(capsys, "songs", "show", "drawn.flac", "--json")[1])["request"]
    for level, (temperature, guidance, hop, top_k, top_p) in enumerate([(0.5, 1, 0.25, 3, 0.8), (0.9, 2, 0.5, 4, 0.7)]):
        expected = {
            "temperature": temperature, "guidance": guidance, "hop_fraction": hop, "top_k": top_k, "top_p": top_p
        }  # fmt: skip
        assert expected.items() <= asked["sampling"][level].items()
    assert (asked["total_seconds"], asked["offset_seconds"]) == (9, 2)
    assert asked["mix"] == {"artist": "Ada Byron", "share": 0.25}


def test_a_model_and_its_songs_are_drawn_as_maps(capsys):
    assert run(capsys, *COMPOSE, "-o", "one.flac")[0] == 0
    words = ("map", "ditty", "-o", "map.png", "--songs", "one.flac", "--songs", "one.flac")
    status, out, err = run(capsys, *words)
    assert (status, out) == (0, "map.png\n"), err
    assert Path("map.png").read_bytes().startswith(b"\x89PNG")
    points = json.loads(Path("map.json").read_text())["points"]
    assert {point["name"] for point in points} >= {*tiny.NAMES.artists, "one"}
    status, _, err = run(capsys, *words)
    assert status == 2 and "--force" in err
    for name in ("map.jpg", ".", "/"):
        status, _, err = run(capsys, "map", "ditty", "-o", name)
        assert status == 2 and f"{name!r}" in err and "Traceback" not in err


def test_a_map_that_cannot_be_drawn_is_refused_before_a_model_is_loaded(capsys, monkeypatch):
    monkeypatch.setattr("orchestrion.jukebox.Jukebox.from_pretrained", None)
    Path("file").touch()
    status, _, err = run(capsys, "map", "ditty", "-o", "file/map.png")
    assert status == 2 and "cannot write into file" in err
    status, _, err = run(capsys, "map", "ditty", "--songs", "none.flac")
    assert status == 2 and "there is no file none.flac" in err


@pytest.fixture
def script(repo_root, tmp_path):
    """Runs `scripts/song` of a repository in `tmp_path`; returns what it asks of the program, and where."""
    for name, lines in (("scripts/setup", ""), (".venv/bin/orchestrion", 'pwd; printf "%s\\n" "$@"')):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    path = shutil.copy(repo_root / "scripts/song", tmp_path / "scripts/song")
    (tmp_path / "songs").mkdir()

    def asked(*options: str) -> list[str]:
        return subprocess.run([path, *options], capture_output=True, text=True, check=True).stdout.splitlines()

    return asked


def test_the_script_counts_songs_of_takes_too_and_leaves_a_batch_its_folder(script, tmp_path):
    songs = tmp_path / "songs"
    assert script("--takes", "3")[-4:] == ["-o", f"{songs}/song-1.flac", "--takes", "3"]
    for name in ("song-1-1.flac", "song-2.flac"):
        (songs / name).touch()
    assert script()[-4:] == ["--seed", "3", "-o", f"{songs}/song-3.flac"]
    assert "-o" not in script("--batch", "lines.jsonl") + script("--batch=lines.jsonl")


def test_the_script_leaves_manner_and_folder_to_whoever_names_them(script):
    where, *asked = script("--lyrics", "words.txt")
    assert where == os.getcwd() and asked[-2:] == ["--lyrics", "words.txt"]  # noqa: PTH109
    assert asked[1:5] == ["--artist", "Mattias Westlund", "--genre", "orchestral"]
    for option in ("--artist", "--genre", "--model", "--batch"):
        for given in ((option, "mine"), (f"{option}=mine",)):
            assert script(*given)[2:4] == ["--seconds", "30"]


def test_a_studio_for_others_needs_a_secret(capsys):
    command = ("studio", "--no-browser", "--library", "songs")
    for others in (("--host", "0.0.0.0"), ("--allow-host", "studio.example.org")):
        for given in ((), ("--token", ""), ("--token", " ")):
            status, _, err = run(capsys, *command, *others, *given)
            assert status == 2 and "--token" in err
    for wrong in ("https://studio.example.org", "studio.example.org:443", ""):
        status, _, err = run(capsys, *command, "--allow-host", wrong, "--token", "secret")
        assert status == 2 and "is no name" in err
