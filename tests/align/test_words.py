import pytest
import torch

from orchestrion.align.linear import linear, start_errors, summary
from orchestrion.align.picture import draw_alignment
from orchestrion.align.words import align_words, read_shares
from orchestrion.text.alphabet import Alphabet
from orchestrion.text.lyrics import spelled, untimed, written
from orchestrion.text.timed import TimedLyrics

RATE = 50.0
LYRICS = untimed("[verse]\nla li\nlu lo")


def attention(lyrics: TimedLyrics, sung: list[tuple[float, float] | None], seconds: float) -> torch.Tensor:
    """Most of it to where a word is read while that is sung, spread evenly over everything else besides."""
    ids = spelled(written(lyrics), Alphabet())
    weights = torch.full((round(seconds * RATE), len(ids.ids)), 0.2 / len(ids.ids))
    for times, places in zip(sung, ids.read, strict=True):
        if times is not None:
            start, stop = (round(time * RATE) for time in times)
            weights[start:stop, places.start : places.stop] += 0.8 / len(places)
    return weights


def aligned(lyrics: TimedLyrics, sung: list[tuple[float, float] | None], seconds: float = 6.0):
    ids = spelled(written(lyrics), Alphabet())
    return align_words(lyrics, ids, attention(lyrics, sung, seconds), RATE)


def test_words_begin_and_end_where_the_attention_does():
    sung = [(1.0, 1.5), (1.5, 2.0), (4.0, 4.2), (4.4, 5.0)]
    found = aligned(LYRICS, sung).lyrics
    for word, (start, end) in zip(found.words, sung, strict=True):
        assert word.start == pytest.approx(start, abs=0.06) and word.end == pytest.approx(end, abs=0.06)
        assert 0.7 < word.confidence <= 1
    assert [line.text for line in found.lines] == ["la li", "lu lo"] and found.lines[0].section == "verse"


def test_a_word_that_is_not_heard_lies_between_its_neighbours_without_confidence():
    found = aligned(LYRICS, [(1.0, 2.0), None, (4.0, 4.5), (4.5, 5.0)]).lyrics
    assert found.words[1].confidence == 0
    assert found.words[0].end <= found.words[1].start <= found.words[1].end <= found.words[2].start


def test_nothing_is_said_of_words_before_the_first_and_after_the_last_that_is_heard():
    found = aligned(LYRICS, [None, (1.0, 2.0), (3.0, 4.0), None]).lyrics
    assert [word.start is None for word in found.words] == [True, False, False, True]
    assert found.words[0].confidence == found.words[3].confidence == 0


def test_words_without_ids_are_passed_over():
    ids = spelled("la \u200b\u200b li\n", Alphabet())
    lyrics = untimed("la \u200b\u200b li")
    weights = torch.full((100, len(ids.ids)), 0.01)
    weights[:50, 1:3], weights[50:, -2:] = 0.4, 0.4
    found = align_words(lyrics, ids, weights, RATE).lyrics
    assert found.words[1].confidence == 0 and found.words[2].start == pytest.approx(1.0, abs=0.06)


def test_shares_are_sums_over_stretches():
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    torch.testing.assert_close(read_shares(weights, (range(3), range(3, 4))), torch.tensor([[0.6, 0.4]]))


def test_the_guess_gives_every_character_the_same_time():
    words = linear(untimed("ab cd"), 6.0).words
    assert [(word.start, word.end) for word in words] == [(0.0, 2.0), (3.0, 5.0)]  # six ids, a space and the line's end


def test_errors_are_counted_where_both_times_are_known():
    found, known = linear(untimed("ab cd"), 6.0), linear(untimed("ab cd"), 12.0)
    assert start_errors(found, known) == [0.0, -3.0]
    assert start_errors(untimed("ab cd"), known) == []
    figures = summary([0.0, -0.2, 0.9, 3.0])
    assert figures == {"words": 4, "median_seconds": 0.55, "within_quarter_second": 0.5, "within_second": 0.75}


def test_the_same_alignment_is_the_same_picture(tmp_path):
    for name in ("a", "b"):
        draw_alignment(tmp_path / f"{name}.png", aligned(LYRICS, [(1.0, 2.0), None, None, (4.0, 5.0)]), title="$la$")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_words_that_the_font_of_a_picture_lacks_are_drawn_without_a_warning(tmp_path):
    draw_alignment(tmp_path / "a.png", aligned(untimed("愛 を"), [(1.0, 2.0), (2.0, 3.0)]))
    assert (tmp_path / "a.png").exists()
