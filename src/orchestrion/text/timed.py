"""Lyrics with the time of each line, word and syllable, and what JSON holds of them."""

import re
from typing import Any

from pydantic import Field, field_validator, model_validator

from orchestrion.config import Settings, plain, read_settings
from orchestrion.errors import UserError

FORMAT = "orchestrion.lyrics"
VERSION = 1
SUFFIX = ".lyrics.json"  # of the file beside the audio
LANGUAGE = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
"""A tag of BCP 47."""


class _Timed(Settings):
    """Something sung from `start` to `end`, in seconds of the recording; None is unknown."""

    start: float | None = Field(default=None, ge=0)
    end: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> "_Timed":
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError(f"it ends at {self.end} s, before its start at {self.start} s")
        return self


class TimedPhoneme(_Timed):
    """A speech sound, spelled in the International Phonetic Alphabet."""

    text: str = Field(min_length=1)


class TimedNote(_Timed):
    """A note that a syllable is sung on; `pitch` is a MIDI number, 69 for 440 Hz, as it sounds."""

    pitch: float = Field(ge=0, le=127)


class TimedSyllable(_Timed):
    """A part of a word; `phonemes` and `notes` are known of sung data."""

    text: str = Field(min_length=1)
    phonemes: tuple[TimedPhoneme, ...] = ()
    notes: tuple[TimedNote, ...] = ()


class TimedWord(_Timed):
    """A word without spaces; `confidence` from 0 to 1 says how sure its times are, None that nobody asked.

    The texts of the syllables, joined, are the word, where there are any.
    """

    text: str
    confidence: float | None = Field(default=None, ge=0, le=1)
    syllables: tuple[TimedSyllable, ...] = ()

    @field_validator("text")
    @classmethod
    def _is_one_word(cls, text: str) -> str:
        if text.split() != [text]:
            raise ValueError(f"{text!r} is not one word")
        return text

    @model_validator(mode="after")
    def _is_its_syllables(self) -> "TimedWord":
        joined = "".join(syllable.text for syllable in self.syllables)
        if self.syllables and joined != self.text:
            raise ValueError(f"the syllables of {self.text!r} make {joined!r}")
        return self


class TimedLine(Settings):
    """Words sung in a row; `section` names the part of the song that begins with this line, such as "chorus"."""

    words: tuple[TimedWord, ...] = Field(min_length=1)
    section: str | None = Field(default=None, min_length=1)

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def start(self) -> float | None:
        """The first time known of the line."""
        return next((word.start for word in self.words if word.start is not None), None)

    @property
    def end(self) -> float | None:
        """The last time known of the line."""
        return next((word.end for word in reversed(self.words) if word.end is not None), None)


class TimedLyrics(Settings):
    """The words of a song as they are sung; `language` is a BCP 47 tag such as "de".

    >>> word = TimedWord(text="Nacht", start=1.5, end=2.25)
    >>> TimedLyrics(language="de", lines=(TimedLine(words=(word,)),)).text
    'Nacht'
    """

    language: str | None = Field(default=None, pattern=f"^{LANGUAGE.pattern}$")
    lines: tuple[TimedLine, ...] = ()

    @property
    def text(self) -> str:
        """The words without their times, a line each."""
        return "\n".join(line.text for line in self.lines)

    @property
    def words(self) -> tuple[TimedWord, ...]:
        return tuple(word for line in self.lines for word in line.words)

    def to_json(self) -> dict[str, Any]:
        """What a `.lyrics.json` file holds; unknown and empty fields are left out."""
        return {"format": FORMAT, "version": VERSION, **_said(plain(self))}

    @classmethod
    def from_json(cls, value: Any, source: str) -> "TimedLyrics":
        """Lyrics from the value of a JSON file; `source` names it in the UserError for anything else."""
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise UserError(f"{source} holds no timed lyrics", f'its "format" has to be "{FORMAT}"')
        if value.get("version") != VERSION:
            raise UserError(
                f"{source} holds timed lyrics of version {value.get('version')} and this program reads {VERSION}",
                "make them again with this program, or update it",
            )
        return read_settings(
            cls, {key: each for key, each in value.items() if key not in ("format", "version")}, source
        )


def check_sections(lyrics: TimedLyrics, taken: re.Pattern[str], kind: str) -> None:
    """Raise UserError for a section that has no line of its own in the format `kind`, or has what is `taken` there."""
    for line in lyrics.lines:
        section = line.section or ""
        if taken.search(section) or section.splitlines() not in ([], [section]) or section != section.strip():
            raise UserError(f"the section {section!r} cannot be named in {kind}", "write JSON, or rename it")


def words_between(text: str, start: float | None, end: float | None) -> tuple[TimedWord, ...]:
    """The words of a text sung from `start` to `end`: nothing is known of the times within.

    >>> [(word.text, word.start, word.end) for word in words_between("Guten Abend", 1.0, 2.0)]
    [('Guten', 1.0, None), ('Abend', None, 2.0)]
    """
    texts = text.split()
    last = len(texts) - 1
    return tuple(
        TimedWord(text=each, start=None if place else start, end=end if place == last else None)
        for place, each in enumerate(texts)
    )


def _said(value: Any) -> Any:
    """`value` without fields that say nothing."""
    if isinstance(value, dict):
        return {key: _said(each) for key, each in value.items() if each is not None and each != []}
    if isinstance(value, list):
        return [_said(each) for each in value]
    return value
