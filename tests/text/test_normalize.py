import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrion.errors import UserError
from orchestrion.text.normalize import DIALECTS, V2, V3, transliterate

DIALECT = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


@DIALECT
@given(text=st.text())
def test_cleaning_leaves_the_alphabet_alone_and_nothing_else(dialect, text):
    clean = dialect.clean(text)
    assert set(clean) <= set(dialect.alphabet)
    assert dialect.clean(clean) == clean


@DIALECT
@given(text=st.text())
def test_characters_and_ids_are_each_other_s_inverse(dialect, text):
    clean = dialect.clean(text)
    assert dialect.text(dialect.character_ids(clean)) == clean


@DIALECT
def test_ids_run_from_one_without_a_gap(dialect):
    assert dialect.character_ids(dialect.alphabet) == tuple(range(1, dialect.alphabet_size))


@given(st.text())
def test_transliteration_is_ascii_letter_by_letter(text):
    spelled = transliterate(text)
    assert spelled.isascii()
    assert spelled == "".join(transliterate(one) for one in text)


@pytest.mark.parametrize(
    "text, spelled",
    [
        ("Motörhead, Beyoncé & Þór", "Motorhead, Beyonce & Thor"),
        ("ÄÖÜ äöü ß ñ ç ø å æ Æ œ Œ", "AOU aou ss n c o a ae AE oe OE"),
        ("‘a’ “b” „c” — d – e … ½", '\'a\' "b" ,,c" -- d - e ...  1/2 '),
        ("ψυχή, φίλη", "psukhe, phile"),
        ("Моя ёлка", "Moia iolka"),
        ("한글", "hangeul"),
        ("北京", "Bei Jing "),
        ("あふれ", "ahure"),
        ("sun ☀ up 🎵", "sun  up "),
    ],
)
def test_foreign_letters_are_spelled_as_the_models_were_taught(text, spelled):
    assert transliterate(text) == spelled


@DIALECT
def test_a_backslash_is_a_new_line(dialect):
    assert dialect.clean("one\\two＼three") == "one\ntwo\nthree"


def test_only_v2_knows_the_plus_sign():
    assert (V2.clean("1+1"), V3.clean("1+1")) == ("1+1", "11")


@pytest.mark.parametrize("name", ["The Beatles", "THE  beatles!", "_the-beatles_", "  the\tbeatles"])
def test_v2_keys_disregard_case_and_signs(name):
    assert V2.artist_key(name) == "the_beatles"


def test_v3_keys_disregard_case_only():
    assert V3.artist_key("Beyoncé!") == "beyoncé!"


def test_genres_are_words_in_v2_and_names_in_v3():
    assert V2.genre_keys("R&B / Soul") == ("r", "b", "soul")
    assert V3.genre_keys("R&B / Soul") == ("r&b / soul",)


def test_text_that_is_not_clean_has_no_ids():
    with pytest.raises(UserError, match="clean the lyrics first"):
        V3.character_ids("1 + 1 = é")
