"""Speech sounds: how they are spelled, how errors are counted, where they are found."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrion.align.recognizer import (
    BLANK,
    Recognizer,
    aligned,
    collapsed,
    edits,
    latin_letters,
    letters,
    load_recognizer,
    roughened,
)
from orchestrion.config.recognizer import RecognizerConfig
from orchestrion.errors import UserError
from orchestrion.nn.chance import rows_of_batch

SMALL = RecognizerConfig(
    symbols=("a", "n", "t"), sample_rate=4000, window=256, num_bands=12, width=8, recurrent_width=6
)


@pytest.fixture
def model() -> Recognizer:
    torch.manual_seed(0)
    return Recognizer(SMALL).eval()


@pytest.mark.parametrize(
    ("phoneme", "expected"),
    [("aɪ", "aɪ"), ("iː", "i"), ("n̩", "n"), ("t͡s", "ts"), ("ɔ̃", "ɔ"), ("ˈa", "a"), ("ç", "ç"), ("", "")],
)
def test_marks_are_left_out_and_diphthongs_cut(phoneme, expected):
    assert letters(phoneme) == tuple(expected)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Nächte!", "nachte"),
        ("Bonne", "bone"),
        ("l’été", "lete"),
        ("Ночь", "noch"),
        ("夜", "ye"),
        ("42", ""),
        ("&", ""),
    ],
)
def test_words_of_any_script_are_letters(word, expected):
    assert latin_letters(word) == tuple(expected)


def test_a_recogniser_of_letters_reads_words():
    own = Recognizer(SMALL.model_copy(update={"hears": "letters"}))
    assert own.ids(["Tanne", "Ast"]) == [3, 1, 2, 1, 3]


def test_frames_become_sounds():
    assert collapsed([0, 1, 1, 0, 1, 2, 2, 0, 0]) == [1, 1, 2]
    assert collapsed([]) == [] == collapsed([0, 0])


@given(st.lists(st.integers(1, 3), max_size=7), st.lists(st.integers(1, 3), max_size=7))
def test_edits_are_the_distance_of_levenshtein(one, other):
    def slow(a: tuple[int, ...], b: tuple[int, ...]) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    assert edits(one, other) == edits(other, one)
    if len(one) + len(other) <= 9:
        assert edits(one, other) == slow(tuple(one), tuple(other))


def test_known_sounds_are_found_where_they_are():
    truth = [0, 1, 1, 1, 0, 2, 2, 2, 0, 0, 2, 1]
    scores = torch.full((len(truth), 3), math.log(0.1))
    scores[torch.arange(len(truth)), truth] = math.log(0.8)
    found = aligned(scores, [1, 2, 2, 1])
    assert [tuple(one) for one in found] == [(1, 1, 4), (2, 5, 8), (2, 10, 11), (1, 11, 12)]
    assert aligned(scores, []) == []
    assert aligned(scores[:3], [1, 2, 2, 1]) is None, "four sounds, two of them alike, need five frames"


@given(st.integers(0, 10**6))
def test_the_path_is_the_likeliest(seed):
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randn(5, 3, generator=rng).log_softmax(-1)
    symbols = torch.randint(1, 3, (2,), generator=rng).tolist()
    best = max(
        (sum(float(scores[t, s]) for t, s in enumerate(path)), path)
        for path in torch.cartesian_prod(*[torch.arange(3)] * 5).tolist()
        if collapsed(path) == symbols
    )[1]
    expected = [0] * 5
    for symbol, start, stop in aligned(scores, symbols):
        expected[start:stop] = [symbol] * (stop - start)
    assert sum(float(scores[t, s]) for t, s in enumerate(expected)) == pytest.approx(
        sum(float(scores[t, s]) for t, s in enumerate(best)), abs=1e-5
    )


def test_long_recordings_are_heard_piece_by_piece(model, monkeypatch):
    audio = torch.randn(9 * 4000, generator=torch.Generator().manual_seed(1))
    whole = model.listen(audio)
    for scores in whole:
        assert scores.shape == (9 * 4000 // 128, 4)
        torch.testing.assert_close(scores.exp().sum(-1), torch.ones(len(scores)))
    monkeypatch.setattr("orchestrion.align.recognizer._PIECE_SECONDS", 4.0)
    assert model.listen(audio).frame.shape == whole.frame.shape
    assert model.listen(audio[:10]).sequence.shape == (1, 4)


def test_what_is_heard_in_training_is_rougher_and_the_same_however_a_batch_is_cut():
    magnitudes = torch.rand(4, 12, 200, generator=torch.Generator().manual_seed(0)) + 0.1
    whole = roughened(magnitudes, 1.0, rows_of_batch(5, 0, 4))
    parts = [roughened(magnitudes[first : first + 2], 1.0, rows_of_batch(5, first, 4)) for first in (0, 2)]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert whole.isfinite().all() and not torch.equal(whole, roughened(magnitudes, 1.0, rows_of_batch(6, 0, 4)))
    plain = (magnitudes + 1e-5).log()
    apart = [(roughened(magnitudes, share, rows_of_batch(5, 0, 4)) - plain).abs().mean() for share in (1.0, 0.3, 0.01)]
    assert apart[0] > apart[1] > apart[2]
    assert (whole.std(1) < 1e-6).any() and (whole.std(2) < 1e-6).any(), "holes in time and in frequency"


def test_a_recognizer_is_kept(model, tmp_path):
    model.save(tmp_path, {"validation/error": 0.5})
    audio = torch.randn(4000, generator=torch.Generator().manual_seed(2))
    kept = load_recognizer(tmp_path)
    assert torch.equal(kept.listen(audio).sequence, model.half().float().listen(audio).sequence)
    (tmp_path / "recognizer.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged"):
        load_recognizer(tmp_path)
    with pytest.raises(UserError):
        load_recognizer(tmp_path / "absent")


def test_sounds_that_it_does_not_know_are_left_out(model):
    assert model.ids(["tʊ", "aː", "n"]) == [3, 1, 2] and BLANK not in model.ids(["x"])
