"""Timed lyrics: what is written is read again, and what is broken is named with its line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrion.errors import UserError
from orchestrion.text.lrc import from_lrc, to_lrc
from orchestrion.text.lyric_files import read_timed_lyrics, write_timed_lyrics
from orchestrion.text.timed import (
    TimedLine,
    TimedLyrics,
    TimedNote,
    TimedPhoneme,
    TimedSyllable,
    TimedWord,
    words_between,
)
from orchestrion.text.webvtt import from_webvtt, to_webvtt

letters = st.text(st.characters(categories=["L", "M", "N", "P", "S"]), min_size=1, max_size=8)
sayable = letters.filter(lambda text: "[" not in text and "<" not in text)
sections = st.none() | st.sampled_from(["verse", "chorus 2", "Brücke"])
languages = st.sampled_from([None, "de", "en-GB"])


@st.composite
def spans(draw: st.DrawFn) -> dict[str, float | None]:
    start, length = draw(st.none() | st.floats(0, 1e4)), draw(st.none() | st.floats(0, 100))
    return {"start": start, "end": None if start is None or length is None else start + length}


@st.composite
def anything(draw: st.DrawFn) -> TimedLyrics:
    phonemes = st.builds(lambda text, span: TimedPhoneme(text=text, **span), letters, spans())
    notes = st.builds(lambda pitch, span: TimedNote(pitch=pitch, **span), st.floats(0, 127), spans())
    syllable = st.builds(
        lambda text, span, said, sung: TimedSyllable(text=text, **span, phonemes=tuple(said), notes=tuple(sung)),
        letters,
        spans(),
        st.lists(phonemes, max_size=2),
        st.lists(notes, max_size=2),
    )

    def word(syllables: list[TimedSyllable], span: dict[str, float | None], sure: float | None) -> TimedWord:
        text = "".join(each.text for each in syllables)
        return TimedWord(text=text, **span, confidence=sure, syllables=tuple(syllables))

    words = st.builds(word, st.lists(syllable, min_size=1, max_size=3), spans(), st.none() | st.floats(0, 1))
    line = st.builds(
        lambda words, section: TimedLine(words=tuple(words), section=section),
        st.lists(words, min_size=1, max_size=3),
        sections,
    )
    return TimedLyrics(language=draw(languages), lines=tuple(draw(st.lists(line, max_size=3))))


@st.composite
def sung(draw: st.DrawFn) -> TimedLyrics:
    """Every time is known, in hundredths of a second, and nothing overlaps."""
    now = 0
    lines: list[TimedLine] = []
    for _ in range(draw(st.integers(1, 3))):
        words: list[TimedWord] = []
        for text in draw(st.lists(sayable, min_size=1, max_size=4)):
            start = now + draw(st.integers(0, 500_000))
            now = start + draw(st.integers(1, 300))
            words.append(TimedWord(text=text, start=start / 100, end=now / 100))
        lines.append(TimedLine(words=tuple(words), section=draw(sections)))
    return TimedLyrics(language=draw(languages), lines=tuple(lines))


@settings(max_examples=40)
@given(lyrics=anything())
def test_json_keeps_everything(lyrics):
    assert TimedLyrics.from_json(json.loads(json.dumps(lyrics.to_json())), "here") == lyrics


@settings(max_examples=40)
@given(lyrics=sung())
def test_enhanced_lrc_keeps_words_sections_and_known_times(lyrics):
    assert from_lrc(to_lrc(lyrics), "here") == lyrics


@settings(max_examples=40)
@given(lyrics=sung())
def test_webvtt_keeps_words_sections_and_known_times(lyrics):
    assert from_webvtt(to_webvtt(lyrics), "here") == lyrics


@settings(max_examples=40)
@given(lyrics=sung())
def test_lrc_keeps_words_and_the_starts_of_lines(lyrics):
    read = from_lrc(to_lrc(lyrics, enhanced=False), "here")
    assert read.text == lyrics.text
    assert [line.start for line in read.lines] == [line.start for line in lyrics.lines]


@settings(max_examples=40)
@given(text=st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_sentence(text):
    for read in (from_lrc, from_webvtt):
        for begun in ("", "WEBVTT\n\n", "[00:01.00]"):
            try:
                read(begun + text, "words.lrc")
            except UserError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("suffix", [".lyrics.json", ".lrc", ".vtt"])
def test_files_of_each_kind_are_written_and_read(tmp_path, suffix):
    lyrics = TimedLyrics(
        language="de",
        lines=(
            TimedLine(words=(TimedWord(text="Süßes", start=1.0, end=1.5), TimedWord(text="Kind", start=2.0, end=3.0))),
        ),
    )
    write_timed_lyrics(tmp_path / f"song{suffix}", lyrics)
    assert read_timed_lyrics(tmp_path / f"song{suffix}") == lyrics
    marked = tmp_path / f"marked{suffix}"
    marked.write_bytes(b"\xef\xbb\xbf" + (tmp_path / f"song{suffix}").read_bytes())
    assert read_timed_lyrics(marked) == lyrics


def test_what_players_show_is_as_they_expect_it():
    words = (TimedWord(text="Guten", start=61.5, end=62.0), TimedWord(text="Abend", start=62.0, end=63.25))
    lyrics = TimedLyrics(language="de", lines=(TimedLine(words=words, section="verse"),))
    assert to_lrc(lyrics) == "[la:de]\n[section:verse]\n[01:01.50]<01:01.50>Guten <01:02.00>Abend<01:03.25>\n"
    assert to_lrc(lyrics, enhanced=False).splitlines()[-1] == "[01:01.50]Guten Abend"
    shown = "WEBVTT\nLanguage: de\n\nverse\n00:01:01.500 --> 00:01:03.250\n<00:01:01.500>Guten <00:01:02.000>Abend\n"
    assert to_webvtt(lyrics) == shown


def test_lrc_as_others_write_it_is_understood():
    text = (
        "\ufeff[ar:Somebody]\n[offset:+500]\n[00:20.5][00:10.50]La la\n\n[00:15:00] <00:15.00> Lu <00:16.00> lu\nfree\n"
    )
    read = from_lrc(text, "here")
    assert [(line.text, line.start) for line in read.lines] == [
        ("La la", 10.0),
        ("Lu lu", 14.5),
        ("free", None),
        ("La la", 20.0),
    ]
    assert read.lines[1].words[0].end == 15.5


def test_webvtt_as_others_write_it_is_understood():
    text = (
        "WEBVTT - a song\n\nNOTE not sung\n\nSTYLE\n::cue {}\n\n1\n00:01.000 --> 00:02.000 align:start\n"
        "<v Ada>One &amp; two</v>\nthree\n"
    )
    read = from_webvtt(text, "here")
    assert [(line.text, line.start, line.end) for line in read.lines] == [("One & two", 1.0, 2.0), ("three", 1.0, 2.0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no time at all\n", "holds no times"),
        ("[00:01.00]\n[00:02.00]\n", "holds no words"),
        ("[00:01.00]ok\n[00:75.00]late\n", "line 2"),
        ("[00:01.00]ok\n\n[1:2:3:4]odd\n", "line 3"),
        ("[00:01.00 cut\n", "line 1"),
        ("[00:01.00]<00:01.00>a <00:99>b\n", "line 1"),
        ("[00:05.00]<00:05.00>a<00:04.00>\n", "goes back in time"),
        ("[offset:soon]\n[00:01.00]a\n", "line 1"),
        ("[la:not one]\n[00:01.00]a\n", "names no language"),
    ],
)
def test_broken_lrc_is_refused_with_its_line(text, said):
    with pytest.raises(UserError, match=said):
        from_lrc(text, "words.lrc")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one\n", "not WEBVTT"),
        ("WEBVTT\n", "holds no words"),
        ("WEBVTT\n\n00:01 --> 00:02\nword\n", "line 3"),
        ("WEBVTT\n\nname\n", "line 4"),
        ("WEBVTT\n\n00:02.000 --> 00:01.000\nword\n", "ends before"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\na <00:05.000>b\n", "line 4"),
    ],
)
def test_broken_webvtt_is_refused_with_its_line(text, said):
    with pytest.raises(UserError, match=said):
        from_webvtt(text, "words.vtt")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "no timed lyrics"),
        ({"format": "orchestrion.lyrics", "version": 9}, "version 9"),
        ({"format": "orchestrion.lyrics", "version": 1, "lines": [{"words": []}]}, "words"),
        ({"format": "orchestrion.lyrics", "version": 1, "lines": [{"words": [{"text": "a b"}]}]}, "not one word"),
        ({"format": "orchestrion.lyrics", "version": 1, "singer": "Ada"}, "singer"),
    ],
)
def test_broken_json_is_refused(value, said):
    with pytest.raises(UserError, match=said):
        TimedLyrics.from_json(value, "words.lyrics.json")


def test_what_a_format_cannot_say_is_not_written():
    def alone(text: str, **more: object) -> TimedLyrics:
        return TimedLyrics(lines=(TimedLine(words=(TimedWord(text=text, start=1.0),), **more),))

    for lyrics in (alone("[x]"), alone("a<00:01.00>"), alone("a", section="a]b")):
        with pytest.raises(UserError, match="LRC"):
            to_lrc(lyrics)
    with pytest.raises(UserError, match="not known"):
        to_webvtt(alone("a"))


def test_nothing_ends_before_it_starts_and_words_are_their_syllables():
    with pytest.raises(ValidationError, match="before its start"):
        TimedWord(text="a", start=2.0, end=1.0)
    with pytest.raises(ValidationError, match="make 'Nach'"):
        TimedWord(text="Nacht", syllables=(TimedSyllable(text="Nach"),))


def test_unknown_times_stay_unknown():
    line = TimedLine(words=words_between("one two three", None, 3.0))
    assert (line.start, line.end, line.words[1].start) == (None, 3.0, None)


def test_a_wrong_suffix_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"\.lrc"):
        write_timed_lyrics(tmp_path / "song.srt", TimedLyrics())


def test_numbered_cues_of_webvtt_are_no_sections():
    text = "WEBVTT\n\n1\n00:01.000 --> 00:02.000\nla li\n\nChorus\n00:02.000 --> 00:03.000\nlu\n"
    assert [line.section for line in from_webvtt(text, "here").lines] == [None, "Chorus"]


def test_a_language_of_webvtt_that_is_no_tag_is_explained():
    text = "WEBVTT\nLanguage: {}\n\n00:01.000 --> 00:02.000\nla\n"
    assert from_webvtt(text.format("pt-BR"), "here").language == "pt-BR"
    with pytest.raises(UserError, match="the header of here names no language: 'English \\(US\\)'"):
        from_webvtt(text.format("English (US)"), "here")


@pytest.mark.parametrize("section", ["NOTE", "NOTE of it", "STYLE", "REGION", "12"])
def test_a_section_that_webvtt_would_not_take_for_the_name_of_a_cue_is_not_written(section):
    with pytest.raises(UserError, match="cannot be named in WebVTT"):
        to_webvtt(sung_in(section))


@pytest.mark.parametrize("section", ["NOTES", "STYLED", "REGIONAL 2", "Note"])
def test_a_section_that_only_begins_like_something_else_is_one(section):
    assert from_webvtt(to_webvtt(sung_in(section)), "here") == sung_in(section)


def sung_in(section: str) -> TimedLyrics:
    return TimedLyrics(lines=(TimedLine(words=(TimedWord(text="la", start=1.0, end=2.0),), section=section),))


def test_an_offset_of_lrc_is_that_of_the_whole_file_wherever_it_stands():
    text = "[00:00.20][00:10.00]<00:10.00>la<00:11.00>\n{}[00:20.00]lu\n{}"
    first, last = (from_lrc(text.format(*tags), "here") for tags in (("[offset:500]\n", ""), ("", "[offset:500]\n")))
    assert first == last and [line.start for line in last.lines] == [9.5, 19.3, 19.5]
