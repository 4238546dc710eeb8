"""Scores: what is played when, which words are sung, and what is refused."""

import io
import re
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_scores import barline, measure, note, rose, score, tempo

from orchestrion.errors import UserError
from orchestrion.recipes.score import person, read_score


def sung(data: bytes, verse: int = 0) -> list[tuple[float, float, int, str | None]]:
    notes = read_score(data, "song", verse).voice.notes
    return [(each.start, each.duration, each.pitch, each.syllable.text if each.syllable else None) for each in notes]


def words(data: bytes, verse: int = 0) -> str:
    return " ".join(text for *_, text in sung(data, verse) if text)


def test_notes_words_and_labels_are_read():
    read = read_score(rose(), "song")
    assert (read.title, read.composer, read.rights) == ("Lied", "Ada", "(CC0)")
    assert sung(rose())[:3] == [(0.0, 1.0, 69, "Ro"), (1.0, 1.0, 71, "se"), (2.0, 2.0, 72, "rot,")]
    first, second, third, *_ = (each.syllable for each in read.voice.notes)
    assert [(one.begins, one.ends) for one in (first, second, third)] == [(True, False), (False, True), (True, True)]
    assert [each.pitch for each in read.accompaniment[0].notes][:2] == [45, 52]


def test_a_packed_score_is_the_same_score():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(
            "META-INF/container.xml", '<container><rootfiles><rootfile full-path="a.xml"/></rootfiles></container>'
        )
        archive.writestr("a.xml", rose())
    assert read_score(packed.getvalue(), "song") == read_score(rose(), "song")


def test_time_follows_the_changes_of_tempo():
    data = score([measure(tempo(60), note(("A4", 4, "a"))), measure(tempo(120), note(("A4", 4, "b")))])
    assert [read_score(data, "song").seconds(at) for at in (0.0, 4.0, 8.0)] == [0.0, 4.0, 6.0]


def test_a_repeat_is_sung_with_the_next_verse_and_its_own_ending():
    data = score(
        [
            measure(barline("forward"), note(("A4", 1, "one"), verses=["two"])),
            measure(
                barline(ending="1", kind="start"),
                note(("B4", 1, "first")),
                barline("backward", ending="1", kind="stop"),
            ),
            measure(barline(ending="2", kind="start"), note(("C5", 1, "second")), barline(ending="2", kind="stop")),
            measure(note(("D5", 1, "end"))),
        ]
    )
    assert words(data) == "one first two second end"
    assert [start for start, *_ in sung(data)] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_song_without_repeats_is_sung_with_any_of_its_verses_that_fit():
    data = score([measure(note(("A4", 1, "Lied"), verses=["song", "x"]), note(("A4", 1, "mein"), verses=["my"]))])
    assert [words(data, verse) for verse in range(3)] == ["Lied mein", "song my", "Lied mein"]


def test_tied_notes_are_one_and_of_a_chord_the_highest_is_sung():
    tie = '<tie type="start"/>', '<tie type="stop"/>'
    data = score(
        [
            measure(
                note(("A4", 2, "lang"), more=tie[0]),
                note(("A4", 1, None), more=tie[1]),
                note(("C4", 1, "tief")),
                note(("E5", 1, None), more="<chord/>"),
            )
        ]
    )
    assert sung(data) == [(0.0, 3.0, 69, "lang"), (3.0, 1.0, 76, "tief")]


def test_a_syllable_at_a_grace_note_is_sung_on_the_note_after_it():
    data = score([measure(note(("B4", 0, "ach"), more="<grace/>"), note(("A4", 1, None)))])
    assert sung(data) == [(0.0, 1.0, 69, "ach")]


def test_names_of_composers_are_plain():
    assert person("Felix Mendelssohn-Bartholdy (1809 - 1847)\n") == "Felix Mendelssohn-Bartholdy"
    assert person("Strauss, Richard") == "Richard Strauss"
    assert person(" (anonymous) ") is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not MusicXML"),
        (b"<score-partwise>", "cut short"),
        (rose()[:400], "cut short"),
        (b"PK\x03\x04 and no zip", "cannot be unpacked"),
        (b"<html/>", "not a partwise"),
        (score([]), "no notes"),
        (score([measure(note(("A4", 1, None)))]), "no words"),
        (
            score([measure(note(("A4", 1, "a")), note(("", 1, "b")))]),
            "more syllables (2) than notes to sing them on (1)",
        ),
        (score([measure(note(("Q4", 1, "a")))]), "cannot be read"),
        (score([measure(note(("A99", 1, "a")))]), "cannot be read"),
        (score([measure(note(("A4", 99_999, "a")))]), "quarters long"),
        *(
            (score([measure(note(("A4", 1, "a")).replace("<duration>1", f"<duration>{duration}"))]), "cannot be read")
            for duration in ("1e400", "1e3000000", "9" * 40, "-1", "1/3")
        ),
    ],
)
def test_scores_that_cannot_be_sung_are_refused_in_a_sentence(data, said):
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        read_score(data, "song.mxl")
    assert "song.mxl" in str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_to_a_packed_score_is_told_of(method):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("META-INF/container.xml", '<container><rootfile full-path="a.xml"/></container>')
        archive.writestr("a.xml", rose())
    data = bytearray(packed.getvalue())
    for at in range(data.index(b"a.xml") + 5, data.index(b"a.xml") + 60):
        data[at] ^= 0xFF
    with pytest.raises(UserError, match="cannot be unpacked"):
        read_score(bytes(data), "song.mxl")


def test_nothing_in_a_packed_score_may_be_enormous(monkeypatch):
    monkeypatch.setattr("orchestrion.recipes.musicxml._MAX_BYTES", 10_000)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "META-INF/container.xml", '<container><rootfile full-path="a.xml"/></container>' + 10_000 * " "
        )
        archive.writestr("a.xml", rose())
    with pytest.raises(UserError, match="unpacks to more than"):
        read_score(packed.getvalue(), "song.mxl")


@settings(max_examples=60)
@given(at=st.integers(0, len(rose()) - 1), byte=st.integers(0, 255))
def test_damage_is_survived_or_refused(at, byte):
    data = bytearray(rose())
    data[at] = byte
    try:
        assert read_score(bytes(data), "song").voice.notes
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("mark", ["1.", "[2.] ", "2)\u00a0", "[3]", "1: "])
def test_the_number_of_a_verse_is_not_sung(mark):
    marked = rose().replace(b"<text>Ro", f"<text>{mark}Ro".encode(), 1)
    assert marked != rose()
    assert sung(marked) == sung(rose())
