"""`orchestrion align` refuses before anything is loaded, and guesses without a model."""

import json
import os
from pathlib import Path

import pytest
import torch

import tiny
from orchestrion.audio import io
from orchestrion.checkpoints import zoo
from orchestrion.cli.compose import words_of
from orchestrion.cli.main import USER_ERROR, main
from orchestrion.errors import UserError
from orchestrion.text.lyric_files import read_timed_lyrics


@pytest.fixture(autouse=True)
def _tiny_world(tmp_path, monkeypatch):
    tiny.write_tiny_model(tmp_path / "models" / "ditty")
    monkeypatch.setenv(zoo.MODELS_VARIABLE, str(tmp_path / "models"))
    io.write(Path("song.wav"), torch.zeros(1, 3200), tiny.SAMPLE_RATE)
    Path("words.txt").write_text("la li lu\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("absent.wav", "--lyrics", "words.txt"), "no song at absent.wav"),
        (("/", "--lyrics", "words.txt"), "/ is not a song"),
        (("song.wav",), "nothing says what is sung"),
        (("song.wav", "--lyrics", "absent.txt"), "cannot read the lyrics"),
        (("song.wav", "--lyrics", "words.txt", "--recognizer", "absent"), "recogniser"),
        (("song.wav", "--lyrics", "many.txt"), "do not fit into"),
        (("song.wav", "--lyrics", "words.txt", "--model", "ditty"), "does not sing"),
        (("song.wav", "--lyrics", "words.txt", "-o", "words.doc"), "no name for timed lyrics"),
        (("song.wav", "--lyrics", "words.txt", "--picture", "a.jpg"), "no name for a picture"),
        (("song.wav", "--lyrics", "words.txt", "--linear", "--picture", "a.png"), "has no picture"),
        (("song.wav", "--lyrics", "words.txt", "--linear", "--recognizer", "absent"), "more than one was asked for"),
        (("song.wav", "--lyrics", "empty.txt"), "no words in empty.txt"),
        (("song.wav", "--lyrics", "binary.txt"), "not text"),
        (("song.wav", "--lyrics", "broken.lrc"), "line 1 of broken.lrc"),
        (("song.wav", "--lyrics", "words.txt", "-o", "there.lrc", "--linear"), "there.lrc exists"),
    ],
)
def test_what_cannot_be_aligned_is_explained(capsys, arguments, said):
    Path("empty.txt").write_text(" \n")
    Path("many.txt").write_text("many words " * 100)
    Path("binary.txt").write_bytes(b"\x00\x01\x02")
    Path("broken.lrc").write_text("[0:99.9] la\n")
    Path("there.lrc").write_text("mine")
    assert main(("align", *arguments)) == USER_ERROR
    assert said in capsys.readouterr().err
    assert Path("there.lrc").read_text() == "mine"


def test_a_recording_is_listened_to_without_a_model(capsys):
    io.write(Path("long.wav"), torch.randn(1, 3 * tiny.SAMPLE_RATE) / 10, tiny.SAMPLE_RATE)
    assert main(("align", "long.wav", "--lyrics", "words.txt", "-o", "long.json", "--json")) == 0
    assert '"words": 3' in capsys.readouterr().out
    words = read_timed_lyrics(Path("long.json")).words
    assert all(0 <= word.start < word.end <= 3 and 0 <= word.confidence <= 1 for word in words)


@pytest.mark.parametrize(
    ("words", "output", "said"),
    [
        ("la <1:00> lu\n", "song.lrc", "for one of its marks"),
        ("[Verse --> 2]\nla\n", "song.vtt", "cannot be named in WebVTT"),
    ],
)
def test_words_that_cannot_be_written_are_refused_before_anything_listens(capsys, monkeypatch, words, output, said):
    monkeypatch.setattr("orchestrion.align.recognizer.load_recognizer", None)
    Path("odd.txt").write_text(words)
    assert main(("align", "song.wav", "--lyrics", "odd.txt", "-o", output)) == USER_ERROR
    assert said in capsys.readouterr().err


def test_no_picture_is_left_of_what_could_not_be_written(capsys):
    io.write(Path("long.wav"), torch.randn(1, 3 * tiny.SAMPLE_RATE) / 10, tiny.SAMPLE_RATE)
    Path("unheard.txt").write_text("& &\nla li\n")
    asked = ("align", "long.wav", "--lyrics", "unheard.txt", "-o", "long.vtt", "--picture", "long.png")
    assert main(asked) == USER_ERROR
    assert "is not known" in capsys.readouterr().err and not Path("long.png").exists()


def test_the_words_of_align_are_not_written_over(capsys):
    Path("song.lrc").write_text("[00:00.00]la\n")
    Path("link.lrc").symlink_to("song.lrc")
    for words, output in (("song.lrc", ()), ("song.lrc", ("-o", "link.lrc")), ("link.lrc", ("--force",))):
        assert main(("align", "song.wav", "--lyrics", words, *output, "--linear")) == USER_ERROR
        assert "lrc is the file of --lyrics" in capsys.readouterr().err
    assert Path("song.lrc").read_text() == "[00:00.00]la\n" and Path("link.lrc").is_symlink()


def test_a_song_is_aligned_by_the_model_that_made_it_with_its_adapter(capsys, monkeypatch):
    def opened(model, *, adapter, **_):
        raise UserError(f"opened {model} with {adapter}")

    assert main(("compose", "--model", "ditty", "--device", "cpu", "--seconds", "0.3", "-q", "-o", "own.flac")) == 0
    about = Path("own.song/request.json")
    request = json.loads(about.read_text())
    request["model"]["adapter"] = {"name": "mine", "sha256": ""}
    about.write_text(json.dumps(request))
    assert main(("align", "own.song", "--lyrics", "words.txt", "--model", "ditty")) == USER_ERROR
    capsys.readouterr()
    monkeypatch.setattr("orchestrion.cli.align._sings", lambda kept: True)
    assert main(("align", "own.song", "--lyrics", "words.txt")) == USER_ERROR
    assert "what made own.song is not here: there is no adapter in mine" in capsys.readouterr().err
    for name in ("mine", "other"):
        Path(name).mkdir()
        Path(name, "adapter.json").touch()
    monkeypatch.setattr("orchestrion.cli.align._sings", lambda kept: True)
    for place in ("align", "options"):
        monkeypatch.setattr(f"orchestrion.cli.{place}.open_jukebox", opened)
    for given, adapter in (((), "mine"), (("--adapter", "other"), "other"), (("--model", "ditty"), "None")):
        assert main(("align", "own.song", "--lyrics", "words.txt", *given)) == USER_ERROR
        assert f"opened ditty with {adapter}" in capsys.readouterr().err


def test_a_guess_needs_no_model(capsys):
    assert main(("align", "song.wav", "--lyrics", "words.txt", "--linear")) == 0
    assert capsys.readouterr().out.strip() == "song.lrc"
    words = read_timed_lyrics(Path("song.lrc")).words
    assert [word.start for word in words] == pytest.approx([0.0, 2 / 3, 4 / 3], abs=0.01)


def test_empty_lyrics_are_no_lyrics_to_compose_with(capsys):
    Path("empty.txt").write_text("")
    assert main(("compose", "--model", "ditty", "--lyrics", "empty.txt")) == USER_ERROR
    assert "no words in empty.txt" in capsys.readouterr().err


def test_words_are_read_from_a_pipe_too():
    read, write = os.pipe()
    os.write(write, b"[Verse]\nla  li\n")
    os.close(write)
    try:
        assert words_of(Path(f"/dev/fd/{read}")) == "[Verse]\nla  li\n"
    finally:
        os.close(read)
