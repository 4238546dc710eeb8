import json
import shutil
from pathlib import Path

import pytest
import torch

from orchestrion.codes import Codes
from orchestrion.errors import UserError
from orchestrion.files import replacing
from orchestrion.grid import Grid
from orchestrion.library.folder import (
    SongFolder,
    SongInfo,
    claim,
    codes_sha256,
    find,
    read_codes,
    write_codes,
)
from orchestrion.library.provenance import SongModel

GRID = Grid(800, (2, 8))
INFO = SongInfo(
    orchestrion="0.1.0",
    model=SongModel(name="tiny", sha256="0" * 64, codec_sha256="1" * 64),
    request={"seconds": 1.0, "artist": None},
    sample_rate=800,
    hop_lengths=(2, 8),
    num_samples=800,
)


NOTHING = Codes.empty(GRID)


def some_codes() -> Codes:
    return Codes(GRID, (None, torch.arange(12).view(1, 12)))


def test_a_song_comes_back_as_it_was_put():
    made = SongFolder.create(Path("a.song"), INFO, NOTHING)
    made.save_codes(some_codes())
    again = SongFolder.open(Path("a.song"))
    assert again.info == INFO
    assert torch.equal(again.codes()[1], some_codes()[1])
    assert not again.codes().has(0)


def test_a_song_without_codes_has_none():
    codes = SongFolder.create(Path("a.song"), INFO, NOTHING).codes()
    assert not codes.has(0) and not codes.has(1)


def test_a_song_is_created_with_the_codes_it_starts_with():
    SongFolder.create(Path("a.song"), INFO, some_codes())
    assert torch.equal(SongFolder.open(Path("a.song")).codes()[1], some_codes()[1])


def test_a_folder_without_its_request_may_be_created_again_and_starts_afresh():
    Path("a.song").mkdir()
    write_codes(Path("a.song/codes.safetensors"), some_codes())
    assert not SongFolder.create(Path("a.song"), INFO, NOTHING).codes().has(1)


def test_a_folder_in_which_the_power_went_as_it_was_begun_may_be_created_again():
    Path("a.song").mkdir()
    for name in ("codes.safetensors", "request.json"):
        with replacing(Path("a.song") / name) as part:
            part.write_text("half")
            shutil.copy(part, "left")
        shutil.move("left", part)
        (Path("a.song") / name).unlink()
    assert len(list(Path("a.song").iterdir())) == 2
    assert claim(Path("a.song"), INFO, replace=False).begin(NOTHING).info == INFO


def test_the_hash_tells_codes_apart():
    zeros, ones = (Codes(GRID, (None, torch.full((1, 3), value))) for value in (0, 1))
    longer = Codes(GRID, (None, torch.zeros(1, 4, dtype=torch.int64)))
    assert len({codes_sha256(codes) for codes in (zeros, ones, longer, NOTHING)}) == 4
    assert codes_sha256(some_codes()) == codes_sha256(some_codes())


def test_the_same_codes_give_the_same_bytes():
    write_codes(Path("a"), some_codes())
    write_codes(Path("b"), some_codes())
    assert Path("a").read_bytes() == Path("b").read_bytes()


def test_a_song_is_found_by_its_folder_or_by_the_audio_beside_it():
    SongFolder.create(Path("deep/a.song"), INFO, NOTHING)
    Path("deep/a.flac").write_bytes(b"")
    assert find(Path("deep/a.song")).path == find(Path("deep/a.flac")).path == find(Path("deep/a.wav")).path


def test_audio_without_its_folder_is_told_from_nothing_at_all():
    Path("b.flac").write_bytes(b"")
    with pytest.raises(UserError, match=r"no song folder beside it.*b\.song"):
        find(Path("b.flac"))
    with pytest.raises(UserError, match="there is no song"):
        find(Path("c.flac"))


def test_nothing_is_created_over_something():
    Path("a.song").mkdir()
    Path("a.song/mine.txt").write_text("dear")
    with pytest.raises(UserError, match="exists"):
        SongFolder.create(Path("a.song"), INFO, NOTHING)
    assert Path("a.song/mine.txt").read_text() == "dear"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": "something"}', '{"format": "orchestrion.song", "version": 99}']
)
def test_foreign_requests_are_refused(content):
    Path("a.song").mkdir()
    Path("a.song/request.json").write_text(content)
    with pytest.raises(UserError):
        SongFolder.open(Path("a.song"))


def test_a_request_with_more_than_we_know_is_refused():
    SongFolder.create(Path("a.song"), INFO, NOTHING)
    data = json.loads(Path("a.song/request.json").read_text())
    Path("a.song/request.json").write_text(json.dumps({**data, "mood": "blue"}))
    with pytest.raises(UserError, match="mood"):
        SongFolder.open(Path("a.song"))


def test_damaged_codes_are_refused():
    write_codes(Path("codes"), some_codes())
    whole = Path("codes").read_bytes()
    for broken in (b"", b"not codes", whole[:-3], whole[:20]):
        Path("codes").write_bytes(broken)
        with pytest.raises(UserError, match="damaged"):
            read_codes(Path("codes"))


def test_codes_on_another_grid_are_refused():
    made = SongFolder.create(Path("a.song"), INFO, NOTHING)
    made.save_codes(Codes(Grid(800, (4, 8)), (None, torch.zeros(1, 3, dtype=torch.int64))))
    with pytest.raises(UserError, match="grid"):
        made.codes()


def test_a_place_is_claimed_for_a_song_or_gone_on_with():
    fresh = claim(Path("a.song"), INFO, replace=False)
    assert fresh.song is None and not Path("a.song").exists()
    fresh.begin(some_codes())
    again = claim(Path("a.song"), INFO, replace=False)
    assert torch.equal(again.begin(NOTHING).codes()[1], some_codes()[1])


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"request": {"seconds": 1.0, "artist": "Ada"}}, "artist"),
        ({"request": {"seconds": 2.0, "artist": None}}, "length"),
        ({"request": {"seconds": 1.0, "origin": {"song": "b"}}}, "song, or part of one, that it is made from"),
        ({"model": SongModel(name="tiny", sha256="2" * 64, codec_sha256="1" * 64)}, "model"),
    ],
)
def test_another_song_is_given_up_only_when_told_so_and_not_before_the_work_begins(changes, named):
    SongFolder.create(Path("a.song"), INFO, some_codes())
    other = INFO.model_copy(update=changes)
    with pytest.raises(UserError, match=f"with another {named}"):
        claim(Path("a.song"), other, replace=False)
    place = claim(Path("a.song"), other, replace=True)
    assert SongFolder.open(Path("a.song")).info == INFO
    assert not place.begin(NOTHING).codes().has(1)
    assert SongFolder.open(Path("a.song")).info == other


def test_what_is_no_song_is_never_given_up():
    Path("a.song").mkdir()
    Path("a.song/mine.txt").write_text("dear")
    with pytest.raises(UserError, match="is no song"):
        claim(Path("a.song"), INFO, replace=True)


def test_audio_is_kept_per_level():
    made = SongFolder.create(Path("a.song"), INFO, NOTHING)
    made.save_audio(1, torch.zeros(1, 800))
    assert made.audio_path(1).is_file() and not made.audio_path(0).exists()
