"""Sections about songs: the nearer is said to be nearer, the copied to be copied."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny
from orchestrion.audio import io
from orchestrion.data.manifest import Track, content_hash
from orchestrion.data.runs import CodeIndex
from orchestrion.data.tracks import TrackStore, prepare
from orchestrion.evaluate.interval import Estimate
from orchestrion.evaluate.report import Section
from orchestrion.evaluate.songs import (
    Piece,
    coded,
    control_section,
    distance_section,
    in_turn,
    likeness_section,
    memory_section,
    musical_section,
    noisy,
    pieces_by_genre,
    pieces_of,
    vectors,
    words_to_sing,
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
    heard = [replace(piece, audio=0.5 * piece.audio) for piece in held_out]
    parts = (training, noisy(training, rng), held_out, noisy(held_out, rng), heard, songs)
    learned, noisy_learned, real, noise, coded, made = (vectors(part, embed) for part in parts)
    versions = {"with noise": noise, "through the codec": coded}
    asked_like = [held_out[number % len(held_out)].track for number in range(len(songs))]
    return distance_section(learned, noisy_learned, learned, real, versions, made, asked_like)


def test_songs_that_are_further_away_have_larger_distances(rng: torch.Generator) -> None:
    training, held_out = pieces(12, rng), pieces(10, rng)
    found = {}
    for name, shift in (("near", 0.0), ("far", 3.0)):
        section = distances(training, held_out, pieces(10, rng, shift), rng)
        assert [row[0] for row in section.tables[0].rows][:5] == [
            "the songs",
            "real: training tracks",
            "training tracks, with noise at 20 dB",
            "held out, with noise",
            "held out, through the codec",
        ]
        found[name] = section.tables[0].rows[0][2:]
    for near, far in zip(found["near"], found["far"], strict=True):
        assert isinstance(near, Estimate) and isinstance(far, Estimate)
        assert near.value < far.low


def test_halves_of_held_out_music_are_beside_one_another_and_beside_songs(rng: torch.Generator) -> None:
    training, held_out = pieces(12, rng), pieces(10, rng)
    near, far = (distances(training, held_out, pieces(20, rng, shift), rng).tables[1] for shift in (0.0, 9.0))
    assert [row[0] for row in near.rows] == [
        "the other half",
        "the other half, with noise",
        "the other half, through the codec",
        "songs by the labels of the other half",
    ]
    assert {row[1] for row in near.rows} == {5}
    assert near.rows[0][2:4] == far.rows[0][2:4], "the same halves"
    found, further = near.rows[-1][2], far.rows[-1][2]
    assert isinstance(found, Estimate) and isinstance(further, Estimate) and found.value < further.low
    assert far.rows[0][4:] == (0.0, 0.0) and near.rows[-1][4:] == (None, None)


def test_another_genre_is_a_ceiling(rng: torch.Generator) -> None:
    section = distances(pieces(12, rng), pieces(10, rng), pieces(10, rng), rng)
    rows = {str(row[0]): row for row in section.tables[0].rows}
    other = rows["real: genre of Ada, to held-out music of other genres"][2]
    songs = rows["the songs"][2]
    assert isinstance(other, Estimate) and isinstance(songs, Estimate)
    assert songs.value < other.low


@pytest.mark.parametrize(("shift", "told"), [(0.0, "below"), (3.0, "not below")])
def test_the_nearest_genre_is_named_beside_the_songs(rng: torch.Generator, shift: float, told: str) -> None:
    section = distances(pieces(22, rng), pieces(10, rng), pieces(10, rng, shift), rng)
    rows = {str(row[0]): row for row in section.tables[0].rows}
    names = [f"genre of {artist}" for artist in ARTISTS]
    genres = {name: rows[f"real: {name}, to held-out music of other genres"][3] for name in names}
    nearest = min(genres, key=lambda name: genres[name].value)
    sentence, songs = section.text.rpartition("\n\n")[2], rows["the songs"][3]
    assert sentence.startswith(f"By the kernel distance the nearest other genre is {nearest}, 11 tracks, at")
    assert f"{genres[nearest].value:.4g}, half of which is {genres[nearest].value / 2:.4g}." in sentence
    assert sentence.endswith(f"of the 10 songs, {songs.low:.4g} to {songs.high:.4g}, is {told} that half.")


def test_a_genre_has_a_piece_of_each_of_its_tracks_up_to_as_many_as_there_are_songs(tmp_path: Path) -> None:
    tracks = []
    for number, seconds in enumerate((2.0, 2.0, 9.0, 2.0, 0.5, 2.0, 2.0)):
        path, genres = tmp_path / f"{number}.flac", ("folk",) if number < 5 else ("jazz",) * (number == 5)
        io.write(path, torch.full((1, round(seconds * RATE)), 0.1 + number / 20), RATE)
        about = {"path": path, "content_hash": content_hash(path), "genres": genres, "held_out": False}
        tracks.append(track(tmp_path, None).model_copy(update=about))
    for _ in prepare(tracks, tmp_path / "audio", RATE, 1):
        pass
    store = TrackStore(tmp_path / "audio")
    lessons = pieces_of(store, "train", RATE, 4)
    for most, expected in ((9, {"folk": 4, "jazz": 1}), (2, {"folk": 2, "jazz": 1})):
        found = pieces_by_genre(store, lessons, RATE, most)
        assert Counter(piece.genre for piece in found) == expected
        assert len({piece.track for piece in found}) == len(found)
        assert {piece.audio.shape[1] for piece in found} == {RATE}
    learned = {piece.track for piece in lessons}
    assert learned & {piece.track for piece in found}
    assert all(any(piece is one for one in lessons) == (piece.track in learned) for piece in found)


@pytest.mark.parametrize("obeyed", [True, False])
def test_songs_that_keep_to_their_artist_are_told_from_those_that_do_not(rng: torch.Generator, obeyed: bool) -> None:
    songs = pieces(10, rng)
    if not obeyed:
        songs = [Piece(one.audio, one.track, "Ada" if one.artist == "Bix" else "Bix", one.genre) for one in songs]
    real, swapped = pieces(10, rng), [replace(piece, audio=4 - piece.audio) for piece in pieces(10, rng)]
    judged = {"real": real, "swapped": swapped, "made": songs}
    lessons = [*pieces(12, rng), Piece(torch.zeros(1, 13 * RATE), 99, "Cyd", "another genre")]
    section = control_section(
        vectors(lessons, embed), {name: vectors(part, embed) for name, part in judged.items()}, vectors(songs, embed)
    )
    assert {row[1] for row in section.tables[0].rows} == {2}, "only labels that were asked for are told apart"
    found = {str(row[0]): row[3] for row in section.tables[0].rows}
    own, other, made = (found[f"artist, {name}"] for name in judged)
    assert isinstance(own, Estimate) and isinstance(other, Estimate) and isinstance(made, Estimate)
    assert own.value == 1 and other.value == 0
    assert made.value == (1 if obeyed else 0)


def test_musical_figures_stand_side_by_side(rng: torch.Generator) -> None:
    real = pieces(3, rng, seconds=13.5)
    quieter = [replace(piece, audio=0.1 * piece.audio) for piece in real]
    section = musical_section(real, quieter, pieces(2, rng, seconds=13.5), RATE)
    found = {str(row[0]): row[1:4] for row in section.tables[0].rows}
    assert "tempo" in found
    own, coded, _ = found["loudness"]
    assert isinstance(own, Estimate) and isinstance(coded, Estimate)
    assert coded.value == pytest.approx(own.value - 20, abs=0.1)


def test_silent_pieces_are_left_out_and_counted(rng: torch.Generator) -> None:
    real, silence = pieces(3, rng, seconds=13.5), torch.zeros(1, round(13.5 * RATE))
    songs = [*pieces(2, rng, seconds=13.5), Piece(silence, 2, None, None)]
    section, without = musical_section(real, real, songs, RATE), musical_section(real, real, songs[:2], RATE)
    assert section.tables == without.tables and section.text.endswith("0 held-out, 0 coded and 1 composed.")
    assert not musical_section(real, real, songs[2:], RATE).tables


def test_words_to_sing_are_those_of_the_first_seconds_of_singing(tmp_path: Path) -> None:
    (tmp_path / "sung.lrc").write_text("[00:10.00]<00:10.00>one <00:12.00>two <00:13.00>\n[00:29.00]three\n[00:40.00]")
    tracks = [track(tmp_path, None), track(tmp_path, tmp_path / "sung.lrc")]
    assert words_to_sing(tracks, 5.0) == ["one two"]
    assert words_to_sing(tracks[:1], 5.0) == []


def track(folder: Path, lyrics: Path | None) -> Track:
    return Track(
        path=folder / "a.flac", seconds=60.0, sample_rate=RATE, channels=1, content_hash="0" * 16, lyrics=lyrics
    )


def test_pieces_come_back_as_the_finest_level_hears_them(rng: torch.Generator) -> None:
    codec = tiny.codec()
    given = pieces(2, rng)
    for before, after in zip(given, coded(given, codec), strict=True):
        expected = codec.decode(codec.encode(before.audio[None]), 0)[0]
        assert torch.equal(after.audio, expected) and replace(after, audio=before.audio) == before
    odd = replace(given[0], audio=given[0].audio[:, :-3])
    (after,) = coded([odd], codec)
    assert after.audio.shape == odd.audio.shape and float(after.audio[:, -1].abs()) > 0


def chords(rng: torch.Generator) -> Tensor:
    """A new chord every second."""
    time = torch.arange(RATE) / RATE
    hertz = 110 * 2 ** (torch.randint(36, (6, 3, 1), generator=rng) / 12)
    return torch.sin(2 * torch.pi * hertz * time).mean(1).flatten()[None]


def test_a_song_that_plays_what_a_track_plays_is_named_by_chroma(tmp_path: Path, rng: torch.Generator) -> None:
    learned = [chords(rng) for _ in range(3)]
    tracks = []
    for number, audio in enumerate(learned):
        path = tmp_path / f"{number}.flac"
        io.write(path, audio, RATE)
        about = {"path": path, "content_hash": content_hash(path), "title": f"Tune {number}", "held_out": False}
        tracks.append(track(tmp_path, None).model_copy(update=about))
    for _ in prepare(tracks, tmp_path / "audio", RATE, 1):
        pass
    held_out = [Piece(chords(rng), number, None, None) for number in range(4)]
    songs = [Piece(chords(rng), 0, None, None), Piece(learned[1], 1, None, None)]
    section = likeness_section(TrackStore(tmp_path / "audio"), held_out, songs, ["mine", "theirs"], RATE)
    assert re.search(r"what they are like: theirs at (\d) s, Tune 1 at \1 s\. Of 4 held-out pieces", section.text)


def test_a_copied_song_is_named(rng: torch.Generator) -> None:
    tracks = [torch.randint(500, (400,), generator=rng) for _ in range(3)]
    new = [torch.randint(500, (100,), generator=rng) for _ in range(6)]
    section, found = memory_section(
        CodeIndex(tracks, 500), new[:4], range(4), [new[4], tracks[1][50:150]], ["mine", "theirs"]
    )
    assert found.which == (1,)
    assert "above the limit: theirs." in section.text
    assert section.text.endswith("Of 4 held-out pieces, fewer than 100, the limit is little below the most.")


def test_songs_are_asked_for_by_one_piece_of_each_track_before_the_second_of_any():
    named = ("2a", "2b", "1a", "3c", "3d", "3e")
    made = [Piece(torch.zeros(1, 1), int(name[0]), name, None) for name in named]
    assert [piece.artist for piece in in_turn(made)] == ["2a", "1a", "3c", "2b", "3d", "3e"]
