"""The alphabet of our own models: no text without a spelling, and what does not sound is not spelled."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrion.errors import UserError
from orchestrion.text.alphabet import Alphabet, heard
from orchestrion.text.lyrics import spelled, untimed, written

ALPHABET = Alphabet()


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_what_is_spelled_reads_the_same_and_spells_the_same_again(text):
    clean = ALPHABET.clean(text)
    ids = spelled(text, ALPHABET).ids
    assert ALPHABET.text(ids) == clean
    assert all(0 < one < ALPHABET.size for one in ids)
    if "[" not in text and all(heard(word) for word in text.split()):
        assert ALPHABET.clean(clean) == clean
        assert spelled(clean, ALPHABET).ids == ids


@given(st.text(st.characters(categories=("L", "N"), exclude_characters="ʹʻʼﬀﬁﬂﬃﬄ"), min_size=1, max_size=30))
def test_letters_keep_their_case_and_accents(word):
    assert heard(word) == unicodedata.normalize("NFC", word)


@given(st.text(max_size=80))
def test_every_word_has_its_place(text):
    lyrics, ids = untimed(text), spelled(text, ALPHABET)
    assert len(lyrics.words) == len(ids.words) == len(ids.stretches) - 1
    for word, places in zip(lyrics.words, ids.words, strict=True):
        assert ALPHABET.text([ids.ids[place] for place in places]) == heard(word.text)
    assert [place for stretch in ids.stretches for place in stretch] == list(range(len(ids.ids)))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Schläft ein Lied", "Schläft ein Lied\n"),
        ("Scha\u0308fer", "Schäfer\n"),  # composed
        ("“l’été” — … ﬁn", '"l\'été" - ... fin\n'),
        ("so\u00adft zero\u200bwidth\ufeff", "soft zerowidth\n"),
        ("a\u00a0b\t c\r\n\r\n\n d", "a b c\nd\n"),
        ("שלום עולם", "שלום עולם\n"),
        ("\u202bשלום\u202c", "שלום\n"),
        ("می\u200cروم", "می\u200cروم\n"),
        ("夜の歌 🎵", "夜の歌 🎵\n"),
        ("\x00\x07bell", "bell\n"),
        ("[Verse 2]\nla", "[verse]\nla\n"),
        ("[Pre-Chorus: Ada]\nla", "[prechorus]\nla\n"),
        ("[Strophe]\nla\n[REFRAIN]\nli", "[verse]\nla\n[chorus]\nli\n"),
        ("[Couplet 1]\nla\n[whistling, softly]\nli", "[verse]\nla\n[part]\nli\n"),
        ("la [verse] li", "la [verse] li\n"),  # words, within a line
        ("", ""),
        (" \n\t\n", ""),
    ],
)
def test_text_as_the_model_reads_it(text, clean):
    assert ALPHABET.clean(text) == clean


def test_a_section_is_one_id_and_a_foreign_letter_its_bytes():
    assert len(spelled("[chorus]\nä", ALPHABET).ids) == 4  # the section, a new line, the letter, a new line
    assert len(spelled("夜", ALPHABET).ids) == 3 + 1
    cut = spelled("夜", ALPHABET).ids[1:]
    assert "\ufffd" in ALPHABET.text(cut)


def test_a_megabyte_of_text_is_spelled():
    text = "la li lu 夜 [x]\n" * 60_000
    ids = spelled(text, ALPHABET)
    assert len(ids.words) == 300_000


def test_plain_text_and_timed_lyrics_are_the_same_words():
    text = "[Verse 1]\nla li\nlu\n[Chorus]\nlo\n"
    assert written(untimed(text)) == text
    assert [line.section for line in untimed(text).lines] == ["Verse 1", None, "Chorus"]


@pytest.mark.parametrize("wrong", [{"characters": "aa \n"}, {"characters": "ab"}, {"sections": ("verse",)}])
def test_an_alphabet_that_cannot_spell_is_refused(wrong):
    from orchestrion.config import read_settings

    with pytest.raises(UserError, match="cannot be used"):
        read_settings(Alphabet, wrong)
