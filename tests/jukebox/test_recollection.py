"""A song that repeats what its model learned from is noticed, told of and recorded; others are not."""

import json
from pathlib import Path

import pytest
import torch

import tiny
from orchestrion import Jukebox, Request
from orchestrion.checkpoints.folder import CODEC, model_sha256, read_model
from orchestrion.checkpoints.memory import MEMORY, Limit, Memory, MemoryInfo, read_memory, write_memory
from orchestrion.cli.main import main
from orchestrion.codes import Codes
from orchestrion.data.vary import recorded_sample
from orchestrion.errors import UserError
from orchestrion.jukebox.memory import Recollection
from orchestrion.library.provenance import read_record

LIMITS = (Limit(seconds=10.0, codes=4.5, pieces=100), Limit(seconds=20.0, codes=6.0, pieces=100))
COMPOSE = ("compose", "--device", "cpu", "--seconds", "2", "--seed", "7", "-q")


@pytest.fixture
def model(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("orchestrion.jukebox.song.draw", lambda path, *_, **__: path.write_bytes(b"picture"))
    return tiny.write_tiny_model(tmp_path / "ditty")


def memory(model: Path, *tracks: torch.Tensor) -> Memory:
    info = MemoryInfo(
        codec_sha256=read_model(model).sha256[CODEC],
        codebook_size=tiny.CODEBOOK_SIZE,
        tracks=tuple(f"Tune {number} by Ada" for number, _ in enumerate(tracks)),
        num_frames=tuple(len(track) for track in tracks),
        limits=LIMITS,
    )
    return Memory(info, torch.cat(tracks))


def composed(model: Path) -> torch.Tensor:
    """The codes at the top of the song that `COMPOSE` makes."""
    return Jukebox(model, device="cpu").compose(Request(seconds=2.0, seed=7)).finish().codes[1][0]


def own(length: int) -> torch.Tensor:
    """A track that is like nothing else: two codes in turn."""
    return torch.tensor([3, 5]).repeat(length // 2)


@pytest.mark.parametrize(
    "changes", [{"num_frames": (50, -10)}, {"codebook_size": 4}, {"variations": (0, 1)}, {"content_hashes": ("..", "")}]
)
def test_a_memory_that_cannot_be_is_refused(model, changes):
    kept = memory(model, own(30), own(10))
    info = MemoryInfo.model_construct(**{**dict(kept.info), **changes})
    write_memory(model, Memory(info, kept.codes))
    with pytest.raises(UserError, match=r"damaged|num_frames|content_hashes"):
        read_memory(model, kept.info.codec_sha256)


def test_a_memory_comes_back_as_it_was_written_and_changes_nothing_of_the_model(model):
    before, kept = model_sha256(model), memory(model, own(40), own(6))
    assert write_memory(model, kept) == model / MEMORY
    found = read_memory(model, kept.info.codec_sha256)
    assert found is not None and found.info == kept.info and torch.equal(found.codes, kept.codes)
    assert [len(track) for track in found.tracks] == [40, 6]
    assert model_sha256(model) == before
    first = (model / MEMORY).read_bytes()
    write_memory(model, kept)
    assert (model / MEMORY).read_bytes() == first


def test_a_damaged_or_foreign_memory_is_refused_before_composing(model):
    kept = memory(model, own(40))
    write_memory(model, Memory(kept.info.model_copy(update={"codec_sha256": "0" * 64}), kept.codes))
    with pytest.raises(UserError, match="another codec"):
        Jukebox(model, device="cpu").compose(Request(seconds=1.0))
    write_memory(model, Memory(kept.info, kept.codes[:-1]))
    with pytest.raises(UserError, match="damaged"):
        Jukebox(model, device="cpu").compose(Request(seconds=1.0))
    write_memory(model, Memory(kept.info.model_copy(update={"version": 99}), kept.codes))
    with pytest.raises(UserError, match="99"):
        read_memory(model, kept.info.codec_sha256)
    (model / MEMORY).write_bytes(b"no tensors")
    with pytest.raises(UserError, match="damaged"):
        read_memory(model, kept.info.codec_sha256)


def test_the_limit_is_that_of_pieces_as_long_as_the_song(model):
    recollection = Recollection(memory(model, own(40)))
    assert [recollection.limit(seconds) for seconds in (1.0, 10.0, 10.5, 20.0, 300.0)] == [4.5, 4.5, 6.0, 6.0, 6.0]


def test_what_shares_no_code_has_no_nearest_passage(model):
    recollection = Recollection(memory(model, own(40)))
    grid = tiny.codec_config().grid
    assert recollection.nearest(Codes.empty(grid).replace(1, torch.full((1, 50), 7))) is None


def test_a_passage_of_a_variation_is_told_by_its_place_in_the_track(model):
    grid, (recording, variation) = tiny.codec_config().grid, ("00000000000000aa", 2)
    kept = memory(model, own(40), torch.cat([own(200), torch.tensor([7, 1, 6, 2, 4]), own(20)]))
    about = {"variations": (0, variation), "content_hashes": ("00000000000000ab", recording)}
    hop_length = grid.hop_lengths[1]
    expected = recorded_sample(200.0 * hop_length, recording, variation, hop_length) / grid.sample_rate
    assert abs(expected - 4) > 0.05
    song = Codes.empty(grid).replace(1, torch.tensor([[0, 0, 7, 1, 6, 2, 4, 0]]))
    found, before = (Recollection(Memory(kept.info.model_copy(update=each), kept.codes)) for each in (about, {}))
    assert [one.nearest(song).track_seconds for one in (found, before)] == [pytest.approx(expected, abs=0.01), 4.0]


def test_a_copy_is_told_of_and_recorded_with_its_place(model, capsys):
    codes = composed(model)
    start = next(place for place in range(20, 80) if len(torch.unique_consecutive(codes[place : place + 12])) >= 8)
    copied = torch.cat([own(200), codes[start : start + 12], own(20)])
    write_memory(model, memory(model, own(30), copied))
    assert main([*COMPOSE, "--model", str(model), "--json"]) == 0
    out, err = capsys.readouterr()
    record = read_record(Path("song.flac"))
    assert record is not None and record.nearest is not None and record.nearest.is_too_near
    near = record.nearest
    assert near.track == "Tune 1 by Ada" and near.limit == 4.5 and near.codes >= 8
    assert 50 * near.song_seconds <= start + 1e-6 and 50 * near.track_seconds <= 200 + 1e-6
    assert 50 * (near.track_seconds - near.song_seconds) == pytest.approx(200 - start, abs=1)
    assert err.count("\n") == 1 and f"{near.codes} codes in a row are those of Tune 1 by Ada at 0:0" in err
    assert json.loads(out)["nearest"]["codes"] == near.codes


def test_nothing_is_said_of_a_song_that_is_not_near_nor_by_a_model_without_a_memory(model, capsys):
    assert main([*COMPOSE, "--model", str(model), "-o", "without.flac"]) == 0
    write_memory(model, memory(model, own(40)))
    assert main([*COMPOSE, "--model", str(model), "-o", "with.flac"]) == 0
    assert capsys.readouterr().err == ""
    without, there = read_record(Path("without.flac")), read_record(Path("with.flac"))
    assert without is not None and without.nearest is None
    assert there is not None and there.nearest is not None and not there.nearest.is_too_near
    assert Path("with.flac").read_bytes() == Path("without.flac").read_bytes()
