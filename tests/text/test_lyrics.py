"""Where words are in the ids that spell them, and when these are sung."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrion.errors import UserError
from orchestrion.text.alphabet import Alphabet
from orchestrion.text.lyrics import check_pace, id_times, known_times, parts, sectioned, spelled, untimed, written
from orchestrion.text.normalize import V2, V3
from orchestrion.text.timed import TimedLine, TimedLyrics, TimedSyllable, TimedWord
from orchestrion.text.window import SeenLyrics

ALPHABET = Alphabet()


def timed(*words: tuple[str, float | None, float | None], language: str | None = None) -> TimedLyrics:
    sung = tuple(TimedWord(text=text, start=start, end=end) for text, start, end in words)
    return TimedLyrics(language=language, lines=(TimedLine(words=sung),))


@given(st.text(max_size=80))
def test_the_pieces_of_a_text_are_the_text(text):
    assert "".join(part.text for part in parts(text)) == text


@given(st.text(max_size=80))
def test_the_published_models_read_what_they_always_read(text):
    for dialect in (V2, V3):
        assert spelled(text, dialect).ids == dialect.character_ids(dialect.clean(text))


def test_the_published_models_spell_tags_in_letters():
    assert V3.text(spelled("[Verse]\nla", V3).ids) == "[Verse]\nla"
    assert [word.text for word in untimed("[Verse]\nla").words] == ["la"]
    assert len(spelled("[Verse]\nla", V3).words) == 1


def test_words_that_vanish_have_no_places():
    ids = spelled("la ☃ li", V3)
    assert [len(word) for word in ids.words] == [2, 0, 2]


def test_times_pass_evenly_between_what_is_known():
    lyrics = timed(("ab", 1.0, 2.0), ("cd", 3.0, 5.0))
    ids = spelled(written(lyrics), ALPHABET)
    assert id_times(lyrics, ids) == (1.0, 1.5, 2.0, 3.0, 4.0, 5.0)  # a b _ c d and the line's end


def test_syllables_say_more_than_words():
    word = TimedWord(
        text="abcd",
        start=0.0,
        end=4.0,
        syllables=(TimedSyllable(text="ab", start=0.0, end=1.0), TimedSyllable(text="cd", start=1.0, end=4.0)),
    )
    lyrics = TimedLyrics(lines=(TimedLine(words=(word,)),))
    assert id_times(lyrics, spelled(written(lyrics), ALPHABET)) == (0.0, 0.5, 1.0, 2.5, 4.0)


def test_times_of_lines_alone_are_spread_over_their_words():
    lyrics = timed(("ab", 2.0, None), ("c", None, None), ("d", None, 7.0))
    assert id_times(lyrics, spelled(written(lyrics), ALPHABET)) == pytest.approx(
        [2 + 5 / 6 * place for place in range(7)]
    )
    assert known_times(lyrics) == (None, None, None)


def test_nothing_is_made_up_where_no_time_is_known():
    lyrics = untimed("la li")
    assert id_times(lyrics, spelled(written(lyrics), ALPHABET)) is None
    assert known_times(lyrics) == (None, None)


def test_a_word_lasts_to_the_next_where_its_end_is_unknown():
    lyrics = timed(("a", 1.0, None), ("b", 2.0, None), ("c", 3.0, 4.0))
    assert known_times(lyrics) == ((1.0, 2.0), (2.0, 3.0), (3.0, 4.0))


@given(st.lists(st.tuples(st.text("ab", min_size=1, max_size=4), st.floats(0, 50), st.floats(0, 5)), max_size=6))
def test_times_never_go_back(words):
    lyrics = timed(*((text, start, start + length) for text, start, length in words)) if words else TimedLyrics()
    ids = spelled(written(lyrics), ALPHABET)
    times = id_times(lyrics, ids)
    if words:
        assert times is not None and len(times) == len(ids.ids) and list(times) == sorted(times)


def test_tags_in_files_of_timed_lyrics_become_sections():
    tag = TimedLine(words=(TimedWord(text="[Chorus]", start=1.0),))
    sung = TimedLine(words=(TimedWord(text="la", start=2.0),))
    (line,) = sectioned(TimedLyrics(lines=(tag, sung))).lines
    assert line.section == "Chorus" and line.text == "la"


def test_a_window_with_known_times_is_where_the_words_are():
    seen = SeenLyrics(
        total_samples=1000,
        start_samples=0,
        window_samples=100,
        lyrics=tuple(range(1, 101)),
        num_characters=10,
        times=tuple(float(10 * place) for place in range(100)),
    )
    assert seen.places == tuple(range(10))  # around place 5
    assert seen.at(600).places == tuple(range(60, 70))  # around place 65, at sample 650
    late = SeenLyrics(**{**vars(seen), "times": tuple(900.0 + place for place in range(100))})
    assert late.at(600).places == tuple(range(10)), "all of it is still to come"
    assert seen.at(600, 690.0).places == tuple(range(64, 74)), "around what is to be made"
    ending = SeenLyrics(**{**vars(seen), "total_samples": 640, "hop_length": 1})
    assert ending.at(600).places == tuple(range(57, 67)), "nothing is sung after the end"
    moved = SeenLyrics(**{**vars(seen), "shift": 3})
    assert moved.at(600).places == tuple(range(63, 73))
    linear = SeenLyrics(**{**vars(seen), "times": None, "shift": -2})
    assert linear.at(600).places == tuple(range(58, 68))


def test_lyrics_that_nobody_could_sing_are_refused():
    check_pace(400, 10.0)
    with pytest.raises(UserError, match="100 a second"):
        check_pace(1000, 10.0)
