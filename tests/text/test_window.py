import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrion.text.window import NO_CHARACTER, lyric_window, padded, window_ids


@st.composite
def asked(draw):
    total = draw(st.integers(1, 600 * 44_100))
    return {
        "num_lyrics": draw(st.integers(0, 6_000)),
        "num_characters": draw(st.integers(0, 512)),
        "total_samples": total,
        "start_samples": draw(st.integers(0, total)),
        "window_samples": draw(st.integers(1, 1_048_576)),
        "single": draw(st.booleans()),
    }


def window_of(case):
    case = dict(case)
    return lyric_window(case.pop("num_lyrics"), case.pop("num_characters"), **case)


@given(asked())
def test_a_window_lies_within_the_lyrics_and_is_as_long_as_it_can_be(case):
    window = window_of(case)
    assert 0 <= window.start <= window.stop <= case["num_lyrics"]
    assert len(window) == min(case["num_lyrics"], case["num_characters"])


@given(asked(), st.integers(0, 10_000_000))
def test_later_music_never_has_earlier_lyrics(case, later):
    moved = {**case, "start_samples": case["start_samples"] + later}
    assert window_of(moved).start >= window_of(case).start


@given(asked())
def test_both_precisions_agree_but_for_a_character(case):
    single, double = (window_of({**case, "single": one}) for one in (True, False))
    assert abs(single.start - double.start) <= 1


@given(asked())
def test_padding_is_on_the_left(case):
    window, width = window_of(case), case["num_characters"]
    places = padded(window, width)
    assert len(places) == width
    assert places == (NO_CHARACTER,) * (width - len(window)) + tuple(window)


def test_the_first_window_starts_with_the_first_and_the_last_ends_with_the_last_character():
    whole = {"total_samples": 1_000, "window_samples": 100}
    assert lyric_window(500, 20, start_samples=0, **whole).start == 15
    assert lyric_window(500, 80, start_samples=0, **whole).start == 0
    assert lyric_window(500, 80, start_samples=900, **whole).stop == 500


@pytest.mark.parametrize("ids, seen", [((7, 8, 9), (0, 0, 7, 8, 9)), ((), (0,) * 5)])
def test_filling_has_the_id_zero(ids, seen):
    assert window_ids(ids, padded(range(len(ids)), 5)) == seen
