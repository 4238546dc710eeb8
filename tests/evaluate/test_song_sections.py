"""Sections about songs: the nearer is said to be nearer, the copied to be copied."""

import pytest
import torch
from torch import Tensor

from orchestrion.data.runs import CodeIndex
from orchestrion.evaluate.interval import Estimate
from orchestrion.evaluate.report import Section
from orchestrion.evaluate.songs import (
    Piece,
    control_section,
    distance_section,
    memory_section,
    musical_section,
    noisy,
    vectors,
)

RATE = 8000
ARTISTS = {"Ada": 0.0, "Bix": 4.0}


def pieces(count: int, rng: torch.Generator, shift: float = 0.0, *, seconds: float = 1.0) -> list[Piece]:
    """Sounds whose mean says whose they are."""
    found = []
    for number in range(count):
        artist = list(ARTISTS)[number % 2]
        audio = torch.randn(1, round(seconds * RATE), generator=rng) + ARTISTS[artist] + shift
        found.append(Piece(audio, number, artist, f"genre of {artist}"))
    return found


def embed(audio: Tensor) -> Tensor:
    """Means and deviations of four parts of the sound: one patch each."""
    parts = audio[0].view(4, -1)
    return torch.stack((parts.mean(1), parts.std(1), parts.amax(1)), 1)


def distances(training: list[Piece], held_out: list[Piece], songs: list[Piece], rng: torch.Generator) -> Section:
    return distance_section(*(vectors(part, embed) for part in (training, held_out, noisy(held_out, rng), songs)))


def test_songs_that_are_further_away_have_larger_distances(rng: torch.Generator) -> None:
    training, held_out = pieces(12, rng), pieces(10, rng)
    found = {}
    for name, shift in (("near", 0.0), ("far", 3.0)):
        section = distances(training, held_out, pieces(10, rng, shift), rng)
        assert [row[0] for row in section.tables[0].rows][:3] == [
            "the songs",
            "real: training tracks",
            "held out, with noise at 20 dB",
        ]
        found[name] = section.tables[0].rows[0][2:]
    for near, far in zip(found["near"], found["far"], strict=True):
        assert isinstance(near, Estimate) and isinstance(far, Estimate)
        assert near.value < far.low


def test_another_genre_is_a_ceiling(rng: torch.Generator) -> None:
    section = distances(pieces(12, rng), pieces(10, rng), pieces(10, rng), rng)
    rows = {str(row[0]): row for row in section.tables[0].rows}
    other = rows["real: genre of Ada, to held-out music of other genres"][2]
    songs = rows["the songs"][2]
    assert isinstance(other, Estimate) and isinstance(songs, Estimate)
    assert songs.value < other.low


@pytest.mark.parametrize("obeyed", [True, False])
def test_songs_that_keep_to_their_artist_are_told_from_those_that_do_not(rng: torch.Generator, obeyed: bool) -> None:
    songs = pieces(10, rng)
    if not obeyed:
        songs = [Piece(one.audio, one.track, "Ada" if one.artist == "Bix" else "Bix", one.genre) for one in songs]
    section = control_section(*(vectors(part, embed) for part in (pieces(12, rng), pieces(10, rng), songs)))
    found = {str(row[0]): row[3] for row in section.tables[0].rows}
    real, made = found["artist, held-out music"], found["artist, the songs"]
    assert isinstance(real, Estimate) and isinstance(made, Estimate)
    assert real.value == 1
    assert made.value == (1 if obeyed else 0)


def test_musical_figures_stand_side_by_side(rng: torch.Generator) -> None:
    section = musical_section(pieces(3, rng, seconds=13.5), pieces(2, rng, seconds=13.5), RATE)
    assert "tempo" in [row[0] for row in section.tables[0].rows]


def test_a_copied_song_is_named(rng: torch.Generator) -> None:
    tracks = [torch.randint(500, (400,), generator=rng) for _ in range(3)]
    new = [torch.randint(500, (100,), generator=rng) for _ in range(6)]
    section, found = memory_section(CodeIndex(tracks, 500), new[:4], [new[4], tracks[1][50:150]], ["mine", "theirs"])
    assert found.which == (1,)
    assert section.text.endswith("above the limit: theirs.")
