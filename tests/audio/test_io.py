"""Reading and writing audio files."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrion.audio import io
from orchestrion.errors import UserError

RATE = 22_050


def tone(seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> torch.Tensor:
    time = torch.arange(round(seconds * rate)) / rate
    return torch.stack([0.5 * torch.sin(2 * torch.pi * 220 * (1 + channel) * time) for channel in range(channels)])


def music(seconds: float) -> torch.Tensor:
    """Something with energy at all frequencies, as music has; an MP3 of a bare tone is an odd one."""
    return tone(seconds) + 0.1 * torch.randn(1, round(seconds * RATE), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@given(values=st.lists(st.integers(-32768, 32767), min_size=1, max_size=500), channels=st.integers(1, 3))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_lossless_formats_keep_every_sample(tmp_path, suffix, values, channels):
    audio = torch.tensor(values * channels, dtype=torch.float32).reshape(channels, -1) / 32768
    path = tmp_path / f"sound{suffix}"
    io.write(path, audio, RATE)
    torch.testing.assert_close(io.read(path, RATE, channels), audio, atol=1 / 32768, rtol=0)


@pytest.mark.parametrize(("suffix", "worst"), [(".ogg", 0.05), (".mp3", 0.05), (".opus", 0.15)])
def test_lossy_formats_stay_close_and_in_place(tmp_path, suffix, worst):
    audio = tone(2.0, channels=2)
    path = tmp_path / f"sound{suffix}"
    io.write(path, audio, RATE)
    back = io.read(path, RATE, 2)
    assert abs(back.shape[1] - audio.shape[1]) <= 1
    length = min(back.shape[1], audio.shape[1])
    inner = slice(2000, length - 2000)
    assert (back[:, inner] - audio[:, inner]).abs().max() < worst


@pytest.mark.parametrize("suffix", io.SUFFIXES_WRITE)
def test_the_same_audio_gives_the_same_bytes(tmp_path, suffix):
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    io.write(first, tone(), RATE)
    io.write(second, tone(), RATE)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("suffix", io.SUFFIXES_WRITE)
def test_nothing_but_the_file_is_left_after_writing(tmp_path, suffix):
    io.write(tmp_path / f"sound{suffix}", tone(), RATE)
    assert [path.name for path in tmp_path.iterdir()] == [f"sound{suffix}"]


def test_loud_audio_is_clipped_not_wrapped(tmp_path):
    io.write(tmp_path / "loud.wav", tone() * 8, RATE)
    assert (io.read(tmp_path / "loud.wav", RATE, 1) * tone() >= 0).all()


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_a_part_equals_the_same_part_of_the_whole(tmp_path, suffix):
    path = tmp_path / f"sound{suffix}"
    io.write(path, music(3.0) * torch.linspace(0, 1, 3 * RATE), RATE)
    whole = io.read(path, RATE, 1)
    part = io.read(path, RATE, 1, start_seconds=1.0, seconds=0.5)
    torch.testing.assert_close(part, whole[:, RATE : RATE + RATE // 2], atol=1e-4, rtol=0)


def test_long_files_in_blocks_equal_one_resampling(tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    io.write(path, tone(5.0, 16_000), 16_000)
    whole = io.read(path, RATE, 1)
    monkeypatch.setattr(io, "_BLOCK_SECONDS", 1)
    in_blocks = io.read(path, RATE, 1)
    torch.testing.assert_close(in_blocks, whole, atol=1e-5, rtol=0)
    inner = slice(1000, -1000)
    torch.testing.assert_close(in_blocks[:, inner], tone(5.0)[:, inner], atol=2e-3, rtol=0)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_the_length_in_seconds_survives_any_rate(tmp_path, rate):
    path = tmp_path / "sound.wav"
    io.write(path, tone(1.0, rate), rate)
    assert abs(io.read(path, RATE, 1).shape[1] - RATE) <= 1
    assert io.probe(path) == io.AudioInfo(1.0, rate, 1)


def test_probe_says_what_was_written(tmp_path):
    io.write(tmp_path / "two.flac", tone(0.5, channels=2), RATE)
    assert io.probe(tmp_path / "two.flac") == io.AudioInfo(0.5, RATE, 2)


def test_a_small_error_in_the_announced_length_is_no_damage(tmp_path):
    """Real Vorbis files announce up to a few thousand samples more than they hold."""
    path = tmp_path / "sound.wav"
    io.write(path, tone(2.0), RATE)

    class Announcing(io._SoundFile):
        def __init__(self, path):
            super().__init__(path)
            self.num_samples += 100

    original, io._SoundFile = io._SoundFile, Announcing
    try:
        assert io.read(path, RATE, 1).shape == (1, 2 * RATE)
    finally:
        io._SoundFile = original


def missing(folder: Path) -> Path:
    return folder / "missing.wav"


def empty(folder: Path) -> Path:
    (folder / "empty.flac").write_bytes(b"")
    return folder / "empty.flac"


def a_folder(folder: Path) -> Path:
    (folder / "folder.wav").mkdir()
    return folder / "folder.wav"


def words(folder: Path) -> Path:
    (folder / "words.mp3").write_text("these are words, not music\n" * 50)
    return folder / "words.mp3"


def noise(folder: Path) -> Path:
    (folder / "noise.ogg").write_bytes(np.random.default_rng(0).bytes(5000))
    return folder / "noise.ogg"


def unknown_suffix(folder: Path) -> Path:
    (folder / "song.mid").write_bytes(b"MThd")
    return folder / "song.mid"


def header_only(folder: Path) -> Path:
    soundfile.write(folder / "header.wav", np.zeros((0, 1)), RATE)
    return folder / "header.wav"


def without_numbers(folder: Path) -> Path:
    soundfile.write(folder / "nan.wav", np.full((100, 1), np.nan, np.float32), RATE, "FLOAT")
    return folder / "nan.wav"


@pytest.mark.parametrize(
    ("make", "words_said"),
    [
        (missing, "there is no file"),
        (empty, "is empty"),
        (a_folder, "is a folder"),
        (words, "is not audio"),
        (noise, "is not audio"),
        (unknown_suffix, "no suffix of a known audio format"),
        (header_only, "holds no audio"),
        (without_numbers, "not numbers"),
    ],
)
def test_bad_files_are_explained(tmp_path, make, words_said):
    with pytest.raises(UserError, match=words_said) as caught:
        io.read(make(tmp_path), RATE, 1)
    assert caught.value.hint


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    path = tmp_path / f"cut{suffix}"
    io.write(path, music(6.0), RATE)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    for look in (io.probe, lambda file: io.read(file, RATE, 1)):
        with pytest.raises(UserError, match=r"cut short|damaged|not audio"):
            look(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_files_are_explained(tmp_path):
    io.write(tmp_path / "mine.wav", tone(), RATE)
    (tmp_path / "mine.wav").chmod(0)
    with pytest.raises(UserError, match="ermission"):
        io.read(tmp_path / "mine.wav", RATE, 1)


def test_a_file_that_may_not_be_opened_is_explained(tmp_path, monkeypatch):
    io.write(tmp_path / "mine.wav", tone(), RATE)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        io.probe(tmp_path / "mine.wav")


@pytest.mark.parametrize("part", [{"start_seconds": 2.0}, {"seconds": 1.5}, {"seconds": 0.0}, {"start_seconds": -1.0}])
def test_a_part_outside_the_file_is_refused(tmp_path, part):
    io.write(tmp_path / "sound.wav", tone(1.0), RATE)
    with pytest.raises(UserError):
        io.read(tmp_path / "sound.wav", RATE, 1, **part)


def test_unknown_suffixes_and_empty_audio_are_not_written(tmp_path):
    with pytest.raises(UserError, match=r"song\.xyz"):
        io.write(tmp_path / "song.xyz", tone(), RATE)
    with pytest.raises(UserError, match="no audio"):
        io.write(tmp_path / "song.wav", torch.zeros(1, 0), RATE)
    for name in ("a\0.wav", os.fsdecode(b"\xff.wav")):
        with pytest.raises(UserError, match="its name is not text"):
            io.write(tmp_path / name, tone(), RATE)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "song.wav"
    io.write(path, tone(), RATE)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    with pytest.raises(UserError, match="no space is left"):
        io.write(path, tone() / 2, RATE)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_m4a_without_pyav_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "song.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r"orchestrion\[av\]"):
        io.probe(tmp_path / "song.m4a")


@pytest.mark.parametrize(
    "name, kind, codec", [("song.m4a", "mp4", "aac"), ("song.aac", "adts", "aac"), ("song.webm", "webm", "libopus")]
)
def test_m4a_and_its_like_are_read_where_pyav_is_installed(tmp_path, monkeypatch, name, kind, codec):
    av = pytest.importorskip("av", reason="the extra av is not installed")
    rate, path = 48_000, tmp_path / name
    with av.open(str(path), "w", format=kind, options={"live": "1"} if kind == "webm" else {}) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(21.0, rate).numpy(), format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with monkeypatch.context() as patched:  # whoever asks for the length decodes nothing
        patched.setattr(av, "AudioResampler", None)
        about = io.probe(path)
    assert about.seconds == pytest.approx(21, abs=0.1) and (about.sample_rate, about.channels) == (rate, 1)
    audio = io.read(path, rate, 1)
    assert audio.shape[1] == pytest.approx(21 * rate, abs=0.1 * rate) and 0.4 < audio[:, rate:].abs().max() < 0.6
    part = io.read(path, rate, 1, start_seconds=12.3, seconds=2.0)
    assert part.equal(audio[:, round(12.3 * rate) : round(14.3 * rate)])
