import json

import pytest

from orchestrion.errors import UserError
from orchestrion.text.published import PublishedNames, make_labels, read_ids, read_published_names

V2 = PublishedNames(
    dialect="v2",
    artists={"": 0, "unknown": 0, "various": 0, "ada_byron": 1, "the_organists": 2, "organists": 2},
    genres={"unknown": 0, "folk": 1, "rock": 2, "drum": 3},
)
V3 = PublishedNames(dialect="v3", artists={"ada byron": 1, "beyoncé": 2}, genres={"folk": 1, "folk rock": 2})


@pytest.mark.parametrize("names", [V2, V3], ids=["v2", "v3"])
@pytest.mark.parametrize("nobody", [None, "", "  ", "unknown", "Unknown"])
def test_nobody_is_unknown(names, nobody):
    assert names.artist_id(nobody) == 0
    assert names.genre_ids([] if nobody is None else [nobody])[0] == 0


@pytest.mark.parametrize("names, typed", [(V2, "Ada Byrn"), (V3, "Ada Byrn")], ids=["v2", "v3"])
def test_a_name_not_known_is_refused_with_close_ones_and_unknown_when_asked(names, typed):
    with pytest.raises(UserError, match=r"no artist called 'Ada Byrn': closest known: ada.byron"):
        names.artist_id(typed)
    assert names.artist_id(typed, strict=False) == 0


def test_every_word_of_a_v2_genre_counts():
    assert V2.genre_ids(["Folk Rock", "folk"]) == (1, 2, 1, -1, -1)
    with pytest.raises(UserError, match="no genre called 'bass'"):
        V2.genre_ids(["Drum & Bass"])
    assert V2.genre_ids(["Drum & Bass"], strict=False) == (3, 0, -1, -1, -1)
    with pytest.raises(UserError, match="6 words of genres are too many"):
        V2.genre_ids(["folk folk folk", "rock rock rock"])


def test_a_v3_genre_is_one_name():
    assert V3.genre_ids(["Folk Rock"]) == (2,)
    with pytest.raises(UserError, match="name at most 1"):
        V3.genre_ids(["folk", "folk rock"])


def test_genres_are_not_a_text():
    with pytest.raises(UserError, match=r"give \['folk'\]"):
        V3.genre_ids("folk")


def test_ids_have_names():
    assert (V2.artist_name(2), V2.artist_name(0), V2.artist_name(9)) == ("the_organists", "unknown", "unknown")
    assert V2.genre_names((1, 2, -1, -1, -1)) == ("folk", "rock")
    assert (V2.num_artists, V2.num_genres) == (3, 4)


def test_names_are_json_and_back():
    assert PublishedNames.model_validate_json(json.dumps(V2.model_dump())) == V2


def test_lists_of_ids_are_read_as_published(tmp_path):
    (tmp_path / "v3_artist_ids.txt").write_text("Ada Byron;1\n\nBeyoncé;2\r\nAda Byron;7\n;0", encoding="utf-8")
    (tmp_path / "v3_genre_ids.txt").write_text("folk;1\n", encoding="utf-8")
    names = read_published_names(tmp_path, "v3")
    assert names.artists == {"ada byron": 7, "beyoncé": 2, "": 0}
    assert names.artist_id("ADA byron") == 7


def test_lists_that_are_missing_or_broken_are_told(tmp_path):
    with pytest.raises(UserError, match=r"no v2_artist_ids.txt and no v2_genre_ids.txt: copy these lists"):
        read_published_names(tmp_path, "v2")
    path = tmp_path / "ids.txt"
    path.write_text("folk;1\nrock\njazz;two\n")
    with pytest.raises(UserError, match=r"line 2 \('rock'\), line 3 \('jazz;two'\)"):
        read_ids(path)
    path.write_bytes(b"\xff\xfe;1")
    with pytest.raises(UserError, match="not text in UTF-8"):
        read_ids(path)
    path.write_text("\n")
    with pytest.raises(UserError, match="holds no ids"):
        read_ids(path)
    with pytest.raises(UserError, match="cannot read"):
        read_ids(tmp_path)


def labels(**changes):
    asked = {"artist": "Ada Byron", "genres": ["folk"], "lyrics": "la " * 100, "timing": (1_000, 0, 100)}
    return make_labels(V2, **{**asked, "num_characters": 10, **changes})


def test_a_label_is_timing_names_and_characters_in_this_order():
    label = labels(lyrics="é")
    assert label.vector == (1_000, 0, 100, 1, 1, -1, -1, -1, -1, *(0,) * 9, 31)
    assert label.places == (-1,) * 9 + (0,)


def test_moving_a_label_moves_its_lyrics_and_its_start_only():
    moved = labels().at(900)
    assert moved.vector[1] == 900
    assert moved.places == tuple(range(280, 290))
    assert [one for i, one in enumerate(moved.vector[:9]) if i != 1] == [
        one for i, one in enumerate(labels().vector[:9]) if i != 1
    ]


def test_a_prior_without_lyrics_reads_none():
    assert labels(num_characters=0).vector == (1_000, 0, 100, 1, 1, -1, -1, -1, -1)


@pytest.mark.parametrize("timing", [(0, 0, 100), (1_000, -1, 100), (1_000, 0, 0)])
def test_a_song_has_a_length_and_its_windows_too(timing):
    with pytest.raises(UserError, match="give positive lengths"):
        labels(timing=timing)
