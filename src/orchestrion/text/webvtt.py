"""Lyrics as WebVTT (W3C): a cue for each line, with a time inside it for each word.

Times are written to a thousandth of a second. The language stands in the header, the section that begins with a
line is the name of its cue.
"""

import html
import re

from orchestrion.errors import UserError
from orchestrion.text.timed import LANGUAGE, TimedLine, TimedLyrics, TimedWord, check_sections, words_between

_TIME = r"(?:(\d{2,}):)?([0-5]\d):([0-5]\d\.\d{3})"
_ARROW = re.compile(rf"{_TIME}\s+-->\s+{_TIME}(?:\s.*)?")
_WORD_MARK = re.compile(rf"<{_TIME}>")
_OTHER_MARK = re.compile(r"<[^>]*>")
_NO_CUE = re.compile(r"NOTE(?=\s|$)|(STYLE|REGION)\s*$")
_NO_NAME = re.compile(rf"-->|^({_NO_CUE.pattern}|\d+$)")


def check(lyrics: TimedLyrics) -> None:
    """Raise UserError for a section that cannot be the name of a cue."""
    check_sections(lyrics, _NO_NAME, "WebVTT")


def to_webvtt(lyrics: TimedLyrics) -> str:
    """`lyrics` as WebVTT; UserError for a line whose times are not known, which cannot be shown."""
    check(lyrics)
    blocks = ["WEBVTT" + (f"\nLanguage: {lyrics.language}" if lyrics.language else "")]
    for line in lyrics.lines:
        start, end = line.start, line.end
        if start is None or end is None or end < start:
            raise UserError(f"the time of the line {line.text!r} is not known", "write LRC or JSON")
        name = f"{line.section}\n" if line.section else ""
        blocks.append(f"{name}{_written(start)} --> {_written(end)}\n{_marked(line)}")
    return "\n\n".join(blocks) + "\n"


def from_webvtt(text: str, source: str) -> TimedLyrics:
    """The lyrics in WebVTT, a line for each line of a cue; UserError says which line of `source` is broken."""
    rows = text.removeprefix("\ufeff").splitlines()
    if not rows or not re.fullmatch(r"WEBVTT([ \t].*)?", rows[0]):
        raise UserError(f"{source} is not WebVTT: its first line is not WEBVTT", "check what the file is")
    language: str | None = None
    lines: list[TimedLine] = []
    for first, block in _blocks(rows):
        if first == 1:
            language = _language(next((row[9:].strip() for row in block if row.startswith("Language:")), ""), source)
        elif not _NO_CUE.match(block[0]):
            lines += _cue(first, block, source)
    if not lines:
        raise UserError(f"{source} holds no words", "check what the file is")
    return TimedLyrics(language=language, lines=tuple(lines))


def _blocks(rows: list[str]) -> list[tuple[int, list[str]]]:
    """Runs of rows that are not empty, each with the number of its first."""
    found: list[tuple[int, list[str]]] = []
    apart = True
    for number, row in enumerate(rows, 1):
        if row.strip():
            if apart:
                found.append((number, []))
            found[-1][1].append(row)
        apart = not row.strip()
    return found


def _language(value: str, source: str) -> str | None:
    if value and not LANGUAGE.fullmatch(value):
        raise UserError(f"the header of {source} names no language: {value!r}", "write a tag such as Language: de")
    return value or None


def _cue(first: int, block: list[str], source: str) -> list[TimedLine]:
    named = "-->" not in block[0]
    where = f"line {first + named} of {source}"
    shown = _ARROW.fullmatch(block[named].strip()) if len(block) > named else None
    if shown is None:
        raise UserError(f"{where} is not the time of a cue", "write it as 00:00:01.000 --> 00:00:02.000")
    start, end = _seconds(shown.groups()[:3]), _seconds(shown.groups()[3:])
    if end < start:
        raise UserError(f"{where} ends before it starts", "put its times in order")
    rows = [(first + named + below, row) for below, row in enumerate(block[named + 1 :], 1)]
    read = [_words(f"line {number} of {source}", row, start, end) for number, row in rows]
    section = block[0].strip() if named and not block[0].strip().isdecimal() else None  # cues may be numbered
    lines = [words for words in read if words]
    return [TimedLine(words=words, section=None if at else section) for at, words in enumerate(lines)]


def _words(where: str, row: str, start: float, end: float) -> tuple[TimedWord, ...]:
    marks = list(_WORD_MARK.finditer(row))
    edges = [0, *(mark.end() for mark in marks)]
    stops = [*(mark.start() for mark in marks), len(row)]
    times = [start, *(_seconds(mark.groups()) for mark in marks), end]
    if times != sorted(times):
        raise UserError(f"{where} has times out of order", "put its times in order")
    texts = [html.unescape(_OTHER_MARK.sub("", row[edge:stop])) for edge, stop in zip(edges, stops, strict=True)]
    stretches = zip(texts, times, times[1:], strict=False)
    return tuple(word for text, before, after in stretches for word in words_between(text, before, after))


def _marked(line: TimedLine) -> str:
    parts: list[str] = []
    for word, following in zip(line.words, [*line.words[1:], None], strict=True):
        mark = "" if word.start is None else f"<{_written(word.start)}>"
        parts.append(f"{mark}{html.escape(word.text, quote=False)}{_ending(word, following)}")
    return " ".join(parts)


def _ending(word: TimedWord, following: TimedWord | None) -> str:
    if word.end is None or following is None or following.start is None:
        return ""  # the cue ends with its last word
    ending = _written(word.end)
    return "" if ending == _written(following.start) else f"<{ending}>"


def _written(seconds: float) -> str:
    thousandths = round(seconds * 1000)
    minutes = thousandths // 60_000
    return f"{minutes // 60:02}:{minutes % 60:02}:{thousandths // 1000 % 60:02}.{thousandths % 1000:03}"


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds = parts
    return round(int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0), 3)
