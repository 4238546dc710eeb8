"""Lyrics as LRC, a time for each line, and as enhanced LRC, a time for each word too.

Times are written to a hundredth of a second. `[la:de]` is the language and `[section:chorus]` the section that
begins with the next line. In enhanced LRC a mark before a word is its start; one with no word after it is the
end of the word before, and is left out where the next word starts then.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrion.errors import UserError
from orchestrion.text.timed import LANGUAGE, TimedLine, TimedLyrics, TimedWord, check_sections, words_between

_TIME = r"(\d{1,4}):([0-5]?\d(?:[.:]\d{1,3})?)"
_LINE_MARK = re.compile(rf"\[{_TIME}\]\s*")
_WORD_MARK = re.compile(rf"<{_TIME}>")
_TAG = re.compile(r"\[([A-Za-z#][A-Za-z0-9_#]*):([^\]]*)\]\s*")
_END_OF_TAG = re.compile(r"\]")
_LIKE_A_MARK = re.compile(r"[\[<]\d+:[^\]>]*[\]>]?")  # meant as a time, whether it is one or not


def check(lyrics: TimedLyrics) -> None:
    """Raise UserError for words or a section that LRC would take for its own marks."""
    check_sections(lyrics, _END_OF_TAG, "LRC")
    for line in lyrics.lines:
        if line.text.startswith("[") or _LIKE_A_MARK.search(line.text):
            why = f"LRC would take the line {line.text!r} for one of its marks"
            raise UserError(why, "write JSON, or change the words")


def to_lrc(lyrics: TimedLyrics, *, enhanced: bool = True) -> str:
    """`lyrics` as LRC, by default enhanced; what is not known of times is left out.

    Raises UserError for words that LRC would take for its own marks.
    """
    check(lyrics)
    rows = [f"[la:{lyrics.language}]"] if lyrics.language else []
    for line in lyrics.lines:
        if line.section is not None:
            rows.append(f"[section:{line.section}]")
        start = line.start
        mark = "" if start is None else f"[{_written(start)}]"
        rows.append(mark + (_marked(line.words) if enhanced and start is not None else line.text))
    return "\n".join(rows) + "\n"


def from_lrc(text: str, source: str) -> TimedLyrics:
    """The lyrics in LRC of either kind; `source` names it in the UserError that says which line is broken.

    Lines come in the order of their times, one with several times once for each. `[offset:…]`, in milliseconds, is
    heeded in all lines; other tags are passed over.
    """
    read = _Reader(source)
    for number, row in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        read.row(number, row.strip())
    return read.lyrics()


def _marked(words: tuple[TimedWord, ...]) -> str:
    parts: list[str] = []
    for word, following in zip(words, [*words[1:], None], strict=True):
        start = "" if word.start is None else f"<{_written(word.start)}>"
        parts.append(f"{start}{word.text}{_ending(word, following)}")
    return " ".join(parts)


def _ending(word: TimedWord, following: TimedWord | None) -> str:
    if word.end is None:
        return ""
    ending = _written(word.end)
    if following is not None and (following.start is None or _written(following.start) == ending):
        return ""  # the next word would seem to start here, or does
    return f"<{ending}>"


def _written(seconds: float) -> str:
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"


def _seconds(found: re.Match[str]) -> float:
    minutes, seconds = found.groups()
    return round(int(minutes) * 60 + float(seconds.replace(":", ".")), 3)


@dataclass(frozen=True)
class _Row:
    start: float | None
    words: tuple[TimedWord, ...]
    section: str | None


class _Reader:
    """Rows of an LRC file, one after another."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._rows: list[_Row] = []
        self._language: str | None = None
        self._section: str | None = None
        self._offset = 0.0

    def row(self, number: int, row: str) -> None:
        where = f"line {number} of {self._source}"
        times: list[float] = []
        while found := _LINE_MARK.match(row):
            times.append(_seconds(found))
            row = row[found.end() :]
        if not times and (tag := _TAG.fullmatch(row)):
            self._tag(where, tag[1].lower(), tag[2].strip())
            return
        if _LIKE_A_MARK.match(row) and row.startswith("["):
            raise UserError(f"{where} begins with a time that is none: {row[:20]!r}", "write it as [minutes:seconds]")
        words = tuple(self._words(where, row, times[0] if times else None))
        if not words:
            return
        self._rows.append(_Row(times[0] if times else None, words, self._section))
        self._rows += [_Row(again, _moved(words, again - times[0]), None) for again in times[1:]]
        self._section = None

    def lyrics(self) -> TimedLyrics:
        if not self._rows:
            raise UserError(f"{self._source} holds no words", "write them after the times of their lines")
        if not any(row.start is not None for row in self._rows):
            raise UserError(f"{self._source} holds no times", "begin its lines with [minutes:seconds]")
        rows = [
            _Row(_at(row.start, -self._offset), _moved(row.words, -self._offset), row.section) for row in self._rows
        ]
        lines = (TimedLine(words=row.words, section=row.section) for row in _in_time(rows))
        return TimedLyrics(language=self._language, lines=tuple(lines))

    def _tag(self, where: str, name: str, value: str) -> None:
        if name == "la" and value:
            if not LANGUAGE.fullmatch(value):
                raise UserError(f"{where} names no language: {value!r}", "write a tag such as [la:de]")
            self._language = value
        elif name == "section" and value:
            self._section = value
        elif name == "offset":
            if not re.fullmatch(r"[+-]?\d{1,9}", value):
                raise UserError(f"{where} gives an offset that is no number: {value!r}", "write [offset:500]")
            self._offset = int(value) / 1000

    def _words(self, where: str, row: str, line_start: float | None) -> Iterator[TimedWord]:
        """The words of a row without its line marks; the first starts with the line unless it says otherwise."""
        marks = list(_WORD_MARK.finditer(row))
        unread = _WORD_MARK.sub(" ", row)
        if found := _LIKE_A_MARK.search(unread):
            raise UserError(f"{where} has a time that is none: {found[0]!r}", "write it as <minutes:seconds>")
        edges = [0, *(mark.end() for mark in marks)]
        stops = [*(mark.start() for mark in marks), len(row)]
        times = [line_start, *map(_seconds, marks)]
        for at, (start, end) in enumerate(zip(times, [*times[1:], None], strict=True)):
            stretch = row[edges[at] : stops[at]]
            if stretch.strip() and start is not None and end is not None and end < start:
                raise UserError(f"{where} goes back in time after {stretch.strip()!r}", "put its times in order")
            yield from words_between(stretch, start, end)


def _in_time(rows: list[_Row]) -> list[_Row]:
    """`rows` by their starts; one without a time stays behind the one before it."""
    keys: list[float] = []
    for row in rows:
        keys.append(row.start if row.start is not None else (keys[-1] if keys else 0.0))
    return [row for _, row in sorted(zip(keys, rows, strict=True), key=lambda pair: pair[0])]


def _moved(words: tuple[TimedWord, ...], seconds: float) -> tuple[TimedWord, ...]:
    def moved(word: TimedWord) -> TimedWord:
        return word.model_copy(update={"start": _at(word.start, seconds), "end": _at(word.end, seconds)})

    return tuple(map(moved, words))


def _at(time: float | None, seconds: float) -> float | None:
    """A time moved on by so many seconds, to the beginning at the earliest."""
    return None if time is None else max(0.0, round(time + seconds, 3))
