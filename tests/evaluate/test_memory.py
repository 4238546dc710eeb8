"""What was planted is found, what was not is not; and what is near is said alike everywhere."""

from pathlib import Path

import pytest
import torch

from orchestrion.codes import Codes
from orchestrion.data.encoded import CodeStore, ShardWriter
from orchestrion.data.manifest import Track, split
from orchestrion.errors import UserError
from orchestrion.evaluate.chroma import FRAMES_PER_SECOND
from orchestrion.evaluate.memory import Passage, learned, limit, memory_of, nearest_passages, remembered
from orchestrion.grid import Grid

GRID = Grid(1600, (160, 320))  # 5 codes a second at the top
CODES = 64


def unit_chroma(frames, rng):
    values = torch.randn(frames, 12, generator=rng)
    values = values - values.mean(1, keepdim=True)
    return values / values.norm(dim=1, keepdim=True)


def store(folder: Path, rng: torch.Generator, *, held_out_seconds: int) -> CodeStore:
    """Two training tracks of 100 s and one that is held out."""
    writer, wanted = ShardWriter(folder, GRID, CODES, "f" * 64), {"train": [100, 100], "validation": [held_out_seconds]}
    number = 0
    while any(wanted.values()):
        number += 1
        artist = "Ada" if number % 2 else None
        track = Track(
            path=folder / f"{number}.wav",
            seconds=1.0,
            sample_rate=1600,
            channels=1,
            content_hash=f"{number:016x}",
            artist=artist,
            title=f"Tune {number}",
        )
        if not wanted[split(track)]:
            continue
        seconds = wanted[split(track)].pop()
        levels = tuple(torch.randint(CODES, (1, 1600 * seconds // hop), generator=rng) for hop in GRID.hop_lengths)
        writer.add(track, Codes(GRID, levels), 1600 * seconds)
    writer.finish()
    return CodeStore(folder)


def nearest(song: torch.Tensor, tracks: list[torch.Tensor]) -> Passage:
    (found,) = nearest_passages([song], tracks)
    return found


@pytest.mark.parametrize("semitones", [0, 1, 7, 11])
def test_a_planted_passage_is_found_in_any_key(rng, semitones):
    tracks = [unit_chroma(frames, rng) for frames in (300, 10, 500)]
    song = unit_chroma(100, rng)
    song[30:50] = tracks[2][222:242].roll(semitones, 1)
    other, found = nearest_passages([unit_chroma(60, rng), song], tracks)
    assert other.likeness < 0.6
    assert found.likeness == pytest.approx(1, abs=1e-5)
    assert (found.track, found.semitones) == (2, semitones)
    assert found.seconds == 222 / FRAMES_PER_SECOND
    assert found.song_seconds == 30 / FRAMES_PER_SECOND


def test_music_that_was_never_heard_is_less_alike(rng):
    assert nearest(unit_chroma(100, rng), [unit_chroma(500, rng)]).likeness < 0.5


def test_held_chords_and_silence_resemble_nothing(rng):
    chord = unit_chroma(1, rng).expand(100, 12)
    assert nearest(chord, [chord]).likeness == 0
    assert nearest(torch.zeros(100, 12), [torch.zeros(300, 12), unit_chroma(300, rng)]).likeness == 0


def test_what_all_but_one_in_a_hundred_held_out_pieces_stay_within_is_the_limit(rng):
    held_out = torch.arange(1.0, 201.0)[torch.randperm(200, generator=rng)]
    found = remembered(held_out, torch.arange(200), torch.tensor([3.0, 400.0, 198.0, 199.0]))
    assert 198 < limit(held_out) < 199
    assert found.limit.value == limit(held_out) and found.most == 200
    assert found.which == (1, 3)
    assert found.over.value == 0.5
    assert found.held_out.value == 100.5


def test_pieces_of_one_track_are_drawn_together(rng):
    of_tracks = 10 * torch.randn(12, generator=rng)
    alike = (of_tracks[:, None] + 0.01 * torch.randn(12, 8, generator=rng)).flatten()
    tracks = torch.arange(12).repeat_interleave(8)
    of_pieces, of_eight = (remembered(alike, which, alike).held_out for which in (torch.arange(96), tracks))
    assert of_pieces.value == pytest.approx(of_eight.value)
    # Eight pieces that are nearly the same tell no more than one of them.
    assert of_eight.high - of_eight.low == pytest.approx(8**0.5 * (of_pieces.high - of_pieces.low), rel=0.2)


def test_the_memory_of_a_model_has_its_training_tracks_and_the_limits_of_a_report(tmp_path, rng):
    codes, told = store(tmp_path, rng, held_out_seconds=2100), []
    memory = memory_of(codes, "f" * 64, on_piece=lambda done, total: told.append((done, total)))
    index, shards = learned(codes, 1)
    assert [one.seconds for one in memory.info.limits] == [10.0, 20.0]  # of 40 s there are 52 pieces
    assert [one.pieces for one in memory.info.limits] == [210, 105]
    assert told == [(done, 315) for done in range(1, 316)]
    pieces = [piece.codes[0] for piece in codes.validation_batches(1, 1, 100)]
    shared = torch.tensor([float(index.longest_run(piece).length) for piece in pieces])
    assert memory.info.limits[1].codes == remembered(shared, torch.arange(len(shared)), shared).limit.value
    assert all(torch.equal(track, codes.codes(shard, 1)) for track, shard in zip(memory.tracks, shards, strict=True))
    assert {name.partition(" by ")[2] for name in memory.info.tracks} <= {"Ada", ""}
    assert memory.info.codec_sha256 == "f" * 64
    assert memory.info.variations == (0, 0)
    assert memory.info.content_hashes == tuple(codes.shards[shard].track.content_hash for shard in shards)


def test_too_little_held_out_music_says_nothing_of_what_is_near(tmp_path, rng):
    with pytest.raises(UserError, match="99 pieces of 10 s"):
        memory_of(store(tmp_path, rng, held_out_seconds=999), "f" * 64)
