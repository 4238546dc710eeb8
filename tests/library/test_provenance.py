import json
from pathlib import Path

import pytest
import torch

from orchestrion.audio import io
from orchestrion.config import plain
from orchestrion.errors import UserError
from orchestrion.files import file_sha256
from orchestrion.library.folder import SongFolder, SongInfo
from orchestrion.library.provenance import (
    TRAINED_MEDIA,
    Engine,
    SongModel,
    read_made,
    read_record,
    sidecar,
    write_record,
)

ENGINE = Engine(torch="2.9.0", device="cpu", processor="AVX2", dtype="float32", weights=None, compiled=False, threads=2)
INFO = SongInfo(
    orchestrion="0.1.0",
    model=SongModel(name="shelf/tiny", sha256="0" * 64, codec_sha256="1" * 64),
    request={"seconds": 1.0, "artist": "Zoë", "lyrics": "la\n" * 8000, "prime": {"path": "/home/me/mine.wav"}},
    sample_rate=8000,
    hop_lengths=(2, 8),
    num_samples=8000,
    engine=ENGINE,
)
MADE = INFO.made(0)


def noise() -> torch.Tensor:
    return 0.2 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("suffix", io.SUFFIXES_WRITE)
def test_every_format_carries_the_whole_record_and_the_same_one_gives_the_same_bytes(suffix):
    for name in ("a", "b"):
        io.write(Path(name + suffix), noise(), 8000, comment=MADE.tag)
    assert read_made(Path("a" + suffix)) == MADE
    assert Path("a" + suffix).read_bytes() == Path("b" + suffix).read_bytes()


@pytest.mark.parametrize("suffix", io.SUFFIXES_WRITE)
def test_a_record_changes_no_sound_and_a_file_without_one_has_none(suffix):
    with_it, without = Path("a" + suffix), Path("b" + suffix)
    io.write(with_it, noise(), 8000, comment=MADE.tag)
    io.write(without, noise(), 8000)
    assert torch.equal(io.read(with_it, 8000, 1), io.read(without, 8000, 1))
    assert read_made(without) is None and read_record(without) is None


def test_the_tags_say_that_a_model_made_it_and_nothing_about_anyones_disk():
    tag = json.loads(MADE.tag)
    assert tag["digitalSourceType"] == TRAINED_MEDIA and TRAINED_MEDIA.endswith("/trainedAlgorithmicMedia")
    assert "AI-generated" in tag["notice"] and MADE.tag.isascii()
    assert tag["request"]["prime"]["path"] == "mine.wav" and tag["model"]["name"] == "tiny"
    assert "/home" not in MADE.tag and "shelf" not in MADE.tag


def test_the_record_beside_a_file_comes_back_as_it_was_put():
    io.write(Path("a.wav"), noise(), 8000, comment=MADE.tag)
    write_record(Path("a.wav"), MADE, ENGINE, "2" * 64)
    record = read_record(Path("a.wav"))
    assert record and (record.made, record.engine, record.codes_sha256) == (MADE, ENGINE, "2" * 64)
    assert record.sha256 == file_sha256(Path("a.wav")) and record.date.endswith("+00:00")


@pytest.mark.parametrize("change", [{"version": 99}, {"format": "something"}, {"mood": "blue"}])
def test_foreign_records_are_refused(change):
    io.write(Path("a.wav"), noise(), 8000)
    write_record(Path("a.wav"), MADE, ENGINE, "2" * 64)
    data = json.loads(sidecar(Path("a.wav")).read_text())
    sidecar(Path("a.wav")).write_text(json.dumps({**data, **change}))
    with pytest.raises(UserError):
        read_record(Path("a.wav"))


def test_other_comments_are_no_record_and_records_of_later_versions_are_refused():
    for comment in ("my favourite", "[]", '{"format": "something"}'):
        io.write(Path("a.flac"), noise(), 8000, comment=comment)
        assert read_made(Path("a.flac")) is None
    io.write(Path("a.flac"), noise(), 8000, comment=json.dumps({**plain(MADE), "version": 99}))
    with pytest.raises(UserError, match="99"):
        read_made(Path("a.flac"))


def test_the_audio_in_a_songs_folder_carries_a_record_too():
    folder = SongFolder(Path("a.song"), INFO)
    folder.save_audio(1, noise())
    assert read_made(folder.audio_path(1)) == INFO.made(1)


@pytest.mark.parametrize("name", ["none.wav", "note.txt", "."])
def test_what_is_no_audio_is_refused(name):
    Path("note.txt").write_text("dear")
    with pytest.raises(UserError):
        read_made(Path(name))
