import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrion.errors import UserError
from orchestrion.text.vocab import GENRE_SLOTS, NO_GENRE, Vocabulary

NAMES = Vocabulary(
    artists=("Ada Byron", "Björk", "The Örganists"), genres=("folk", "jazz", "drum and bass", "a", "b", "c")
)


def test_ids_start_at_one_and_unknown_is_zero():
    assert [NAMES.artist_id(name) for name in ("unknown", *NAMES.artists)] == [0, 1, 2, 3]
    assert NAMES.num_artists == 4


def test_naming_nobody_is_the_same_as_asking_for_unknown():
    assert NAMES.artist_id(None) == NAMES.artist_id("Unknown") == 0
    assert NAMES.genre_ids(()) == NAMES.genre_ids(["UNKNOWN"]) == (0, NO_GENRE, NO_GENRE, NO_GENRE, NO_GENRE)


@pytest.mark.parametrize("spelling", ["Björk", "björk", " BJÖRK ", "Bjo\u0308rk"])
def test_case_space_and_composition_do_not_matter(spelling):
    assert NAMES.artist_id(spelling) == 2


@pytest.mark.parametrize("typed", ["Ada Biron", "ada", "byron"])
def test_a_name_that_is_not_known_is_answered_with_close_ones(typed):
    with pytest.raises(UserError, match="Ada Byron"):
        NAMES.artist_id(typed)


def test_a_name_far_from_all_is_answered_with_what_there_is():
    with pytest.raises(UserError, match="known: folk, jazz"):
        NAMES.genre_ids(["qqqqqqqq"])


def test_more_genres_than_slots_are_refused_and_repeats_count_once():
    assert NAMES.genre_ids(["jazz", "Jazz", "folk"]) == (2, 1, NO_GENRE, NO_GENRE, NO_GENRE)
    with pytest.raises(UserError, match="at most 5"):
        NAMES.genre_ids(NAMES.genres)


def test_a_text_in_the_place_of_a_list_is_refused():
    with pytest.raises(UserError, match="list"):
        NAMES.genre_ids("jazz")


@pytest.mark.parametrize("artists", [("A", "a"), ("Unknown",), ("",), ("x  y", "X y")])
def test_names_that_cannot_be_told_apart_are_refused(artists):
    with pytest.raises(UserError, match="cannot be told"):
        Vocabulary(artists=artists, genres=())


@given(st.lists(st.sampled_from(NAMES.genres), max_size=GENRE_SLOTS))
def test_ids_lead_back_to_names(names):
    ids = NAMES.genre_ids(names)
    assert len(ids) == GENRE_SLOTS
    assert NAMES.genre_names(ids) == (tuple(dict.fromkeys(names)) or ("unknown",))


def test_it_survives_json():
    assert Vocabulary.from_json(json.loads(json.dumps(NAMES.to_json()))) == NAMES
