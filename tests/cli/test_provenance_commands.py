import json
import shutil
from pathlib import Path

import pytest
import soundfile
import torch

import tiny
from orchestrion import Jukebox, Request
from orchestrion.audio import io
from orchestrion.checkpoints import zoo
from orchestrion.cli.main import main
from orchestrion.library import signing
from orchestrion.library.provenance import read_record

COMPOSE = ("compose", "--model", "ditty", "--device", "cpu", "--seconds", "0.3", "--seed", "7", "-q")
needs_c2pa = pytest.mark.skipif(not signing.is_installed(), reason="c2pa-python is not here: the extra `provenance`")


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch) -> Path:
    tiny.write_tiny_model(tmp_path / "models/ditty")
    monkeypatch.setenv(zoo.MODELS_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setattr("orchestrion.jukebox.song.draw", lambda path, *_, **__: path.write_bytes(b"picture"))
    return tmp_path / "models"


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    return status, *capsys.readouterr()


def compose(capsys, *arguments: str) -> None:
    assert run(capsys, *COMPOSE, *arguments)[0] == 0


def flip_a_sample(path: Path) -> None:
    """Another sample in the middle, the tags as they were."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    samples[100] += 0.01
    comment = io.read_comment(path)
    io.write(path, torch.from_numpy(samples.T), rate, comment=comment)


def edit(path: Path, **changes) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, **changes}))


@pytest.mark.parametrize("suffix", io.SUFFIXES_WRITE)
def test_a_song_is_verified_and_made_again_byte_for_byte(capsys, suffix):
    compose(capsys, "-o", f"song{suffix}")
    status, text, _ = run(capsys, "songs", "verify", f"song{suffix}")
    assert status == 0 and "AI-generated" in text and "ditty" in text
    status, text, _ = run(capsys, "songs", "replay", f"song{suffix}", "-q", "-o", f"again{suffix}")
    assert (status, text) == (0, f"song{suffix}: the same bytes\n")
    assert Path(f"again{suffix}").read_bytes() == Path(f"song{suffix}").read_bytes()
    assert run(capsys, "songs", "verify", f"again{suffix}")[0] == 0


def test_a_date_stands_beside_the_song_only_and_json_has_all(capsys):
    compose(capsys)
    shown = json.loads(run(capsys, "songs", "verify", "song.flac", "--json")[1])
    record = read_record(Path("song.flac"))
    assert record and shown["date"] == record.date and record.date[:4].encode() not in Path("song.flac").read_bytes()
    assert shown["agrees"] and shown["made"]["request"]["seed"] == 7
    assert {one["what"]: one["agrees"] for one in shown["findings"]} == {
        "tags": True,
        "bytes": True,
        "signature": None,
        "codes": True,
        "model": True,
    }


def test_a_changed_sample_is_found_and_named(capsys):
    compose(capsys, "-o", "song.wav")
    flip_a_sample(Path("song.wav"))
    status, text, _ = run(capsys, "songs", "verify", "song.wav")
    assert status == 1 and "bytes      DIFFERS" in text
    status, text, _ = run(capsys, "songs", "replay", "song.wav", "-q")
    assert status == 1 and "the codes are the same" in text and "from sample 100 on" in text


def test_an_edited_record_is_found(capsys):
    compose(capsys)
    made = json.loads(Path("song.flac.json").read_text())["made"]
    edit(Path("song.flac.json"), made={**made, "request": {**made["request"], "seed": 8}})
    status, text, _ = run(capsys, "songs", "verify", "song.flac")
    assert status == 1 and "differ in request.seed" in text
    status, text, _ = run(capsys, "songs", "replay", "song.flac", "-q")
    assert status == 1 and "the codes differ from level 1, code" in text


def test_another_model_is_found(capsys, models):
    compose(capsys)
    tiny.write_tiny_model(models / "ditty", dtype=torch.bfloat16)
    status, text, _ = run(capsys, "songs", "verify", "song.flac")
    assert status == 1 and "not the model that made" in text
    status, text, _ = run(capsys, "songs", "replay", "song.flac", "-q")
    assert status == 1 and "the model is another" in text


def test_damaged_weights_are_found_and_a_model_that_is_not_at_hand_is_no_contradiction(capsys, models):
    compose(capsys)
    with (models / "ditty/prior_0.safetensors").open("ab") as file:
        file.write(b"x")
    status, text, _ = run(capsys, "songs", "verify", "song.flac")
    assert status == 1 and "prior_0.safetensors" in text
    shutil.rmtree(models / "ditty")
    status, text, _ = run(capsys, "songs", "verify", "song.flac")
    assert status == 0 and "not at hand" in text
    assert run(capsys, "songs", "replay", "song.flac", "-q")[0] == 2


def test_other_circumstances_are_named_where_the_bytes_differ(capsys):
    compose(capsys)
    made = json.loads(Path("song.flac.json").read_text())["made"]
    edit(Path("song.flac.json"), made={**made, "orchestrion": "0.0.1"})
    flip_a_sample(Path("song.flac"))
    text = run(capsys, "songs", "replay", "song.flac", "-q")[1]
    assert "orchestrion 0.0.1 made the file" in text


def test_a_record_of_impossibly_many_threads_is_refused(capsys):
    compose(capsys)
    engine = json.loads(Path("song.flac.json").read_text())["engine"]
    edit(Path("song.flac.json"), engine={**engine, "threads": 1_000_000_000})
    status, _, err = run(capsys, "songs", "replay", "song.flac", "-q")
    assert status == 2 and "1024 at the most" in err


def test_what_was_made_on_another_machine_is_made_again_as_far_as_this_one_can(capsys, monkeypatch):
    compose(capsys)
    engine = json.loads(Path("song.flac.json").read_text())["engine"]
    edit(Path("song.flac.json"), engine={**engine, "device": "cuda:63"})
    status, _, err = run(capsys, "songs", "replay", "song.flac", "-q")
    assert status == 2 and "'cuda:63' cannot be used here\n  name another with --device" in err
    assert run(capsys, "songs", "replay", "song.flac", "-q", "--device", "cpu")[0] == 0
    edit(Path("song.flac.json"), engine={**engine, "compiled": True})
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert run(capsys, "songs", "replay", "song.flac", "-q")[0] == 0


def test_the_tags_alone_are_enough_to_make_a_song_again(capsys):
    compose(capsys)
    Path("song.flac.json").unlink()
    status, text, _ = run(capsys, "songs", "verify", "song.flac")
    assert status == 0 and "bytes      not checked" in text
    assert run(capsys, "songs", "replay", "song.flac", "-q")[0] == 0


def test_songs_made_from_others_are_made_again_where_those_are_at_hand(capsys):
    compose(capsys, "-o", "song.wav")
    for act in (
        ("continue", "--seconds", "0.2"),
        ("upsample", "--seed", "9"),
        ("repaint", "--from", "0.1", "--to", "0.2"),
    ):
        name, *options = act
        output = run(capsys, name, "song.wav", *options, "-q")[1].strip()
        assert run(capsys, "songs", "verify", output)[0] == 0
        assert run(capsys, "songs", "replay", output, "-q")[:2] == (0, f"{output}: the same bytes\n")
    decoded = run(capsys, "decode", "song.wav", "--level", "1")[1].strip()
    assert run(capsys, "songs", "replay", decoded, "-q")[0] == 0
    shutil.move("song.song", "moved.song")
    status, _, err = run(capsys, "songs", "replay", "song-continued.wav", "-q")
    assert status == 2 and "made from 'song' (continue)" in err and "--source" in err
    assert run(capsys, "songs", "replay", "song-continued.wav", "--source", "moved.song", "-q")[0] == 0
    compose(capsys, "--seed", "1", "-o", "other.wav")
    status, _, err = run(capsys, "songs", "replay", "song-continued.wav", "--source", "other.wav", "-q")
    assert status == 2 and "its codes are others" in err


def test_a_primed_song_is_made_again_where_its_prompt_is_at_hand(capsys):
    noise = 0.2 * torch.randn(1, 1600, generator=torch.Generator().manual_seed(0))
    io.write(Path("deep/mine.wav"), noise, 1600)
    compose(capsys, "--prime", "deep/mine.wav", "--prime-seconds", "0.2")
    status, _, err = run(capsys, "songs", "replay", "song.flac", "-q")
    assert status == 2 and "mine.wav, which is not here" in err
    for name in ("deep/mine.wav", "renamed.wav"):
        shutil.copy("deep/mine.wav", "renamed.wav")
        status, text, _ = run(capsys, "songs", "replay", "song.flac", "-q", "--source", name)
        assert (status, text) == (0, "song.flac: the same bytes\n")


def test_a_prompt_is_not_written_over_by_the_song_that_it_began(capsys):
    noise = 0.2 * torch.randn(1, 1600, generator=torch.Generator().manual_seed(0))
    io.write(Path("mine.wav"), noise, 1600)
    before = Path("mine.wav").read_bytes()
    compose(capsys, "--prime", "mine.wav", "--prime-seconds", "0.2", "-o", "song.wav")
    for source, said in (((), "its prompt"), (("--source", "mine.wav"), "--source")):
        status, _, err = run(capsys, "songs", "replay", "song.wav", "-q", *source, "-o", "mine.wav", "--force")
        assert status == 2 and f"mine.wav is the file of {said}" in err
    assert Path("mine.wav").read_bytes() == before


@pytest.mark.parametrize("folder", ["song.song", None])
def test_a_song_that_begins_with_a_sound_that_its_record_does_not_hold_is_not_made_again(capsys, folder):
    jukebox = Jukebox.from_pretrained("ditty", device="cpu")
    sound = 0.2 * torch.randn(1, 320, generator=torch.Generator().manual_seed(0))
    jukebox.prime(Request(seconds=0.3, seed=7), sound, 1600, folder).finish().save("song.flac")
    status, text, _ = run(capsys, "songs", "verify", "song.flac")
    assert status == 0 and "DIFFERS" not in text
    Path("song.flac.json").unlink()  # the tags say so too
    status, out, err = run(capsys, "songs", "replay", "song.flac", "-q")
    assert (status, out) == (2, "") and "begins with a sound or codes that its record does not hold" in err


def test_the_record_of_a_song_that_begins_with_nothing_else_does_not_speak_of_it(capsys):
    compose(capsys, "-o", "song.wav")
    assert run(capsys, "continue", "song.wav", "--seconds", "0.2", "-q")[0] == 0
    for name in ("song.wav", "song-continued.wav"):
        assert b"begins_with" not in Path(name).read_bytes() + Path(f"{name}.json").read_bytes()


def test_nothing_is_overwritten(capsys):
    compose(capsys)
    before = Path("song.flac").read_bytes()
    Path("again.flac.json").write_text("mine")
    for output in ("again.flac", "song.flac", "again.wav"):
        assert run(capsys, "songs", "replay", "song.flac", "-q", "-o", output)[0] == 2
    Path("linked").symlink_to(".")
    Path("sub").mkdir()
    for output in ("song.flac", "linked/song.flac", "sub/../song.flac"):
        status, _, err = run(capsys, "songs", "replay", "song.flac", "-q", "--force", "-o", output)
        assert status == 2 and "is the file of FILE" in err
    assert Path("song.flac").read_bytes() == before and Path("again.flac.json").read_text() == "mine"
    assert run(capsys, "songs", "replay", "song.flac", "-q", "--force", "-o", "again.flac")[0] == 0


def test_a_record_beside_a_song_is_not_written_over_by_composing(capsys):
    Path("song.flac.json").write_text("mine")
    status, _, err = run(capsys, *COMPOSE)
    assert status == 2 and "song.flac.json exists" in err


@pytest.mark.parametrize("command", ["verify", "replay", "sign"])
def test_what_has_no_record_is_status_2(capsys, command):
    io.write(Path("mine.wav"), torch.zeros(1, 100), 1600)
    for name in ("none.wav", "mine.wav", ".", "/"):
        status, _, err = run(capsys, "songs", command, name)
        assert status == 2 and "Traceback" not in err


@needs_c2pa
def test_a_signed_song_is_verified_and_made_again_as_before_it_was_signed(capsys):
    compose(capsys, "-o", "song.wav")
    assert run(capsys, "songs", "sign", "song.wav")[1] == "song-signed.wav\n"
    status, text, _ = run(capsys, "songs", "verify", "song-signed.wav")
    assert status == 0 and "signature  agrees: valid, by someone whom nobody vouches for" in text
    status, text, _ = run(capsys, "songs", "replay", "song-signed.wav", "-q")
    assert status == 0 and "as before it was signed" in text
    signed = bytearray(Path("song-signed.wav").read_bytes())
    signed[signed.find(b"data") + 100] ^= 1
    Path("song-signed.wav").write_bytes(signed)
    status, text, _ = run(capsys, "songs", "verify", "song-signed.wav")
    assert status == 1 and "signature  DIFFERS" in text
    status, text, _ = run(capsys, "songs", "replay", "song-signed.wav", "-q")
    assert status == 1 and "changed since it was signed" in text


@needs_c2pa
def test_a_signature_that_was_taken_out_is_missed(capsys):
    compose(capsys, "-o", "song.wav")
    assert run(capsys, "songs", "sign", "song.wav")[0] == 0
    shutil.copy("song.wav", "song-signed.wav")
    status, text, _ = run(capsys, "songs", "verify", "song-signed.wav")
    assert status == 1 and "there was one and it is gone" in text


@needs_c2pa
def test_what_should_not_be_signed_is_refused(capsys):
    compose(capsys, "-o", "song.wav")
    compose(capsys, "-o", "other.ogg")
    assert run(capsys, "songs", "sign", "song.wav", "--key", "a.key")[0] == 2
    Path("linked").symlink_to(".")
    for output in ("song.wav", "linked/song.wav"):
        assert "is the file of FILE" in run(capsys, "songs", "sign", "song.wav", "-o", output, "--force")[2]
    assert run(capsys, "songs", "sign", "other.ogg")[0] == 2
    assert run(capsys, "songs", "sign", "song.wav")[0] == 0
    assert "signed already" in run(capsys, "songs", "sign", "song-signed.wav")[2]
    flip_a_sample(Path("song.wav"))
    assert "is not what its record says" in run(capsys, "songs", "sign", "song.wav", "-o", "third.wav")[2]
