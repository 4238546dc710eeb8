"""A plan of when words are sung: all of them, in their order, with rests, and no slower than anybody sings."""

import pytest

from orchestrion.text.alphabet import Alphabet
from orchestrion.text.lyrics import spelled
from orchestrion.text.pace import LEAD, LONGEST_SYLLABLE, SECTION_REST, planned_times, returning, stretches
from orchestrion.text.window import NOTHING_SUNG_YET, UNKNOWN_PLACE, SeenLyrics

TEXT = "[Vers]\nMondnacht war\nklar & weit\nla\n"
ALPHABET = Alphabet()


def starts(text: str, seconds: float) -> list[float]:
    """Of each word."""
    times = planned_times(text, ALPHABET, seconds)
    return [times[places.start] for places in spelled(text, ALPHABET).words]


def test_every_id_has_a_time_in_its_order_within_the_song():
    times = planned_times(TEXT, ALPHABET, 5.0)
    assert len(times) == len(spelled(TEXT, ALPHABET).ids)
    assert list(times) == sorted(times) and times[0] >= 0 and times[-1] <= 5.0


def test_words_last_as_long_as_their_syllables_and_lines_and_sections_end_in_rests():
    moon, was, clear, sign, far, la = starts(TEXT, 1000.0)
    unit = LONGEST_SYLLABLE
    assert moon == pytest.approx(LEAD * unit)
    assert [was - moon, clear - was, far - clear, la - far] == pytest.approx([2 * unit, 2 * unit, unit, 2 * unit])
    assert sign == pytest.approx(far)


def test_a_section_ends_in_a_longer_rest():
    first, second = starts("la\n[Refrain]\nla", 1000.0)
    assert second - first == pytest.approx((1 + SECTION_REST) * LONGEST_SYLLABLE)


def test_in_little_time_it_is_sung_faster_and_in_much_no_slower():
    short, long, longer = (starts(TEXT, seconds) for seconds in (4.0, 100.0, 200.0))
    assert short[-1] < 4.0 and long == longer
    assert [one / short[0] for one in short] == pytest.approx([one / long[0] for one in long])


def test_words_of_a_later_part_are_planned_by_themselves_and_leave_those_before_where_they_were():
    before = starts(TEXT, 5.0)
    count = len(before)
    until = [(count, 5.0), (count, 9.0)]
    assert planned_times(TEXT, ALPHABET, 30.0, [(count, 5.0)]) == planned_times(TEXT, ALPHABET, 5.0)
    whole = f"{TEXT}\n[Refrain]\nlu la"
    times = planned_times(whole, ALPHABET, 12.0, until)
    words = spelled(whole, ALPHABET).words
    found = [times[places.start] for places in words]
    assert found[:count] == before and list(times) == sorted(times)
    (lu, la), alone = found[count:], starts("lu la", 3.0)
    assert [lu - 9.0, la - 9.0] == pytest.approx(alone)
    late = planned_times("lu", ALPHABET, 4.0, [(0, 3.0)])
    assert late[0] > 3.0 and late[-1] < 4.0
    assert set(planned_times("lu", ALPHABET, 2.0, [(0, 3.0)])) == {3.0}
    assert list(stretches(whole, 12.0, until)) == [("Mondnacht war klar & weit la", 5.0), ("lu la", 3.0)]


def test_nothing_has_no_times():
    assert planned_times("", ALPHABET, 3.0) == ()


def test_each_frame_has_the_column_of_what_is_sung_at_its_middle():
    seen = SeenLyrics(
        total_samples=100,
        start_samples=20,
        window_samples=60,
        lyrics=tuple(range(10, 16)),
        num_characters=4,
        times=(35.0, 45.0, 45.0, 56.0, 57.0, 70.0),
        hop_length=10,
    )
    # Around what is sung at sample 50, place 2, places 0 to 3 are seen; middles of frames are 25, 35, ... 75.
    assert seen.places == (0, 1, 2, 3)
    assert seen.columns == (NOTHING_SUNG_YET, 0, 2, 2, UNKNOWN_PLACE, UNKNOWN_PLACE)
    assert SeenLyrics(**{**vars(seen), "times": None}).columns == (UNKNOWN_PLACE,) * 6


CHORUS = "[Chorus]\nsing, oh sing\nmoon and stars\n"


def test_stanzas_whose_words_come_back_are_sung_in_the_same_time():
    text = f"[Verse]\nla li\n{CHORUS}\nlu lo\n\n{CHORUS.replace(',', '').upper()}"
    ((start, long, before),) = returning(text, ALPHABET, 1000.0)
    begin = starts(text, 1000.0)
    assert (before, start) == (begin[2], begin[10]) and long == pytest.approx(6 * LONGEST_SYLLABLE + LONGEST_SYLLABLE)
    assert list(returning("la li\nla li\n\nla lu", ALPHABET, 10.0)) == []
    assert list(returning("—\n\nla\n\n—\n\n…", ALPHABET, 10.0)) == []
    assert list(returning("तुम\n\nला\n\nतम", ALPHABET, 10.0)) == []
    assert len(list(returning("café\n\nla\n\ncafe\u0301", ALPHABET, 10.0))) == 1
    text = "la\n\nlu\n\nla\n\nla"
    first, second = returning(text, ALPHABET, 10.0)
    assert first[2] == second[2] == starts(text, 10.0)[0]


def test_words_that_come_back_in_another_time_are_not_the_same():
    text, sung = f"{CHORUS}\n{CHORUS}", len(spelled(CHORUS, ALPHABET).words)
    assert len(list(returning(text, ALPHABET, 200.0, [(sung, 100.0)]))) == 1
    assert list(returning(text, ALPHABET, 103.0, [(sung, 100.0)])) == []
